# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Whose credential speaks for a device, as operators see and set it."""

from __future__ import annotations

from typing import Any

from patchherd.database import write_transaction
from patchherd.devices.models import Device
from patchherd.enrollment.models import EnrollmentToken
from patchherd.errors import NotFound, invalid
from patchherd.identity import audit
from patchherd.identity.models import ApiToken
from patchherd.identity.permissions import HOST_REPORT
from patchherd.monitoring.agents import number_of
from patchherd.monitoring.models import MonitoringAgent
from patchherd.monitoring.registration import add_agent
from patchherd.packages.listing import device_name
from patchherd.settings import Settings


def agent_view(device: Device) -> dict[str, Any]:
    """The agent of a device. Raises NotFound."""
    agent = MonitoringAgent.get_or_none(MonitoringAgent.device == device.id)
    if agent is None:
        raise NotFound("Agent not found", "no monitoring agent has registered for this device")
    return {
        "device": device_name(device),
        "owner": agent.owner_kind,
        "owner_name": _name_of(agent, device),
        "address": agent.address,
        "registered_at": agent.registered_at,
        "inventory_at": agent.seen_at,
        "software_at": agent.software_seen_at,
        "sections": sorted(agent.sections),
        "readings": agent.readings,
    }


def _name_of(agent: MonitoringAgent, device: Device) -> str | None:
    if agent.owner_kind == "token":
        token = ApiToken.get_or_none(ApiToken.id == agent.owner_id)
        return token.name if token is not None else None
    if agent.owner_kind == "enrollment":
        tokens = EnrollmentToken.select(EnrollmentToken.uuid, EnrollmentToken.token_name).tuples()
        return next((name for reference, name in tokens if number_of(reference) == agent.owner_id), None)
    return device.friendly_name if agent.owner_kind == "host" else None


def give_to_token(device: Device, token_uuid: str, settings: Settings) -> None:
    """Let an API token report for a device, and nobody else. Raises NotFound, BadRequest."""
    with write_transaction():
        token = ApiToken.get_or_none((ApiToken.uuid == token_uuid) & ApiToken.revoked_at.is_null())
        if token is None:
            raise NotFound("API token not found")
        if HOST_REPORT not in token.permissions:
            raise invalid("api_token", f"a token with the permission {HOST_REPORT} is needed", value=token_uuid)
        if MonitoringAgent.select().where(MonitoringAgent.device == device.id).exists():
            MonitoringAgent.update(owner_kind="token", owner_id=token.id).where(
                MonitoringAgent.device == device.id
            ).execute()
        else:
            hostname = device.hostname or device.friendly_name
            add_agent(device.id, ("token", token.id), hostname, device.machine_id, settings)
        audit.record("agent.assign", "device", device.uuid, device.friendly_name, after={"api_token": token.name})
