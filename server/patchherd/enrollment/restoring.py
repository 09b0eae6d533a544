# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Bring a deleted device back, and decide whether its credentials come back with it.

They do when nothing has taken their place. Where the machine has enrolled again since, or the device was merged into
another, the old ones are what is left on an old disk or an image: whoever finds them could report in the device's name.
"""

from __future__ import annotations

from typing import Any

from patchherd.database import now, write_transaction
from patchherd.devices import history
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device_or_deleted
from patchherd.enrollment.models import HostCredential
from patchherd.errors import Conflict
from patchherd.identity import audit
from patchherd.settings import Settings


def restore(settings: Settings, reference: str, credentials: str) -> tuple[Device, str, str | None]:
    """The device (by id or UUID), what became of its credentials (kept, revoked, none), and why.

    `credentials` is auto, keep or revoke. Where hosts need approval, a restored one needs it again.
    Raises NotFound, Conflict for a device that is not deleted.
    """
    with write_transaction():
        device = find_device_or_deleted(reference)
        if device.deleted_at is None:
            raise Conflict("Device is not deleted", f"device {device.id} lives")
        reason = "asked for" if credentials == "revoke" else _replaced(device) if credentials == "auto" else None
        own = HostCredential.device == device.id
        if reason:
            outcome = "revoked" if HostCredential.delete().where(own).execute() else "none"
        else:
            outcome = "kept" if HostCredential.select().where(own).exists() else "none"
        changes: dict[str, Any] = {"deleted_at": None, "merged_into": None, "updated_at": now()}
        if settings.host_approval:
            changes["approved"] = False
        Device.update(**changes).where(Device.id == device.id).execute()
        told = {"credentials": outcome, "reason": reason}
        history.note(device.id, "restored", told)
        before = {"deleted_at": device.deleted_at, "merged_into": device.merged_into_id}
        audit.record("device.restore", "device", device.uuid, device.friendly_name, before=before, after=told)
    return Device.get_by_id(device.id), outcome, reason


def _replaced(device: Device) -> str | None:
    """What has taken the place of a deleted device's credentials; None when nothing has."""
    if device.merged_into_id is not None:
        return f"it was merged into device {device.merged_into_id}"
    columns = (Device.id, Device.machine_id, Device.ssh_host_keys, Device.reported_host_keys)
    since = Device.select(*columns).where(Device.deleted_at.is_null() & (Device.created_at >= device.deleted_at))
    keys = {*device.ssh_host_keys, *device.reported_host_keys}
    for other, machine_id, pinned, reported in since.order_by(Device.id).tuples():
        if device.machine_id and machine_id == device.machine_id:
            return f"device {other} has enrolled since with the same machine id"
        if keys & {*pinned, *reported}:
            return f"device {other} has enrolled since with the same SSH host key"
    return None
