# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A real host joins a server whose certificate nobody knows, with nothing but the printed line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.certificates import make_pair
from tests.lab.patchlab import Lab
from tests.lab.product import AGENT
from tests.running import Server


def test_a_host_enrols_and_reports_over_https_with_the_printed_line(fresh_lab: Lab, tmp_path: Path) -> None:
    host = fresh_lab["deb1"]
    with Server(tmp_path / "server", fresh_lab.gateway, PATCHHERD_TLS="true") as server:
        server.log_in()
        line = server.command("token", "create", "lab").stdout.splitlines()[-1].strip()
        assert line.startswith("curl -fsS -k --pinnedpubkey 'sha256//")
        done = host.ssh(line, timeout=120)
        assert "Successfully Enrolled:  1" in done.stdout, done.stdout + done.stderr

        config = json.loads(host.ssh("cat /etc/patchherd/agent.json").stdout)
        assert (config["server"], config["ca_file"]) == (server.url, "/etc/patchherd/ca.pem")
        assert host.ssh("cat /etc/patchherd/ca.pem").stdout == (server.data / "tls/ca.crt").read_text()
        shown = server.get("/api/v1/devices/deb1")
        assert [row["status"] for row in server.get("/api/devices")["devices"]] == ["ONLINE"]
        assert shown["last_report"]

        host.ssh(AGENT, timeout=120)
        assert server.get("/api/v1/devices/deb1")["last_report"] > shown["last_report"]

        foreign, _ = make_pair(tmp_path / "foreign", fresh_lab.gateway)
        host.ssh(f"cat > /etc/patchherd/ca.pem <<'END'\n{foreign.read_text()}END")
        refused = host.ssh(f"{AGENT} 2>&1; echo exit $?", timeout=120).stdout
        assert "CERTIFICATE_VERIFY_FAILED" in refused
        assert "exit 0" not in refused
