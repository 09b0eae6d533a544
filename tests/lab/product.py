# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The product on the lab: a started server on the lab's gateway, hosts that enrol with one curl line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.lab.patchlab import Host, Lab
from tests.running import Server, wait_for

FINAL = {"succeeded", "failed", "canceled"}


class Product:
    """A server and its lab; host names are device references."""

    def __init__(self, server: Server, lab: Lab) -> None:
        self.server, self.lab = server, lab
        body = {"token_name": "lab", "max_hosts_per_day": 100}
        self.token = server.post("/api/v1/auto-enrollment/tokens", body, 201)["token"]

    def enrol(self, *names: str) -> None:
        """Enrol hosts side by side: agent installed, first report sent, the server's SSH key accepted."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._enrol, names))

    def _enrol(self, name: str) -> None:
        secrets = {name: self.token[name] for name in ("token_key", "token_secret")}
        url = f"{self.server.url}/api/v1/auto-enrollment/script?{urlencode({'type': 'direct-host', **secrets})}"
        done = self.lab[name].ssh(f"curl -fsS '{url}' | sh -s -- --with-ssh", timeout=120)
        assert "Successfully Enrolled:  1" in done.stdout, done.stdout + done.stderr

    def enrol_windows(self) -> None:
        """Enrol the Windows double as a host that Ansible reaches by ssh."""
        host = self.lab["win1"]
        credentials = self.server.post(
            "/api/v1/auto-enrollment/enroll",
            {"friendly_name": "win1"},
            201,
            headers={
                "X-Auto-Enrollment-Key": self.token["token_key"],
                "X-Auto-Enrollment-Secret": self.token["token_secret"],
            },
        )["host"]
        key = (host.directory / "keys/ssh_host_ed25519_key.pub").read_text().rsplit(" ", 1)[0]
        report = {
            "hostname": "win1", "ip": host.ip, "osType": "Microsoft Windows Server 2022", "osVersion": "10.0.20348",
            "architecture": "AMD64", "sshHostKeys": [key], "packages": None,
        }  # fmt: skip
        headers = {"X-API-ID": credentials["api_id"], "X-API-KEY": credentials["api_key"]}
        self.server.post("/api/v1/hosts/update", report, headers=headers)
        connection = {"connection": "ssh", "shell": "sh", "remote_user": "root", "python": "/usr/bin/python3"}
        self.server.call("PATCH", "/api/v1/devices/win1", json=connection)
        public = Path(self.server.data, "ssh/id_ed25519.pub").read_text().strip()
        host.ssh(f"echo '{public}' >> /root/.ssh/authorized_keys")

    def report(self, *names: str) -> None:
        """Let the hosts' agents send a full report now."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.lab[name].ssh(AGENT, timeout=120), names))

    def device(self, name: str) -> dict[str, Any]:
        return dict(self.server.get(f"/api/v1/devices/{name}"))

    def patches(self, name: str) -> dict[str, Any]:
        return dict(self.server.get(f"/api/v1/devices/{name}/patches"))

    def missing(self, name: str) -> dict[str, dict[str, Any]]:
        """Package name -> row of what the server says is missing."""
        return {row["package"]: row for row in self.patches(name)["patches"] if row["verdict"] == "missing"}

    def deploy(self, *devices: str, expect: int = 201, **order: Any) -> dict[str, Any]:
        return dict(self.server.post("/api/v1/deployments", {"devices": list(devices), **order}, expect))

    def deployment(self, number: int) -> dict[str, Any]:
        return dict(self.server.get(f"/api/v1/deployments/{number}"))

    def finished(self, deployment: dict[str, Any], seconds: float = 180) -> dict[str, Any]:
        """The deployment once it has ended."""

        def ended() -> dict[str, Any] | None:
            shown = self.deployment(deployment["id"])
            return shown if shown["state"] in FINAL else None

        found = wait_for(f"deployment {deployment['id']} ends", ended, seconds, 0.3)
        assert found is not None
        return found

    def run(self, *devices: str, **order: Any) -> dict[str, Any]:
        """Deploy and wait for the end."""
        return self.finished(self.deploy(*devices, **order))

    def explain(self, deployment: dict[str, Any]) -> str:
        """Everything a failed assertion should show."""
        events = self.server.get(f"/api/v1/deployments/{deployment['id']}/events?limit=5000")
        bad = [event for event in events if event["event"] in {"runner_on_failed", "runner_on_unreachable", "error"}]
        return f"{deployment}\n{bad}\n{self.server.log.read_text()[-4000:]}"


AGENT = "python3 /usr/local/lib/patchherd/patchherd_agent.py --once --full --refresh always"


def by_name(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The hosts of a deployment by name."""
    return {host["name"]: host for host in deployment["hosts"]}


def results(host: dict[str, Any]) -> dict[str, str]:
    """Package -> result of a deployment's host."""
    return {change["package"]: change["result"] for change in host["changes"]}


def installed_version(host: Host, package: str) -> str:
    """What the package manager on the host itself says; empty when it is not installed."""
    if host.family == "deb":
        command = f"dpkg-query -W -f '${{Version}}' {package} 2>/dev/null || true"
    else:
        command = f"rpm -q --qf '%{{version}}-%{{release}}' {package} 2>/dev/null | grep -v 'not installed' || true"
    return host.ssh(command).stdout.strip()
