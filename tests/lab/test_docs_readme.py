# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The commands of README.md, run in their order on a fresh checkout; only addresses and host names are exchanged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.patchlab import Lab
from tests.running import wait_for

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"(?ms)^ *```console\n(.*?)^ *```$", (ROOT / "README.md").read_text())


def commands(block: str) -> list[str]:
    """What stands behind `$`, with the lines that belong to it; `#` shows what is printed."""
    found: list[str] = []
    for line in (line.strip() for line in block.splitlines()):
        if line.startswith("$ "):
            found.append(line[2:])
        elif not line.startswith("# "):
            found[-1] += f"\n{line}"
    return found


TRY, ENROL, SEE, REACH, DEPLOY, HTTPS = map(commands, BLOCKS)


class Checkout:
    """The files of this repository in a directory of their own, and a server started there by make."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory, self.log = directory, directory / "server.log"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            copy = directory / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy, follow_symlinks=False)
            os.utime(copy, (1, 1), follow_symlinks=False)  # older than the environment, which is there already
        (directory / ".venv").symlink_to(ROOT / ".venv")
        with socket.create_server(("", 0)) as probe:
            self.port = str(probe.getsockname()[1])
        self.exchange = {
            "8480": self.port, "SERVER": address, "web1": "deb1", "web2": "deb2",
            'RUN_ARGS="': f'RUN_ARGS="--port {self.port} ',
        }  # fmt: skip
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("PATCHHERD_", "ANSIBLE_"))}
        self.environment = {**plain, "ANSIBLE_HOME": str(directory / "ansible-home")}

    def here(self, text: str) -> str:
        """The command with the addresses and names of this test."""
        for old, new in self.exchange.items():
            text = text.replace(old, new)
        return text

    def run(self, *given: str) -> str:
        """Run commands in one shell that stops at the first failure; what they print."""
        script = "\n".join(map(self.here, given))
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """What `make run` starts, until Ctrl-C."""
        with self.log.open("w") as out:
            server = subprocess.Popen(
                ["bash", "-c", self.here(command)],
                cwd=self.directory, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        try:
            wait_for("this machine is enrolled", lambda: self._welcomed(server), 300, 0.5)
            yield
        finally:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(40)

    def _welcomed(self, server: subprocess.Popen[bytes]) -> bool:
        assert server.poll() is None, self.log.read_text()
        return "Ctrl-C stops all of it." in self.log.read_text()


def test_it_names_the_commands_that_are_run_here() -> None:
    heads = [[command.split()[0] for command in block] for block in (TRY, ENROL, SEE, REACH, DEPLOY, HTTPS)]
    tool = ".venv/bin/patchherd"
    assert heads == [
        ["make", "make"], [tool], [tool, tool, f"TOKEN=$({tool}", "curl", "curl"],
        ["echo", "export", ".venv/bin/ansible-inventory", ".venv/bin/ansible"], [tool, tool, "curl", "curl"],
        ["PATCHHERD_PUBLIC_URL=https://SERVER:8480", tool, "export", "curl"],
    ]  # fmt: skip


def test_the_commands_do_what_they_say(fresh_lab: Lab, tmp_path: Path) -> None:
    lab = fresh_lab
    lab.publish("v2")
    checkout = Checkout(tmp_path, lab.gateway)
    start, everything = TRY
    checkout.run(everything.replace("make test", "make --dry-run test"))
    token = SEE[2]

    def enrol(line: str, *names: str) -> None:
        for name in names:
            done = lab[name].ssh(line, timeout=120)
            assert "Successfully Enrolled:  1" in done.stdout, done.stdout + done.stderr

    with checkout.serving(start.replace("make run", 'make run RUN_ARGS="--host 0.0.0.0"')):
        assert "first start: user admin, password " in checkout.log.read_text()
        line = checkout.run(*ENROL).splitlines()[-1].strip()
        enrol(line, "deb1", "deb2")
        shown = checkout.run(*SEE)
        assert "lab-ssl" in shown
        assert shown.count('"hostname":"deb1"') >= 2
        group = """curl -fsS -H "Authorization: Bearer $ADMIN" -H 'Content-Type: application/json' """
        admin = "ADMIN=$(.venv/bin/patchherd api-token create setup --role admin)"
        api = "http://SERVER:8480/api/v1"
        checkout.run(
            admin, f"{group} {api}/host-groups -d '{{\"name\": \"web\"}}'",
            f"{group} {api}/devices/web2 -X PATCH -d '{{\"groups\": [\"web\"]}}'",
        )  # fmt: skip
        reached = checkout.run(token, *REACH)
        assert reached.count('"ping": "pong"') == 3, reached
        done = checkout.run(token, *DEPLOY)
        assert "would_install" in done or "planned" in done
        assert lab["deb2"].ssh("dpkg-query -W -f '${Version}' lab-ssl").stdout == "2.0"
        assert lab["deb1"].ssh("dpkg-query -W -f '${Version}' lab-ssl").stdout == "1.0", "a dry run changes nothing"

    public, *rest = HTTPS
    with checkout.serving(public):
        line = checkout.run(rest[0]).splitlines()[-1].strip()
        assert line.startswith("curl -fsS -k --pinnedpubkey 'sha256//")
        enrol(line, "rpm1")
        shown = checkout.run(token, *rest[1:]).splitlines()[-1]
        names = {row["hostname"] for row in json.loads(shown)["devices"]}
        assert {"deb1", "deb2", "rpm1"} < names
