# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Prepare the data directory, then become the supervisor."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from pathlib import Path

import click

from patchherd.commands.context import open_server
from patchherd.errors import PatchherdError
from patchherd.settings import Settings

ADMIN = "admin"
ADDRESS_FILE = "address"


def serve(data: Path, host: str | None, port: int | None, tls: bool = False, welcome: bool = False) -> None:
    """Migrate, create what a first start needs, and replace this process by the supervisor."""
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = open_server(data, host=host, port=port, tls=tls or None)
    _check_tools()
    certificate = prepare_certificate(settings)
    port = settings.port or _free_port(settings.host)
    _refuse_taken_port(settings.host, port)
    password = prepare(settings)
    address = _address(settings.host, port, certificate)
    (data / ADDRESS_FILE).write_text(f"{address}\n")
    if password:
        click.echo(f"first start: user {ADMIN}, password {password}  (shown once)")
    click.echo(f"listening on {address}", err=True)
    command = [sys.executable, "-m", "patchherd.serve", str(data), settings.host, str(port), str(settings.threads)]
    command += [str(settings.api_processes), *(map(str, certificate) if certificate else ("", ""))]
    if welcome:
        command += [sys.executable, "-m", "patchherd", "welcome", "--data", str(data), address]
    sys.stdout.flush()
    environment = {name: value for name, value in os.environ.items() if name != "PATCHHERD_ADMIN_PASSWORD"}
    if settings.tls:
        environment["PATCHHERD_TLS"] = "true"  # the option of this command is a fact for all that it starts
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter


def prepare_certificate(settings: Settings) -> tuple[Path, Path] | None:
    """Files of the certificate and the key to serve with, None for plain HTTP. Raises PatchherdError."""
    if not settings.makes_certificate:
        settings.tls_pin.unlink(missing_ok=True)
    if not settings.serves_tls:
        return None
    from patchherd import tls

    return tls.prepare(settings)


def _address(host: str, port: int, certificate: tuple[Path, Path] | None) -> str:
    if certificate:
        from patchherd import tls

        host = tls.own_name(certificate[0], host)
    return f"{'https' if certificate else 'http'}://{'[' + host + ']' if ':' in host else host}:{port}"


def last_address(data: Path) -> str:
    """The address that this server listened on last. Raises PatchherdError when it never did."""
    try:
        return (data / ADDRESS_FILE).read_text().strip()
    except FileNotFoundError as exc:
        raise PatchherdError(f"{data}: start the server once, or name its address with --url") from exc


def prepare(settings: Settings) -> str | None:
    """Database, first user, default enrolment token, SSH key. Returns the generated password of a new first user."""
    from patchherd import database, schema
    from patchherd.enrollment.default_token import prepare_default_token
    from patchherd.identity import users

    schema.migrate(settings)
    make_ssh_key(settings.ssh_key)
    generated = None
    with database.connection():
        prepare_default_token(settings)
        if not users.has_users():
            password = settings.admin_password
            if not password:
                password = generated = secrets.token_urlsafe(15)
            users.create_first_user(ADMIN, password, cost=settings.password_cost)
    database.close_all()
    return generated


def make_ssh_key(private_key: Path) -> None:
    """The key pair by which the server logs in to hosts; made once."""
    if private_key.exists():
        return
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    private_key.with_suffix(".pub").write_text(f"{public.decode()} patchherd@{socket.gethostname()}\n")
    with open(os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(private)


def _check_tools() -> None:
    if not shutil.which("setpriv"):
        raise PatchherdError("the program setpriv is missing; install util-linux")
    if not shutil.which("ssh"):
        click.echo("ssh is missing: Ansible reaches other machines only once openssh-client is installed", err=True)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=_family(host)) as probe:
        return int(probe.getsockname()[1])


def _refuse_taken_port(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as exc:
        raise PatchherdError(f"cannot listen on {host} port {port}: {exc.strerror}") from exc


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
