# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions over HTTP: who may queue what for which device, for many at once, in order, and how they are called back."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from werkzeug.test import TestResponse

from patchherd import database
from patchherd.automation.installers import powershell_of, quoted
from patchherd.automation.models import Action
from patchherd.deployments.models import Deployment, DeploymentHost, Job
from patchherd.devices.models import Device
from tests.server.api import ADMIN, PASSWORD, Api
from tests.server.fleet import add_host, security
from tests.server.queries import queries

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DOCUMENTED = {
    "id", "device_id", "type", "status", "payload", "script_id", "software_id", "logs", "created_at", "updated_at",
    "completed_at",
}  # fmt: skip
BASH = {"type": "bash_inline", "payload": "id"}


@pytest.fixture
def web(api: Api) -> int:
    """A Linux device that Ansible reaches."""
    return linux("web")


def linux(name: str) -> int:
    return int(add_host(name, security("openssl")).id)


def windows(name: str) -> int:
    number = linux(name)
    with database.connection():
        columns = {"os_family": "windows", "os_id": "windows", "os_name": "Microsoft Windows Server 2022"}
        Device.update(**columns).where(Device.id == number).execute()
    return number


def queue(api: Api, device: Any, expect: int = 201, **action: Any) -> Any:
    answer = api.post(f"/devices/{device}/actions", action)
    assert answer.status_code == expect, answer.text
    return answer.json


def make(api: Api, path: str, **body: Any) -> int:
    answer = api.post(path, body)
    assert answer.status_code == 201, answer.text
    return int(answer.json["id"])


def profile(api: Api, *tasks: dict[str, Any], **more: Any) -> int:
    number = make(api, "/profiles", name=f"profile {len(tasks)} {more}", **more)
    for place, task in enumerate(tasks):
        values = {"name": f"step {place}", "action_type": "bash_inline", "payload": "id", "order_index": place}
        make(api, f"/profiles/{number}/tasks", **{**values, **task})
    return number


def refusal(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json["error"]
    assert answer.json["detail"]
    return str(answer.json.get("message") or answer.json["error"])


def test_an_action_carries_what_is_documented(api: Api, web: int) -> None:
    row = queue(api, web, **BASH)
    assert set(row) >= DOCUMENTED
    assert row.items() >= {
        "device_id": web, "type": "bash_inline", "status": "pending", "payload": "id", "script_id": None,
        "software_id": None, "logs": None, "completed_at": None, "execution": "ansible", "created_by": "admin",
        "digest": hashlib.sha256(b"id").hexdigest(), "timeout_seconds": 1800, "exit_code": None,
    }.items()  # fmt: skip
    assert api.get(f"/actions/{row['id']}/").json == row
    second = queue(api, "web", **BASH, timeout_seconds=5, something="else")
    listed = api.get(f"/devices/{web}/actions?colour=red").json
    assert [one["id"] for one in listed] == [second["id"], row["id"]]
    assert set(listed[0]) >= DOCUMENTED
    page = api.get(f"/devices/{web}/actions?limit=1&before={second['id']}")
    assert [one["id"] for one in page.json] == [row["id"]]
    assert page.headers["X-Pagination"] == '{"limit":1,"next_before":null}'


def test_a_script_is_copied_with_its_version(api: Api, web: int) -> None:
    script = make(api, "/scripts", name="s", language="bash", content="echo one")
    row = queue(api, web, type="bash_inline", script_id=script)
    assert (row["payload"], row["script_id"], row["script_version"]) == ("echo one", script, 1)
    assert api.call("PUT", f"/scripts/{script}", {"content": "echo two"}).status_code == 200
    assert api.get(f"/actions/{row['id']}").json["payload"] == "echo one"
    assert queue(api, web, type="bash_inline", script_id=script)["script_version"] == 2
    assert api.delete(f"/scripts/{script}").status_code == 204
    assert api.get(f"/actions/{row['id']}").json.items() >= {"payload": "echo one", "script_id": None}.items()


def test_what_does_not_fit_is_refused(api: Api, web: int) -> None:
    win = windows("win")
    power = make(api, "/scripts", name="p", language="powershell", content="Get-Date")
    ubuntu = make(api, "/scripts", name="u", language="bash", content="id", target_os_type="ubuntu")
    msi = make(api, "/software-items", name="m", installer_type="msi", source_type="url", source="https://x/a.msi")
    for body, word in [
        ({}, "type"),
        ({"type": "magic"}, "type"),
        ({"type": "bash_inline"}, "payload"),
        ({"type": "bash_inline", "payload": ""}, "payload"),
        ({"type": "bash_inline", "payload": 5}, "payload"),
        ({"type": "bash_inline", "payload": "x" * 1_000_001}, "payload"),
        ({"type": "bash_inline", "payload": "id", "script_id": ubuntu}, "payload"),
        ({"type": "bash_inline", "script_id": power}, "script_id"),
        ({"type": "bash_inline", "script_id": "x"}, "script_id"),
        ({"type": "install_software"}, "software_id"),
        ({"type": "agent_uninstall", "software_id": msi}, "software_id"),
        ({**BASH, "timeout_seconds": 0}, "timeout_seconds"),
        ({**BASH, "timeout_seconds": 80_000}, "timeout_seconds"),
    ]:
        answer = api.post(f"/devices/{web}/actions", body)
        assert word in refusal(answer, 400)
        assert answer.json["errors"][0]["path"] == word
    assert "powershell does not run on rocky" in refusal(
        api.post(f"/devices/{web}/actions", {"type": "powershell_inline", "script_id": power}), 400
    )
    assert "bash does not run on" in refusal(api.post(f"/devices/{win}/actions", BASH), 400)
    assert "made for ubuntu" in refusal(
        api.post(f"/devices/{web}/actions", {"type": "bash_inline", "script_id": ubuntu}), 400
    )
    assert "msi installs on Windows only" in refusal(
        api.post(f"/devices/{web}/actions", {"type": "install_software", "software_id": msi}), 400
    )
    assert queue(api, win, type="install_software", software_id=msi)["software_id"] == msi
    assert queue(api, win, type="powershell_script", script_id=power)["payload"] == "Get-Date"
    assert api.get("/actions").json[-1]["id"], "nothing of the refused ones is there"
    assert len(api.get("/actions").json) == 2


def test_unknown_and_deleted_things(api: Api, web: int) -> None:
    assert "no device 99" in refusal(api.post("/devices/99/actions", BASH), 404)
    assert "no script 99" in refusal(api.post(f"/devices/{web}/actions", {"type": "bash_inline", "script_id": 99}), 404)
    missing = {"type": "install_software", "software_id": 99}
    assert "no software 99" in refusal(api.post(f"/devices/{web}/actions", missing), 404)
    for path in ("/actions/99", "/profile-runs/99", "/devices/99/actions"):
        refusal(api.get(path), 404)
    refusal(api.post("/actions/99/cancel"), 404)
    refusal(api.post("/profiles/99/apply", {"device_ids": [web]}), 404)
    assert api.delete(f"/devices/{web}").status_code == 204
    refusal(api.post(f"/devices/{web}/actions", BASH), 410)
    refusal(api.get(f"/devices/{web}/actions"), 410)


@SQLITE
def test_who_runs_scripts_needs_its_own_permission(api: Api, web: int) -> None:
    row = queue(api, web, **BASH)
    paths = [f"/devices/{web}/actions", "/actions", f"/actions/{row['id']}/cancel", "/profiles/1/apply"]
    for role, may_read in (("operator", 200), ("viewer", 200)):
        headers = {"Authorization": f"Bearer {api.user_token(role)}"}
        for path in paths:
            assert "actions:run" in refusal(api.post(path, BASH, headers=headers), 403)
        assert api.get(f"/actions/{row['id']}", headers=headers).status_code == may_read
    assert api.client.post(f"/api/v1/devices/{web}/actions", json=BASH).status_code == 401
    api.post("/roles", {"name": "runner", "permissions": ["actions:run", "automation:read"]})
    headers = {"Authorization": f"Bearer {api.user_token('runner')}"}
    assert api.post(f"/devices/{web}/actions", BASH, headers=headers).status_code == 201


def test_many_devices_are_all_or_nothing(api: Api, web: int) -> None:
    db, win = linux("db"), windows("win")
    order = {**BASH, "device_ids": [web, "db", 77, "nobody", win]}
    answer = api.post("/actions", order)
    words = refusal(answer, 404)
    for name in ("77", "nobody", "win"):
        assert name in words or str(win) in words
    assert {row["value"] for row in answer.json["errors"]} == {77, "nobody", win}
    assert api.get("/actions").json == []
    answer = api.post("/actions", {**order, "partial": True})
    assert answer.status_code == 201, answer.text
    assert len(answer.json["actions"]) == 2
    assert {row["device"] for row in answer.json["refused"]} == {77, "nobody", win}
    assert all(row["error"] for row in answer.json["refused"])
    assert {row["device_id"] for row in api.get("/actions").json} == {web, db}
    refusal(api.post("/actions", {**BASH, "device_ids": [77], "partial": True}), 404)
    refusal(api.post("/actions", BASH), 400)
    assert "colour" in refusal(api.post("/actions", {**order, "colour": "red"}), 400)


def test_groups_and_filters(api: Api, web: int) -> None:
    api.post("/host-groups", {"name": "Linux"})
    linux("db")
    for name in ("web", "db"):
        api.patch(f"/devices/{name}", {"groups": ["Linux"]})
    made = api.post("/actions", {**BASH, "groups": ["Linux"], "device_ids": ["db"]}).json["actions"]
    assert len(made) == 2, "a device counts once"
    assert "no group" in refusal(api.post("/actions", {**BASH, "groups": ["Mac"]}), 404)
    assert [row["id"] for row in api.get("/actions?device=web").json] == [
        row["id"] for row in api.get(f"/devices/{web}/actions").json
    ]
    assert len(api.get("/actions?status=pending&type=bash_inline").json) == 2
    assert api.get("/actions?status=failed").json == []
    assert "payload" not in api.get("/actions").json[0]
    first = api.get("/actions?limit=1")
    assert f'"next_before":{made[1]}' in first.headers["X-Pagination"]
    for wrong in ("?status=lost", "?limit=0", "?colour=red", "?before=x"):
        refusal(api.get(f"/actions{wrong}"), 400)


def test_a_profile_is_applied_in_order(api: Api, web: int) -> None:
    db = linux("db")
    number = profile(api, {"order_index": 9}, {"continue_on_error": False, "order_index": 3, "timeout_seconds": 7})
    answer = api.post(f"/profiles/{number}/apply", {"device_ids": [web, db], "note": "extra"})
    assert answer.status_code == 201, answer.text
    run = answer.json["profile_run_id"]
    rows = api.get(f"/actions?profile_run={run}").json[::-1]
    assert [(row["device_id"], row["name"]) for row in rows] == [
        (web, "step 1"), (web, "step 0"), (db, "step 1"), (db, "step 0"),
    ]  # fmt: skip
    assert [(row["continue_on_error"], row["timeout_seconds"]) for row in rows[:2]] == [(False, 7), (True, 1800)]
    shown = api.get(f"/profile-runs/{run}").json
    assert shown["counts"] == {"pending": 4}
    assert (shown["status"], shown["progress"], shown["profile_id"]) == ("pending", 0, number)
    assert [row["name"] for row in shown["devices"]] == ["web", "db"]


def test_profiles_that_cannot_be_applied(api: Api, web: int) -> None:
    empty, full = make(api, "/profiles", name="empty"), profile(api, {})
    template = make(api, "/templates", name="t")
    refusal(api.post(f"/profiles/{empty}/apply", {"device_ids": [web]}), 400)
    refusal(api.post(f"/profiles/{template}/apply", {"device_ids": [web]}), 400)
    for body in ({}, {"device_ids": []}, {"device_ids": None}, {"device_ids": ["", 1]}, {"device_ids": [True]}):
        refusal(api.post(f"/profiles/{full}/apply", body), 400)
    assert "99" in refusal(api.post(f"/profiles/{full}/apply", {"device_ids": [web, 99]}), 404)
    assert api.get("/actions").json == []
    answer = api.post(f"/profiles/{full}/apply", {"device_ids": [web, 99], "partial": True})
    assert answer.status_code == 201
    assert answer.json["refused"] == [{"device": 99, "error": "no device 99"}]
    other = profile(api, {"action_type": "powershell_inline"}, target_os_type="windows")
    assert "made for windows" in refusal(api.post(f"/profiles/{other}/apply", {"device_ids": [web]}), 400)


def test_the_number_of_queries_does_not_grow_with_the_devices(api: Api) -> None:
    number = profile(api, {}, {})

    def cost(names: list[str]) -> int:
        for name in names:
            linux(name)
        with queries() as seen:
            answer = api.post(f"/profiles/{number}/apply", {"device_ids": names})
        assert answer.status_code == 201, answer.text
        with database.connection():
            Job.update(state="running").execute()  # or the next one waits
        return len(seen)

    few = cost(["a1", "a2"])
    assert cost([f"b{n}" for n in range(30)]) == few
    with queries() as seen:
        api.get("/actions?limit=50")
        api.get("/profile-runs/2")
    assert len(seen) < 12


def test_ansible_gets_the_oldest_chain_of_each_free_device(api: Api, web: int) -> None:
    db = linux("db")
    first = queue(api, web, **BASH)
    assert first["deployment_id"] is not None
    waiting = [queue(api, web, **BASH)["id"], queue(api, db, **BASH)["id"]]
    assert [api.get(f"/actions/{one}").json["deployment_id"] for one in waiting] == [None, None], "one run is queued"
    listed = api.get("/deployments?kind=action").json
    assert [row["id"] for row in listed] == [first["deployment_id"]]
    assert api.get("/deployments").json == [], "the history of patches is about patches"
    with database.connection():
        Job.update(state="running").execute()
    third = queue(api, db, **BASH)
    shown = {one: api.get(f"/actions/{one}").json["deployment_id"] for one in (*waiting, third["id"])}
    assert shown[waiting[1]] is not None
    assert shown[waiting[0]] is None, "web is at work"
    assert shown[third["id"]] is None, "its own turn comes later"
    answer = api.post("/deployments", {"devices": ["web"]})
    assert "busy" in answer.json["error"]


def test_what_cannot_be_reached_waits_and_says_so(api: Api) -> None:
    device = api.enroll(friendly_name="new")
    row = queue(api, device["id"], type="agent_uninstall")
    assert (row["status"], row["message"]) == ("pending", "not yet: the device has not reported yet")
    with database.connection():
        number = Action.get_by_id(row["id"]).device_id
    report = {"hostname": "new", "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "packages": []}
    assert api.host("POST", "/hosts/update", device, {**report, "sections": ["packages"]}).status_code == 200
    queue(api, number, **BASH)
    assert api.get(f"/actions/{row['id']}").json["deployment_id"] is not None


def test_cancel_before_the_start(api: Api, web: int) -> None:
    row = queue(api, web, **BASH)
    answer = api.post(f"/actions/{row['id']}/cancel")
    assert (answer.status_code, answer.json["status"]) == (200, "canceled")
    assert answer.json["message"] == "canceled before it started"
    assert api.post(f"/actions/{row['id']}/cancel").json["status"] == "canceled"
    with database.connection():
        assert DeploymentHost.get().state == "canceled"
        Action.update(status="succeeded").execute()
    assert "is succeeded" in refusal(api.post(f"/actions/{row['id']}/cancel"), 409)


def test_cancel_of_a_running_one_ends_its_device_or_the_whole_run(api: Api, web: int) -> None:
    db, win = linux("db"), windows("win")
    script = {"type": "powershell_inline", "payload": "Get-Date"}
    numbers = api.post("/actions", {**BASH, "device_ids": [web, db]}).json["actions"]
    with database.connection():
        Action.update(status="running").execute()
        Job.update(state="running").execute()
    assert api.post(f"/actions/{numbers[0]}/cancel").json.items() >= {"status": "running"}.items()
    with database.connection():
        assert not Deployment.get().cancel_requested
        DeploymentHost.update(state="failed").where(DeploymentHost.device == web).execute()
    assert api.post(f"/actions/{numbers[1]}/cancel").json["cancel_requested"] is True
    with database.connection():
        assert Deployment.get().cancel_requested, "nobody else is in that run"
    other = queue(api, win, **script)["id"]
    with database.connection():
        Action.update(status="running").where(Action.id == other).execute()
        action = Action.get_by_id(other)
        DeploymentHost.create(
            deployment=DeploymentHost.get_by_id(action.host_id).deployment, device=db, name="x", state="running"
        )
    assert "cancel deployment" in refusal(api.post(f"/actions/{other}/cancel"), 409)


@SQLITE
def test_the_audit_trail_has_the_digest_and_not_the_text(api: Api, web: int) -> None:
    queue(api, web, type="bash_inline", payload="echo topsecret")
    text = api.get("/audit?limit=5").text
    assert "topsecret" not in text
    assert hashlib.sha256(b"echo topsecret").hexdigest() in text


@SQLITE
def test_the_dashboard_shows_a_run_of_actions(api: Api, web: int) -> None:
    number = queue(api, web, **BASH)["deployment_id"]
    browser = api.client.application.test_client()
    assert browser.post("/login", data={"username": ADMIN, "password": PASSWORD}).status_code == 303
    page = browser.get(f"/deployments/{number}")
    assert page.status_code == 200
    assert "<h1>Actions" in page.text
    assert "reboot never" not in page.text
    assert f"/deployments/{number}" not in browser.get("/deployments").text
    assert api.post(f"/deployments/{number}/cancel").json["state"] == "canceled"
    assert "canceled before it started" in browser.get(f"/deployments/{number}").text
    assert 'id="retry"' not in browser.get(f"/deployments/{number}").text
    assert "place the actions anew" in refusal(api.post(f"/deployments/{number}/retry"), 409)
    assert api.get("/actions").json[0]["status"] == "canceled"


@SQLITE
def test_who_runs_actions_is_set_on_the_device(api: Api, web: int) -> None:
    assert api.get("/devices/web").json["execution"] == "ansible"
    assert api.patch("/devices/web", {"execution": "agent"}).json["execution"] == "agent"
    assert queue(api, web, **BASH).items() >= {"execution": "agent", "deployment_id": None}.items()
    for wrong in ("nobody", None, 5):
        refusal(api.patch("/devices/web", {"execution": wrong}), 400)


def test_powershell_of_installers() -> None:
    base = {"name": "Fire'fox", "slug": "f", "version": "1.0", "source": None, "install_args": None, "checksum": None}
    base["source_type"] = "url"
    assert powershell_of({**base, "installer_type": "winget"}).startswith(
        "$ErrorActionPreference = 'Stop'\n& winget install --exact --id 'Fire''fox' --version '1.0' --silent"
    )
    choco = powershell_of({**base, "installer_type": "choco", "source": "x"})
    assert "choco install 'x' --version '1.0' --yes" in choco
    feed = powershell_of({**base, "installer_type": "choco", "source": "https://feed.example/"})
    assert "choco install 'Fire''fox' --version '1.0' --source 'https://feed.example/' --yes" in feed
    text = powershell_of(
        {**base, "installer_type": "script", "source": "https://x/s.ps1", "checksum": "ab", "install_args": "-Quiet"}
    )
    assert "-Uri 'https://x/s.ps1' -OutFile $file" in text
    assert "if ($found -ne 'ab') { throw" in text
    assert "-File $file -Quiet\nexit $LASTEXITCODE" in text
    assert powershell_of({**base, "installer_type": "msi", "source": "x"}) == ""
    assert quoted("a\u2019b") == "'a\u2019\u2019b'"
