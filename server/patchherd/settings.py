# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Every setting of the server, typed, in one place.

A value comes from the first of: an explicit override (command line), the environment (`PATCHHERD_<NAME>`),
`patchherd.toml` in the data directory, the default written here.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from patchherd.errors import SettingsError

WELL_KNOWN_SECRETS = frozenset(
    {"admin", "adminadmin", "changeit", "changeme", "default", "passw0rd", "password", "patchherd", "secret"}
)
MIN_PASSWORD_LENGTH = 8
MIN_SECRET_KEY_LENGTH = 32
MIN_ENROLLMENT_TOKEN_LENGTH = 32
DEVELOPMENT_TOKEN = "changeme"  # noqa: S105 - documented, and refused where it would matter

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
RateLimit = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]* per (second|minute|hour|day)$")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings; `load_settings` builds and checks one."""

    data: Path
    """Directory that holds database, queue, keys and run files."""
    mode: Literal["production", "development"] = "production"
    host: str = "127.0.0.1"
    port: Port = 8480
    public_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?)?\Z")] = ""
    """URL under which hosts reach this server; empty: taken from each request."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-* headers count."""
    tls: bool = False
    """Serve HTTPS; without the two files below, with a certificate by an authority that the server makes itself."""
    tls_certificate: str = ""
    """PEM file of the server's certificate and its chain; means `tls`. A renewed file counts at once."""
    tls_key: str = ""
    """PEM file of the certificate's key, not encrypted."""
    hsts: bool | None = None
    """Tell browsers to insist on HTTPS for this host name; unset: with a given certificate only."""

    database_url: str = ""
    """`sqlite:////abs/path.db` or `postgresql://user:password@host:port/name`; empty: SQLite in the data directory."""
    queue_url: str = ""
    """Huey storage: `redis://…` or `postgresql://…` across machines; empty: SQLite in the data directory."""
    secret_key: str = ""
    """Signs sessions and tokens, encrypts stored connection secrets; empty: generated once into the data directory."""
    admin_password: str = ""
    """Password of the first user `admin`; empty: generated and printed once."""

    api_version: Annotated[str, msgspec.Meta(pattern=r"^v[0-9]+$")] = "v1"
    """Version segment of the API's paths. The plain environment variable API_VERSION counts, too: clients in the field
    document that name."""
    credential_prefix: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]{1,15}$")] = "patchmon"
    """First part of enrolment token keys and host api ids, as agents in the field expect it."""
    threads: Positive = 16
    """Request threads of each API process."""
    processes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """API processes; 0: one on SQLite, two per core on PostgreSQL."""
    database_connections: Positive = 48
    """Connections to PostgreSQL that all API processes together may open; requests beyond wait for a free one. Job
    workers open a few more, and PostgreSQL itself allows 100 by default."""
    max_body_bytes: Positive = 20 * 1024 * 1024
    """Limit of a request body, after inflating it."""

    online_seconds: Positive = 300
    """A device is ONLINE while its last heartbeat is at most this old."""
    stale_hours: Positive = 26
    """Older reports, and older package metadata, prove nothing: the device's patches are unknown."""
    access_token_minutes: Positive = 30
    """Life of an access token; the refresh token that comes with it gets the next one."""
    session_hours: Positive = 12
    """A log-in lasts so long, however often it is refreshed."""
    auth_rate_limit: RateLimit = "30 per minute"
    """Refused log-ins and enrolments that one client address may cause, as `N per minute`, `N per hour`…"""
    login_attempts: Positive = 10
    """Failed log-ins in a row that lock an account name for 15 minutes."""
    password_cost: Annotated[int, msgspec.Meta(ge=4, le=16)] = 12
    """bcrypt cost of user passwords."""
    token_cost: Annotated[int, msgspec.Meta(ge=4, le=15)] = 10
    """bcrypt cost of enrolment token secrets."""
    host_key_cost: Annotated[int, msgspec.Meta(ge=4, le=15)] = 5
    """bcrypt cost of host API keys, which are 256 random bits."""

    duplicate_hosts: Literal["allow", "skip", "reject"] = "allow"
    """What enrolment does with a machine_id that it knows: a second host, nothing, a failure."""
    host_approval: bool = False
    """A new host is no deployment target until an operator approves it."""
    default_enrollment_token: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[!-9;-~]*\Z")] | None = None
    """Enrolment token that the server makes when it starts, for agents that are set up with one string. Unset:
    `changeme` in development mode, none in production mode, which refuses well-known and short ones."""
    agent_poll_seconds: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    """How often agents that run actions ask for them."""
    report_minutes: Positive = 60
    """Interval of reports that agents of other makes are told."""
    agent_self_update: bool = False
    """Agents replace themselves by a newer version that this server has, checked by its SHA-256."""
    agents_without_credentials: bool = False
    """Agents of the DeployFlow API, which send no credential, may fetch and report actions; only from the address that
    registered the device. Whoever has that address can take the device's place."""
    agent_report_seconds: Annotated[int, msgspec.Meta(ge=10, le=86_400)] = 300
    """Interval of inventories that monitoring agents are told; each gets up to a fifth less, always the same, so that
    a fleet does not report all at once."""
    agent_registrations_per_day: Positive = 1000
    """Devices that one API token may register in a day (UTC); enrolment tokens have a number of their own."""
    legacy_open_agents: bool = False
    """Monitoring agents without a credential may register, and report from the address that they registered from.
    Anybody who reaches this server can invent devices then; each such registration is logged as legacy."""
    agent_webhook_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 5000
    """Port on which monitoring agents listen for webhooks."""
    agent_webhook_loopback: bool = False
    """Webhooks may go to this machine itself: for tests, and for an agent beside the server."""
    snapshot_days: Positive = 180
    """Older inventory snapshots go, the newest one of each device excepted; so do messages of agents and records of
    webhooks."""
    snapshots_per_device: Positive = 200
    """The oldest snapshots of a device go when it has more."""
    agent_release_bytes: Positive = 256 * 1024 * 1024
    """Limit of an uploaded agent release."""
    ca_certificate: str = ""
    """PEM file of the authority behind this server's certificate; scripts for hosts carry it and verify against it."""
    ignore_ssl_self_signed: bool = False
    """Scripts for hosts do not verify this server's certificate. Anybody in between can take the host over: set
    `ca_certificate` instead."""

    content_directory: str = ""
    """Directory below which content views may read repositories from disk when they are made over the API; empty: none.
    The command line may name any directory."""
    content_refresh_hours: Annotated[int, msgspec.Meta(ge=0)] = 6
    """Content views look for new metadata after so long; 0: only when asked."""

    jobs: Positive = 2
    """Ansible jobs that run at the same time."""
    forks: Positive = 10
    """Hosts that one Ansible job works on at the same time."""
    lease_seconds: Annotated[int, msgspec.Meta(ge=5, le=50)] = 20
    """A running job whose worker has not renewed its lease for so long is taken up again."""
    job_timeout_minutes: Positive = 240
    collections_path: str = ""
    """Directory that holds `ansible_collections`; empty: this package's checkout, then Ansible's defaults."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data.resolve() / 'patchherd.db'}"

    @property
    def on_sqlite(self) -> bool:
        return self.resolved_database_url.startswith("sqlite:")

    @property
    def api_processes(self) -> int:
        """SQLite has one writer: more processes only wait for each other. PostgreSQL takes two per core."""
        if self.processes:
            return self.processes
        return 1 if self.on_sqlite else 2 * (os.cpu_count() or 1)

    @property
    def connections_per_process(self) -> int:
        """Size of an API process's connection pool."""
        return self.threads + 8 if self.on_sqlite else max(2, self.database_connections // self.api_processes)

    @property
    def seeded_token(self) -> str:
        """The enrolment token to make at the start; empty for none."""
        if self.default_enrollment_token is None:
            return DEVELOPMENT_TOKEN if self.mode == "development" else ""
        return self.default_enrollment_token

    @property
    def ssh_key(self) -> Path:
        return self.data / "ssh" / "id_ed25519"

    @property
    def serves_tls(self) -> bool:
        return self.tls or bool(self.tls_certificate)

    @property
    def makes_certificate(self) -> bool:
        return self.tls and not self.tls_certificate

    @property
    def tls_directory(self) -> Path:
        return self.data / "tls"

    @property
    def tls_pin(self) -> Path:
        """File with the digest of the self-made certificate's key; there only while that certificate is in use."""
        return self.tls_directory / "server.pin"

    @property
    def authority(self) -> Path | None:
        """The PEM file that hosts verify this server against; None when they know its authority anyway."""
        if self.ca_certificate:
            return Path(self.ca_certificate)
        return self.tls_directory / "ca.crt" if self.makes_certificate else None

    @property
    def sends_hsts(self) -> bool:
        return bool(self.tls_certificate) if self.hsts is None else self.hsts

    @property
    def api_prefix(self) -> str:
        return f"/api/{self.api_version}"


def load_settings(data: Path, **overrides: Any) -> Settings:
    """Read and check the settings of the server that keeps its state in `data`.

    Raises SettingsError, which names the setting and its rule.
    """
    values: dict[str, Any] = {}
    file = data / "patchherd.toml"
    if file.exists():
        try:
            values.update(tomllib.loads(file.read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            raise SettingsError(f"{file}: {exc}") from exc
    for name in Settings.__struct_fields__:
        text = os.environ.get(f"PATCHHERD_{name.upper()}")
        if text is None and name == "api_version":
            text = os.environ.get("API_VERSION")
        if text is not None:
            is_list = name == "trusted_proxies"
            values[name] = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
    values.update({name: value for name, value in overrides.items() if value is not None})
    values["data"] = str(data)
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as exc:
        raise SettingsError(str(exc).replace("`$.", "`")) from exc
    _refuse_weak_secrets(settings)
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError as exc:
            raise SettingsError(f"trusted_proxies: {exc}") from exc
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        missing = "tls_key" if settings.tls_certificate else "tls_certificate"
        raise SettingsError(f"{missing}: certificate and key belong together; set both or none")
    return settings


def _refuse_weak_secrets(settings: Settings) -> None:
    if settings.mode == "development":
        return
    key, password = settings.secret_key, settings.admin_password
    if key and (len(key) < MIN_SECRET_KEY_LENGTH or key.lower() in WELL_KNOWN_SECRETS):
        raise SettingsError(f"secret_key: production mode needs at least {MIN_SECRET_KEY_LENGTH} random characters")
    if password and (len(password) < MIN_PASSWORD_LENGTH or password.lower() in WELL_KNOWN_SECRETS):
        raise SettingsError(
            f"admin_password: production mode refuses well-known ones and those under {MIN_PASSWORD_LENGTH} characters"
        )
    token = settings.seeded_token
    if token and (len(token) < MIN_ENROLLMENT_TOKEN_LENGTH or token.lower() in WELL_KNOWN_SECRETS):
        raise SettingsError(
            f"default_enrollment_token: production mode needs at least {MIN_ENROLLMENT_TOKEN_LENGTH} random characters"
        )


def with_secret_key(settings: Settings) -> Settings:
    """The same settings with a secret key: the configured one, or one generated once into the data directory (0600)."""
    if settings.secret_key:
        return settings
    file = settings.data / "secret.key"
    if not file.exists():
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = settings.data / f".secret.key.{os.getpid()}"
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(32))
        try:
            os.link(partial, file)  # the first of two servers starting at once wins
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    key = file.read_text().strip()
    if len(key) < MIN_SECRET_KEY_LENGTH:
        raise SettingsError(f"{file}: cut off; restore it, for sessions and stored secrets depend on it")
    return msgspec.structs.replace(settings, secret_key=key)
