# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agents of the DeployFlow API: work is handed out once, results are taken once, and only from the right device."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from msgspec.structs import replace
from structlog.testing import CapturingLogger
from werkzeug.test import TestResponse

from patchherd import database
from patchherd.app import create_app
from patchherd.automation import agent_work
from patchherd.automation.dispatch import close_overdue
from patchherd.automation.models import Action
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.document3_client import Agent, Operator
from tests.server.fleet import add_host, package
from tests.server.queries import queries

SCRIPT = {"type": "powershell_inline", "payload": "Get-Process | Select-Object -First 5"}


def token_of(api: Api) -> str:
    answer = api.post("/enrollment-tokens", {"name": "agents"})
    assert answer.status_code == 201, answer.text
    return str(answer.json["token"])


@pytest.fixture
def operator(api: Api) -> Operator:
    return Operator(api.client, api.headers["Authorization"].removeprefix("Bearer "))


@pytest.fixture
def agent(api: Api) -> Agent:
    return Agent(api.client, token_of(api), "DESKTOP-1")


def refusal(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json["detail"]
    return str(answer.json.get("message") or answer.json["error"])


def test_the_whole_way_as_documented(operator: Operator, agent: Agent) -> None:
    assert agent.client.get("/api/v1/agent/heartbeat").json == {"message": "agent heartbeat endpoint is alive"}
    assert agent.fetch(status="online", os_version="10.0.22631", hardware_summary="4 cores") == []
    script = operator.post("/scripts", {"name": "Top", "language": "powershell", "content": "Get-Date"}).json["id"]
    first = operator.queue(agent.device_id, **SCRIPT)
    second = operator.queue(agent.device_id, type="powershell_inline", script_id=script)
    assert first["status"] == "pending"
    assert agent.fetch() == [
        {"id": first["id"], "type": "powershell_inline", "payload": SCRIPT["payload"], "software_id": None},
        {"id": second["id"], "type": "powershell_inline", "payload": "Get-Date", "software_id": None},
    ]
    assert agent.fetch() == []
    assert [row["status"] for row in operator.actions(agent.device_id)] == ["running", "running"]
    told = {"status": "succeeded", "exit_code": 0, "logs": "ok\n", "completed_at": "2026-01-01T00:00:00.1234567Z"}
    answer = agent.result(first["id"], **told)
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    answer = agent.result(second["id"], status="failed", exit_code=3, logs="no")
    assert answer.json == {"status": "ok"}
    rows = operator.actions(agent.device_id)
    assert [(row["id"], row["status"], row["logs"]) for row in rows] == [
        (second["id"], "failed", "no"), (first["id"], "succeeded", "ok\n"),
    ]  # fmt: skip
    assert rows[0]["message"] == "exit code 3"
    assert rows[1]["started_at"] <= rows[1]["completed_at"], "an agent's clock is not believed"
    device = operator.get(f"/devices/{agent.device_id}").json
    assert device.items() >= {"os_version": "10.0.22631", "hardware_summary": "4 cores", "status": "online"}.items()


def test_install_software_names_the_item(operator: Operator, agent: Agent) -> None:
    body = {"name": "7-Zip", "installer_type": "msi", "source_type": "url", "source": "https://x.example/7z.msi"}
    item = operator.post("/software-items", body).json["id"]
    queued = operator.queue(agent.device_id, type="install_software", software_id=item)
    (given,) = agent.fetch()
    assert given == {"id": queued["id"], "type": "install_software", "payload": None, "software_id": item}


def test_two_heartbeats_at_once_never_get_the_same(app: Flask, operator: Operator, agent: Agent) -> None:
    expected = set()
    for _ in range(5):
        expected |= {operator.queue(agent.device_id, **SCRIPT)["id"] for _ in range(3)}
        barrier, got = threading.Barrier(6), []

        def beat(barrier: Any = barrier, got: Any = got) -> None:
            client = app.test_client()
            barrier.wait()
            body = {"device_id": agent.device_id}
            answer = client.post("/api/v1/agent/heartbeat", json=body, headers=agent.credentials)
            got.extend(row["id"] for row in answer.json["actions"])

        threads = [threading.Thread(target=beat) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 3, "each once"
        assert set(got) <= expected
        expected -= set(got)
    assert not expected


def test_a_heartbeat_costs_three_statements(operator: Operator, agent: Agent) -> None:
    agent.fetch()
    with queries() as seen:
        assert agent.fetch() == []
    assert [text.split()[0] for text in seen] == ["SELECT", "UPDATE", "SELECT"]


def test_nothing_is_handed_out_behind_a_step_that_must_not_fail(api: Api, operator: Operator, agent: Agent) -> None:
    number = operator.post("/profiles", {"name": "strict", "target_os_type": "windows"}).json["id"]
    for place, goes_on in enumerate((True, False, True)):
        task = {"name": f"t{place}", "payload": "x", "order_index": place, "continue_on_error": goes_on}
        assert operator.post(f"/profiles/{number}/tasks", task).status_code == 201

    def apply() -> list[int]:
        answer = operator.post(f"/profiles/{number}/apply", {"device_ids": [agent.device_id]})
        assert answer.status_code == 201, answer.text
        return list(answer.json["actions"])

    first = apply()
    own = operator.queue(agent.device_id, **SCRIPT)["id"]
    assert [row["id"] for row in agent.fetch()] == [first[0], first[1], own]
    assert agent.fetch() == []
    agent.result(first[1], status="succeeded")
    assert [row["id"] for row in agent.fetch()] == [first[2]]
    second = apply()
    agent.fetch()
    agent.result(second[1], status="failed", exit_code=1)
    assert agent.fetch() == []
    shown = api.get(f"/actions/{second[2]}").json
    assert (shown["status"], shown["message"]) == ("skipped", f"action {second[1]} failed")


def test_results_are_taken_once(operator: Operator, agent: Agent) -> None:
    number = operator.queue(agent.device_id, **SCRIPT)["id"]
    assert "not handed out" in refusal(agent.result(number, status="succeeded"), 409)
    agent.fetch()
    for told in ({}, {"status": "done"}, {"status": None}, {"status": "succeeded", "exit_code": "x"},
                 {"status": "succeeded", "completed_at": "yesterday"}, {"status": "succeeded", "logs": 5}):  # fmt: skip
        refusal(agent.result(number, **told), 400)
    assert agent.result(number, status="succeeded", logs="a").status_code == 200
    assert agent.result(number, status="succeeded", logs="a").status_code == 200, "the same again is no other one"
    assert "is succeeded" in refusal(agent.result(number, status="failed", logs="a"), 409)
    refusal(agent.result(9999, status="succeeded"), 404)
    assert operator.actions(agent.device_id)[0]["status"] == "succeeded"


def test_one_of_many_results_wins(app: Flask, operator: Operator, agent: Agent) -> None:
    number = operator.queue(agent.device_id, **SCRIPT)["id"]
    agent.fetch()
    barrier, statuses = threading.Barrier(6), []

    def tell(text: str) -> None:
        client = app.test_client()
        barrier.wait()
        body = {"status": "succeeded", "logs": text}
        answer = client.post(f"/api/v1/agent/actions/{number}/result", json=body, headers=agent.credentials)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=tell, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409, 409, 409, 409, 409]


def test_only_the_device_itself(api: Api, operator: Operator, agent: Agent) -> None:
    other = Agent(api.client, token_of(api), "DESKTOP-2")
    number = operator.queue(agent.device_id, **SCRIPT)["id"]
    wrong = {**agent.credentials, "X-API-KEY": "0" * 64}
    bearer = {"Authorization": f"Bearer {agent.credentials['X-API-KEY']}"}
    for headers, status in [
        ({}, 401), (wrong, 401), (other.credentials, 403), ({"X-API-ID": "nobody", "X-API-KEY": "x"}, 401),
        ({"X-API-ID": agent.credentials["X-API-ID"]}, 401), ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": "Basic eDp5"}, 401), (api.headers, 401),
    ]:  # fmt: skip
        refusal(agent.heartbeat(headers=headers), status)
        refusal(agent.result(number, headers=headers, status="succeeded"), status)
    answer = agent.heartbeat(headers=bearer)
    assert [row["id"] for row in answer.json["actions"]] == [number]
    refusal(agent.result(number, headers=other.credentials, status="succeeded"), 403)
    assert agent.result(number, headers=bearer, status="succeeded").status_code == 200


def test_unknown_and_deleted_devices(api: Api, agent: Agent) -> None:
    number = agent.device_id
    for body, status in [
        ({"device_id": 9999}, 404), ({"device_id": 2**40}, 404), ({}, 400), ({"device_id": None}, 400),
        ({"device_id": "x"}, 400), ({"device_id": True}, 400), ({"device_id": 0}, 400), ([], 400), ("text", 400),
        ({"device_id": str(number)}, 200), ({"device_id": number, "status": 5, "hardware_summary": {"a": 1}}, 200),
    ]:  # fmt: skip
        answer = api.client.post("/api/v1/agent/heartbeat", json=body, headers=agent.credentials)
        assert answer.status_code == status, (body, answer.text)
    broken = api.client.post("/api/v1/agent/heartbeat", data=b"{", headers=agent.credentials)
    assert "Malformed" in broken.json["error"]
    assert broken.status_code == 400
    queued = api.post(f"/devices/{number}/actions", SCRIPT).json["id"]
    assert api.delete(f"/devices/{number}").status_code == 204
    refusal(agent.heartbeat(), 410)
    refusal(agent.result(queued, status="succeeded"), 410)
    refusal(agent.heartbeat(headers={**agent.credentials, "X-API-KEY": "0" * 64}), 401)


def test_agents_without_credentials_need_the_setting_and_their_address(
    app_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = CapturingLogger()
    monkeypatch.setattr(agent_work, "log", heard)
    app = create_app(replace(app_settings, agents_without_credentials=True, log_level="debug"))
    api = Api.with_admin(app)
    agent = Agent(api.client, token_of(api), "DESKTOP-1")
    queued = api.post(f"/devices/{agent.device_id}/actions", SCRIPT).json["id"]
    body = {"device_id": agent.device_id}
    stranger = api.client.post("/api/v1/agent/heartbeat", json=body, environ_base={"REMOTE_ADDR": "192.0.2.9"})
    assert "the address that registered" in refusal(stranger, 403)
    refusal(agent.heartbeat(headers={"X-API-ID": "nobody", "X-API-KEY": "x"}), 401)
    assert [row["id"] for row in agent.heartbeat(headers={}).json["actions"]] == [queued]
    assert agent.result(queued, headers={}, status="succeeded").status_code == 200
    assert ("legacy agent without credentials",) in [call.args for call in heard.calls]
    database.close_all()


def test_what_is_fetched_and_never_reported_is_closed(
    api: Api, operator: Operator, agent: Agent, app_settings: Settings
) -> None:
    number = operator.queue(agent.device_id, **SCRIPT, timeout_seconds=60)["id"]
    agent.fetch()
    shown = api.get(f"/actions/{number}").json
    assert shown["deadline"] > shown["started_at"]
    with database.connection():
        close_overdue(app_settings)
        assert Action.get_by_id(number).status == "running"
        assert Action.get_by_id(number).deadline - Action.get_by_id(number).started_at == timedelta(seconds=360)
        Action.update(deadline=now() - timedelta(seconds=1)).execute()
        close_overdue(app_settings)
    shown = api.get(f"/actions/{number}").json
    assert (shown["status"], shown["message"]) == ("failed", "no result within 60 s; its outcome is unknown")
    assert agent.result(number, status="succeeded", logs="late").status_code == 200, "late, but the truth"
    assert api.get(f"/actions/{number}").json["status"] == "succeeded"


def test_what_waits_for_a_deleted_device_is_closed(api: Api, agent: Agent, app_settings: Settings) -> None:
    number = api.post(f"/devices/{agent.device_id}/actions", SCRIPT).json["id"]
    api.delete(f"/devices/{agent.device_id}")
    with database.connection():
        close_overdue(app_settings)
    assert api.get(f"/actions/{number}").json["message"] == "not started: the device was deleted"


def test_a_device_that_waits_for_approval_gets_nothing(api: Api, operator: Operator, agent: Agent) -> None:
    with database.connection():
        Device.update(approved=False).execute()
    row = operator.queue(agent.device_id, **SCRIPT)
    assert row["message"] == "not yet: the device waits for approval"
    assert agent.fetch() == []
    api.patch(f"/devices/{agent.device_id}", {"approved": True})
    assert [one["id"] for one in agent.fetch()] == [row["id"]]


def test_nothing_runs_on_a_device_in_maintenance(api: Api, operator: Operator, agent: Agent) -> None:
    assert api.patch(f"/devices/{agent.device_id}", {"maintenance": True}).status_code == 200
    row = operator.queue(agent.device_id, **SCRIPT)
    assert row["message"].startswith("not yet: the device is in maintenance")
    assert agent.fetch() == []
    api.patch(f"/devices/{agent.device_id}", {"maintenance": False})
    assert [one["id"] for one in agent.fetch()] == [row["id"]]
    web = add_host("web", package("bash")).id
    api.patch(f"/devices/{web}", {"maintenance": True})
    held = api.post(f"/devices/{web}/actions", {"type": "bash_inline", "payload": "id"}).json
    assert held["deployment_id"] is None
    api.patch(f"/devices/{web}", {"maintenance": False})
    api.post(f"/devices/{web}/actions", {"type": "bash_inline", "payload": "id"})
    assert api.get(f"/actions/{held['id']}").json["deployment_id"] is not None


def test_what_an_agent_has_cannot_be_called_back(api: Api, operator: Operator, agent: Agent) -> None:
    waiting, fetched = (operator.queue(agent.device_id, **SCRIPT)["id"] for _ in range(2))
    assert api.post(f"/actions/{waiting}/cancel").json["status"] == "canceled"
    assert [row["id"] for row in agent.fetch()] == [fetched]
    assert "has fetched it" in refusal(api.post(f"/actions/{fetched}/cancel"), 409)


def test_logs_are_bounded(api: Api, operator: Operator, agent: Agent) -> None:
    number = operator.queue(agent.device_id, **SCRIPT)["id"]
    agent.fetch()
    text = "first\n" + "x" * 500_000 + "\0\udcff" + "\nlast"
    assert agent.result(number, status="succeeded", logs=text.replace("\udcff", "?")).status_code == 200
    logs = api.get(f"/actions/{number}").json["logs"]
    assert logs.startswith("first\nxx")
    assert logs.endswith("x?\nlast")
    assert "characters are left out here" in logs
    assert len(logs) < 132_000


def test_a_device_that_ansible_works_on_fetches_nothing(api: Api, agent: Agent) -> None:
    api.patch(f"/devices/{agent.device_id}", {"execution": "ansible"})
    row = api.post(f"/devices/{agent.device_id}/actions", SCRIPT).json
    assert row["execution"] == "ansible"
    assert agent.fetch() == []
    assert "not handed out" in refusal(agent.result(row["id"], status="succeeded"), 409)
