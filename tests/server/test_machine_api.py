# SPDX-License-Identifier: Apache-2.0
"""Hosts for programs in the field: `GET /api/hosts` with HTTP Basic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from patchherd import database
from patchherd.devices.models import Device
from patchherd.enrollment.models import EnrollmentToken
from patchherd.identity.models import ApiToken
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


@pytest.mark.parametrize("path", PATHS)
def test_a_token_of_the_machine_api_ends(api: Api, client: FlaskClient, path: str) -> None:
    """Expired, switched off, with a wrong secret, deleted: 401 in the contract's words, over Basic and as Bearer."""
    token = api.enrollment_token(metadata={"integration_type": "api"}, scopes={"host": ["get"]})
    place = f"/auto-enrollment/tokens/{token['id']}"

    def read(secret: str = token["token_secret"]) -> tuple[int, dict[str, Any]]:
        answer = client.get(path, auth=(token["token_key"], secret))
        assert ("WWW-Authenticate" in answer.headers) is (answer.status_code == 401)
        return answer.status_code, answer.json

    def refused(message: str) -> tuple[int, dict[str, Any]]:
        return 401, {"error": message, "detail": message}

    assert read() == (200, {"hosts": [], "total": 0})
    assert read("0" * 64) == refused("Invalid token secret")
    with database.connection():
        EnrollmentToken.update(expires_at=database.now()).execute()
    assert read() == refused("Token expired")
    assert api.patch(place, {"expires_at": ""}).status_code == 200
    assert read()[0] == 200
    assert api.patch(place, {"is_active": False}).status_code == 200
    assert read() == refused("Invalid or inactive token"), "also one whose secret has been verified a moment ago"
    assert api.patch(place, {"is_active": True}).status_code == 200
    assert read()[0] == 200
    for value in (token["token_key"], token["token_secret"]):
        answer = client.get(path, headers={"Authorization": f"Bearer {value}"})
        assert (answer.status_code, answer.json) == refused("Invalid token")
    pair = f"Bearer {token['token_key']}:{token['token_secret']}"
    answer = client.get(path, headers={"Authorization": pair})
    assert (answer.status_code, answer.json["error"]) == (403, "Token is not valid for enrollment"), "that is Basic's"
    assert api.delete(place).status_code == 200
    assert read() == refused("Invalid or inactive token")


@pytest.mark.parametrize("path", PATHS)
def test_an_api_token_ends(api: Api, client: FlaskClient, path: str) -> None:
    """The same for API tokens: as Bearer, and as name and secret over Basic."""
    texts = [api.api_token(role="viewer"), api.api_token(role="viewer", expires_at="2099-01-01T00:00:00Z")]

    def read(text: str) -> list[tuple[int, Any]]:
        answers = [
            client.get(path, headers={"Authorization": f"Bearer {text}"}),
            client.get(path, auth=(text[:20], text[21:])),
        ]
        return [(answer.status_code, answer.json.get("error")) for answer in answers]

    assert [read(text) for text in texts] == [[(200, None)] * 2] * 2
    with database.connection():
        ApiToken.update(expires_at=database.now()).where(ApiToken.expires_at.is_null(False)).execute()
        ApiToken.update(revoked_at=database.now()).where(ApiToken.expires_at.is_null()).execute()
    assert read(texts[0]) == [(401, "Invalid API token")] * 2
    assert read(texts[1]) == [(401, "API token expired")] * 2


def test_the_last_use_of_a_token_of_the_machine_api_is_known(
    api: Api, client: FlaskClient, machine: tuple[str, str]
) -> None:
    def last_use() -> str | None:
        (shown,) = api.get("/auto-enrollment/tokens").json
        return shown["last_used_at"]  # type: ignore[no-any-return]

    client.get("/api/hosts", auth=(machine[0], "0" * 64))
    assert last_use() is None
    client.get("/api/hosts", auth=machine)
    first = last_use()
    assert first is not None
    client.get("/api/hosts", auth=machine)
    assert last_use() == first, "written once a minute"
    with database.connection():
        EnrollmentToken.update(last_used_at=database.now() - timedelta(minutes=2)).execute()
    client.get("/api/hosts", auth=machine)
    assert (last_use() or "") >= first
