# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Devices as Ansible hosts."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from patchherd.database import now
from patchherd.devices.ansible import connection_facts
from patchherd.devices.groups import group_names
from patchherd.devices.models import Device
from patchherd.devices.naming import NAME_COLUMNS, inventory_names
from patchherd.devices.tags import tags_of
from patchherd.devices.views import agent_status, is_in_maintenance, select_devices, state
from patchherd.packages.patches import patch_state
from patchherd.settings import Settings


def all_hosts(
    settings: Settings,
    *,
    group: str | None = None,
    os_family: str | None = None,
    hostname: str | None = None,
    tag: str | None = None,
    status: str | None = None,
    patch_status: str | None = None,
) -> list[dict[str, Any]]:
    """Every device that is not deleted and fits the filters, pending ones included; a fixed number of queries."""
    moment = now()
    devices = select_devices(settings, group=group, os_family=os_family, hostname=hostname, tag=tag, status=status)
    # A device has one name, whatever filter selects it.
    names = inventory_names(Device.select(*NAME_COLUMNS).where(Device.deleted_at.is_null()))
    ids = [device.id for device in devices]
    groups, tags = group_names(settings, ids), tags_of(ids)
    hosts = []
    for device in devices:
        proven, _ = patch_state(device, settings, moment)
        if patch_status and proven != patch_status:
            continue
        known = proven != "unknown"
        hosts.append(
            {
                "id": device.id,
                "agent_id": device.uuid,
                "name": names[device.id],
                "hostname": device.hostname or device.friendly_name,
                "friendly_name": device.friendly_name,
                "address": (device.address or device.ip_address) if device.approved else None,
                "os_family": device.os_family,
                "os_id": device.os_id,
                "os_name": device.os_name,
                "os_version": device.os_version,
                "os_major": _major(device.os_version_id or device.os_version),
                "architecture": device.os_architecture,
                "state": state(device),
                "status": agent_status(device, settings, moment),
                "ansible_reachable": device.ansible_reachable,
                "patch_status": proven,
                "missing": device.missing if known else None,
                "security": device.missing_security if known else None,
                "reboot_required": device.reboot_required,
                "groups": groups.get(device.id, []),
                "tags": tags.get(device.id, []),
                "maintenance": is_in_maintenance(device, moment),
                "connection": connection_facts(device),
                "ssh_host_keys": device.ssh_host_keys,
            }
        )
    return hosts


def _major(version: str | None) -> str | None:
    """12 of `12 (bookworm)`, 22 of `22.04`."""
    return re.split(r"[.\s]", version or "")[0] or None


def encode(hosts: list[dict[str, Any]]) -> tuple[bytes, str]:
    """The JSON answer and the ETag of its hosts (the moment of its making does not count)."""
    body = msgspec.json.encode(hosts)
    head = msgspec.json.encode({"generated_at": now(), "count": len(hosts)})
    return head[:-1] + b',"hosts":' + body + b"}", hashlib.blake2b(body, digest_size=16).hexdigest()
