# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Merge devices only while no deployment works on them."""

from __future__ import annotations

from patchherd.database import write_transaction
from patchherd.deployments.orders import refuse_busy
from patchherd.deployments.placing import PLACING
from patchherd.devices.duplicates import merge
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device, find_devices
from patchherd.identity.locking import take_turn


def merge_devices(reference: int | str, others: list[int | str]) -> Device:
    """The device that is left. Raises NotFound or Gone, Conflict for a pending or busy one, BadRequest for itself."""
    with write_transaction():
        take_turn(PLACING)
        keep = find_device(reference)
        merged = {device.id: device for device in find_devices(others)}
        refuse_busy([keep.id, *merged])
        merge(keep, list(merged.values()))
    return find_device(keep.id)
