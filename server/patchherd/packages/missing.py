# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Missing patches of the whole fleet, as the Patch Management API documents them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from patchherd.devices.conditions import is_not
from patchherd.devices.evidence import is_known, patch_state
from patchherd.devices.models import Device
from patchherd.devices.patch_management import rfc1123
from patchherd.devices.selection import selected
from patchherd.packages.listing import matching
from patchherd.packages.models import Verdict
from patchherd.settings import Settings

SYSTEMS = {"windows": "windows", "ubuntu": "debian", "rhel": "redhat"}
"""The documented systems -> os_family. They stand for Windows Update, apt and dnf: Debian is `ubuntu`, Rocky `rhel`."""
_NAMES = {family: name for name, family in SYSTEMS.items()}
BATCH = 2_000


def missing_rows(
    settings: Settings, moment: datetime, filters: dict[str, Any], system: str | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Missing patches of devices whose state is known, in batches by id; each batch is read when it is asked for.

    `filters`: agent_id, hostname, ip_address (comma-separated texts), severity, kb, package (lists).
    """
    devices: dict[str, Any] = {name: filters.get(name) for name in ("agent_id", "hostname", "ip_address")}
    if system:
        devices["os_family"] = SYSTEMS[system]
    where = selected(settings, devices, moment) & is_known(settings, moment)
    where &= matching({**filters, "verdict": ["missing"]})
    columns = (
        Verdict.id, Verdict.package, Verdict.architecture, Verdict.kb, Verdict.ecosystem, Verdict.installed,
        Verdict.candidate, Verdict.severity, Verdict.security, Verdict.first_seen, Verdict.replaced_by,
        Device.id.alias("device_id"),
        Device.uuid, Device.hostname, Device.friendly_name, Device.ip_address, Device.os_family, Device.os_name,
    )  # fmt: skip
    query = Verdict.select(*columns).join(Device).where(where).order_by(Verdict.id).limit(BATCH)
    last = 0
    while found := list(query.where(Verdict.id > last).namedtuples()):
        last = found[-1].id
        yield [_row(row) for row in found]


def _row(row: Any) -> dict[str, Any]:
    windows = row.ecosystem == "windows"
    return {
        "id": row.id,
        "device_id": row.device_id,
        "agent_id": row.uuid,
        "hostname": row.hostname or row.friendly_name,
        "ip_address": row.ip_address,
        "os": _NAMES.get(row.os_family),
        "os_name": row.os_name,
        "title": row.package if windows else None,
        "kb": row.kb,
        "package": None if windows else row.package,
        "architecture": row.architecture or None,
        "installed_version": row.installed,
        "latest_version": row.candidate,
        "replaced_by": [new["name"] for new in row.replaced_by or ()],
        "severity": row.severity,
        "security": row.security,
        "detected_at": rfc1123(row.first_seen),
    }


def unknown_devices(
    settings: Settings, moment: datetime, filters: dict[str, Any], system: str | None = None
) -> list[dict[str, Any]]:
    """The devices of which nobody knows what they miss, and why; those of an unknown system belong to every system."""
    devices: dict[str, Any] = {name: filters.get(name) for name in ("agent_id", "hostname", "ip_address")}
    where = selected(settings, devices, moment) & is_not(is_known(settings, moment))
    if system:
        where &= (Device.os_family == SYSTEMS[system]) | Device.os_family.is_null()
    columns = (
        Device.id, Device.uuid, Device.hostname, Device.friendly_name, Device.ip_address, Device.os_family,
        Device.last_report, Device.evaluated_at, Device.missing, Device.metadata_updated, Device.patch_reason,
    )  # fmt: skip
    return [
        {
            "device_id": row.id,
            "agent_id": row.uuid,
            "hostname": row.hostname or row.friendly_name,
            "ip_address": row.ip_address,
            "os": _NAMES.get(row.os_family),
            "reason": patch_state(row, settings, moment)[1],
        }
        for row in Device.select(*columns).where(where).order_by(Device.id).namedtuples()
    ]
