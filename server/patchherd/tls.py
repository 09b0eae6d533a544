# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The certificate that the server shows: a given one, checked, or one by a local authority, made and renewed here.

Only short-lived commands import this: `cryptography` costs a server more memory than it needs.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import ipaddress
import os
import re
import socket
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from patchherd.database import now
from patchherd.errors import PatchherdError
from patchherd.settings import Settings

AUTHORITY_LIFE = timedelta(days=3653)
LEAF_LIFE = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(days=1)
"""Hosts whose clocks are behind accept a new certificate, too."""
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""What a server that listens on every address is called on its own machine."""


def prepare(settings: Settings) -> tuple[Path, Path]:
    """Files of the certificate and the key to serve with; made, renewed or checked.

    Raises PatchherdError for files that no client could be served with.
    """
    if settings.tls_certificate:
        certificate, key = Path(settings.tls_certificate).resolve(), Path(settings.tls_key).resolve()
        check(certificate, key)
        return certificate, key
    directory = settings.tls_directory
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two servers starting at once, one makes the authority
        _make_authority(directory)
        _make_leaf(directory, server_names(settings))
        pin = public_key_pin(directory / "server.crt")
        _write(settings.tls_pin, f"{pin}\n".encode(), 0o644)
    return directory / "server.crt", directory / "server.key"


def check(certificate: Path, key: Path) -> None:
    """Raise PatchherdError unless the two PEM files can serve clients now."""
    leaf, private = _load_certificate(certificate), _load_key(key)
    if _spki(leaf.public_key()) != _spki(private.public_key()):
        raise PatchherdError(f"{key} is not the key of {certificate}")
    if leaf.not_valid_after_utc <= now():
        raise PatchherdError(f"{certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if leaf.not_valid_before_utc > now():
        raise PatchherdError(f"{certificate} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if not _names(leaf):
        raise PatchherdError(f"{certificate} names no server (subjectAltName), so every client would refuse it")
    try:  # what OpenSSL refuses would only come to light in the API's processes
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except ssl.SSLError as exc:
        raise PatchherdError(f"{certificate} cannot be used: {exc}") from exc


def server_names(settings: Settings) -> set[str]:
    """Names and addresses by which clients may call this server."""
    names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), settings.host}
    names.add(urlsplit(settings.public_url).hostname or "")
    if settings.host in ANY_ADDRESS:
        names |= _machine_addresses()
    return {name for name in map(_normal, names - ANY_ADDRESS.keys()) if name}


def covers(certificate: Path, name: str) -> bool:
    """Whether a client that calls the server by `name`, a host name or an address, accepts the certificate."""
    name, names = _normal(name), _names(_load_certificate(certificate))
    return name in names or f"*.{name.partition('.')[2]}" in names


def own_name(certificate: Path, host: str) -> str:
    """The name by which this machine calls a server that listens on `host`, one of the certificate if possible."""
    local = ANY_ADDRESS.get(host, host)
    if covers(certificate, local):
        return local
    return next((name for name in _names(_load_certificate(certificate)) if "*" not in name), local)


def public_key_pin(certificate: Path) -> str:
    """The certificate's key as `curl --pinnedpubkey` wants it."""
    digest = hashlib.sha256(_spki(_load_certificate(certificate).public_key())).digest()
    return f"sha256//{base64.b64encode(digest).decode()}"


def _make_authority(directory: Path) -> None:
    """The authority, once: hosts know it, so it is never replaced silently."""
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if certificate.exists():
        end = _load_certificate(certificate).not_valid_after_utc
        if end <= now():
            raise PatchherdError(
                f"the authority {certificate} expired on {end:%Y-%m-%d}: remove {directory}, start again, and enrol "
                "the hosts again"
            )
        return
    private = _make_key(key)
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    # Authorities of several servers may lie in one trust store, where equal names confuse.
    name = _name(f"Patchherd authority {identifier.digest.hex()[:8]}")
    usage = {"key_cert_sign": True, "crl_sign": True}
    built = (
        _builder(private.public_key(), name, name, now() + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(**usage), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _make_leaf(directory: Path, names: set[str]) -> None:
    """The server's certificate, made anew when the present one will not do. Its key stays, and so do pins of it."""
    certificate, key = directory / "server.crt", directory / "server.key"
    authority = _load_certificate(directory / "ca.crt")
    if certificate.exists() and key.exists() and _serves(certificate, key, authority, names):
        return
    signer = _load_key(directory / "ca.key")
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or _spki(signer.public_key()) != _spki(
        authority.public_key()
    ):
        raise PatchherdError(f"{directory / 'ca.key'} is not the key of {directory / 'ca.crt'}")
    private = _load_key(key) if key.exists() else _make_key(key)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    usage = _key_usage(digital_signature=True)
    end = min(now() + LEAF_LIFE - CLOCK_SKEW, authority.not_valid_after_utc)
    built = (
        _builder(private.public_key(), _name("Patchherd server"), authority.subject, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write(certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _serves(certificate: Path, key: Path, authority: x509.Certificate, names: set[str]) -> bool:
    """Whether the certificate at hand still does."""
    leaf = _load_certificate(certificate)
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    # A certificate that ends with its authority cannot be renewed beyond it.
    lasts = leaf.not_valid_after_utc > min(now() + RENEW_BEFORE, authority.not_valid_after_utc - timedelta(seconds=1))
    return lasts and set(_names(leaf)) == names and _spki(leaf.public_key()) == _spki(_load_key(key).public_key())


def _builder(public: PublicKeyTypes, subject: x509.Name, issuer: x509.Name, end: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type]  # its caller made the key
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)  # type: ignore[arg-type]
    )


def _key_usage(**used: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: x509.Certificate) -> list[str]:
    """Names and addresses that a certificate is for, in its order."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [_normal(str(item.value)) for item in found if isinstance(item, x509.DNSName | x509.IPAddress)]


def _normal(name: str) -> str:
    """One spelling of a name or address; empty for what no certificate can hold."""
    name = name.strip("[]").partition("%")[0].rstrip(".").lower()
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(name))
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def _machine_addresses() -> set[str]:
    """The addresses of this machine's interfaces, without those that are valid on one link only."""
    found: set[str] = set()
    with contextlib.suppress(OSError):  # no /proc/net: what is missing can be named by public_url
        found |= set(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", Path("/proc/net/fib_trie").read_text()))
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
        found |= {str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in lines}
    return {text for text in found if not ipaddress.ip_address(text).is_link_local}


def _make_key(file: Path) -> ec.EllipticCurvePrivateKey:
    private = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    _write(file, pem, 0o600)
    return private


def _load_certificate(file: Path) -> x509.Certificate:
    """The first certificate of a PEM file: the server's own; the rest is its chain."""
    try:
        return x509.load_pem_x509_certificates(_read(file))[0]
    except ValueError as exc:
        raise PatchherdError(f"{file} holds no certificate in PEM format") from exc


def _load_key(file: Path) -> PrivateKeyTypes:
    content = _read(file)
    try:
        return serialization.load_pem_private_key(content, None)
    except TypeError as exc:
        raise PatchherdError(f"{file} is encrypted; nobody can type its password when the server starts") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise PatchherdError(f"{file} holds no private key in PEM format") from exc


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise PatchherdError(f"cannot read {file}: {exc.strerror}") from exc


def _spki(public: PublicKeyTypes) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Replace a file as a whole: a running server reads its certificate for each connection."""
    partial = file.with_name(f".{file.name}.new")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(content)
    partial.replace(file)
