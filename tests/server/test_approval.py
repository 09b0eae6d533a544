# SPDX-License-Identifier: Apache-2.0
"""With approval on, a new host reports and is listed, and nothing is done to it until an operator approves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from flask import Flask

from patchherd import database
from patchherd.app import create_app
from patchherd.identity.models import AuditEntry
from patchherd.settings import Settings
from tests.server.api import Api

REPORT = {
    "hostname": "new", "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "osId": "debian", "osVersion": "12",
    "packages": [
        {"name": "nginx", "currentVersion": "1.18", "architecture": "amd64", "availableVersion": "1.20",
         "needsUpdate": True, "isSecurityUpdate": False},
    ],
}  # fmt: skip


@pytest.fixture
def app(app_settings: Settings) -> Iterator[Flask]:
    """A server where hosts wait for approval."""
    yield create_app(msgspec.structs.replace(app_settings, host_approval=True))
    database.close_all()


def shown(api: Api, device: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The device in the device list and in the inventory."""
    native = api.get(f"/devices/{device}").json
    (row,) = [host for host in api.get("/inventory").json["hosts"] if host["id"] == device]
    return native, row


def test_from_enrolment_to_deployment(api: Api) -> None:
    host = api.enroll(friendly_name="new")
    assert host["status"] == "pending"
    device = api.get(f"/devices/{host['id']}").json["id"]

    native, row = shown(api, device)
    assert (native["state"], row["state"], row["address"]) == ("pending", "pending", None)

    assert api.host("POST", "/hosts/ping", host).status_code == 200
    answer = api.host("POST", "/hosts/update", host, REPORT)
    assert answer.json["updatesAvailable"] == 1
    native, row = shown(api, device)
    assert (native["state"], row["state"]) == ("pending", "pending"), "a report is no approval"
    assert row["patch_status"] == "missing", "what it reports is known all the same"

    for path in ("/deployments", "/scans"):
        refused = api.post(path, {"devices": [device]})
        assert refused.status_code == 409, refused.text
        assert "waits for approval" in refused.json["message"]

    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    assert api.patch(f"/devices/{device}", {"approved": True}, headers=viewer).status_code == 403
    assert api.patch(f"/devices/{device}", {"approved": True}).status_code == 200
    native, row = shown(api, device)
    assert (native["state"], row["state"], row["address"]) == ("active", "active", "192.0.2.7")
    with database.connection():
        entry = AuditEntry.select().where(AuditEntry.action == "device.update").get()
    assert (entry.before["approved"], entry.after["approved"]) == (False, True)

    placed = api.post("/deployments", {"devices": [device], "dry_run": True})
    assert placed.status_code == 201, placed.text
    assert [change["package"] for host in placed.json["hosts"] for change in host["changes"]] == ["nginx"]


def test_a_group_with_pending_hosts_deploys_the_others(api: Api) -> None:
    group = api.post("/host-groups", {"name": "g"}).json
    token = api.enrollment_token(default_host_group_id=group["id"])
    hosts = [api.enroll(token, friendly_name=name) for name in ("one", "two")]
    for host in hosts:
        api.host("POST", "/hosts/update", host, {**REPORT, "hostname": host["friendly_name"]})
    api.patch(f"/devices/{hosts[0]['id']}", {"approved": True})
    placed = api.post("/deployments", {"groups": ["g"], "dry_run": True})
    assert placed.status_code == 201, placed.text
    assert {row["name"]: row["state"] for row in placed.json["hosts"]} == {"one": "waiting", "two": "skipped"}


def test_approval_can_be_taken_back(api: Api) -> None:
    host = api.enroll()
    api.host("POST", "/hosts/update", host, REPORT)
    for approved, status in ((True, 201), (False, 409)):
        api.patch(f"/devices/{host['id']}", {"approved": approved})
        placed = api.post("/scans", {"devices": [host["id"]]})
        assert placed.status_code == status, placed.text
        if status == 201:
            assert api.post(f"/deployments/{placed.json['id']}/cancel").status_code == 200
