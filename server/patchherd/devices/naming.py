# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The name under which Ansible knows a device: unique, stable, harmless."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from patchherd.devices.models import Device

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")

NAME_COLUMNS = (Device.id, Device.hostname, Device.friendly_name)
"""What `inventory_names` reads."""

RESERVED = frozenset({"localhost", "all", "ungrouped", "127.0.0.1"})
"""Names that mean something else to Ansible: what is meant for the machine it runs on must not go to a device."""


def inventory_names(devices: Iterable[Device]) -> dict[int, str]:
    """Device id -> inventory name: the host name, with `-<id>` where it is reserved or several devices share it."""
    plain = {device.id: _plain_name(device) for device in devices}
    bearers = Counter(name.lower() for name in plain.values())
    names: dict[int, str] = {}
    used = {name for name in plain.values() if bearers[name.lower()] == 1}
    for key, name in sorted(plain.items()):
        if bearers[name.lower()] > 1 or name.lower() in RESERVED:
            name = f"{name}-{key}"
            while name in used:
                name += "_"
            used.add(name)
        names[key] = name
    return names


def _plain_name(device: Device) -> str:
    name = _UNSAFE.sub("-", device.hostname or device.friendly_name or "").strip("-.")[:200]
    return name or f"device-{device.id}"
