# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Devices that are one machine, or clones of one: found, and merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from patchherd.database import chunked, now, write_transaction
from patchherd.devices import history, tags
from patchherd.devices.models import Device, DeviceGroup, GroupMember
from patchherd.devices.views import state
from patchherd.errors import Conflict, invalid
from patchherd.identity import audit


def find_duplicates(limit: int) -> dict[str, Any]:
    """Sets of living devices that share a machine id or an SSH host key, directly or through others of the set.

    Two queries: what devices are known by, and those that are shown.
    """
    bearers = _bearers()
    shared = {key: devices for key, devices in bearers.items() if len(devices) > 1}
    sets = _united(shared.values())
    newest_first = sorted(sets, key=lambda devices: min(devices))
    shown = newest_first[:limit]
    rows = _rows(device for devices in shown for device in devices)
    reasons: dict[int, list[dict[str, Any]]] = {}
    for (kind, value), devices in shared.items():
        named = history.fingerprints([value])[0] if kind == "ssh_host_key" else value
        reasons.setdefault(devices[0], []).append({"kind": kind, "value": named, "devices": devices})
    return {
        "count": len(sets),
        "duplicates": [
            {
                "newest": max(devices, key=lambda device: rows[device]["last_report"] or rows[device]["created_at"]),
                "reasons": [reason for device in sorted(devices) for reason in reasons.get(device, ())],
                "devices": [rows[device] for device in sorted(devices)],
            }
            for devices in shown
        ],
    }


def _bearers() -> dict[tuple[str, str], list[int]]:
    """(kind, value) of what a machine is known by -> the devices that show it, by id."""
    columns = (Device.id, Device.machine_id, Device.ssh_host_keys, Device.reported_host_keys)
    query = Device.select(*columns).where(Device.deleted_at.is_null()).order_by(Device.id)
    found: dict[tuple[str, str], list[int]] = {}
    for device, machine_id, pinned, reported in query.tuples():
        if machine_id:
            found.setdefault(("machine_id", machine_id), []).append(device)
        for key in {*pinned, *reported}:
            found.setdefault(("ssh_host_key", key), []).append(device)
    return found


def _united(groups: Iterable[list[int]]) -> list[set[int]]:
    """Groups that have a device in common become one."""
    of: dict[int, set[int]] = {}
    for devices in groups:
        known = {id(of[device]): of[device] for device in devices if device in of}
        largest = max(known.values(), key=len, default=set())
        for other in known.values():
            if other is not largest:
                largest |= other
        largest |= set(devices)
        for device in {device for other in known.values() for device in other if other is not largest} | set(devices):
            of[device] = largest
    return list({id(devices): devices for devices in of.values()}.values())


def _rows(ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    columns = (
        Device.id, Device.uuid, Device.friendly_name, Device.hostname, Device.ip_address, Device.created_at,
        Device.last_report, Device.approved,
    )  # fmt: skip
    found = {}
    for part in chunked(list(ids), 1):
        for device in Device.select(*columns).where(Device.id.in_(part)):
            found[device.id] = {
                "id": device.id,
                "agent_id": device.uuid,
                "friendly_name": device.friendly_name,
                "hostname": device.hostname or device.friendly_name,
                "ip_address": device.ip_address,
                "created_at": device.created_at,
                "last_report": device.last_report,
                "state": state(device),
            }
    return found


def merge(keep: Device, others: list[Device]) -> None:
    """Make one device of several, in one transaction: `keep` stays, with its credentials.

    It gets the tags of the others and the groups that they were put into; their history is shown with its own. They are
    deleted and point to it. Raises Conflict for a device that is pending, BadRequest when `keep` is among the others.
    """
    ids = sorted({device.id for device in others})
    if keep.id in ids:
        raise invalid("from", "a device cannot be merged into itself", value=keep.id)
    for device in (keep, *others):
        if state(device) == "pending":
            name = device.hostname or device.friendly_name
            raise Conflict("Device is pending", f"{name} (device {device.id}) waits for approval or its first report")
    with write_transaction():
        moment = now()
        joined = _join_groups(keep, ids)
        tags.unite(keep, others)
        Device.update(merged_into=keep.id).where(Device.merged_into.in_(ids)).execute()
        Device.update(deleted_at=moment, updated_at=moment, merged_into=keep.id).where(Device.id.in_(ids)).execute()
        Device.update(updated_at=moment).where(Device.id == keep.id).execute()
        history.note_many(ids, "deleted", {"merged_into": keep.id})
        merged = [{"id": device.id, "name": device.hostname or device.friendly_name} for device in others]
        history.note(keep.id, "merged", {"from": merged, "groups": joined})
        audit.record("device.merge", "device", keep.uuid, keep.friendly_name, after={"from": ids, "groups": joined})


def _join_groups(keep: Device, others: list[int]) -> list[str]:
    """Put a device into the groups of others, too; the names of those that are new to it."""
    rows = GroupMember.select(GroupMember.device, GroupMember.group, DeviceGroup.name).join(DeviceGroup)
    put_in = list(rows.where(GroupMember.device.in_([keep.id, *others])).tuples())
    own = {group for device, group, _ in put_in if device == keep.id}
    new = {group: name for device, group, name in put_in if group not in own}
    for group in new:
        GroupMember.create(group=group, device=keep)
    return sorted(new.values())
