# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Processes of jobs: marked, bound to their parent's life, and gone before a job runs again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

JOB_MARK = "PATCHHERD_JOB"
"""Environment variable that every process of a job carries: `<installation>/<deployment id>`."""

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""Command prefix: the kernel kills the command when the process that started it is gone (prctl(2) PR_SET_PDEATHSIG)."""


def machine() -> str:
    """This boot of this machine, and its namespace of process ids: names of machines repeat, and so do containers'."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"


def installation_mark(data: Path) -> str:
    """A short name of the installation that keeps its state in `data`: two servers on one machine do not mix."""
    return hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]


def deployment_mark(data: Path, deployment_id: int) -> str:
    """What the processes of a deployment's jobs carry as PATCHHERD_JOB."""
    return f"{installation_mark(data)}/{deployment_id}"


def marked(mark: str) -> Iterator[int]:
    """Process ids whose environment carries `PATCHHERD_JOB=mark`, except this process and its ancestors."""
    needle = f"{JOB_MARK}={mark}".encode()
    spared = _ancestors()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        with contextlib.suppress(OSError):
            environment = Path(entry.path, "environ").read_bytes().split(b"\0")
            if needle in environment:
                yield int(entry.name)


def _ancestors() -> set[int]:
    pids, pid = set(), os.getpid()
    while pid > 1:
        pids.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return pids


def end_marked(mark: str, timeout: float = 10.0) -> int:
    """Kill every process that carries the mark and wait until they are gone.

    Returns how many were killed. Raises TimeoutError when one survives.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + timeout
    while alive := [pid for pid in marked(mark) if not _is_zombie(pid)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {alive} of job {mark} cannot be ended")
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.02)
    return len(killed)


def kill_marked(mark: str, word: str) -> int:
    """Kill the processes that carry the mark and have `word` in their command line; how many."""
    killed = 0
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run_directory(installation: str, job_id: int, fallback: Path) -> Path:
    """A private directory for a job's files, in memory where the machine has /dev/shm: secrets never hit a disk."""
    base = Path("/dev/shm")  # noqa: S108 - the directory below is private
    root = base if os.access(base, os.W_OK) else fallback
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = root / f"patchherd-{installation}-job-{job_id}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def remove_run_directory(installation: str, job_id: int, fallback: Path) -> None:
    """Remove what the job of a killed worker left behind."""
    for root in (Path("/dev/shm"), fallback):  # noqa: S108
        shutil.rmtree(root / f"patchherd-{installation}-job-{job_id}", ignore_errors=True)
