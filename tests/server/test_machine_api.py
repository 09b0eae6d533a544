# SPDX-License-Identifier: Apache-2.0
"""Hosts for programs in the field: `GET /api/hosts` with HTTP Basic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from patchherd import database
from patchherd.devices.models import Device
from tests.server.api import Api, token_headers

PATHS = ["/api/hosts", "/api/v1/api/hosts"]
PENDING = {
    "os_type": None, "os_version": None, "last_update": None, "status": "pending", "needs_reboot": None,
    "updates_count": None, "security_updates_count": None, "total_packages": None, "patch_status": "unknown",
    "patch_reason": "no report yet",
}  # fmt: skip


@pytest.fixture
def machine(api: Api) -> tuple[str, str]:
    """Name and secret of a token that may read hosts."""
    token = api.enrollment_token(metadata={"integration_type": "api"}, scopes={"host": ["get"]})
    return token["token_key"], token["token_secret"]


def report(api: Api, host: dict[str, Any], **fields: Any) -> None:
    package = {"name": "nginx", "currentVersion": "1.18", "architecture": "amd64", "isSecurityUpdate": False}
    old = {**package, "availableVersion": "1.20", "needsUpdate": True}
    body = {
        "hostname": host["friendly_name"], "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "osId": "debian",
        "osVersion": "12 (bookworm)", "needsReboot": False,
        "packages": [old, {**package, "name": "bash", "needsUpdate": False}], **fields,
    }  # fmt: skip
    answer = api.host("POST", "/hosts/update", host, body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", PATHS)
def test_hosts_with_groups(api: Api, client: FlaskClient, machine: tuple[str, str], path: str) -> None:
    group = api.post("/host-groups", {"name": "Production"}).json
    web = api.enroll(api.enrollment_token(default_host_group_id=group["id"]), friendly_name="web")
    report(api, web)
    waiting = api.enroll(friendly_name="waiting")
    answer = client.get(path, auth=machine)
    assert answer.status_code == 200
    assert answer.json == {
        "hosts": [
            {
                "id": web["id"], "friendly_name": "web", "hostname": "web", "ip": "192.0.2.7",
                "host_groups": [{"id": group["id"], "name": "Production"}],
            },
            {"id": waiting["id"], "friendly_name": "waiting", "hostname": "waiting", "ip": None, "host_groups": []},
        ],
        "total": 2,
    }  # fmt: skip


def test_stats(api: Api, client: FlaskClient, machine: tuple[str, str]) -> None:
    web = api.enroll(friendly_name="web")
    report(api, web)
    waiting = api.enroll(friendly_name="waiting")
    shown = {row["id"]: row for row in client.get("/api/hosts?include=stats", auth=machine).json["hosts"]}
    assert PENDING.items() <= shown[waiting["id"]].items()
    row = shown[web["id"]]
    assert (row["os_type"], row["os_version"], row["status"]) == ("Debian GNU/Linux", "12 (bookworm)", "online")
    assert (row["updates_count"], row["security_updates_count"], row["total_packages"]) == (1, 0, 2)
    assert (row["needs_reboot"], row["patch_status"], row["patch_reason"]) == (False, "missing", None)
    with database.connection():
        Device.update(last_heartbeat=database.now() - timedelta(days=9), evaluated_at=0).execute()
    row = client.get("/api/hosts?include=stats", auth=machine).json["hosts"][0]
    assert row["status"] == "offline"
    assert (row["updates_count"], row["patch_status"]) == (None, "unknown"), "old evidence proves nothing"


def test_groups_are_named_by_name_or_id_and_ored(api: Api, client: FlaskClient, machine: tuple[str, str]) -> None:
    groups = [api.post("/host-groups", {"name": name}).json for name in ("A", "B", "C")]
    for group in groups:
        api.enroll(api.enrollment_token(default_host_group_id=group["id"]), friendly_name=f"in-{group['name']}")
    api.enroll(friendly_name="in-none")

    def names(hostgroup: str) -> list[str]:
        shown = client.get("/api/hosts", query_string={"hostgroup": hostgroup}, auth=machine).json
        assert shown["total"] == len(shown["hosts"])
        return [host["friendly_name"] for host in shown["hosts"]]

    assert names("A") == ["in-A"]
    assert names(f"A, {groups[2]['id']}") == ["in-A", "in-C"]
    assert names("") == ["in-A", "in-B", "in-C", "in-none"]
    shown = client.get("/api/hosts?hostgroup=B", auth=machine).json
    assert shown["filtered_by_groups"] == ["B"]
    assert client.get("/api/hosts?hostgroup=nowhere", auth=machine).status_code == 404
    assert client.get("/api/hosts?include=secrets", auth=machine).status_code == 400
    assert client.get("/api/hosts?include=stats&color=red", auth=machine).status_code == 200


def test_who_may_read(api: Api, client: FlaskClient, machine: tuple[str, str]) -> None:
    plain = api.enrollment_token()
    unscoped = api.enrollment_token(metadata={"integration_type": "api"})
    fenced = api.enrollment_token(
        metadata={"integration_type": "api"}, scopes={"host": ["get"]}, allowed_ip_ranges=["192.0.2.1"]
    )

    def status(token: dict[str, Any]) -> int:
        return client.get("/api/hosts", auth=(token["token_key"], token["token_secret"])).status_code

    assert client.get("/api/hosts").status_code == 401
    assert client.get("/api/hosts", auth=(machine[0], "0" * 64)).status_code == 401
    assert client.get("/api/hosts", headers=token_headers(plain)).status_code == 401
    assert status(plain) == 403
    assert status(unscoped) == 403
    assert status(fenced) == 403
    bearer = {"Authorization": f"Bearer {api.api_token(role='viewer')}"}
    assert client.get("/api/hosts", headers=bearer).status_code == 200
    assert client.post("/api/v1/deployments", json={}, auth=machine).status_code == 403
