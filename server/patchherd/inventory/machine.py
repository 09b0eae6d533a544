# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Hosts as monitoring and inventory programs in the field read them (`GET /api/hosts`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from patchherd.database import now
from patchherd.devices.groups import memberships
from patchherd.devices.models import Device, DeviceGroup
from patchherd.devices.registry import find_group, is_online
from patchherd.devices.views import select_devices, split_values, state
from patchherd.packages.models import DevicePackages
from patchherd.packages.patches import patch_state
from patchherd.settings import Settings


def list_hosts(settings: Settings, hostgroup: str = "", *, stats: bool = False) -> dict[str, Any]:
    """Hosts of any of the groups (names or ids, comma-separated; all without), pending ones included.

    `stats` adds counts, which are null where nothing is proven. Raises NotFound for an unknown group.
    """
    wanted = [find_group(reference) for reference in split_values(hostgroup)]
    devices = select_devices(settings)
    groups = memberships(settings, [device.id for device in devices])
    if wanted:
        ids = {group.id for group in wanted}
        devices = [device for device in devices if any(group.id in ids for group in groups.get(device.id, ()))]
    rows = [_view(device, groups.get(device.id, [])) for device in devices]
    if stats:
        moment, packages = now(), _package_counts()
        for row, device in zip(rows, devices, strict=True):
            row |= _stats(device, packages.get(device.id), settings, moment)
    answer: dict[str, Any] = {"hosts": rows, "total": len(rows)}
    if wanted:
        answer["filtered_by_groups"] = [group.name for group in wanted]
    return answer


def _view(device: Device, groups: Iterable[DeviceGroup]) -> dict[str, Any]:
    return {
        "id": device.uuid,
        "friendly_name": device.friendly_name,
        "hostname": device.hostname or device.friendly_name,
        "ip": device.ip_address,
        "host_groups": [{"id": group.uuid, "name": group.name} for group in groups],
    }


def _stats(device: Device, packages: int | None, settings: Settings, moment: datetime) -> dict[str, Any]:
    proven, reason = patch_state(device, settings, moment)
    known = proven != "unknown"
    online = is_online(device, settings.online_seconds, moment)
    return {
        "os_type": device.os_name,
        "os_version": device.os_version,
        "last_update": device.last_report,
        "status": "pending" if state(device) == "pending" else "online" if online else "offline",
        "needs_reboot": device.reboot_required,
        "updates_count": device.missing if known else None,
        "security_updates_count": device.missing_security if known else None,
        "total_packages": packages,
        "patch_status": proven,
        "patch_reason": reason,
    }


def _package_counts() -> dict[int, int]:
    return dict(DevicePackages.select(DevicePackages.device, DevicePackages.reported).tuples())
