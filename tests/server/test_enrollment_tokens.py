# SPDX-License-Identifier: Apache-2.0
"""Enrolment tokens and host groups: fields, defaults, limits, messages, errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from patchherd import database
from patchherd.enrollment.models import EnrollmentToken
from patchherd.settings import Settings
from tests.server.api import Api, token_headers

TOKENS = "/auto-enrollment/tokens"
ENROLL = "/api/v1/auto-enrollment/enroll"


def test_create_with_defaults(api: Api) -> None:
    answer = api.post(TOKENS, {"token_name": "Proxmox Production"})
    assert answer.status_code == 201
    assert answer.json["message"] == "Auto-enrollment token created successfully"
    assert "cannot be retrieved later" in answer.json["warning"]
    token = answer.json["token"]
    assert token["max_hosts_per_day"] == 100
    assert token["default_host_group"] is None
    assert token["expires_at"] is None
    assert token["scopes"] is None
    assert token["created_by"]["username"] == "admin"
    assert len(token["token_key"]) == len("patchmon_ae_") + 32
    assert token["token_key"].startswith("patchmon_ae_")
    assert len(token["token_secret"]) == 64
    with database.connection():
        stored = EnrollmentToken.get()
        assert stored.secret_hash.startswith("$2b$")
        assert token["token_secret"] not in repr(stored.__data__)


def test_create_with_everything_and_read_it_back(api: Api) -> None:
    group = api.post("/host-groups", {"name": "Proxmox LXC"}).json
    body = {
        "token_name": "Everything",
        "max_hosts_per_day": 1000,
        "default_host_group_id": group["id"],
        "allowed_ip_ranges": ["192.168.1.10", "10.0.0.0/24", "2001:db8::/32", "::ffff:198.51.100.7"],
        "expires_at": "2099-12-31T23:59:59Z",
        "metadata": {"integration_type": "proxmox-lxc", "environment": "production"},
    }
    created = api.post(TOKENS, body).json["token"]
    assert created["default_host_group"] == {"id": group["id"], "name": "Proxmox LXC", "color": "#3B82F6"}
    shown = api.get(f"{TOKENS}/{created['id']}").json
    assert "token_secret" not in shown
    assert {key: shown[key] for key in body} == body
    assert shown["host_groups"]["name"] == "Proxmox LXC"
    assert shown["users"]["username"] == "admin"
    assert shown["is_active"] is True
    assert shown["hosts_created_today"] == 0
    assert shown["last_used_at"] is None
    assert datetime.fromisoformat(shown["created_at"]) <= datetime.now(UTC)


def test_the_secret_is_kept_as_bcrypt_of_the_cost_that_is_set(api: Api, app_settings: Settings) -> None:
    token = api.enrollment_token()
    with database.connection():
        stored = EnrollmentToken.get().secret_hash
    assert re.fullmatch(r"\$2b\$04\$[./A-Za-z0-9]{53}", stored), "the tests' own cost"
    assert token["token_secret"] not in stored
    assert Settings(data=app_settings.data).token_cost == 10, "what the contract promises"


def test_list_is_newest_first_and_without_secrets(api: Api) -> None:
    secrets = [api.enrollment_token(token_name=name)["token_secret"] for name in ("first", "second", "third")]
    answer = api.get(TOKENS)
    assert [token["token_name"] for token in answer.json] == ["third", "second", "first"]
    assert not any(secret in answer.text for secret in secrets)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("token_name", "", "Token name is required (max 255 characters)"),
        ("token_name", "x" * 256, "Token name is required (max 255 characters)"),
        ("token_name", None, "Token name is required (max 255 characters)"),
        ("token_name", 7, "Token name is required (max 255 characters)"),
        ("max_hosts_per_day", 0, "Max hosts per day must be between 1 and 1000"),
        ("max_hosts_per_day", 1001, "Max hosts per day must be between 1 and 1000"),
        ("max_hosts_per_day", 1.5, "Max hosts per day must be between 1 and 1000"),
        ("max_hosts_per_day", "many", "Max hosts per day must be between 1 and 1000"),
        ("max_hosts_per_day", True, "Max hosts per day must be between 1 and 1000"),
        ("allowed_ip_ranges", ["10.0.0.0/33"], None),
        ("allowed_ip_ranges", ["localhost"], None),
        ("allowed_ip_ranges", [""], None),
        ("allowed_ip_ranges", "10.0.0.1", None),
        ("expires_at", "next week", None),
        ("expires_at", 5, None),
        ("metadata", [], None),
        ("scopes", "all", None),
    ],
)
def test_bad_fields_are_400_and_named(api: Api, field: str, value: Any, message: str | None) -> None:
    token = api.enrollment_token()
    attempts = [api.post(TOKENS, {"token_name": "x", field: value})]
    if field != "metadata":
        attempts.append(api.patch(f"{TOKENS}/{token['id']}", {field: value}))
    for answer in attempts:
        assert answer.status_code == 400, answer.text
        row = answer.json["errors"][0]
        assert row["param"].startswith(field)
        assert row["path"] == row["param"]
        assert row["location"] == "body"
        assert row["type"] == "field"
        assert message is None or row["msg"] == message
    assert len(api.get(TOKENS).json) == 1


def test_missing_name_and_malformed_json(api: Api) -> None:
    answer = api.post(TOKENS, {})
    assert answer.status_code == 400
    assert answer.json["errors"][0]["msg"] == "Token name is required (max 255 characters)"
    broken = api.client.post(f"/api/v1{TOKENS}", data="{", headers={**api.headers, "Content-Type": "application/json"})
    assert broken.status_code == 400
    assert broken.json["error"] == "Malformed JSON"


def test_update_every_field(api: Api) -> None:
    token = api.enrollment_token()
    group = api.post("/host-groups", {"name": "G"}).json
    body = {
        "token_name": "Renamed",
        "is_active": False,
        "max_hosts_per_day": 200,
        "allowed_ip_ranges": ["192.168.1.0/24"],
        "default_host_group_id": group["id"],
        "expires_at": "2099-01-01T00:00:00Z",
    }
    answer = api.patch(f"{TOKENS}/{token['id']}", body)
    assert answer.status_code == 200
    assert answer.json["message"] == "Token updated successfully"
    assert {key: answer.json["token"][key] for key in body} == body
    for cleared in ("", None):
        api.patch(f"{TOKENS}/{token['id']}", {"expires_at": "2099-01-01T00:00:00Z"})
        assert api.patch(f"{TOKENS}/{token['id']}", {"expires_at": cleared}).json["token"]["expires_at"] is None
    assert api.patch(f"{TOKENS}/{token['id']}", {"default_host_group_id": ""}).json["token"]["host_groups"] is None
    assert api.patch(f"{TOKENS}/{token['id']}", {}).json["token"]["token_name"] == "Renamed"


def test_unknown_group_is_400(api: Api) -> None:
    token = api.enrollment_token()
    missing = {"default_host_group_id": "00000000-0000-0000-0000-000000000000"}
    for answer in (api.post(TOKENS, {"token_name": "x", **missing}), api.patch(f"{TOKENS}/{token['id']}", missing)):
        assert answer.status_code == 400
        assert answer.json["error"] == "Host group not found"


def test_scopes_belong_to_api_tokens_only(api: Api) -> None:
    scopes = {"host": ["get"]}
    plain = api.enrollment_token()
    assert api.post(TOKENS, {"token_name": "x", "scopes": scopes}).status_code == 400
    assert api.patch(f"{TOKENS}/{plain['id']}", {"scopes": scopes}).status_code == 400
    machine = api.enrollment_token(metadata={"integration_type": "api"}, scopes=scopes)
    assert machine["scopes"] == scopes
    changed = api.patch(f"{TOKENS}/{machine['id']}", {"scopes": {"host": ["get", "put"]}})
    assert changed.json["token"]["scopes"] == {"host": ["get", "put"]}


def test_delete(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token(token_name="Gone")
    host = api.enroll(token)
    answer = api.delete(f"{TOKENS}/{token['id']}")
    assert answer.status_code == 200
    assert answer.json == {
        "message": "Auto-enrollment token deleted successfully",
        "deleted_token": {"id": token["id"], "token_name": "Gone"},
    }
    refused = client.post(ENROLL, json={"friendly_name": "x"}, headers=token_headers(token))
    assert refused.json["error"] == "Invalid or inactive token"
    assert api.host("POST", "/hosts/ping", host).status_code == 200


@pytest.mark.parametrize("token_id", ["unknown", "00000000-0000-0000-0000-000000000000", "%00", "a" * 300])
def test_unknown_token_is_404(api: Api, token_id: str) -> None:
    for method, body in (("GET", None), ("PATCH", {"is_active": True}), ("DELETE", None)):
        status = api.call(method, f"{TOKENS}/{token_id}", body).status_code
        assert status == (400 if "%" in token_id else 404)


def test_admin_endpoints_need_manage_settings(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token()
    operator = {"Authorization": f"Bearer {api.user_token('operator')}"}
    for method, path in (("GET", TOKENS), ("POST", TOKENS), ("GET", f"{TOKENS}/{token['id']}")):
        assert client.open(f"/api/v1{path}", method=method).status_code == 401
        assert client.open(f"/api/v1{path}", method=method, headers=token_headers(token)).status_code == 401
        assert client.open(f"/api/v1{path}", method=method, headers=operator, json={}).status_code == 403


def test_groups(api: Api) -> None:
    made = api.post("/host-groups", {"name": "Web", "description": "web servers", "color": "#00ff00"})
    assert made.status_code == 201
    assert made.json["host_count"] == 0
    path = f"/host-groups/{made.json['id']}"
    assert api.post("/host-groups", {"name": "Web"}).status_code == 409
    host = api.enroll(api.enrollment_token(default_host_group_id=made.json["id"]), friendly_name="w1")
    assert host["host_group"] == {"id": made.json["id"], "name": "Web", "color": "#00ff00"}
    assert [group["host_count"] for group in api.get("/host-groups").json] == [1]
    assert [member["friendly_name"] for member in api.get(f"{path}/hosts").json] == ["w1"]
    other = api.enroll(friendly_name="w2")
    assert len(api.call("PUT", f"{path}/hosts", {"host_ids": [other["id"], host["id"]]}).json) == 2
    assert api.call("PUT", f"{path}/hosts", {"host_ids": ["999999"]}).status_code == 404
    assert api.get(path).json["host_count"] == 2
    changed = api.patch(path, {"name": "Web servers", "description": None})
    assert changed.json["name"] == "Web servers"
    assert changed.json["description"] == ""
    api.post("/host-groups", {"name": "Other"})
    assert api.patch(path, {"name": "Other"}).status_code == 409
    assert api.delete(path).status_code == 200
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": " "}, {"name": "x" * 256}, {"name": "x", "color": "red;}"}, {"name": ["x"]}]
)
def test_bad_groups_are_400(api: Api, body: dict[str, Any]) -> None:
    assert api.post("/host-groups", body).status_code == 400
