# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""A control group of its own for each host that systemd runs; it limits nothing."""
from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from .system import LabError

PREFIX = "patchlab-"


def hierarchy() -> Path | None:
    """Where the machine has cgroup2, alone or beside the old hierarchies; None when it cannot be used."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options = line.split()[:4]
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(mount, os.W_OK):
            return Path(mount)
    return None


def create(name: str) -> Path:
    """A new, empty group."""
    root = hierarchy()
    if root is None:
        raise LabError("no cgroup2 that can be written: systemd cannot run here")
    remove(name)
    (root / name).mkdir()
    return root / name


def remove(name: str, seconds: float = 10) -> None:
    """Remove a group whose processes are dead or dying, and what systemd made below it."""
    root = hierarchy()
    if root is None:
        return
    deadline = time.monotonic() + seconds
    while (root / name).is_dir():
        for directory, _, _ in os.walk(root / name, topdown=False):
            with contextlib.suppress(OSError):  # a process of it has not quite ended
                os.rmdir(directory)
        if (root / name).is_dir():
            if time.monotonic() > deadline:
                raise LabError(f"the control group {name} cannot be removed")
            time.sleep(0.05)


def sweep(lab: str) -> None:
    """Remove the groups of a lab whose hosts are dead or dying."""
    root = hierarchy()
    for path in root.glob(f"{PREFIX}{lab}-*") if root else ():
        remove(path.name)
