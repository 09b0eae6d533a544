# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""What every part of the lab leans on: its cache directory, commands, locks and the check of the machine."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

HOME = Path(os.environ.get("PATCHHERD_LAB_HOME") or Path.home() / ".cache" / "patchherd-lab")
# Interfaces, namespaces and lab names are shared by the whole machine, whatever cache directory a caller uses.
MACHINE_LOCKS = Path("/run/lock/patchherd-lab")
PACKAGES_FILE = Path(__file__).parents[1] / "apt-packages.txt"
TOOLS = ("mmdebstrap", "apt-ftparchive", "createrepo_c", "modifyrepo_c", "rpmbuild", "rpmsign", "gpg", "gpgconf",
         "ssh", "ssh-keygen", "ip", "unshare", "nsenter", "setpriv", "pivot_root", "mount")
# Cached images of an older recipe are not used any more when this changes.
RECIPE = 1


class LabError(RuntimeError):
    """The lab cannot do what it was asked; the text says why."""


class LabBusy(LabError):
    """Another process holds what is asked for."""


def log(message: str) -> None:
    print(f"[lab {time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def run(*command: object, check: bool = True, stdin: str | None = None, cwd: Path | None = None) -> str:
    """Run a command and return its standard output; LabError with all it said when it fails."""
    argv = [str(part) for part in command]
    done = subprocess.run(argv, input=stdin, text=True, cwd=cwd, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL if stdin is None else None)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock that dies with the process; LabBusy when `wait` is false and somebody has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LabBusy(f"{path} is held by another process") from None
        yield
    finally:
        os.close(fd)


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write dedented text, replacing a symbolic link instead of following it out of an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    path.chmod(mode)


def digest(*parts: object) -> str:
    """A short name for the recipe `parts`, so that a changed recipe is built anew."""
    return hashlib.sha256(repr((RECIPE, *parts)).encode()).hexdigest()[:12]


def machine_mirror() -> str:
    """The Debian mirror of the machine's own apt; PATCHHERD_LAB_MIRROR overrides it."""
    if override := os.environ.get("PATCHHERD_LAB_MIRROR"):
        return override
    source = re.compile(r"^(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(https?://\S*?/debian)/?(?:\s|$)", re.MULTILINE)
    for file in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if file.is_file() and (found := source.search(file.read_text(errors="replace"))):
            return found.group(1)
    raise LabError("no Debian mirror in /etc/apt; set PATCHHERD_LAB_MIRROR")


# An overlay needs an upper directory on a real file system: try the very mount that a host will do.
PROBE = """
set -eu
mkdir -p "$0/lower" "$0/upper" "$0/work" "$0/root"
mount -t overlay overlay -o "lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work,volatile" "$0/root"
mount -t proc proc "$0/root"
"""


def check_machine() -> list[str]:
    """The reasons why this machine cannot run a lab; empty when it can."""
    if sys.platform != "linux":
        return [f"the lab needs Linux, this is {sys.platform}"]
    if os.geteuid() != 0:
        return ["the lab needs root (network and mount namespaces)"]
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return [f"missing tools: {' '.join(missing)} (install the packages of {PACKAGES_FILE.name})"]
    try:
        machine_mirror()
    except LabError as error:
        return [str(error)]
    probe_dir = HOME / f".probe-{os.getpid()}"
    probe_dir.mkdir(parents=True, exist_ok=True)
    try:
        run("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--propagation", "private",
            "/bin/sh", "-c", PROBE, probe_dir)
    except LabError as error:
        return [f"namespaces or overlay mounts are not permitted here: {str(error).strip().splitlines()[-1]}"]
    finally:
        shutil.rmtree(probe_dir, ignore_errors=True)
    return []
