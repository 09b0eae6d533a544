# SPDX-License-Identifier: Apache-2.0
"""Enrolling hosts, one and many: order of checks, quota, answers, and what an enrolled host may do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.app import create_app
from patchherd.devices.models import Device
from patchherd.enrollment import quota
from patchherd.enrollment.models import BootstrapToken, EnrollmentToken, HostCredential
from patchherd.settings import Settings
from tests.server.api import Api, host_headers, token_headers
from tests.ssh_keys import ed25519

ENROLL = "/api/v1/auto-enrollment/enroll"
BULK = f"{ENROLL}/bulk"
HOST_KEY = ed25519("enrolled")


def device(host: dict[str, Any]) -> Device:
    with database.connection():
        return Device.get(Device.uuid == host["id"])


def change_setting(app: Flask, **values: Any) -> None:
    app.config["PATCHHERD"] = msgspec.structs.replace(app.config["PATCHHERD"], **values)


def test_enroll_one(api: Api) -> None:
    host = api.enroll(
        api.enrollment_token(token_name="Production Proxmox"),
        friendly_name="webserver",
        machine_id="proxmox-lxc-100-abc123",
        metadata={"vmid": "100", "proxmox_node": "proxmox01", "ssh_host_keys": [HOST_KEY, "rubbish"]},
    )
    assert re.fullmatch(r"patchmon_[0-9a-f]{16}", host["api_id"])
    assert re.fullmatch(r"[0-9a-f]{64}", host["api_key"])
    assert host["status"] == "pending"
    assert host["host_group"] is None
    stored = device(host)
    assert stored.machine_id == "proxmox-lxc-100-abc123"
    assert stored.enrolment_metadata["vmid"] == "100"
    assert re.fullmatch(r"Auto-enrolled via Production Proxmox on \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stored.notes)
    assert stored.ssh_host_keys == [HOST_KEY]
    (problem,) = api.get(f"/devices/{host['id']}/patches").json["problems"]
    assert problem.startswith("SSH host key 2 is not a public key")
    with database.connection():
        assert host["api_key"] not in repr(HostCredential.get().__data__)


def test_answer_is_compact_json_that_scripts_can_grep(api: Api, client: FlaskClient) -> None:
    answer = client.post(ENROLL, json={"friendly_name": "x"}, headers=token_headers(api.enrollment_token()))
    assert re.search(r'"api_id":"[^"]+', answer.text)


def test_order_of_checks(api: Api, client: FlaskClient) -> None:
    """Each request breaks one rule and every later one; the answer is about the first."""
    token = api.enrollment_token(allowed_ip_ranges=["192.0.2.1"], max_hosts_per_day=1)
    path = f"/auto-enrollment/tokens/{token['id']}"

    def attempt(headers: dict[str, str], address: str = "203.0.113.9", body: Any = None) -> tuple[int, str]:
        answer = client.post(ENROLL, json=body, headers=headers, environ_overrides={"REMOTE_ADDR": address})
        return answer.status_code, answer.json["error"]

    def forged() -> dict[str, str]:
        return {**good, "X-Auto-Enrollment-Secret": "0" * 64}

    good = token_headers(token)
    with database.connection():
        EnrollmentToken.update(
            expires_at=database.now() - timedelta(seconds=1), hosts_created=1, quota_day=quota._today()
        ).execute()
    api.patch(path, {"is_active": False})
    assert attempt({}) == (401, "Auto-enrollment credentials required")
    for name in good:
        assert attempt({name: good[name]}) == (401, "Auto-enrollment credentials required")
    assert attempt({**forged(), "X-Auto-Enrollment-Key": "patchmon_ae_0"}) == (401, "Invalid or inactive token")
    assert attempt(forged()) == (401, "Invalid or inactive token")
    api.patch(path, {"is_active": True})
    assert attempt(forged()) == (401, "Invalid token secret")
    assert attempt(good) == (401, "Token expired")
    api.patch(path, {"expires_at": None})
    assert attempt(good) == (403, "IP address not authorized for this token")
    assert attempt(good, "192.0.2.1") == (429, "Rate limit exceeded")
    api.patch(path, {"max_hosts_per_day": 2})
    assert attempt(good, "192.0.2.1") == (400, "Validation failed")
    assert client.post(
        ENROLL, json={"friendly_name": "x"}, headers=good, environ_overrides={"REMOTE_ADDR": "::ffff:192.0.2.1"}
    ).status_code == 201  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "friendly_name"),
        ({"friendly_name": ""}, "friendly_name"),
        ({"friendly_name": "  "}, "friendly_name"),
        ({"friendly_name": "x" * 256}, "friendly_name"),
        ({"friendly_name": None}, "friendly_name"),
        ({"friendly_name": ["x"]}, "friendly_name"),
        ({"friendly_name": "x", "machine_id": "x" * 256}, "machine_id"),
        ({"friendly_name": "x", "machine_id": 5}, "machine_id"),
        ({"friendly_name": "x", "metadata": "text"}, "metadata"),
        ([], ""),
        ("text", ""),
    ],
)
def test_bad_bodies_create_nothing(api: Api, client: FlaskClient, body: Any, param: str) -> None:
    token = api.enrollment_token()
    answer = client.post(ENROLL, json=body, headers=token_headers(token))
    assert answer.status_code == 400
    assert answer.json["errors"][0]["param"] == param
    assert answer.json["detail"]
    with database.connection():
        assert Device.select().count() == 0
        assert EnrollmentToken.get().hosts_created == 0


def test_strange_but_valid_names_survive(api: Api) -> None:
    for name in ("ü-ñ-漢字-🦊", "$(reboot)", "a'b\"c`d", "x" * 255, "<script>", "nul\x00inside"):
        host = api.enroll(friendly_name=name, unknown_field={"kept": False})
        assert device(host).friendly_name == name.replace("\x00", "")


def test_daily_quota(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token(max_hosts_per_day=2)
    first = api.enroll(token)
    api.enroll(token)
    refused = client.post(ENROLL, json={"friendly_name": "x"}, headers=token_headers(token))
    assert refused.status_code == 429
    assert refused.json["error"] == "Rate limit exceeded"
    assert refused.json["message"] == "Maximum 2 hosts per day allowed for this token"
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600 + 1
    shown = api.get(f"/auto-enrollment/tokens/{token['id']}").json
    assert shown["hosts_created_today"] == 2
    assert shown["last_used_at"] is not None
    assert api.host("POST", "/hosts/ping", first).status_code == 200
    with database.connection():  # the day turns
        EnrollmentToken.update(quota_day=EnrollmentToken.quota_day - 1).execute()
    assert api.get(f"/auto-enrollment/tokens/{token['id']}").json["hosts_created_today"] == 0
    api.enroll(token)
    assert api.get(f"/auto-enrollment/tokens/{token['id']}").json["hosts_created_today"] == 1


def bulk(client: FlaskClient, token: dict[str, Any], hosts: Any) -> Any:
    return client.post(BULK, json={"hosts": hosts}, headers=token_headers(token))


def test_bulk(api: Api, client: FlaskClient) -> None:
    group = api.post("/host-groups", {"name": "LXC"}).json
    token = api.enrollment_token(default_host_group_id=group["id"])
    answer = bulk(client, token, [{"friendly_name": "web", "machine_id": "m1"}, {"friendly_name": "database"}])
    assert answer.status_code == 201
    assert answer.json["message"] == "Bulk enrollment completed: 2 succeeded, 0 failed, 0 skipped"
    results = answer.json["results"]
    assert results["failed"] == results["skipped"] == []
    assert [set(row) for row in results["success"]] == [{"id", "friendly_name", "api_id", "api_key"}] * 2
    for host in results["success"]:
        assert api.host("POST", "/hosts/ping", host).status_code == 200
    assert api.get(f"/host-groups/{group['id']}").json["host_count"] == 2


def test_bulk_beyond_the_quota_creates_nothing(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token(max_hosts_per_day=6)
    api.enroll(token)
    refused = bulk(client, token, [{"friendly_name": f"h{n}"} for n in range(6)])
    assert refused.status_code == 429
    assert refused.json["error"] == "Rate limit exceeded"
    assert refused.json["message"] == "Only 5 hosts remaining in daily quota"
    with database.connection():
        assert Device.select().count() == 1
    assert bulk(client, token, [{"friendly_name": f"h{n}"} for n in range(5)]).status_code == 201


@pytest.mark.parametrize(
    "hosts",
    [[], None, "x", [{"friendly_name": f"h{n}"} for n in range(51)], [{"friendly_name": "a"}, {"machine_id": "b"}]],
)
def test_bulk_limits(api: Api, client: FlaskClient, hosts: Any) -> None:
    answer = bulk(client, api.enrollment_token(), hosts)
    assert answer.status_code == 400
    assert answer.json["errors"][0]["param"].startswith("hosts")
    with database.connection():
        assert Device.select().count() == 0


def test_bulk_takes_fifty(api: Api, client: FlaskClient) -> None:
    answer = bulk(client, api.enrollment_token(), [{"friendly_name": f"h{n}"} for n in range(50)])
    assert len({host["api_id"] for host in answer.json["results"]["success"]}) == 50


def test_duplicates_are_allowed_by_default(api: Api) -> None:
    token = api.enrollment_token()
    assert api.enroll(token, machine_id="same")["id"] != api.enroll(token, machine_id="same")["id"]


@pytest.mark.parametrize("policy", ["skip", "reject"])
def test_duplicates_can_be_refused(api: Api, app: Flask, client: FlaskClient, policy: str) -> None:
    change_setting(app, duplicate_hosts=policy)
    token = api.enrollment_token()
    api.enroll(token, machine_id="same")
    single = client.post(ENROLL, json={"friendly_name": "x", "machine_id": "same"}, headers=token_headers(token))
    assert single.status_code == 409
    assert single.json["error"] == "Host already enrolled"
    hosts = [{"friendly_name": name, "machine_id": name} for name in ("same", "new", "new")]
    answer = bulk(client, token, [*hosts, {"friendly_name": "anonymous"}, {"friendly_name": "anonymous"}])
    results = answer.json["results"]
    assert [host["friendly_name"] for host in results["success"]] == ["new", "anonymous", "anonymous"]
    refused = results["skipped" if policy == "skip" else "failed"]
    assert [row["machine_id"] for row in refused] == ["same", "new"]
    assert results["failed" if policy == "skip" else "skipped"] == []
    counts = "0 failed, 2 skipped" if policy == "skip" else "2 failed, 0 skipped"
    assert answer.json["message"] == f"Bulk enrollment completed: 3 succeeded, {counts}"
    assert api.get(f"/auto-enrollment/tokens/{token['id']}").json["hosts_created_today"] == 4


def test_a_deleted_host_may_come_back(api: Api, app: Flask) -> None:
    change_setting(app, duplicate_hosts="reject")
    host = api.enroll(machine_id="same")
    assert api.delete(f"/devices/{device(host).id}").status_code in {200, 204}
    assert api.enroll(machine_id="same")["id"] != host["id"]


def test_an_enrolled_host_stays_the_same_device(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token(max_hosts_per_day=1)
    host = api.enroll(token, machine_id="m")
    again = client.post(ENROLL, json={"friendly_name": "web1"}, headers={**token_headers(token), **host_headers(host)})
    assert again.status_code == 201
    assert again.json["host"]["id"] == host["id"]
    assert again.json["host"]["api_key"] == host["api_key"]
    stranger = {**host_headers(host), "X-API-KEY": "0" * 64}
    refused = client.post(ENROLL, json={"friendly_name": "x"}, headers={**token_headers(token), **stranger})
    assert refused.status_code == 429
    with database.connection():
        assert Device.select().count() == 1


def test_approval(api: Api, app: Flask) -> None:
    change_setting(app, host_approval=True)
    host = api.enroll()
    assert device(host).approved is False
    assert api.host("POST", "/hosts/ping", host).status_code == 200
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    path = f"/devices/{device(host).id}"
    assert api.client.patch(f"/api/v1{path}", json={"approved": True}, headers=viewer).status_code == 403
    assert api.patch(path, {"approved": True}).status_code == 200
    assert device(host).approved is True


def test_api_scoped_tokens_cannot_enroll_and_enrolment_tokens_cannot_read(api: Api, client: FlaskClient) -> None:
    machine = api.enrollment_token(metadata={"integration_type": "api"}, scopes={"host": ["get"]})
    plain = api.enrollment_token()
    refused = client.post(ENROLL, json={"friendly_name": "x"}, headers=token_headers(machine))
    assert refused.status_code == 403
    basic = {t["id"]: (t["token_key"], t["token_secret"]) for t in (machine, plain)}
    assert client.get("/api/v1/devices", auth=basic[machine["id"]]).status_code == 200
    assert client.get("/api/v1/auto-enrollment/tokens", auth=basic[machine["id"]]).status_code == 403
    assert client.get("/api/v1/devices", auth=basic[plain["id"]]).status_code == 403
    assert client.get("/api/v1/devices", auth=(machine["token_key"], "wrong")).status_code == 401
    assert client.get("/api/v1/devices", headers=token_headers(plain)).status_code == 401
    unscoped = api.enrollment_token(metadata={"integration_type": "api"})
    assert client.get("/api/v1/devices", auth=(unscoped["token_key"], unscoped["token_secret"])).status_code == 403


def test_other_prefix_and_version(app_settings: Settings, tmp_path: Any) -> None:
    settings = msgspec.structs.replace(app_settings, credential_prefix="acme", api_version="v2")
    app = create_app(settings)
    client = app.test_client()
    admin = client.post("/api/v2/auth/setup-admin", json={"password": "correct horse battery"}).json["token"]
    token = client.post(
        "/api/v2/auto-enrollment/tokens",
        json={"token_name": "x"},
        headers={"Authorization": f"Bearer {admin}"},
    ).json["token"]
    assert token["token_key"].startswith("acme_ae_")
    host = client.post(
        "/api/v2/auto-enrollment/enroll", json={"friendly_name": "x"}, headers=token_headers(token)
    ).json["host"]
    assert host["api_id"].startswith("acme_")
    assert client.post("/api/v1/auto-enrollment/enroll").status_code == 404
    database.close_all()


# -- what an enrolled host may do ------------------------------------------------------------------------------------

HOST_ENDPOINTS = [
    ("GET", "/hosts/install"),
    ("GET", "/hosts/agent/download"),
    ("GET", "/hosts/agent/version"),
    ("POST", "/hosts/ping"),
    ("GET", "/hosts/integrations"),
    ("GET", "/hosts/ssh-key"),
]


@pytest.mark.parametrize(("method", "path"), HOST_ENDPOINTS)
def test_host_endpoints_need_host_credentials(api: Api, client: FlaskClient, method: str, path: str) -> None:
    host, other = api.enroll(), api.enroll()
    good = host_headers(host)
    refused = [
        ({}, "API ID and key required"),
        ({"X-API-ID": host["api_id"]}, "API ID and key required"),
        ({"X-API-KEY": host["api_key"]}, "API ID and key required"),
        ({**good, "X-API-KEY": "0" * 64}, "Invalid API credentials"),
        ({**good, "X-API-KEY": "x" * 5000}, "Invalid API credentials"),
        ({**good, "X-API-KEY": other["api_key"]}, "Invalid API credentials"),
        ({**good, "X-API-ID": "patchmon_0"}, "Invalid API credentials"),
    ]
    for headers, error in refused:
        answer = client.open(f"/api/v1{path}", method=method, headers=headers)
        assert (answer.status_code, answer.json["error"]) == (401, error)
    assert client.open(f"/api/v1{path}", method=method, headers=api.headers).status_code == 403


def test_deleting_a_device_ends_its_credentials_at_once(api: Api) -> None:
    host = api.enroll()
    assert api.host("POST", "/hosts/ping", host).status_code == 200
    assert api.delete(f"/devices/{device(host).id}").status_code in {200, 204}
    assert api.host("POST", "/hosts/ping", host).status_code == 401


def test_a_changed_key_holds_at_once(api: Api) -> None:
    host, donor = api.enroll(), api.enroll()
    assert api.host("POST", "/hosts/ping", host).status_code == 200
    with database.connection():
        rotated = HostCredential.get(HostCredential.api_id == donor["api_id"]).key_hash
        HostCredential.update(key_hash=rotated).where(HostCredential.api_id == host["api_id"]).execute()
    assert api.host("POST", "/hosts/ping", host).status_code == 401
    assert api.host("POST", "/hosts/ping", {**host, "api_key": donor["api_key"]}).status_code == 200


def test_host_credentials_open_nothing_else(api: Api, client: FlaskClient) -> None:
    headers = host_headers(api.enroll())
    for path in ("/devices", "/auto-enrollment/tokens", "/users", "/audit", "/inventory", "/auth/me"):
        assert client.get(f"/api/v1{path}", headers=headers).status_code == 401, path


def test_ping_is_a_sign_of_life(api: Api) -> None:
    host = api.enroll()
    assert device(host).last_heartbeat is None
    answer = api.host("POST", "/hosts/ping", host)
    assert answer.status_code == 200
    assert "success" in answer.json["message"]
    assert '"updateInterval":60' in answer.text
    assert device(host).last_heartbeat is not None
    assert device(host).last_report is None


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"text"', b'{"hashes": []}', b"\xff\xfe"])
def test_malformed_ping_is_400(api: Api, client: FlaskClient, raw: bytes) -> None:
    host = api.enroll()
    assert client.post("/api/v1/hosts/ping", data=raw, headers=host_headers(host)).status_code == 400
    assert device(host).last_heartbeat is None


def report(**fields: Any) -> dict[str, Any]:
    package = {"name": "bash", "currentVersion": "5.2", "needsUpdate": False, "isSecurityUpdate": False}
    return {"packages": [package], "hostname": "web1", "repositories": [], "networkInterfaces": [], **fields}


def test_hash_gate(api: Api) -> None:
    host = api.enroll()
    hashes = {"packagesHash": "p1", "reposHash": "r1", "interfacesHash": "i1", "hostnameHash": "h1"}

    def asked(**changed: Any) -> list[str]:
        answer = api.host("POST", "/hosts/ping", host, {"hashes": {**hashes, **changed}})
        assert answer.json["hashGate"] is True
        return list(answer.json["requestFull"])

    everything = ["packages", "repos", "interfaces", "hostname"]
    assert asked() == everything
    assert asked() == everything, "asked again until the sections arrive"
    assert api.host("POST", "/hosts/update", host, report()).status_code == 200
    assert asked() == []
    assert asked(packagesHash="p2") == ["packages"]
    assert api.host("POST", "/hosts/update", host, report(packages=None)).status_code == 200
    assert "packages" in asked(packagesHash="p2"), "a report without packages settles nothing about them"
    assert api.host("POST", "/hosts/update", host, report()).status_code == 200
    assert asked(packagesHash="p2", hostnameHash="x" * 500, reposHash=7) == []
    assert api.host("POST", "/hosts/update", host, report(hashes={**hashes, "packagesHash": "p3"})).status_code == 200
    assert asked(packagesHash="p3") == []


def test_ping_renews_the_age_of_metadata_only_for_known_packages(api: Api) -> None:
    host = api.enroll()
    old, new = "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"
    api.host("POST", "/hosts/update", host, report(metadataUpdated=old, hashes={"packagesHash": "p1"}))
    before = device(host).metadata_updated
    api.host("POST", "/hosts/ping", host, {"hashes": {"packagesHash": "other"}, "metadataUpdated": new})
    assert device(host).metadata_updated == before
    for rubbish in ("soon", 5, None):
        answer = api.host("POST", "/hosts/ping", host, {"hashes": {"packagesHash": "p1"}, "metadataUpdated": rubbish})
        assert answer.status_code == 200
    assert device(host).metadata_updated == before
    api.host("POST", "/hosts/ping", host, {"hashes": {"packagesHash": "p1"}, "metadataUpdated": new})
    assert device(host).metadata_updated == before + timedelta(days=1)
    api.host("POST", "/hosts/ping", host, {"hashes": {"packagesHash": "p1"}, "metadataUpdated": "2999-01-01T00:00:00Z"})
    assert device(host).metadata_updated <= database.now()


def test_bootstrap_token_works_once_and_for_five_minutes(api: Api, client: FlaskClient) -> None:
    host = api.enroll()

    def issue() -> str:
        script = api.host("GET", "/hosts/install", host)
        assert script.mimetype == "text/plain"
        assert host["api_key"] not in script.text
        found = re.search(r"[0-9a-f]{64}", script.text)
        assert found
        return found.group()

    def exchange(body: Any) -> Any:
        return client.post("/api/v1/hosts/bootstrap/exchange", json=body)

    token = issue()
    with database.connection():
        stored = repr(BootstrapToken.get().__data__)
        assert host["api_key"] not in stored
        assert token not in stored
    answer = exchange({"token": token})
    assert answer.json == {"apiId": host["api_id"], "apiKey": host["api_key"]}
    assert exchange({"token": token}).status_code == 401
    assert exchange({"token": "0" * 64}).status_code == 401
    for body in ({}, {"token": ""}, {"token": None}, {"token": 5}, []):
        assert exchange(body).status_code == 400
    token = issue()
    with database.connection():
        BootstrapToken.update(expires_at=database.now() - timedelta(seconds=1)).execute()
    assert exchange({"token": token}).status_code == 401
    token = issue()
    api.delete(f"/devices/{device(host).id}")
    assert exchange({"token": token}).status_code == 401


@pytest.mark.parametrize("name", ["enroll", "bulk", "script", "exchange"])
def test_guessing_is_limited_by_address(api: Api, client: FlaskClient, name: str) -> None:
    token = api.enrollment_token()
    wrong = {**token_headers(token), "X-Auto-Enrollment-Secret": "0" * 64}
    query = {"type": "direct-host", "token_key": token["token_key"], "token_secret": "0" * 64}
    guesses: dict[str, Callable[[], Any]] = {
        "enroll": lambda: client.post(ENROLL, json={"friendly_name": "x"}, headers=wrong),
        "bulk": lambda: client.post(BULK, json={"hosts": [{"friendly_name": "x"}]}, headers=wrong),
        "script": lambda: client.get("/api/v1/auto-enrollment/script", query_string=query),
        "exchange": lambda: client.post("/api/v1/hosts/bootstrap/exchange", json={"token": "0" * 64}),
    }
    host = api.enroll(token)
    answers = [guesses[name]() for _ in range(31)]
    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert answers[-1].json["error"] == "Rate limit exceeded"
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert api.host("POST", "/hosts/ping", host).status_code == 200, "hosts behind the same address go on reporting"


def test_agent_download_and_version(api: Api) -> None:
    import hashlib

    host = api.enroll()
    source = api.host("GET", "/hosts/agent/download?arch=amd64&os=linux&force=binary", host)
    assert source.status_code == 200
    shown = api.host("GET", "/hosts/agent/version?arch=amd64&currentVersion=0.0.1", host).json
    assert shown["hash"] == hashlib.sha256(source.data).hexdigest()
    assert shown["hasUpdate"] is True
    assert shown["currentVersion"] == "0.0.1"
    assert f'VERSION = "{shown["latestVersion"]}"' in source.text
    same = api.host("GET", f"/hosts/agent/version?currentVersion={shown['latestVersion']}", host).json
    assert same["hasUpdate"] is False
    for path in ("/hosts/agent/download", "/hosts/agent/version", "/hosts/install"):
        assert api.host("GET", f"{path}?arch=$(reboot)", host).status_code == 400
        assert api.host("GET", f"{path}?os=plan9", host).status_code == 400
        assert api.host("GET", f"{path}?os=windows", host).status_code == 200


def test_ssh_key(api: Api, app_settings: Settings) -> None:
    host = api.enroll()
    assert api.host("GET", "/hosts/ssh-key", host).status_code == 404
    file = app_settings.ssh_key.with_suffix(".pub")
    file.parent.mkdir(parents=True)
    file.write_text(f"{HOST_KEY} patchherd@here\n")
    answer = api.host("GET", "/hosts/ssh-key", host)
    assert answer.mimetype == "text/plain"
    assert answer.text == f"{HOST_KEY} patchherd@here\n"


def test_small_answers(api: Api, client: FlaskClient) -> None:
    host = api.enroll()
    assert api.host("GET", "/settings/update-interval", host).json == {"updateInterval": 60}
    assert api.get("/settings/update-interval").json == {"updateInterval": 60}
    assert client.get("/api/v1/settings/update-interval").status_code == 401
    shown = api.host("GET", "/hosts/integrations", host).json
    assert shown == {"success": True, "integrations": {"docker": False, "compliance": False}}
    assert client.get("/api/v1/hosts/integrations").status_code == 401
    assert client.get("/api/v1/hosts/remove").text.startswith("#!/bin/sh")
    assert client.get("/api/v1/hosts/remove/").status_code == 200
    wrong = client.put("/api/v1/hosts/ping")
    assert wrong.status_code == 405
    assert wrong.json["error"]
    assert client.get("/api/v1/hosts/nothing").json["error"]
