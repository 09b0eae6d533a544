# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""One managed host: its disk, the command that boots it, and what tests do with it."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups
from .network import Link
from .rootfs import GUEST, UNPRIVILEGED_USER
from .system import LabError, run, write_file

if TYPE_CHECKING:
    from .lab import Lab

FAMILIES = ("deb", "rpm", "win")
# about what container engines grant
CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
                "net_bind_service", "net_raw", "sys_chroot", "setfcap", "audit_write")
# systemd sets up mount namespaces and limits for its services
INIT_CAPABILITIES = {"sshd": (), "systemd": ("sys_admin", "sys_nice", "dac_read_search", "ipc_lock")}


class Host:
    """A host; `family` is deb, rpm or win, `state` running, stopped, frozen or how it died.

    `init`, its first process, is sshd or systemd, `layers` is what its disk is made of; both count from the next reset.
    """

    def __init__(self, lab: Lab, name: str, family: str, link: Link, layers: list[Path]) -> None:
        self.lab, self.name, self.family, self.link, self.layers = lab, name, family, link, layers
        self.ip = link.ip
        self.directory = lab.directory / "hosts" / name
        self.state, self.boots, self.is_cut = "new", 0, False
        self.init = "sshd"
        self.process: subprocess.Popen | None = None  # owned by the supervisor

    # power, disk and network

    def start(self) -> None:
        self.lab.power("start", self.name)

    def stop(self) -> None:
        """Pull the plug."""
        self.lab.power("stop", self.name)

    def reset(self) -> None:
        """Boot from a fresh disk; the address and the host key stay."""
        self.lab.power("reset", self.name)

    def freeze(self) -> None:
        """Stop sshd in its tracks: connections are accepted by the kernel and never answered."""
        self.lab.power("freeze", self.name)

    def thaw(self) -> None:
        self.lab.power("thaw", self.name)

    def cut(self) -> None:
        """Pull the network cable."""
        self.lab.power("cut", self.name)

    def heal(self) -> None:
        self.lab.power("heal", self.name)

    # a look inside

    def ssh(self, command: str, *, user: str = "root", check: bool = True, timeout: float = 60
            ) -> subprocess.CompletedProcess[str]:
        """Run a shell command over ssh; LabError with its output when `check` and it fails."""
        done = subprocess.run(["ssh", *self.lab.ssh_options(), f"{user}@{self.ip}", command], capture_output=True,
                              text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise LabError(f"{self.name}: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def boot_id(self) -> str:
        return self.ssh("cat /proc/sys/kernel/random/boot_id").stdout.strip()

    def path(self, path: str) -> Path:
        """A file of the running host, to be read or written from outside."""
        return Path(f"/proc/{self.first_pid()}/root") / path.lstrip("/")

    def first_pid(self) -> int | None:
        """The host's pid 1 as the machine numbers it; None when it does not run."""
        todo = [self.process.pid] if self.process else []
        while todo:
            pid = todo.pop(0)
            with contextlib.suppress(OSError):
                if re.search(r"^NSpid:.*\t1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
                    return pid
                for task in Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(child) for child in (task / "children").read_text().split()]
        return None

    def answers(self, timeout: float = 0.3) -> bool:
        """Whether sshd greets."""
        try:
            with socket.create_connection((self.ip, 22), timeout) as connection:
                connection.settimeout(timeout)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def wait_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not self.answers():
            if time.monotonic() > deadline:
                console = (self.directory / "console.log").read_text(errors="replace")
                raise LabError(f"{self.name} does not answer after {timeout:.0f} s ({self.state}):\n{console[-2000:]}")
            time.sleep(0.02)

    # for the supervisor

    @property
    def cgroup(self) -> str:
        return f"{cgroups.PREFIX}{self.lab.name}-{self.name}"

    def prepare(self) -> None:
        """Lay out a fresh disk: identity, host key, who may log in, name resolution."""
        shutil.rmtree(self.directory / "upper", ignore_errors=True)
        for part in ("upper", "root", "control", "keys"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        host_key = self.directory / "keys/ssh_host_ed25519_key"
        if not host_key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", host_key)
        upper = self.directory / "upper"
        upper.chmod(0o755)
        (upper / "etc/ssh").mkdir(parents=True)
        for file in (host_key, host_key.with_suffix(".pub")):
            shutil.copy(file, upper / "etc/ssh/")
        authorized = self.lab.key.with_suffix(".pub").read_text()
        for home, uid in (("root", 0), (f"home/{UNPRIVILEGED_USER}", 1000)):
            write_file(upper / home / ".ssh/authorized_keys", authorized, 0o600)
            for path, mode in ((upper / home, 0o700), (upper / home / ".ssh", 0o700)):
                path.chmod(mode)
                os.chown(path, uid, uid)
            os.chown(upper / home / ".ssh/authorized_keys", uid, uid)
        write_file(upper / "etc/hostname", f"{self.name}\n")
        write_file(upper / "etc/hosts",
                   f"127.0.0.1 localhost\n{self.ip} {self.name}\n{self.lab.gateway} repo.lab patchherd.lab\n")
        write_file(upper / "etc/machine-id", f"{uuid.uuid4().hex}\n")

    def boot_command(self) -> list[str]:
        """The command of the next boot; makes the directories that each boot needs anew."""
        work = self.directory / "work"
        # a "volatile" overlay refuses the work directory of one that was not unmounted
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for file in ("request", "pending"):
            (self.directory / "control" / file).unlink(missing_ok=True)
        clock = []
        if Path("/proc/self/ns/time").exists():  # uptime counts from this boot
            clock = ["--time", "--boottime", str(-int(time.clock_gettime(time.CLOCK_BOOTTIME)))]
        begin = []
        if self.init == "systemd":  # it makes cgroups, below one of its own
            begin = ["/bin/sh", "-euc", 'echo 0 > "$0/cgroup.procs"; exec "$@"', str(cgroups.create(self.cgroup)),
                     "unshare", "--cgroup", "--"]
        # PDEATHSIG and --kill-child: the host dies with the supervisor, whatever kills that
        return ["setpriv", "--pdeathsig", "KILL", *begin, "nsenter", f"--net=/run/netns/{self.link.netns}",
                "unshare", "--mount", "--pid", "--uts", "--ipc", *clock, "--fork", "--kill-child=KILL",
                "--propagation", "private", "/bin/sh", str(GUEST / "init.sh"), str(self.directory), str(work),
                self.name, ":".join(map(str, self.layers)), str(uuid.uuid4()),
                ",".join(f"+{name}" for name in (*CAPABILITIES, *INIT_CAPABILITIES[self.init])), self.init]
