# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Enrol hosts and recognise them by their credentials."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from flask import g, request

from patchherd.database import Prepared, now, write_transaction
from patchherd.devices import history
from patchherd.devices.host_keys import read_host_keys
from patchherd.devices.models import Device, DeviceGroup
from patchherd.devices.registry import create_device
from patchherd.enrollment import quota
from patchherd.enrollment.models import EnrollmentToken, HostCredential
from patchherd.errors import Conflict, Forbidden, Unauthorized
from patchherd.identity import audit, credentials
from patchherd.identity.access import current, view_of_request
from patchherd.identity.permissions import HOST_REPORT
from patchherd.identity.principal import Principal
from patchherd.settings import Settings

View = TypeVar("View", bound=Callable[..., Any])

FRESH_SECONDS = 0.1
"""A body may take its time to arrive; then what was read of its host before is read again."""
_MAY_REPORT = frozenset({HOST_REPORT})


@dataclass(frozen=True)
class Enrolled:
    """A host and its credentials; the key cannot be had again."""

    device: Device
    api_id: str
    api_key: str
    host_group: DeviceGroup | None = None

    @property
    def status(self) -> str:
        return "pending" if self.device.last_report is None or not self.device.approved else "active"


@dataclass
class BulkResult:
    """What became of each host of a bulk enrolment."""

    success: list[Enrolled] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def find_enrolling_token(principal: Principal) -> EnrollmentToken:
    """The enrolment token behind a principal. Raises Unauthorized when it was deleted a moment ago."""
    token = EnrollmentToken.get_or_none(EnrollmentToken.id == principal.id)
    if token is None:
        raise Unauthorized("Invalid or inactive token")
    return token


def within_quota(view: View) -> View:
    """Refuse a used-up token before the body is looked at; a host that is enrolled already takes nothing from it."""

    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not request.headers.get("X-API-ID"):
            quota.check(find_enrolling_token(current()), 1, bulk=request.path.endswith("/bulk"))
        return view(*args, **kwargs)

    return cast(View, checked)


def require_host(principal: Principal) -> Principal:
    """The principal when it is a host. Raises Forbidden for tokens, which belong to no host."""
    if principal.kind != "host":
        raise Forbidden("Permission denied", "only a host can do this")
    return principal


def enroll(token: EnrollmentToken, host: dict[str, Any], settings: Settings) -> Enrolled:
    """Create one host: friendly_name, optional machine_id and metadata.

    Raises TooManyRequests, or Conflict for a known machine_id unless duplicates are allowed.
    """
    return admit(token, host, *new_key(settings), settings)


def admit(token: EnrollmentToken, host: dict[str, Any], key: str, key_hash: str, settings: Settings) -> Enrolled:
    """The same with a key that `new_key` made."""
    with write_transaction():
        refuse_duplicate(host.get("machine_id"), settings)
        quota.consume(token, 1)
        return _create(token, host, key, key_hash, settings)


def refuse_duplicate(machine_id: str | None, settings: Settings) -> None:
    """Raise Conflict for the machine_id of a living host, unless the settings allow duplicates."""
    if settings.duplicate_hosts != "allow" and _is_known(machine_id):
        raise Conflict("Host already enrolled", "a host with this machine_id exists")


def let_in(
    host: dict[str, Any],
    settings: Settings,
    *,
    via: str,
    group: int | None = None,
    record: dict[str, Any],
    **columns: Any,
) -> Device:
    """A new device, approved as the settings say; `host` as in `enroll`, `record` for the audit trail, `columns` of the
    device besides.

    Call it inside the write transaction of what lets it in.
    """
    device = create_device(
        host["friendly_name"],
        machine_id=host.get("machine_id") or None,
        metadata=host.get("metadata") or {},
        notes=f"Auto-enrolled via {via} on {now():%Y-%m-%dT%H:%M:%SZ}",
        groups=[group] if group else [],
        approved=not settings.host_approval,
        **columns,
    )
    history.note(device.id, "enrolled", {"token": via, "name": device.friendly_name})
    audit.record("host.enroll", "device", device.uuid, device.friendly_name, after=record)
    return device


def enroll_many(token: EnrollmentToken, hosts: list[dict[str, Any]], settings: Settings) -> BulkResult:
    """Create up to 50 hosts in one transaction, all within the quota or none (TooManyRequests)."""
    quota.check(token, len(hosts), bulk=True)
    keys = [new_key(settings) for _ in hosts]  # hashed before the transaction, which others wait for
    result = BulkResult()
    with write_transaction():
        wanted, seen = [], set()
        for host, key in zip(hosts, keys, strict=True):
            machine_id = host.get("machine_id")
            if settings.duplicate_hosts != "allow" and (_is_known(machine_id) or machine_id in seen):
                known = {"friendly_name": host["friendly_name"], "machine_id": str(machine_id)}
                if settings.duplicate_hosts == "skip":
                    result.skipped.append({**known, "reason": "Host already enrolled"})
                else:
                    result.failed.append({**known, "error": "Host already enrolled"})
                continue
            if machine_id:
                seen.add(machine_id)
            wanted.append((host, key))
        if wanted:
            quota.consume(token, len(wanted), bulk=True)
        result.success = [_create(token, host, *key, settings) for host, key in wanted]
    return result


def re_enroll(principal: Principal) -> Enrolled | None:
    """The host that already shows valid credentials of its own: it stays the same device. None without such."""
    try:
        _, _, device_id, device_uuid, name, last_report, approved = _presented()
    except Unauthorized:
        return None
    device = Device(
        id=device_id,
        uuid=device_uuid,
        friendly_name=name,
        last_report=Device.last_report.python_value(last_report),
        approved=bool(approved),
    )
    with write_transaction():
        history.note(device.id, "re_enrolled")
        audit.record("host.enroll_again", "device", device.uuid, device.friendly_name)
        EnrollmentToken.update(last_used_at=now()).where(EnrollmentToken.id == principal.id).execute()
    return Enrolled(device, request.headers["X-API-ID"], presented_key())


def authenticate() -> Principal | None:
    """Scheme of hosts: X-API-ID and X-API-KEY; None when neither is there. Raises Unauthorized."""
    if not request.headers.get("X-API-ID") and not request.headers.get("X-API-KEY"):
        return None
    number, _, device_id, _, name, *_ = _presented()
    return Principal("host", number, name, _MAY_REPORT, device_id)


def presented_key() -> str:
    """The API key that this request carries."""
    return request.headers.get("X-API-KEY", "")


def _presented() -> Sequence[Any]:
    """`_COLUMNS` of the credential that this request shows. Raises Unauthorized."""
    headers = request.headers
    api_id, key = headers.get("X-API-ID"), headers.get("X-API-KEY")
    if not api_id or not key:
        raise Unauthorized("API ID and key required")
    statement: Prepared = getattr(view_of_request(), "patchherd_host_statement", _credential)
    row = statement.run(api_id).fetchone()
    if row is None or not credentials.verified.check(key, row[1]):
        raise Unauthorized("Invalid API credentials")
    g.host_row = time.monotonic(), row[len(_COLUMNS) :]
    found: Sequence[Any] = row[: len(_COLUMNS)]
    return found


_COLUMNS = (
    HostCredential.id,
    HostCredential.key_hash,
    Device.id,
    Device.uuid,
    Device.friendly_name,
    Device.last_report,
    Device.approved,
)


def statement_with(columns: Iterable[Any] = (), joined: Callable[[Any], Any] = lambda query: query) -> Prepared:
    """The statement that finds a credential by its API ID; it can bring more columns, from more tables, along."""
    return Prepared(
        lambda api_id: joined(HostCredential.select(*_COLUMNS, *columns).join(Device)).where(
            (HostCredential.api_id == api_id) & Device.deleted_at.is_null()
        )
    )


# Asked for every request of every host.
_credential = statement_with()


def reads(statement: Prepared) -> Callable[[View], View]:
    """Declare that a view function wants a host's credential to be read by this statement."""

    def declare(view: View) -> View:
        view.patchherd_host_statement = statement  # type: ignore[attr-defined]
        return view

    return declare


def row_of_host() -> Any:
    """The columns that the statement of `reads` brought along; None unless this request read them a moment ago."""
    read_at, row = g.get("host_row", (0.0, None))
    return row if time.monotonic() - read_at < FRESH_SECONDS else None


def new_key(settings: Settings) -> tuple[str, str]:
    """An API key and its hash; make it before the transaction, which others wait for."""
    key = secrets.token_hex(32)
    return key, credentials.hash_secret(key, settings.host_key_cost)


def _is_known(machine_id: str | None) -> bool:
    if not machine_id:
        return False
    return bool(Device.select().where((Device.machine_id == machine_id) & Device.deleted_at.is_null()).exists())


def _create(token: EnrollmentToken, host: dict[str, Any], key: str, key_hash: str, settings: Settings) -> Enrolled:
    keys, problems = read_host_keys((host.get("metadata") or {}).get("ssh_host_keys"))
    api_id = f"{settings.credential_prefix}_{secrets.token_hex(8)}"
    device = let_in(
        host,
        settings,
        via=token.token_name,
        group=token.default_group_id,
        record={"token": token.uuid, "api_id": api_id},
        enrolled_with=token.uuid,
        enrolled_from=request.remote_addr,
        ssh_host_keys=keys,
        reported_host_keys=keys,
        facts={"problems": problems} if problems else {},
    )
    HostCredential.create(device=device, api_id=api_id, key_hash=key_hash, created_at=now())
    return Enrolled(device, api_id, key, token.default_group)
