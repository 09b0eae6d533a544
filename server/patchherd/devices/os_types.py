# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What kind of operating system a device runs, in the words of the DeployFlow API."""

from __future__ import annotations

import re
from functools import lru_cache

from patchherd.devices.models import Device

WINDOWS = frozenset({"windows", "windows_server"})
DEBIAN = frozenset({"debian", "ubuntu", "proxmox"})
REDHAT = frozenset({"rhel", "centos", "rocky", "almalinux"})
LINUX = DEBIAN | REDHAT | {"linux"}
OS_TYPES = (
    "windows", "windows_server", "ubuntu", "debian", "proxmox", "rhel", "centos", "rocky", "almalinux", "linux",
    "macos", "other",
)  # fmt: skip


def os_type(device: Device) -> str | None:
    """What the agent or the operator said, else what the reported system tells; None when nothing does."""
    return device.os_type or _derived(device.os_family, device.os_id, device.os_name)


@lru_cache(maxsize=1024)
def _derived(family: str | None, os_id: str | None, os_name: str | None) -> str | None:
    name = (os_name or "").lower()
    words = set(re.findall(r"[a-z]+", f"{os_id or ''} {name}".lower()))
    if family == "windows":
        return "windows_server" if "server" in words else "windows"
    if words & {"macos", "darwin"}:
        return "macos"
    if "red hat enterprise linux" in name:
        return "rhel"
    for known in ("proxmox", *sorted(DEBIAN | REDHAT)):
        if known in words:
            return known
    return "linux" if family in {"debian", "redhat"} or "linux" in words else None


def family_of(kind: str | None) -> str | None:
    """The `os_family` of devices of this kind; None when it says too little."""
    for family, kinds in (("windows", WINDOWS), ("debian", DEBIAN), ("redhat", REDHAT)):
        if kind in kinds:
            return family
    return None
