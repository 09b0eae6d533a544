# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The IT Monitoring Agent's API row by row: what its guide documents, and what agents in the field send beyond it."""

from __future__ import annotations

import base64
import json
import re
import threading
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask import Flask

from patchherd import database
from patchherd.app import create_app
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.monitoring.models import MonitoringAgent
from patchherd.settings import Settings
from tests.server.api import Api, host_headers
from tests.server.monitoring import HARDWARE, REGISTRATION, Agent, inventory

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What is checked here does not depend on the database."""
UUID = "082b88df-5f84-472d-abac-e5ebb5be3998"


@pytest.fixture
def agent(api: Api) -> Agent:
    """An agent that has registered."""
    found = Agent.with_token(api)
    found.register()
    return found


def variant(settings: Settings, **changes: Any) -> Api:
    """The same server with other settings."""
    return Api.with_admin(create_app(msgspec.structs.replace(settings, **changes)))


def device_of(number: int) -> Device:
    with database.connection():
        return Device.get_by_id(number)


# -- documented ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/api", "/api/v1"])
def test_register(api: Api, base: str) -> None:
    agent = Agent.with_token(api, base)
    answer = agent.post("/agents/register", REGISTRATION)
    assert answer.status_code == 200
    number = answer.json["agent_id"]
    assert isinstance(number, int)
    assert answer.json == {
        "success": True,
        "agent_id": number,
        "message": "Agent registered successfully",
        "data": {"agent_id": number, "asset_id": number},
    }
    assert '"success":true' in answer.text, "compact"
    (row,) = api.get("/api/devices").json["devices"]
    assert (row["id"], row["hostname"], row["os_name"], row["os_version"]) == (
        number, "LAPTOP-USER-01", "Windows", "10.0.19045",
    )  # fmt: skip
    assert (row["agent_version"], row["status"], row["ip_address"]) == ("1.0.0", "ONLINE", "127.0.0.1")
    assert api.get(f"/devices/{number}").json["os_family"] == "windows"


def test_inventory_as_documented(api: Api, agent: Agent) -> None:
    body = {
        "agent_id": agent.id,
        "timestamp": "2025-11-01T12:00:00",
        "hostname": "LAPTOP-USER-01",
        "hardware": {"processor": "Intel Core i7", "ram_gb": 16, "total_disk_gb": 512},
        "software": {"total_software": 150, "installed_software": []},
        "domain": {"is_domain_joined": True, "domain_name": "EMPRESA.LOCAL"},
    }
    answer = agent.post("/inventory", body, headers={"X-Agent-ID": str(agent.id), "X-Agent-Version": "1.0.1"})
    assert answer.status_code == 200, answer.text
    assert (answer.json["success"], answer.json["message"]) == (True, "Inventory received")
    assert 240 <= answer.json["next_report_in"] <= 300
    shown = api.get(f"/devices/{agent.id}").json
    assert (shown["state"], shown["status"], shown["agent_version"]) == ("active", "online", "1.0.1")
    assert shown["facts"] == {
        "cpuModel": "Intel Core i7", "ramInstalled": 16, "domainName": "EMPRESA.LOCAL", "source": "monitoring agent",
    }  # fmt: skip
    assert api.get(f"/devices/{agent.id}/agent").json["readings"]["report"] == {"timestamp": "2025-11-01T12:00:00Z"}


def test_health_as_documented(agent: Agent) -> None:
    answer = agent.get(f"/agents/{agent.id}/health").json
    assert (answer["status"], answer["message"]) == ("ok", "Agent is healthy")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["server_time"])
    with database.connection():
        Device.update(last_heartbeat=now() - timedelta(hours=1)).where(Device.id == agent.id).execute()
    answer = agent.get(f"/agents/{agent.id}/health").json
    assert answer["status"] == "offline"
    assert re.fullmatch(r"No sign of life for 36\d\d s", answer["message"])


def test_update_check_without_any_release(agent: Agent) -> None:
    headers = {"X-Agent-ID": str(agent.id), "X-Agent-Version": "1.0.0"}
    assert agent.get("/updates/check", headers=headers).json == {"update_available": False}
    assert agent.get("/updates/check").json == {"update_available": False}


@SQLITE
@pytest.mark.parametrize("kind", ["Bearer", "JWT", "bearer", "Basic"])
def test_the_forms_of_a_credential(api: Api, kind: str) -> None:
    token = api.api_token(permissions=["host:report"])
    if kind == "Basic":
        name, _, secret = token.rpartition("_")
        token = base64.b64encode(f"{name}:{secret}".encode()).decode()
    agent = Agent(api, f"{kind} {token}")
    assert agent.post("/inventory", {"agent_id": agent.register(), "hardware": HARDWARE}).status_code == 200


# -- what the agent in the field calls besides ------------------------------------------------------------------------


def test_the_first_inventory_registers(api: Api) -> None:
    agent = Agent.with_token(api)
    answer = agent.post("/agents/inventory", inventory(hostname=["PC-7"]), headers={"X-Agent-Version": "2.0.0"})
    assert answer.status_code == 200, answer.text
    number = answer.json["agent_id"]
    assert answer.json["data"] == {"agent_id": number, "asset_id": number}
    assert answer.json["next_report_in"] <= 300
    assert agent.post("/agents/inventory", inventory(hostname="pc-7")).json["agent_id"] == number
    again = agent.post("/agents/inventory", inventory(agent_id=number, hostname="PC-7"))
    assert again.json["agent_id"] == number
    shown = api.get(f"/devices/{number}").json
    assert (shown["hostname"], shown["machine_id"], shown["os_family"]) == ("PC-7", "XXXXX123", "windows")
    assert shown["agent_version"] == "2.0.0"
    assert api.get("/api/devices").json["count"] == 1


@pytest.mark.parametrize("path", ["/agents/{}/heartbeat", "/agent/{}/heartbeat", "/agents/{}/heartbeat/"])
def test_heartbeat(api: Api, agent: Agent, path: str) -> None:
    with database.connection():
        Device.update(last_heartbeat=now() - timedelta(hours=1)).where(Device.id == agent.id).execute()
    for body in (None, {}, {"status": "online", "cpu_usage": 12.5, "agent_version": "1.2.0"}):
        answer = agent.post(path.format(agent.id), body)
        assert answer.status_code == 200, answer.text
        assert answer.json["success"] is True
        assert answer.json["server_time"].endswith("Z")
    (row,) = api.get("/api/devices").json["devices"]
    assert (row["status"], row["agent_version"]) == ("ONLINE", "1.2.0")


def test_inventory_by_path_and_uuid(api: Api, agent: Agent) -> None:
    uuid = device_of(agent.id).uuid
    for reference in (agent.id, uuid, uuid.upper()):
        answer = agent.post(f"/agents/{reference}/inventory", {"hardware": HARDWARE})
        assert (answer.status_code, answer.json["agent_id"]) == (200, agent.id)
    assert agent.post("/inventory", {"agent_id": uuid, "hardware": HARDWARE}).status_code == 200
    assert agent.post("/inventory", {"agent_id": str(agent.id), "hardware": HARDWARE}).status_code == 200
    assert agent.post("/inventory", {"hardware": HARDWARE}, headers={"X-Agent-ID": uuid}).status_code == 200
    assert len(api.get(f"/devices/{agent.id}/snapshots").json["snapshots"]) == 1


def test_without_any_id_the_host_name_tells(agent: Agent) -> None:
    assert agent.post("/inventory", inventory()).json["agent_id"] == agent.id
    unknown = agent.post("/inventory", inventory(hostname="NEW-PC"))
    assert (unknown.status_code, unknown.json["error"]) == (401, "Invalid agent")
    nameless = agent.post("/inventory", {"software": {}})
    assert nameless.status_code == 401


def test_config(agent: Agent) -> None:
    config = agent.get(f"/agents/{agent.id}/config").json["config"]
    assert config["agent_id"] == agent.id
    assert 240 <= config["report_interval"] <= 300
    assert config["heartbeat_interval"] <= 100
    assert re.fullmatch(r"[0-9a-f]{64}", config["webhook"]["secret"])
    assert config["webhook"]["port"] == 5000
    with database.connection():
        stored = MonitoringAgent.get_by_id(agent.id).sealed_secret
    assert config["webhook"]["secret"] not in stored, "encrypted at rest"


MESSAGES: list[tuple[str, Any, list[tuple[str, str]]]] = [
    ("logs", {"logs": [{"level": "WARNING", "message": "disk slow"}, "a line"]},
     [("warning", "disk slow"), ("info", "a line")]),
    ("logs", [{"message": "one"}], [("info", "one")]),
    ("logs", {"message": "alone", "logger": "x"}, [("info", "alone")]),
    ("logs", {"entries": []}, []),
    ("errors", {"errors": [{"error": "boom", "traceback": "…"}]}, [("error", "boom")]),
    ("errors", {"error_message": "bad", "timestamp": "2025-11-01T12:00:00"}, [("error", "bad")]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "stored"), MESSAGES, ids=range(len(MESSAGES)))
def test_logs_and_errors(api: Api, agent: Agent, path: str, body: Any, stored: list[tuple[str, str]]) -> None:
    answer = agent.post(f"/agents/{agent.id}/{path}", body)
    assert (answer.status_code, answer.json["received"]) == (200, len(stored)), answer.text
    rows = api.get(f"/devices/{agent.id}/messages").json["messages"]
    assert [(row["level"], row["message"]) for row in reversed(rows)] == stored
    assert {row["kind"] for row in rows} <= {path.removesuffix("s")}
    if rows and isinstance(body, dict) and "timestamp" in body:
        assert rows[0]["at"] == "2025-11-01T12:00:00Z", "UTC without a zone"


def test_server_health_and_time_without_credential(api: Api) -> None:
    nobody = Agent(api, None)
    assert nobody.get("/health").json["status"] == "ok"
    (name,) = nobody.get("/time").json
    assert name == "timestamp"


def test_unregister(api: Api, agent: Agent) -> None:
    agent.report()
    assert agent.call("DELETE", f"/agents/{agent.id}").json == {"success": True, "message": "Agent unregistered"}
    assert api.get("/api/devices").json["count"] == 0
    assert api.get("/audit").json["entries"][0]["action"] == "device.delete"
    paths = [("GET", "health"), ("GET", "config"), ("POST", "inventory"), ("POST", "heartbeat"), ("POST", "logs")]
    for method, path in paths:
        body = {"hardware": {}, "message": "x"} if method == "POST" else None
        assert agent.call(method, f"/agents/{agent.id}/{path}", body).status_code == 410, path
    assert agent.call("DELETE", f"/agents/{agent.id}").status_code == 410
    answer = agent.post("/inventory", {"agent_id": agent.id, **inventory()})
    assert (answer.status_code, answer.json["error"]) == (401, "Invalid agent")
    assert agent.get("/updates/check", headers={"X-Agent-ID": str(agent.id)}).status_code == 401
    assert agent.register() != device_of(agent.id - 1).id, "a new device, the old one keeps its history"


def test_both_slash_forms_and_errors_in_one_form(api: Api, agent: Agent) -> None:
    assert agent.get(f"/agents/{agent.id}/health/").status_code == 200
    assert agent.post("/inventory/", {"agent_id": agent.id, "hardware": HARDWARE}).status_code == 200
    assert agent.get("/updates/check/").status_code == 200
    for method, path, status in (
        ("GET", "/agents/register", 405),
        ("GET", f"/agents/{agent.id}/nothing", 404),
        ("POST", "/updates/check", 405),
        ("GET", "/agents/4711/health", 404),
        ("POST", "/agents/register", 400),
    ):
        answer = agent.call(method, path)
        assert answer.status_code == status, path
        assert answer.json["error"]
        assert answer.json["detail"]


def test_unknown_sections_and_fields_are_stored(api: Api, agent: Agent) -> None:
    agent.report(
        network=[{"name": "eth0", "ip": "10.0.0.9"}], antivirus={"name": "Defender"}, office={"version": "16"},
        printers=["one"], battery={"level": 5}, tag="A-17", hardware={**HARDWARE, "gpu": {"name": "T400"}},
    )  # fmt: skip
    (head,) = api.get(f"/devices/{agent.id}/snapshots").json["snapshots"]
    sections = api.get(f"/devices/{agent.id}/snapshots/{head['id']}").json["sections"]
    assert sections["printers"] == ["one"]
    assert sections["battery"] == {"level": 5}
    assert sections["other"] == {"tag": "A-17"}
    assert sections["hardware"]["gpu"] == {"name": "T400"}
    assert sections["network"][0]["ip"] == "10.0.0.9"


# -- truth -----------------------------------------------------------------------------------------------------------


def test_patches_stay_unknown_with_a_reason(api: Api, agent: Agent) -> None:
    assert api.get(f"/devices/{agent.id}/patches").json["reason"] == "no report yet"
    agent.report()
    patches = api.get(f"/devices/{agent.id}/patches").json
    assert (patches["status"], patches["reason"], patches["counts"]) == (
        "unknown", "this agent reports no patches", None,
    )  # fmt: skip
    (host,) = api.get("/inventory").json["hosts"]
    assert (host["patch_status"], host["missing"]) == ("unknown", None)


def test_a_host_with_our_agent_keeps_what_that_one_says(api: Api) -> None:
    host = api.enroll()
    package = {"name": "bash", "currentVersion": "5", "needsUpdate": False}
    report = {"hostname": "web1", "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "packages": [package]}
    assert api.host("POST", "/hosts/update", host, report).status_code == 200
    agent = Agent(api, None)
    agent.headers = host_headers(host)
    assert agent.get(f"/agents/{host['id']}/health").status_code == 404, "not registered yet"
    agent.register(hostname="OTHER")
    agent.report(hostname="OTHER")
    shown = api.get(f"/devices/{agent.id}").json
    assert shown["agent_id"] == host["id"]
    assert (shown["hostname"], shown["ip_address"], shown["os_family"]) == ("web1", "192.0.2.7", "debian")
    assert shown["agent_version"] is None, "that of the other agent is not its own"
    assert api.get(f"/devices/{agent.id}/patches").json["status"] == "current"


# -- who may speak for what ------------------------------------------------------------------------------------------

CALLS = [
    ("POST", "/agents/register", REGISTRATION),
    ("POST", "/inventory", {"hardware": {}}),
    ("GET", "/updates/check", None),
    ("GET", "/agents/1/health", None),
    ("POST", "/agents/inventory", {"hardware": {}}),
    ("POST", "/agents/1/inventory", {"hardware": {}}),
    ("POST", "/agents/1/heartbeat", {}),
    ("POST", "/agent/1/heartbeat", {}),
    ("GET", "/agents/1/config", None),
    ("GET", "/agents/updates?current_version=1.0.0", None),
    ("POST", "/agents/1/logs", {"message": "x"}),
    ("POST", "/agents/1/errors", {"message": "x"}),
    ("DELETE", "/agents/1", None),
]


@SQLITE
@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_nothing_is_open(api: Api, method: str, path: str, body: Any) -> None:
    assert Agent(api, None).call(method, path, body).status_code == 401
    assert Agent(api, "Bearer " + "x" * 40).call(method, path, body).status_code == 401
    assert Agent(api, f"Bearer pht_{'0' * 16}_{'0' * 64}").call(method, path, body).status_code == 401
    assert Agent(api, f"Bearer {api.user_token('viewer')}").call(method, path, body).status_code == 403
    reader = api.api_token(permissions=["devices:read"])
    assert Agent(api, f"JWT {reader}").call(method, path, body).status_code == 403


def test_a_credential_speaks_for_its_own_devices_only(api: Api, agent: Agent) -> None:
    agent.report()
    thief = Agent.with_token(api)
    thief.register(hostname="ELSEWHERE")
    for method, path, body in (
        ("POST", "/inventory", {"agent_id": agent.id, "hardware": {}}),
        ("POST", "/agents/inventory", {"agent_id": agent.id, "hardware": {}}),
        ("POST", f"/agents/{agent.id}/inventory", {"hardware": {}}),
        ("POST", f"/agents/{agent.id}/heartbeat", {}),
        ("GET", f"/agents/{agent.id}/config", None),
        ("GET", f"/agents/{agent.id}/health", None),
        ("POST", f"/agents/{agent.id}/logs", {"message": "x"}),
        ("POST", f"/agents/{agent.id}/errors", {"message": "x"}),
        ("DELETE", f"/agents/{agent.id}", None),
    ):
        assert thief.call(method, path, body).status_code == 403, path
    assert len(api.get(f"/devices/{agent.id}/snapshots").json["snapshots"]) == 1
    assert thief.register() != agent.id, "the same host name with another credential is another device"


def test_an_operator_gives_a_device_to_a_token(api: Api, agent: Agent) -> None:
    created = api.post("/api-tokens", {"name": "new key", "permissions": ["host:report"]}).json
    reader = api.post("/api-tokens", {"name": "reader", "permissions": ["devices:read"]}).json
    path = f"/devices/{agent.id}/agent"
    for bad, status in (({"api_token": UUID}, 404), ({"api_token": reader["id"]}, 400), ({"api_token": "x"}, 400)):
        assert api.call("PUT", path, bad).status_code == status
    shown = api.call("PUT", path, {"api_token": created["id"]})
    assert (shown.status_code, shown.json["owner"], shown.json["owner_name"]) == (200, "token", "new key")
    other = Agent(api, f"Bearer {created['token']}")
    assert other.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 200
    assert agent.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 403
    assert api.delete(f"/api-tokens/{created['id']}").status_code == 200
    assert other.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 401, "revoked"


def test_an_enrolment_token_registers_within_its_quota(api: Api) -> None:
    group = api.post("/host-groups", {"name": "Laptops"}).json["id"]
    token = api.enrollment_token(max_hosts_per_day=1, default_host_group_id=group)
    agent = Agent(api, f"Bearer {token['token_key']}:{token['token_secret']}")
    agent.register()
    assert agent.register() == agent.id, "the same machine takes nothing from the quota"
    agent.report()
    assert api.get(f"/devices/{agent.id}").json["groups"] == ["Laptops"]
    assert "Auto-enrolled via test token" in api.get(f"/devices/{agent.id}").json["notes"]
    refused = agent.post("/agents/register", {**REGISTRATION, "hostname": "SECOND"})
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    assert agent.get("/../api/v1/devices").status_code in {401, 403, 404}
    assert agent.call("GET", "/v1/devices").status_code == 403, "it cannot read"
    assert agent.call("POST", "/v1/hosts/update", {"packages": None}).status_code == 400
    shown = api.get(f"/devices/{agent.id}/agent").json
    assert (shown["owner"], shown["owner_name"]) == ("enrollment", "test token")
    wrong = Agent(api, f"Bearer {token['token_key']}:{'0' * 64}")
    assert wrong.post("/agents/register", REGISTRATION).status_code == 401
    api.patch(f"/auto-enrollment/tokens/{token['id']}", {"is_active": False})
    assert agent.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 401


def test_a_deleted_token_has_no_heir(api: Api) -> None:
    """SQLite gives the id of a deleted row to the next one."""
    token = api.enrollment_token()
    agent = Agent(api, f"Bearer {token['token_key']}:{token['token_secret']}")
    agent.register()
    assert api.delete(f"/auto-enrollment/tokens/{token['id']}").status_code == 200
    assert agent.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 401
    token = api.enrollment_token()
    heir = Agent(api, f"Bearer {token['token_key']}:{token['token_secret']}")
    assert heir.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 403
    assert heir.register() != agent.id
    assert api.get(f"/devices/{agent.id}/agent").json["owner_name"] is None


def test_a_token_registers_so_many_a_day(api: Api, app_settings: Settings) -> None:
    limited = Agent.with_token(api)
    limited.client = create_app(msgspec.structs.replace(app_settings, agent_registrations_per_day=2)).test_client()
    for number in range(2):
        limited.register(hostname=f"PC-{number}")
    refused = limited.post("/agents/register", {"hostname": "PC-2"})
    assert (refused.status_code, refused.json["error"]) == (429, "Rate limit exceeded")
    assert limited.register(hostname="PC-1")


def test_approval(app_settings: Settings) -> None:
    api = variant(app_settings, host_approval=True)
    agent = Agent.with_token(api)
    agent.register()
    agent.report()
    assert api.get(f"/devices/{agent.id}").json["state"] == "pending"
    assert api.patch(f"/devices/{agent.id}", {"approved": True}).json["state"] == "active"


def test_duplicates_follow_the_setting(app_settings: Settings) -> None:
    api = variant(app_settings, duplicate_hosts="reject")
    first, second = Agent.with_token(api), Agent.with_token(api)
    first.register(machine_id="M-1")
    refused = second.post("/agents/register", {**REGISTRATION, "machine_id": "M-1"})
    assert (refused.status_code, refused.json["error"]) == (409, "Host already enrolled")
    assert first.register(machine_id="M-1") == first.id


def test_one_machine_is_one_device(api: Api, agent: Agent) -> None:
    assert agent.register() == device_of(agent.id).id
    assert agent.register(hostname="laptop-user-01", agent_version="1.1.0") == agent.id
    known = agent.id
    assert agent.register(serial_number="SN-1") == known, "the serial is learned"
    assert agent.register(serial_number="SN-1") == known
    assert agent.register(serial_number="SN-2") != known, "another machine of that name"
    answer = agent.post("/agents/register", REGISTRATION)
    assert (answer.status_code, "serial_number" in answer.json["message"]) == (409, True)
    for nothing in ("To be filled by O.E.M.", "00000000", "None", ""):
        agent.register(hostname="WHITEBOX", serial_number=nothing)
        assert device_of(agent.id).machine_id is None


@pytest.mark.parametrize("count", [20])
def test_twenty_registrations_at_once_are_one_device(api: Api, app: Flask, count: int) -> None:
    agent = Agent.with_token(api)
    answers: list[Any] = []
    barrier = threading.Barrier(count)

    def register() -> None:
        client = app.test_client()
        barrier.wait()
        answers.append(client.post("/api/agents/register", json=REGISTRATION, headers=agent.headers))

    threads = [threading.Thread(target=register) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * count
    assert len({answer.json["agent_id"] for answer in answers}) == 1
    assert api.get("/api/devices").json["count"] == 1


# -- the legacy setting ----------------------------------------------------------------------------------------------


def test_without_credential_where_the_setting_allows_it(app_settings: Settings) -> None:
    api = variant(app_settings, legacy_open_agents=True)
    agent = Agent(api, None)
    agent.register()
    agent.report()
    assert agent.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 200
    config = agent.get(f"/agents/{agent.id}/config").json["config"]
    assert config["webhook"]["secret"] is None, "nobody proved to be the agent"
    entry = next(row for row in api.get("/audit").json["entries"] if row["action"] == "host.enroll")
    assert (entry["actor_kind"], entry["actor_name"]) == ("open", "agent without credential")
    elsewhere = {"REMOTE_ADDR": "192.0.2.99"}
    for method, path, body in (
        ("POST", f"/agents/{agent.id}/heartbeat", {}),
        ("POST", "/inventory", {"agent_id": agent.id, "hardware": {}}),
        ("POST", "/agents/register", REGISTRATION),
        ("DELETE", f"/agents/{agent.id}", None),
    ):
        assert agent.call(method, path, body, environ_base=elsewhere).status_code == 403, path
    secured = Agent.with_token(api)
    secured.register(hostname="SECURED")
    assert agent.post(f"/agents/{secured.id}/heartbeat", {}).status_code == 403
    assert agent.call("GET", "/v1/devices").status_code == 401
    assert agent.call("GET", "/v1/software").status_code == 401
    bad = Agent(api, "Bearer " + "x" * 40)
    assert bad.post("/agents/register", REGISTRATION).status_code == 401, "a wrong credential is not none"


# -- bad input -------------------------------------------------------------------------------------------------------

BAD: list[tuple[str, Any, int, str]] = [
    ("/agents/register", {}, 400, "hostname"),
    ("/agents/register", {"hostname": ""}, 400, "hostname"),
    ("/agents/register", {"hostname": " \x00 "}, 400, "hostname"),
    ("/agents/register", {"hostname": 7}, 400, "hostname"),
    ("/agents/register", {"hostname": ["a", "b"]}, 400, "hostname"),
    ("/agents/register", {"hostname": None}, 400, "hostname"),
    ("/agents/register", {"hostname": "x", "os_version": {"a": 1}}, 400, "os_version"),
    ("/agents/register", {"hostname": "x", "agent_version": True}, 400, "agent_version"),
    ("/agents/register", [], 400, ""),
    ("/agents/register", "text", 400, ""),
    ("/inventory", {}, 401, ""),
    ("/inventory", {"agent_id": "ID"}, 400, ""),
    ("/inventory", {"agent_id": "ID", "hardware": "fast"}, 400, "hardware"),
    ("/inventory", {"agent_id": "ID", "hardware": [1]}, 400, "hardware"),
    ("/inventory", {"agent_id": "ID", "software": 5}, 400, "software"),
    ("/inventory", {"agent_id": "ID", "network": "eth0"}, 400, "network"),
    ("/inventory", {"agent_id": "ID", "software": {"installed_software": {}}}, 400, "software.installed_software"),
    ("/inventory", {"agent_id": "ID", "software": {"installed_software": ["a"]}}, 400,
     "software.installed_software[0]"),
    ("/inventory", {"agent_id": "ID", "software": {"installed_software": [{"software_name": "a"}] * 20_001}}, 400,
     "software.installed_software"),
    ("/inventory", {"agent_id": "ID", "hardware": {}, "timestamp": "yesterday"}, 400, "timestamp"),
    ("/inventory", {"agent_id": "ID", "hardware": {}, "timestamp": [1]}, 400, "timestamp"),
    ("/inventory", {"agent_id": "ID", "hardware": {}, "timestamp": 1e300}, 400, "timestamp"),
    ("/inventory", {"agent_id": [1], "hardware": {}}, 400, "agent_id"),
    ("/inventory", {"agent_id": True, "hardware": {}}, 400, "agent_id"),
    ("/inventory", {"agent_id": 4711, "hardware": {}}, 401, ""),
    ("/inventory", {"agent_id": -1, "hardware": {}}, 401, ""),
    ("/inventory", {"agent_id": UUID, "hardware": {}}, 401, ""),
    ("/inventory", {"agent_id": "LAPTOP-USER-01", "hardware": {}}, 401, ""),
    ("/inventory", {"agent_id": "ID", "hardware": {"n": 10**30}}, 200, ""),
    ("/inventory", {"agent_id": "ID", **{f"s{n}": {} for n in range(65)}}, 400, ""),
    ("/inventory", {"agent_id": "ID", "x" * 65: {"a": 1}}, 200, ""),
    ("/inventory", {"agent_id": "ID", "hardware": {"text": "x" * 10_000_000}}, 413, ""),
    ("/inventory", {"agent_id": "ID", "hardware": {"text": "x" * 21_000_000}}, 413, ""),
    ("/agents/inventory", {"hardware": {}}, 400, "hostname"),
    ("/agents/inventory", {"hostname": "x"}, 400, ""),
    ("/agents/4711/inventory", {"hardware": {}}, 404, ""),
    (f"/agents/{UUID}/inventory", {"hardware": {}}, 404, ""),
    ("/agents/LAPTOP-USER-01/inventory", {"hardware": {}}, 404, ""),
    ("/agents/99999999999999999999/heartbeat", {}, 404, ""),
    ("/agents/ID/heartbeat", [], 400, ""),
    ("/agents/ID/logs", {"logs": [{"level": "info"}]}, 400, "logs[0].message"),
    ("/agents/ID/logs", {"logs": [5]}, 400, "logs[0]"),
    ("/agents/ID/logs", {"logs": ["x"] * 501}, 400, "logs"),
    ("/agents/ID/logs", {"message": "x", "more": "y" * 20_000}, 400, ""),
    ("/agents/ID/logs", {"message": "x", "timestamp": "soon"}, 400, "timestamp"),
    ("/agents/ID/errors", "text", 400, ""),
    ("/agents/ID/errors", {}, 400, "message"),
    ("/agents/4711/errors", {"message": "x"}, 404, ""),
]  # fmt: skip


@SQLITE
def test_bad_input(api: Api, agent: Agent) -> None:
    agent.report()
    kept = api.get(f"/devices/{agent.id}/snapshots").json
    for path, body, status, field in BAD:
        if isinstance(body, dict) and body.get("agent_id") == "ID":
            body = {**body, "agent_id": agent.id}
        answer = agent.post(path.replace("ID", str(agent.id)), body)
        shown = f"{path} {json.dumps(body)[:100]}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code == status, shown
        if status == 400:
            assert answer.json["error"], shown
            if field:
                assert answer.json["errors"][0]["path"] == field, shown
        if status == 200:
            kept = api.get(f"/devices/{agent.id}/snapshots").json
        assert api.get(f"/devices/{agent.id}/snapshots").json["snapshots"][0]["id"] == kept["snapshots"][0]["id"], shown


@SQLITE
@pytest.mark.parametrize("depth", [50, 500, 900, 5_000, 100_000])
def test_deep_json(agent: Agent, depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = opening * depth + "1" + closing * depth
        for text in (f'{{"hardware":{{"x":{nested}}}}}', f'{{"hardware":{{"x":{nested},"n":"\\u0000"}}}}'):
            answer = agent.post(f"/agents/{agent.id}/inventory", data=text, content_type="application/json")
            assert answer.status_code == 400, answer.text
            assert answer.json["error"]
    for path in ("logs", "errors"):
        text = '{"message":"x","y":' + "[" * depth + "]" * depth + "}"
        answer = agent.post(f"/agents/{agent.id}/{path}", data=text, content_type="application/json")
        assert answer.status_code in {200, 400}


@SQLITE
def test_malformed_json(agent: Agent) -> None:
    for path in ("/inventory", "/agents/register", f"/agents/{agent.id}/logs", f"/agents/{agent.id}/heartbeat"):
        for text in ("{", '{"hostname": }', "\xff\xfe", '{"a":1}}'):
            answer = agent.post(path, data=text.encode("latin-1"), content_type="application/json")
            assert (answer.status_code, "error" in answer.json) == (400, True), (path, text)


@SQLITE
def test_body_and_header_that_name_two_agents(agent: Agent) -> None:
    first = agent.id
    second = agent.register(hostname="SECOND")
    answer = agent.post("/inventory", {"agent_id": first, "hardware": {}}, headers={"X-Agent-ID": str(second)})
    assert (answer.status_code, answer.json["errors"][0]["path"]) == (400, "agent_id")
    assert agent.post("/inventory", {"hardware": {}}, headers={"X-Agent-ID": "99' OR 1"}).status_code == 401
