# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Registering agents: one machine is one device, however often and however many times at once it registers."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, time, timedelta
from typing import Any

import structlog

from patchherd.database import now, write_transaction
from patchherd.devices.models import Device
from patchherd.devices.registry import clean_text, os_family, write_columns
from patchherd.enrollment import quota
from patchherd.enrollment.hosts import find_enrolling_token, let_in, refuse_duplicate
from patchherd.errors import Conflict, Forbidden, TooManyRequests, invalid
from patchherd.identity import audit
from patchherd.identity.locking import MONITORING_AGENTS, take_turn
from patchherd.identity.principal import Principal
from patchherd.identity.sealing import seal
from patchherd.monitoring.agents import WEBHOOK_SECRET, Known, contact_columns, find_agent, owner_of, system_columns
from patchherd.monitoring.models import MonitoringAgent
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.monitoring")

_NO_SERIAL = frozenset(
    {"none", "null", "n/a", "na", "unknown", "default string", "to be filled by o.e.m.", "system serial number",
     "not specified", "not applicable", "not available", "invalid", "123456789", "chassis serial number"}
)  # fmt: skip
"""What mainboards say that nobody gave a number."""


def clean_serial(value: Any) -> str | None:
    """A serial number that tells machines apart, else None."""
    text = clean_text(value, 255)
    if text is None or text.lower() in _NO_SERIAL or len(set(text)) == 1:
        return None
    return text


def system_facts(told: dict[str, Any]) -> dict[str, Any]:
    """Device columns from os_type, os_version, architecture, hostname, agent_version as agents name them."""
    name = clean_text(told.get("os_type"), 255)
    version = clean_text(told.get("os_version"), 255)
    return {
        "hostname": clean_text(told.get("hostname"), 255),
        "os_name": name,
        "os_version": version,
        "os_family": os_family(None, f"{name} {version or ''}") if name else None,
        "os_architecture": clean_text(told.get("architecture"), 32),
        "agent_version": clean_text(told.get("agent_version"), 64),
    }


def register(principal: Principal, told: dict[str, Any], settings: Settings, address: str | None) -> tuple[Known, bool]:
    """The device of the agent that a principal speaks for, and whether it is new.

    `told`: hostname, and any of os_type, os_version, agent_version, architecture, serial. The same credential and host
    name, and the same serial where one is told, are the same device. Raises BadRequest, Conflict (duplicates, several
    of that name), Forbidden (an open agent that moved), TooManyRequests.
    """
    facts = system_facts(told)
    if facts["hostname"] is None:
        raise invalid("hostname", "a host name is needed")
    serial = clean_serial(told.get("serial"))
    with write_transaction():
        take_turn(MONITORING_AGENTS)
        if principal.kind == "host":
            number, new = _agent_of_host(principal, facts["hostname"], serial, settings), False
        else:
            number, new = _registered(principal, facts["hostname"], serial, address, settings)
        known = find_agent(number)
        moment = now()
        columns = {**contact_columns(known, address, facts["agent_version"], moment), **system_columns(known, facts)}
        write_columns(number, {**columns, "updated_at": moment})
        MonitoringAgent.update(address=address).where(MonitoringAgent.device == number).execute()
    if new and principal.kind == "open":
        log.warning("legacy registration without credential", device=number, client=address)
    return find_agent(number), new


def _registered(
    principal: Principal, hostname: str, serial: str | None, address: str | None, settings: Settings
) -> tuple[int, bool]:
    found = _find(principal, hostname, serial)
    if found is None:
        return _admit(principal, hostname, serial, settings), True
    if principal.kind == "open" and found.address != address:
        raise Forbidden("Permission denied", "this host name was registered from another address")
    if serial and found.serial is None:
        MonitoringAgent.update(serial=serial).where(MonitoringAgent.device == found.device_id).execute()
    return found.device_id, False


def _find(principal: Principal, hostname: str, serial: str | None) -> MonitoringAgent | None:
    kind, number = owner_of(principal)
    query = (
        MonitoringAgent.select()
        .join(Device)
        .where(
            (MonitoringAgent.owner_kind == kind)
            & (MonitoringAgent.owner_id == number)
            & (MonitoringAgent.name_key == hostname.lower())
            & Device.deleted_at.is_null()
        )
        .order_by(MonitoringAgent.device)
    )
    found = list(query)
    named = [agent for agent in found if agent.serial is None]
    if serial:
        return next((agent for agent in found if agent.serial == serial), None) or (named[0] if named else None)
    if len(found) > 1 and not named:
        raise Conflict("Ambiguous host name", "several machines registered with this name: send a serial_number")
    return (named or found or [None])[0]


def _admit(principal: Principal, hostname: str, serial: str | None, settings: Settings) -> int:
    """A new device with its agent, if duplicates and quotas allow."""
    refuse_duplicate(serial, settings)
    group = None
    if principal.kind == "enrollment":
        token = find_enrolling_token(principal)
        quota.consume(token, 1)
        group = token.default_group_id
    else:
        _check_registrations(principal, settings)
    host = {"friendly_name": hostname, "machine_id": serial, "metadata": {"integration_type": "monitoring"}}
    facts = {"protocol": "monitoring", principal.kind: principal.name}
    device = let_in(host, settings, via=principal.name, group=group, record=facts)
    add_agent(device.id, owner_of(principal), hostname, serial, settings)
    return int(device.id)


def _agent_of_host(principal: Principal, hostname: str, serial: str | None, settings: Settings) -> int:
    """A host with credentials of its own is a device already."""
    number = principal.device_id or 0
    if not MonitoringAgent.select().where(MonitoringAgent.device == number).exists():
        add_agent(number, ("host", number), hostname, serial, settings)
        audit.record("agent.register", "device", number, hostname, after={"protocol": "monitoring"})
    return number


def add_agent(number: int, owner: tuple[str, int], hostname: str, serial: str | None, settings: Settings) -> None:
    """Note the agent of a device, with a webhook secret of its own. Call it inside a write transaction."""
    MonitoringAgent.create(
        device=number,
        owner_kind=owner[0],
        owner_id=owner[1],
        name_key=hostname.lower(),
        serial=serial,
        registered_at=now(),
        sealed_secret=seal(settings.secret_key, WEBHOOK_SECRET, secrets.token_hex(32)),
    )


def _check_registrations(principal: Principal, settings: Settings) -> None:
    """Hold credentials without a quota of their own to the setting's; the day is UTC."""
    kind, number = owner_of(principal)
    midnight = datetime.combine(now().date(), time.min, UTC)
    today = MonitoringAgent.select().where(
        (MonitoringAgent.owner_kind == kind)
        & (MonitoringAgent.owner_id == number)
        & (MonitoringAgent.registered_at >= midnight)
    )
    if today.count() >= settings.agent_registrations_per_day:
        wait = int((midnight + timedelta(days=1) - now()).total_seconds()) + 1
        raise TooManyRequests(
            "Rate limit exceeded",
            f"at most {settings.agent_registrations_per_day} devices a day for this credential",
            headers={"Retry-After": str(wait)},
        )
