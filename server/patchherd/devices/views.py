# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Lists of devices, and how one looks to each kind of client."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from werkzeug.http import http_date

from patchherd.database import now
from patchherd.devices.ansible import connection_facts
from patchherd.devices.conditions import in_maintenance, negation
from patchherd.devices.groups import group_names, is_member
from patchherd.devices.models import Device
from patchherd.devices.os_types import os_type
from patchherd.devices.registry import clean_address, find_group, has_name, is_online
from patchherd.devices.tags import clean_tags, has_tags, tags_of
from patchherd.settings import Settings

LIST_COLUMNS = [
    Device.id, Device.uuid, Device.friendly_name, Device.hostname, Device.ip_address, Device.machine_id,
    Device.os_family, Device.os_id, Device.os_name, Device.os_version, Device.os_version_id, Device.os_architecture,
    Device.agent_version, Device.approved, Device.created_at, Device.updated_at, Device.last_heartbeat,
    Device.last_report, Device.metadata_updated, Device.evaluated_at, Device.patch_status, Device.patch_reason,
    Device.missing, Device.missing_security, Device.reboot_required, Device.reboot_reason, Device.kernel_running,
    Device.kernel_installed, Device.notes, Device.connection, Device.address, Device.port, Device.remote_user,
    Device.become, Device.shell, Device.python, Device.ssh_host_keys, Device.reported_host_keys,
    Device.os_type, Device.hardware_summary, Device.profile_id, Device.maintenance, Device.maintenance_reason,
    Device.maintenance_until, Device.merged_into, Device.execution,
]  # fmt: skip
"""Everything but the large JSON columns."""


def split_values(text: str | None) -> list[str]:
    """Values of a `?name=a,b,"c"` filter: comma-separated, quotes and blanks around a value dropped."""
    return [value for part in (text or "").split(",") if (value := part.strip().strip("\"'").strip())]


def select_devices(
    settings: Settings,
    *,
    agent_id: str | None = None,
    status: str | None = None,
    hostname: str | None = None,
    ip_address: str | None = None,
    group: str | None = None,
    os_family: str | None = None,
    search: str | None = None,
    tag: str | None = None,
    maintenance: bool | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[Device]:
    """Devices that are not deleted, by id. Filters of different kinds are ANDed, the values of one kind ORed.

    `status` names agent states: online, offline, unknown (never heard of). Raises NotFound for an unknown group.
    """
    query = Device.select(*LIST_COLUMNS).where(Device.deleted_at.is_null()).order_by(Device.id)
    if ids := split_values(agent_id):
        query = query.where(Device.uuid.in_([value.lower() for value in ids]))
    if names := split_values(hostname):
        query = query.where(has_name(names))
    if addresses := split_values(ip_address):
        query = query.where(Device.ip_address.in_([clean_address(value) or value for value in addresses]))
    if families := split_values(os_family):
        query = query.where(Device.os_family.in_(families))
    if states := split_values(status):
        conditions = _status_conditions(settings.online_seconds)
        query = query.where(reduce(or_, [conditions[name] for name in states]))
    if group:
        query = query.where(is_member(settings, find_group(group)))
    if wanted := split_values(tag):
        query = query.where(has_tags(clean_tags(wanted, "tag", "query")))
    if maintenance is not None:
        query = query.where(in_maintenance() if maintenance else negation(in_maintenance()))
    if search:
        query = query.where(
            Device.hostname.contains(search)
            | Device.friendly_name.contains(search)
            | Device.ip_address.contains(search)
            | Device.os_name.contains(search)
        )
    if after:
        query = query.where(Device.id > after)
    if limit:
        query = query.limit(limit)
    return list(query)


def _status_conditions(online_seconds: int) -> dict[str, Any]:
    limit = now() - timedelta(seconds=online_seconds)
    return {
        "online": Device.last_heartbeat >= limit,
        "offline": Device.last_heartbeat < limit,
        "unknown": Device.last_heartbeat.is_null(),
    }


def agent_status(device: Device, settings: Settings, moment: datetime) -> str:
    """online, offline, or unknown while the device's agent was never heard of."""
    if device.last_heartbeat is None:
        return "unknown"
    return "online" if is_online(device, settings.online_seconds, moment) else "offline"


def rfc1123(moment: datetime | None) -> str | None:
    """`Tue, 17 Feb 2026 06:03:22 GMT` (RFC 9110 section 5.6.7), or None."""
    return None if moment is None else http_date(moment)


def patch_management_view(device: Device, settings: Settings, moment: datetime) -> dict[str, Any]:
    """A device as the Patch Management API documents it."""
    return {
        "agent_id": device.uuid,
        "agent_version": device.agent_version,
        "hostname": device.hostname or device.friendly_name,
        "id": device.id,
        "ip_address": device.ip_address,
        "last_heartbeat": rfc1123(device.last_heartbeat),
        "last_seen": rfc1123(device.last_heartbeat),
        "os_architecture": device.os_architecture,
        "os_name": device.os_name,
        "os_version": device.os_version,
        "status": "ONLINE" if is_online(device, settings.online_seconds, moment) else "OFFLINE",
        "updated_at": rfc1123(device.updated_at),
    }


def native_views(devices: list[Device], settings: Settings, moment: datetime) -> list[dict[str, Any]]:
    """Devices as the native API shows them: a fixed number of queries."""
    ids = [device.id for device in devices]
    groups, tags = group_names(settings, ids), tags_of(ids)
    return [
        native_view(device, settings, moment, groups.get(device.id, []), tags.get(device.id, [])) for device in devices
    ]


def deleted_views(
    settings: Settings, moment: datetime, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """A page of deleted devices by id, each with `deleted_at`; `after` for the next page, if any."""
    query = Device.select(*LIST_COLUMNS, Device.deleted_at).where(Device.deleted_at.is_null(False))
    found = list(query.where(Device.id > after).order_by(Device.id).limit(limit + 1))
    page = found[:limit]
    views = native_views(page, settings, moment)
    shown = [{**view, "deleted_at": device.deleted_at} for device, view in zip(page, views, strict=True)]
    return shown, page[-1].id if len(found) > limit else None


def native_view(
    device: Device, settings: Settings, moment: datetime, groups: list[str], tags: list[str]
) -> dict[str, Any]:
    """A device as the native API shows it; `status` is about its agent."""
    return {
        "id": device.id,
        "agent_id": device.uuid,
        "friendly_name": device.friendly_name,
        "hostname": device.hostname or device.friendly_name,
        "ip_address": device.ip_address,
        "machine_id": device.machine_id,
        "os_family": device.os_family,
        "os_id": device.os_id,
        "os_name": device.os_name,
        "os_version": device.os_version,
        "os_type": os_type(device),
        "os_architecture": device.os_architecture,
        "agent_version": device.agent_version,
        "kernel_running": device.kernel_running,
        "kernel_installed": device.kernel_installed,
        "state": state(device),
        "status": agent_status(device, settings, moment),
        "last_heartbeat": device.last_heartbeat,
        "last_report": device.last_report,
        "last_check_in": device.last_heartbeat,
        "created_at": device.created_at,
        "updated_at": device.updated_at,
        "reboot_required": device.reboot_required,
        "reboot_reason": device.reboot_reason,
        "groups": groups,
        "tags": tags,
        "notes": device.notes,
        "profile_id": device.profile_id,
        "hardware_summary": device.hardware_summary,
        "maintenance": is_in_maintenance(device, moment),
        "maintenance_reason": device.maintenance_reason,
        "maintenance_until": device.maintenance_until,
        "merged_into": device.merged_into_id,
        "connection": connection_facts(device) | {"address": device.address or device.ip_address},
        "execution": device.execution,
        "host_keys": "none" if not device.ssh_host_keys else "changed" if host_keys_changed(device) else "pinned",
    }


def state(device: Device) -> str:
    """pending (waits for approval or has never reported) or active."""
    return "active" if device.approved and device.last_report is not None else "pending"


def is_in_maintenance(device: Device, moment: datetime) -> bool:
    """Whether the device is in maintenance at `moment`: the flag is set, and its end has not come."""
    until = device.maintenance_until
    return bool(device.maintenance) and (until is None or until > moment)


def host_keys_changed(device: Device) -> bool:
    """Whether the device reports SSH host keys none of which is pinned."""
    return bool(device.reported_host_keys) and not set(device.reported_host_keys) & set(device.ssh_host_keys)
