# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What the agent's `install` sets up really runs it: a systemd timer, a cron entry, the loop that it names."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lab.patchlab import Host, Lab, cgroups, rootfs
from tests.running import Server, wait_for
from tests.server.test_agent_linux import load
from tests.services import unavailable
from tests.unit.agent.conftest import AGENT_FILE

FILE = "/usr/local/lib/patchherd/patchherd_agent.py"
INSTALL = f"python3 {FILE} install"
TIMER_SECONDS = 150  # a minute, then up to 30 s by host, then a report
CRON_STEP = 4


class Hosts:
    """A server over HTTPS that lets agents update themselves, and hosts that enrol with the line it prints."""

    def __init__(self, server: Server, lab: Lab) -> None:
        self.server, self.lab = server, lab
        self.line = server.command("token", "create", "lab").stdout.splitlines()[-1].strip()

    def enrol(self, name: str) -> str:
        """What the installer says; afterwards the host has an agent that is out of date, and a package less."""
        host = self.lab[name]
        said = host.ssh(self.line, timeout=120).stdout
        assert "Successfully Enrolled:  1" in said, said
        assert "lab-tool" in self.packages(name)
        host.ssh(f"sed -i 's/^VERSION = .*/VERSION = \"0.0.1\"/' {FILE}")
        remove = "dpkg -r lab-tool" if host.family == "deb" else "rpm -e lab-tool"
        host.ssh(remove)
        return said

    def device(self, name: str) -> dict[str, Any]:
        return dict(self.server.get(f"/api/v1/devices/{name}"))

    def packages(self, name: str) -> set[str]:
        shown = self.server.get(f"/api/v1/devices/{name}/packages?limit=10000")
        return {row["name"] for row in shown["packages"]}

    def wait_for_report(self, name: str, seconds: float) -> None:
        """Until the server knows what has changed on the host since it enrolled."""
        wait_for(f"{name} reports by itself", lambda: "lab-tool" not in self.packages(name), seconds, 0.5)

    def is_updated(self, name: str) -> bool:
        return "0.0.1" not in self.lab[name].ssh(f"python3 {FILE} --version").stdout


def boot(host: Host, init: str = "sshd", layers: list[Path] | None = None) -> Iterator[None]:
    """A fresh disk and another first process for one test."""
    before = host.init, host.layers
    host.init, host.layers = init, layers or host.layers
    try:
        host.reset()
        yield
    finally:
        host.init, host.layers = before
        host.reset()


@pytest.fixture
def hosts(fresh_lab: Lab, tmp_path: Path) -> Iterator[Hosts]:
    with Server(
        tmp_path / "server", fresh_lab.gateway, PATCHHERD_TLS="true", PATCHHERD_AGENT_SELF_UPDATE="true"
    ) as server:
        server.log_in()
        yield Hosts(server, fresh_lab)


@pytest.fixture(params=["deb1", "rpm1"])
def systemd_host(request: pytest.FixtureRequest, fresh_lab: Lab) -> Iterator[Host]:
    """An apt and a dnf host with systemd as first process."""
    if cgroups.hierarchy() is None:
        unavailable("no cgroup2 that can be written: systemd cannot run here")
    yield from (fresh_lab[request.param] for _ in boot(fresh_lab[request.param], "systemd"))


@pytest.fixture
def cron_host(fresh_lab: Lab) -> Iterator[Host]:
    """A host with Debian's cron and without systemd."""
    yield from (fresh_lab["deb2"] for _ in boot(fresh_lab["deb2"], layers=rootfs.deb_with("cron")))


def test_the_systemd_timer(systemd_host: Host, hosts: Hosts) -> None:
    host, name = systemd_host, systemd_host.name
    said = hosts.enrol(name)
    assert "The systemd timer patchherd-agent.timer runs the agent" in said
    verified = host.ssh("systemd-analyze verify patchherd-agent.service patchherd-agent.timer 2>&1", check=False)
    assert "patchherd" not in verified.stdout, verified.stdout
    states = host.ssh("systemctl is-enabled patchherd-agent.timer; systemctl is-active patchherd-agent.timer").stdout
    assert states.split() == ["enabled", "active"]
    assert "already runs the agent" in host.ssh(INSTALL).stdout

    hosts.wait_for_report(name, TIMER_SECONDS)
    wait_for("the run ends", lambda: host.ssh("systemctl is-active patchherd-agent", check=False).returncode == 3, 30)
    shown = host.ssh("systemctl show -p Result,ExecMainStatus,NRestarts patchherd-agent").stdout
    assert {"Result=success", "ExecMainStatus=0"} <= set(shown.split())
    journal = host.ssh("journalctl -o cat -u patchherd-agent").stdout
    assert "patchherd: sent full; version" in journal, journal
    assert hosts.is_updated(name), "the service may replace its own file"
    writable = f"ReadWritePaths={Path(FILE).parent} -/usr/lib/sysimage/rpm"
    assert {"ProtectSystem=full", "NoNewPrivileges=yes", "PrivateTmp=yes", writable} <= set(
        host.ssh("systemctl show patchherd-agent").stdout.split("\n")
    )
    timers = host.ssh("systemctl list-timers --no-legend patchherd-agent.timer").stdout
    assert "patchherd-agent.service" in timers
    assert not timers.startswith("-"), f"there is a next time: {timers}"

    host.ssh("systemctl disable --now patchherd-agent.timer")
    assert "timer runs the agent" in host.ssh(INSTALL).stdout, "what somebody has switched off is set up again"
    assert host.ssh("systemctl is-active patchherd-agent.timer").stdout == "active\n"

    host.ssh(f"curl -fsS --cacert /etc/patchherd/ca.pem {hosts.server.url}/api/v1/hosts/remove | sh")
    assert host.ssh("systemctl list-unit-files --no-legend 'patchherd*'", check=False).stdout == ""
    assert "patchherd" not in host.ssh("systemctl list-timers --no-legend --all").stdout
    left = host.ssh("ls /etc/patchherd /var/lib/patchherd /usr/local/lib/patchherd 2>&1", check=False).stdout
    assert left.count("No such file") == 3


def machine_id_for(minute: int) -> str:
    """A machine id that makes the agent choose this minute of cron's step."""
    numbers = (f"{number:032x}" for number in range(1, 1000))
    return next(text for text in numbers if int(load(AGENT_FILE).digest(text), 16) % CRON_STEP == minute % CRON_STEP)


def test_the_cron_entry(cron_host: Host, hosts: Hosts) -> None:
    host, name = cron_host, cron_host.name
    soon = datetime.now(UTC).minute + 2  # by then it is enrolled
    host.ssh(f"echo {machine_id_for(soon)} > /etc/machine-id; cron")
    said = hosts.enrol(name)
    assert "The cron entry /etc/cron.d/patchherd-agent runs the agent" in said
    entry = host.path("/etc/cron.d/patchherd-agent").read_text()
    assert re.search(rf"(?m)^[0-3]-59/{CRON_STEP} \* \* \* \* root \S+/python3\S* {FILE} ", entry), entry
    assert "already runs the agent" in host.ssh(INSTALL).stdout
    hosts.wait_for_report(name, 60 * CRON_STEP + 30)
    wait_for("the agent is the server's", lambda: hosts.is_updated(name), 30)
    host.ssh(f"curl -fsS --cacert /etc/patchherd/ca.pem {hosts.server.url}/api/v1/hosts/remove | sh")
    assert not host.path("/etc/cron.d/patchherd-agent").exists()


@pytest.mark.parametrize("name", ["deb2", "rpm2"])
def test_the_loop_where_there_is_neither(name: str, hosts: Hosts) -> None:
    host = hosts.lab[name]
    found = re.search(r"Neither systemd nor cron runs here\. Keep this running: (.+)", hosts.enrol(name))
    assert found
    host.ssh(f"setsid -f sh -c 'echo $$ > /run/loop.pid; exec {found.group(1)} > /var/log/loop 2>&1' < /dev/null")
    hosts.wait_for_report(name, 60)
    log = host.path("/var/log/loop")
    wait_for("the loop says so", lambda: "patchherd: sent full; version" in log.read_text(), 30)
    assert hosts.is_updated(name)
    assert host.ssh("kill -0 $(cat /run/loop.pid)").returncode == 0, "it goes on"
    host.ssh("kill -INT $(cat /run/loop.pid)")
    wait_for("the loop ends", lambda: host.ssh("kill -0 $(cat /run/loop.pid)", check=False).returncode != 0, 10)


@pytest.mark.parametrize("name", ["deb1", "rpm1"])
def test_a_report_comes_through_when_the_server_is_back(name: str, hosts: Hosts) -> None:
    host = hosts.lab[name]
    hosts.enrol(name)
    log = host.path("/var/log/away")
    hosts.server.stop()
    once = f"python3 {FILE} --once > /var/log/away 2>&1; echo ended $? >> /var/log/away"
    host.ssh(f"setsid -f sh -c '{once}' > /dev/null 2>&1 < /dev/null")
    port = int(hosts.server.url.rpartition(":")[2])
    with socket.create_server((hosts.lab.gateway, port)) as nobody:
        nobody.settimeout(90)
        nobody.accept()[0].close()  # the agent has tried, in vain
    hosts.server.start()
    hosts.wait_for_report(name, 120)
    wait_for("it ends well", lambda: "ended 0" in log.read_text(), 30)


@pytest.mark.parametrize("name", ["deb1", "rpm1"])
def test_an_ordinary_user_sees_the_same_packages(name: str, hosts: Hosts) -> None:
    host = hosts.lab[name]
    hosts.lab.publish("v2")
    hosts.enrol(name)
    seen = {}
    for user in ("root", "deploy"):
        report = json.loads(host.ssh(f"python3 {FILE} --dry-run --refresh always", user=user, timeout=120).stdout)
        assert (report["problems"], report["metadataUpdated"] is None) == ([], False), user
        names = ("name", "currentVersion", "architecture", "availableVersion", "isSecurityUpdate", "sourceRepository")
        seen[user] = [{key: package.get(key) for key in names} for package in report["packages"]]
    assert seen["deploy"] == seen["root"]
    assert sum(package["availableVersion"] is not None for package in seen["root"]) > 3
    refused = host.ssh(f"python3 {FILE} --once 2>&1", user="deploy", check=False)
    assert refused.returncode == 1
    assert "agent.json" in refused.stdout, "the credentials are root's alone"
