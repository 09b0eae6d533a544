# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Turn targets and a filter into exact transitions a host: the plan that a deployment installs, and nothing else."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from patchherd.database import now
from patchherd.devices.conditions import in_maintenance, negation
from patchherd.devices.groups import is_member
from patchherd.devices.models import Device
from patchherd.devices.registry import find_devices, find_group
from patchherd.devices.views import LIST_COLUMNS, is_in_maintenance
from patchherd.errors import BadRequest
from patchherd.packages.patches import patch_state, patches_of
from patchherd.packages.reasons import replacements
from patchherd.settings import Settings


@dataclass
class HostPlan:
    """What would be done on one device; `skip` says why nothing can be."""

    device: Device
    changes: list[dict[str, Any]] = field(default_factory=list)
    nameless: list[dict[str, Any]] = field(default_factory=list)
    """Wanted and missing, but of no version that could be installed and proven."""
    skip: str = ""


def resolve_targets(settings: Settings, devices: list[int | str], groups: list[int | str]) -> list[Device]:
    """The distinct, not deleted devices of all references, by id.

    Raises NotFound or Gone for an unknown or deleted reference, BadRequest when no device is left.
    """
    columns = [*LIST_COLUMNS, Device.boot_id, Device.deleted_at]
    found = {device.id: device for device in find_devices(devices, columns)}
    for group in map(find_group, groups):
        members = Device.select(*columns).where(Device.deleted_at.is_null() & is_member(settings, group))
        found.update({device.id: device for device in members})
    if not found:
        raise BadRequest("No targets", "name at least one device, or a group that has devices")
    return [found[key] for key in sorted(found)]


def make_plan(settings: Settings, devices: list[Device], filter_: str, packages: list[str]) -> list[HostPlan]:
    """The plan of each device from what the server knows it misses; unknown state is skipped, never guessed."""
    moment = now()
    missing = patches_of([device.id for device in devices])
    plans = []
    for device in devices:
        plan = HostPlan(device, skip=unreachable_reason(device))
        if not plan.skip:
            status, reason = patch_state(device, settings, moment)
            if status == "unknown":
                plan.skip = f"missing patches are unknown: {reason}"
            else:
                wanted = [
                    _change(patch)
                    for patch in missing.get(device.id, [])
                    if patch["verdict"] == "missing" and _selected(patch, filter_, packages)
                ]
                windows = device.os_family == "windows"  # its updates have no versions
                plan.changes = [change for change in wanted if windows or change["candidate"]]
                plan.nameless = [change for change in wanted if not windows and not change["candidate"]]
                if plan.nameless and not plan.changes:
                    named = ", ".join(change["package"] for change in plan.nameless[:10])
                    plan.skip = f"the agent names no version of what is missing: {named}"
        plans.append(plan)
    return plans


def is_reachable() -> Any:
    """`unreachable_reason` as a condition: that there is none."""
    return (
        Device.approved
        & negation(in_maintenance())
        & (Device.last_report.is_null(False) | (Device.address.is_null(False) & (Device.address != "")))
        & ((Device.address.is_null(False) & (Device.address != "")) | Device.ip_address.is_null(False))
        & Device.os_family.is_null(False)
    )


def unreachable_reason(device: Device) -> str:
    """Why Ansible cannot or must not be sent to this device at all; empty when it can."""
    if not device.approved:
        return "waits for approval"
    if is_in_maintenance(device, now()):
        return ": ".join(filter(None, ["in maintenance", device.maintenance_reason]))
    if device.last_report is None and not device.address:
        return "has not reported yet"
    if not (device.address or device.ip_address):
        return "has no address"
    if device.os_family is None:
        return "its operating system is unknown"
    return ""


def _selected(patch: dict[str, Any], filter_: str, packages: list[str]) -> bool:
    if filter_ == "security":
        return bool(patch["security"])
    if filter_ == "packages":
        names = [patch["package"], patch["kb"] or "", *(new["name"] for new in patch["replaced_by"])]
        return any(fnmatch.fnmatchcase(name, pattern) for name in names if name for pattern in packages)
    return True


def _change(patch: dict[str, Any]) -> dict[str, Any]:
    names = ("package", "architecture", "kb", "installed", "candidate", "severity", "security", "advisories")
    return {name: patch[name] for name in names} | {"replaced_by": patch["replaced_by"] or None}


def plan_digest(plans: list[HostPlan]) -> str:
    """SHA-256 over the transitions of all hosts, independent of their order."""
    rows = sorted(
        (plan.device.uuid, change["package"], change["architecture"] or "", _wanted(change))
        for plan in plans
        for change in plan.changes
    )
    return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


def _wanted(change: dict[str, Any]) -> str:
    return replacements(change["replaced_by"]) or change["candidate"] or change["kb"] or ""
