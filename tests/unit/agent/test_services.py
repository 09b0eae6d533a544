# SPDX-License-Identifier: Apache-2.0
"""Services that still run code which has been replaced: a real process, and the forms of what /proc says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.running import wait_for

KEPT = "7f2c1000-7f2c2000 r-xp 00001000 08:01 131 /usr/lib/x86_64-linux-gnu/libc.so.6\n"


@pytest.mark.parametrize(("line", "expected"), [
    ("7f2c1000-7f2c2000 r-xp 00001000 08:01 99 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)", True),
    ("7f2c1000-7f2c2000 r-xp 00001000 08:01 99 /usr/lib64/libssl.so.3.2.2;6650abcd (deleted)", True),
    ("7f2c1000-7f2c2000 r-xp 00001000 08:01 99 /opt/a program/with blanks (deleted)", True),
    ("7f2c1000-7f2c2000 rw-p 00001000 08:01 99 /usr/lib/locale/locale-archive (deleted)", False),
    ("7f2c1000-7f2c2000 rwxp 00001000 00:01 99 /memfd:jit (deleted)", False),
    ("7f2c1000-7f2c2000 rwxs 00001000 00:01 99 /tmp/ffi1 (deleted)", False),
    ("7f2c1000-7f2c2000 rwxs 00001000 00:01 99 /SYSV00000000 (deleted)", False),
    ("7f2c1000-7f2c2000 rwxp 00000000 00:00 0", False),
    ("", False),
])
def test_only_replaced_code_counts(agent: ModuleType, line: str, expected: bool) -> None:
    assert agent.maps_deleted_code(KEPT + line + "\n") is expected


@pytest.mark.parametrize(("cgroup", "expected"), [
    ("0::/system.slice/nginx.service", "nginx.service"),
    ("0::/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
    ("0::/system.slice/docker.service/payload", "docker.service"),
    ("12:pids:/system.slice/cron.service\n1:name=systemd:/system.slice/cron.service", "cron.service"),
    ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app.service", None),
    ("0::/user.slice/user-0.slice/session-3.scope", None),
    ("0::/docker/0123", None),
    ("", None),
])
def test_the_unit_of_a_process(agent: ModuleType, cgroup: str, expected: str | None) -> None:
    assert agent.unit_of(cgroup) == expected


def test_a_process_of_a_replaced_program_is_found_until_it_ends(agent: ModuleType) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    try:
        directory = Path(tempfile.mkdtemp(dir="/opt"))
    except OSError:
        pytest.skip("only root can put a program below /opt")
    program = directory / f"old-{os.getpid()}"
    try:
        shutil.copy2(sleep, program)
        child = subprocess.Popen([program, "300"])
        wait_for("the program runs", lambda: program.name in agent.read_text(f"/proc/{child.pid}/maps"))
        assert program.name not in agent.services_to_restart()
        # As dpkg does it: the new file takes the old one's name.
        shutil.copy2(sleep, directory / "new")
        os.replace(directory / "new", program)
        mine = agent.unit_of(agent.read_text(f"/proc/{child.pid}/cgroup")) or program.name[:15]
        assert mine in agent.services_to_restart()
        assert agent.services_to_restart(limit=0) == []
        child.kill()
        child.wait()
        if not mine.endswith(".service"):
            assert mine not in agent.services_to_restart()
    finally:
        shutil.rmtree(directory)


def test_what_cannot_be_read_is_not_guessed(agent: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "self").mkdir()
    assert agent.services_to_restart(str(tmp_path)) == []
