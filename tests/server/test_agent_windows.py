# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A report as the Windows agent writes it, and the endpoints that hand that agent out."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from msgspec.structs import replace

from patchherd.database import now
from tests.server.api import Api, host_headers

FIXTURE = Path(__file__).parents[1] / "fixtures" / "windows_report.json"
SCRIPT = "/api/v1/auto-enrollment/script"


@pytest.fixture
def report() -> dict[str, Any]:
    """The sample report, as fresh as if it came now."""
    return {**json.loads(FIXTURE.read_text()), "metadataUpdated": now().isoformat()}


def test_the_sample_report_is_taken_as_it_is(api: Api, report: dict[str, Any]) -> None:
    host = api.enroll(friendly_name="win")
    answer = api.host("POST", "/hosts/update", host, report)
    assert (answer.status_code, answer.json["packagesProcessed"]) == (200, 9), answer.text
    assert (answer.json["updatesAvailable"], answer.json["securityUpdates"]) == (5, 1)

    device = api.get(f"/devices/{host['id']}").json
    assert device["hostname"] == "WIN-APP01"
    assert device["os_family"] == "windows"
    assert device["os_version"] == "10.0.20348.2340"
    assert device["reboot_required"] is True
    assert device["reboot_reason"].startswith("Windows Update asks for a reboot; ")
    assert device["facts"]["diskDetails"][0]["mountPoint"] == "C:\\"
    assert device["facts"]["repositories"][0]["name"] == "WSUS"

    shown = api.get(f"/devices/{host['id']}/patches?verdict=missing,not_installable").json
    rows = {row["kb"]: row for row in shown["patches"]}
    drivers = [row for row in shown["patches"] if row["package"] == "Contoso - Net - 10.1.0.4"]
    assert [row["update_id"][-1] for row in drivers] == ["5", "6"], "one title, two updates"
    assert shown["status"] == "missing"
    assert (rows["KB5050001"]["severity"], rows["KB5050001"]["severity_source"]) == ("Critical", "msrc")
    assert rows["KB5050002"]["security"] is False
    assert rows["KB2267602"]["reboot_suggested"] is False
    assert (rows["KB890830"]["verdict"], rows["KB890830"]["reason"]) == ("not_installable", "hidden")
    installed = api.get(f"/devices/{host['id']}/packages").json["packages"]
    assert {(row["name"], row["version"]) for row in installed} == {
        ("7-Zip 23.01 (x64)", "23.01"), ("OpenSSH “Win32”", "unknown"), ("KB5031364", "installed")
    }  # fmt: skip

    ping = api.host("POST", "/hosts/ping", host, {"hashes": report["hashes"]}).json
    assert ping["requestFull"] == []


def test_a_failed_search_is_unknown_and_never_current(api: Api, report: dict[str, Any]) -> None:
    host = api.enroll()
    software = [item for item in report["packages"] if "wuaGuid" not in item]
    problem = "Windows Update search failed: 0x80244022 "
    body = {**report, "packages": software, "metadataUpdated": None, "problems": [problem]}
    assert api.host("POST", "/hosts/update", host, body).status_code == 200
    shown = api.get(f"/devices/{host['id']}/patches").json
    assert (shown["status"], shown["counts"]) == ("unknown", None)
    assert shown["problems"] == [problem]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_setting_decides_whether_agents_renew_themselves(api: Api, app: Flask, allowed: bool) -> None:
    app.config["PATCHHERD"] = replace(app.config["PATCHHERD"], agent_self_update=allowed)
    host = api.enroll()
    shown = api.host("GET", "/hosts/agent/version?os=windows&currentVersion=0.0.9", host).json
    assert shown["autoUpdate"] is allowed
    assert re.fullmatch(r"\d+(\.\d+)+", shown["latestVersion"])
    download = api.host("GET", "/hosts/agent/download?os=windows", host)
    assert int(download.headers["Content-Length"]) == len(download.data) < 2 * 1024 * 1024
    assert hashlib.sha256(download.data).hexdigest() == shown["hash"], "in lower case, as the agent computes it"
    assert re.search(r"(?m)^\$AgentVersion = '([^']+)'", download.text)[1] == shown["latestVersion"]  # type: ignore[index]


def test_agent_and_scripts_for_windows(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token()
    query = {"token_key": token["token_key"], "token_secret": token["token_secret"], "os": "windows"}
    assert client.get(SCRIPT, query_string={**query, "type": "proxmox-lxc"}).status_code == 400
    assert client.get(SCRIPT, query_string={**query, "type": "direct-host", "os": "plan9"}).status_code == 400
    wrong = client.get(SCRIPT, query_string={**query, "type": "direct-host", "token_secret": "wrong"})
    assert wrong.status_code == 401
    script = client.get(SCRIPT, query_string={**query, "type": "direct-host"})
    assert (script.status_code, script.mimetype) == (200, "text/plain")
    assert f"AUTO_ENROLLMENT_SECRET = '{token['token_secret']}'" in script.text

    host = api.enroll(token)
    shown = api.host("GET", "/hosts/agent/version?os=windows&arch=amd64&currentVersion=0.0.1", host).json
    download = client.get(shown["downloadUrl"], headers=host_headers(host))
    assert shown["hash"] == hashlib.sha256(download.data).hexdigest()
    assert f"$AgentVersion = '{shown['latestVersion']}'" in download.text
    assert shown["hasUpdate"] is True
    linux = api.host("GET", "/hosts/agent/version", host).json
    assert linux["hash"] != shown["hash"]

    install = api.host("GET", "/hosts/install?os=windows", host).text
    assert host["api_key"] not in install
    bootstrap = install.partition("BOOTSTRAP_TOKEN = '")[2].partition("'")[0]
    exchanged = client.post("/api/v1/hosts/bootstrap/exchange", json={"token": bootstrap}).json
    assert exchanged == {"apiId": host["api_id"], "apiKey": host["api_key"]}
