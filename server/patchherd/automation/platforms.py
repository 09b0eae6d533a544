# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What runs where: the one place that knows which language and which target suits which operating system."""

from __future__ import annotations

from patchherd.devices.os_types import LINUX, WINDOWS

LANGUAGES = ("powershell", "bash")
ACTION_TYPES = ("powershell_inline", "powershell_script", "bash_inline", "install_software", "agent_uninstall")
ACTION_LANGUAGES = {"powershell_inline": "powershell", "powershell_script": "powershell", "bash_inline": "bash"}
"""The language of those action types that run a script."""

_FAMILIES = {"windows": WINDOWS, "linux": LINUX}
_RUNS_ON = {"powershell": WINDOWS, "bash": LINUX | {"macos"}}


def fits(target_os_type: str | None, device_os_type: str | None) -> bool:
    """Whether something made for the target may run on such a device; what nobody knows refuses nothing.

    The targets windows and linux mean every Windows and every Linux, the others just themselves.
    """
    if target_os_type is None or device_os_type is None:
        return True
    return device_os_type in _FAMILIES.get(target_os_type, {target_os_type})


def language_fits(language: str, os_type: str | None) -> bool:
    """Whether devices of this kind run scripts in this language; nobody knows of "other", so it is not refused."""
    return os_type is None or os_type == "other" or os_type in _RUNS_ON[language]


def overlap(first: str | None, second: str | None) -> bool:
    """Whether any device can be meant by both targets."""
    return fits(first, second) or fits(second, first)
