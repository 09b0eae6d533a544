# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The name under which Ansible knows a device: unique, stable, harmless."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from patchherd.devices.models import Device

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def inventory_names(devices: Iterable[Device]) -> dict[int, str]:
    """Device id -> inventory name: the host name, with `-<id>` where several devices share one."""
    plain = {device.id: _plain_name(device) for device in devices}
    taken = Counter(plain.values())
    return {key: name if taken[name] == 1 else f"{name}-{key}" for key, name in plain.items()}


def _plain_name(device: Device) -> str:
    name = _UNSAFE.sub("-", device.hostname or device.friendly_name or "").strip("-.")[:200]
    return name or f"device-{device.id}"
