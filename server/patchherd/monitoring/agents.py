# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agents: who may speak for which device, and their signs of life.

A credential speaks for the devices that it registered, or that an operator gave to it, and for no other: a stolen one
of one site cannot overwrite the rest of the fleet. Agents of one site may share a credential.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from flask import request, session

from patchherd.database import Prepared, now, write_transaction
from patchherd.devices.changes import delete_device
from patchherd.devices.models import Device
from patchherd.devices.registry import MAX_ID, NO_PATCHES, clean_address, is_number, write_columns
from patchherd.errors import Forbidden, Gone, NotFound
from patchherd.http import settings
from patchherd.identity.permissions import AGENT_OPEN
from patchherd.identity.principal import Principal
from patchherd.identity.sealing import unseal
from patchherd.monitoring.models import MonitoringAgent

log = structlog.get_logger("patchherd.monitoring")

WEBHOOK_SECRET = "monitoring-webhook"  # noqa: S105 - the purpose, not the secret


@dataclass(frozen=True)
class Known:
    """A device with its agent, as far as every report needs them."""

    device_id: int
    uuid: str
    hostname: str | None
    ip_address: str | None
    agent_version: str | None
    os_family: str | None
    last_heartbeat: datetime | None
    has_patches: bool
    """Another agent of the device reports packages."""
    owner: tuple[str, int]
    address: str | None
    seen_at: datetime | None
    sections: dict[str, str]
    readings: dict[str, Any]


def authenticate_open() -> Principal | None:
    """Scheme of agents without a credential; None where the setting for them is off, or when there is a credential."""
    if not settings().legacy_open_agents or request.headers.get("Authorization") or "login" in session:
        return None
    log.info("legacy agent without credential", path=request.path, client=request.remote_addr)
    return Principal("open", 0, "agent without credential", frozenset({AGENT_OPEN}))


def owner_of(principal: Principal) -> tuple[str, int]:
    """What a principal's devices are bound to: (kind, id)."""
    if principal.kind == "host":
        return "host", principal.device_id or 0
    if principal.reference is not None:
        return principal.kind, number_of(principal.reference)
    return principal.kind, principal.id


def number_of(reference: str) -> int:
    """A number for the UUID of a credential whose row may be deleted: its id may be given to another one then."""
    return UUID(reference).int % 2**62


def find_agent(reference: int | str) -> Known:
    """The device with this id or UUID, with its agent. Raises NotFound, also without an agent; Gone when deleted."""
    text = str(reference).strip().strip('"')
    if is_number(text):
        row = _by_id.run(min(int(text), MAX_ID)).fetchone()
    else:
        row = _by_uuid.run(text.lower()).fetchone() if len(text) == 36 else None
    if row is None:
        raise NotFound("Agent not found", f"no agent {text[:80]}")
    if row[0] is not None:
        raise Gone("Device deleted", f"device {text[:80]} was deleted")
    return _known(row[1:])


def own_agent(principal: Principal, reference: int | str, address: str | None) -> Known:
    """The agent that this principal speaks for. Raises what `find_agent` does, and Forbidden for another's device."""
    known = find_agent(reference)
    if known.owner != owner_of(principal):
        raise Forbidden("Permission denied", "this credential did not register the device, and nobody gave it to it")
    if principal.kind == "open" and known.address != address:
        raise Forbidden("Permission denied", "an agent without credential may report from where it registered only")
    return known


def own_agents_called(principal: Principal, hostname: str) -> list[int]:
    """The ids of living devices that this principal registered under a host name."""
    kind, number = owner_of(principal)
    rows = _by_name.run(kind, number, hostname.lower()).fetchall()
    return [row[0] for row in rows]


def _read(where: Any) -> Any:
    agent = MonitoringAgent
    return (
        Device.select(
            Device.deleted_at, Device.id, Device.uuid, Device.hostname, Device.ip_address, Device.agent_version,
            Device.os_family, Device.last_heartbeat, Device.evaluated_at, agent.owner_kind, agent.owner_id,
            agent.address, agent.seen_at, agent.sections, agent.readings,
        )
        .join(agent, on=agent.device == Device.id)
        .where(where)
    )  # fmt: skip


_by_id = Prepared(lambda number: _read(Device.id == number))
_by_uuid = Prepared(lambda text: _read(Device.uuid == text))
_by_name = Prepared(
    lambda kind, number, name: (
        MonitoringAgent.select(MonitoringAgent.device)
        .join(Device)
        .where(
            (MonitoringAgent.owner_kind == kind)
            & (MonitoringAgent.owner_id == number)
            & (MonitoringAgent.name_key == name)
            & Device.deleted_at.is_null()
        )
        .order_by(MonitoringAgent.device)
    )
)


def _known(row: Any) -> Known:
    (number, uuid, hostname, ip, version, family, beat, evaluated, kind, owner, address, seen, sections, readings) = row
    return Known(
        device_id=number,
        uuid=uuid,
        hostname=hostname,
        ip_address=ip,
        agent_version=version,
        os_family=family,
        last_heartbeat=Device.last_heartbeat.python_value(beat),
        has_patches=evaluated is not None,
        owner=(kind, owner),
        address=address,
        seen_at=MonitoringAgent.seen_at.python_value(seen),
        sections=MonitoringAgent.sections.python_value(sections),
        readings=MonitoringAgent.readings.python_value(readings),
    )


def contact_columns(known: Known, address: str | None, agent_version: str | None, moment: datetime) -> dict[str, Any]:
    """Device columns that any sign of life changes; what is as before is left out."""
    columns: dict[str, Any] = {"last_heartbeat": moment}
    if known.has_patches:  # our own agent on the same host tells the rest
        return columns
    if agent_version and agent_version != known.agent_version:
        columns["agent_version"] = agent_version
    seen_from = clean_address(address)
    if seen_from and seen_from != known.ip_address:
        columns["ip_address"] = seen_from
    return columns


def beat(known: Known, address: str | None, agent_version: str | None) -> None:
    """Note a sign of life: one statement, unless the agent has moved."""
    write_columns(known.device_id, contact_columns(known, address, agent_version, now()))
    if address != known.address:
        MonitoringAgent.update(address=address).where(MonitoringAgent.device == known.device_id).execute()


def system_columns(known: Known, told: dict[str, Any]) -> dict[str, Any]:
    """Device columns of what an agent says about its system; what it does not say is left out."""
    if known.has_patches:
        return {}
    return {"patch_reason": NO_PATCHES, **{name: value for name, value in told.items() if value is not None}}


def webhook_secret(secret_key: str, device_id: int) -> str | None:
    """What webhooks to a device are signed with; None when the server's secret key has changed since."""
    row = MonitoringAgent.select(MonitoringAgent.sealed_secret).where(MonitoringAgent.device == device_id)
    found = row.tuples().first()
    return unseal(secret_key, WEBHOOK_SECRET, found[0]) if found else None


def unregister(known: Known) -> None:
    """Delete the device, as an operator would: its history stays."""
    with write_transaction():
        delete_device(Device.get_by_id(known.device_id))
