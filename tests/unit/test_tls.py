# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The certificate a server shows: made once, renewed when it must be, and checked where it was given."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from cryptography import x509

from patchherd import tls
from patchherd.database import now
from patchherd.errors import PatchherdError, SettingsError
from patchherd.settings import Settings, load_settings
from tests.certificates import make_pair


def local(data: Path, **changes: Any) -> Settings:
    return Settings(data=data, tls=True, **changes)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def handshake(files: tuple[Path, Path], authority: Path, name: str) -> None:
    """Connect as a client that verifies all it can; raises ssl.SSLError."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*files)
    client = ssl.create_default_context(cafile=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()

    thread = Thread(target=serve)
    thread.start()
    try:
        near.settimeout(10)
        with client.wrap_socket(near, server_hostname=name) as connection:
            assert connection.version() == "TLSv1.3"
    finally:
        near.close()
        thread.join()


def test_made_for_every_name_of_this_machine_and_for_no_other(tmp_path: Path) -> None:
    settings = local(tmp_path, host="127.0.0.2", public_url="https://Patch.Example:8480/")
    files = tls.prepare(settings)
    authority = tmp_path / "tls/ca.crt"
    assert settings.authority == authority
    for name in ("localhost", "127.0.0.1", "::1", "127.0.0.2", "patch.example", socket.gethostname()):
        handshake(files, authority, name)
        assert tls.covers(files[0], name)
    for name in ("example", "127.0.0.3", "other.example"):
        assert not tls.covers(files[0], name)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(files, authority, name)


def test_lives_and_file_modes(tmp_path: Path) -> None:
    certificate, _ = tls.prepare(local(tmp_path))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").iterdir()}
    assert modes["ca.key"] == modes["server.key"] == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    authority = x509.load_pem_x509_certificate((tmp_path / "tls/ca.crt").read_bytes())
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=397)
    assert timedelta(days=3650) < authority.not_valid_after_utc - now() < timedelta(days=3660)
    assert leaf.public_key().curve.name == authority.public_key().curve.name == "secp256r1"  # type: ignore[union-attr]
    other = tls.prepare(local(tmp_path / "other"))
    assert tls.public_key_pin(other[0]) != tls.public_key_pin(certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(other, tmp_path / "tls/ca.crt", "localhost")


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    tls.prepare(local(tmp_path))
    before = contents(tmp_path / "tls")
    tls.prepare(local(tmp_path))
    assert contents(tmp_path / "tls") == before


@pytest.mark.parametrize(("days_left", "renewed"), [(31, False), (29, True)])
def test_renewed_in_its_last_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days_left: int, renewed: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tls, "LEAF_LIFE", tls.CLOCK_SKEW + timedelta(days=days_left))
        tls.prepare(local(tmp_path))
    before = contents(tmp_path / "tls")
    files = tls.prepare(local(tmp_path))
    changed = {name for name, content in contents(tmp_path / "tls").items() if content != before[name]}
    assert changed == ({"server.crt"} if renewed else set()), "authority, key and pin stay"
    handshake(files, tmp_path / "tls/ca.crt", "localhost")


def test_renewed_for_new_names_by_the_same_authority(tmp_path: Path) -> None:
    tls.prepare(local(tmp_path))
    before = contents(tmp_path / "tls")
    files = tls.prepare(local(tmp_path, public_url="https://new.example"))
    handshake(files, tmp_path / "tls/ca.crt", "new.example")
    after = contents(tmp_path / "tls")
    assert {name for name in after if after[name] != before[name]} == {"server.crt"}


def test_a_certificate_of_a_former_authority_is_replaced(tmp_path: Path) -> None:
    tls.prepare(local(tmp_path))
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "tls" / name).unlink()
    handshake(tls.prepare(local(tmp_path)), tmp_path / "tls/ca.crt", "localhost")


def test_the_authority_s_key_is_needed_for_renewals_only(tmp_path: Path) -> None:
    tls.prepare(local(tmp_path))
    (tmp_path / "tls/ca.key").unlink()
    handshake(tls.prepare(local(tmp_path)), tmp_path / "tls/ca.crt", "localhost")
    with pytest.raises(PatchherdError, match=r"cannot read .*ca\.key: No such file"):
        tls.prepare(local(tmp_path, public_url="https://new.example"))
    make_pair(tmp_path / "other")[1].rename(tmp_path / "tls/ca.key")
    with pytest.raises(PatchherdError, match=r"ca\.key is not the key of .*ca\.crt"):
        tls.prepare(local(tmp_path, public_url="https://new.example"))


def test_an_expired_authority_is_never_replaced_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "AUTHORITY_LIFE", timedelta(hours=-1))
    tls.prepare(local(tmp_path))
    with pytest.raises(PatchherdError, match=r"the authority .*ca\.crt expired on"):
        tls.prepare(local(tmp_path))


def test_a_certificate_never_outlives_its_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "AUTHORITY_LIFE", timedelta(days=10))
    certificate, _ = tls.prepare(local(tmp_path))
    before = certificate.read_bytes()
    leaf = x509.load_pem_x509_certificate(before)
    authority = x509.load_pem_x509_certificate((tmp_path / "tls/ca.crt").read_bytes())
    assert leaf.not_valid_after_utc == authority.not_valid_after_utc
    assert tls.prepare(local(tmp_path))[0].read_bytes() == before, "nothing would be won by another one"


def test_a_server_on_every_address_is_named_by_every_address(tmp_path: Path) -> None:
    addresses = {
        address.address
        for card in psutil.net_if_addrs().values()
        for address in card
        if address.family in {socket.AF_INET, socket.AF_INET6} and not address.address.startswith(("fe80", "169.254"))
    }
    for host in ("0.0.0.0", "::"):
        names = tls.server_names(local(tmp_path, host=host))
        assert addresses <= names
        assert host not in names
    narrow = tls.server_names(local(tmp_path, host="127.0.0.1"))
    assert not (addresses - {"127.0.0.1", "::1"}) & narrow


def test_the_name_by_which_a_server_is_called_locally(tmp_path: Path) -> None:
    made, _ = tls.prepare(local(tmp_path, host="0.0.0.0"))
    assert tls.own_name(made, "0.0.0.0") == "127.0.0.1"
    assert tls.own_name(made, "::") == "::1"
    given, _ = make_pair(tmp_path / "given", "*.patch.example", "patch.example")
    assert tls.own_name(given, "a.patch.example") == "a.patch.example"
    assert tls.own_name(given, "127.0.0.1") == "patch.example"
    assert not tls.covers(given, "a.b.patch.example")


def given(certificate: Path, key: Path) -> Settings:
    return Settings(data=Path("/nonexistent"), tls_certificate=str(certificate), tls_key=str(key))


def test_given_files_are_used_as_they_are(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "patch.example")
    assert tls.prepare(given(*pair)) == pair
    assert given(*pair).authority is None
    assert given(*pair).serves_tls
    handshake(pair, pair[0], "patch.example")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"end": 0, "start": -5}, r"given\.crt expired on \d{4}-\d\d-\d\d"),
        ({"start": 2}, r"given\.crt is not valid before"),
        ({"password": b"secret"}, r"given\.key is encrypted"),
    ],
)
def test_given_files_that_cannot_serve_are_refused(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PatchherdError, match=complaint):
        tls.prepare(given(*make_pair(tmp_path, "patch.example", **options)))


def test_given_files_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path / "one", "patch.example")
    _, foreign = make_pair(tmp_path / "two", "patch.example")
    nameless, nameless_key = make_pair(tmp_path / "three")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = tmp_path / "missing.pem"
    for pair, complaint in [
        ((missing, key), r"cannot read .*missing\.pem: No such file"),
        ((certificate, missing), r"cannot read .*missing\.pem: No such file"),
        ((tmp_path, key), "cannot read .*: Is a directory"),
        ((garbage, key), r"garbage\.pem holds no certificate"),
        ((key, key), r"given\.key holds no certificate"),
        ((certificate, garbage), r"garbage\.pem holds no private key"),
        ((certificate, foreign), r"two/given\.key is not the key of .*one/given\.crt"),
        ((nameless, nameless_key), "names no server"),
    ]:
        with pytest.raises(PatchherdError, match=complaint):
            tls.prepare(given(*pair))


@pytest.mark.parametrize(("present", "absent"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")])
def test_one_of_the_two_files_is_not_enough(tmp_path: Path, present: str, absent: str) -> None:
    with pytest.raises(SettingsError, match=f"^{absent}: .*set both or none"):
        load_settings(tmp_path, **{present: "/some/file.pem"})


def test_plain_servers_never_load_cryptography_for_this() -> None:
    code = "import sys, patchherd.commands.start, patchherd.serve; sys.exit('patchherd.tls' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_supervisor_looks_after_the_certificate_each_day(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from patchherd import serve; serve.DAY_SECONDS = 0.1; calls = []\n"
        "def daily():\n    calls.append(1)\n    if len(calls) == 3: os.kill(os.getpid(), signal.SIGTERM)\n"
        "serve.supervise([], print, None, daily); sys.exit(len(calls) != 3)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
