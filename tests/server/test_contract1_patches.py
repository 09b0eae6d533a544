# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Document 1 with its wire notes: missing patches, scheduling, progress, heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.deployments import patch_management as deployments
from patchherd.deployments.models import Deployment, DeploymentChange, DeploymentHost, Job
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.identity.models import AuditEntry
from patchherd.packages import missing
from patchherd.packages.models import Verdict
from patchherd.packages.reports import receive_report
from tests.server.api import Api
from tests.server.fleet import add_host, package, security
from tests.server.queries import queries

MISSING, DEPLOY = "/api/patches/missing", "/api/patches/deploy"
DEBIAN = {"osType": "Ubuntu", "osId": "ubuntu", "osVersion": "24.04", "ecosystem": "deb"}
WINDOWS = {"osType": "Windows Server 2022", "osId": "windows", "osVersion": "21H2", "ecosystem": "windows"}
TITLE = "2026-02 Cumulative Update [x64] (KB5050001)"


def windows_update(title: str, kb: str | None, severity: str = "Critical") -> dict[str, Any]:
    return {
        "name": title, "currentVersion": "", "needsUpdate": True, "wuaGuid": title, "wuaKb": kb,
        "wuaSeverity": severity, "wuaCategories": ["Security Updates"],
    }  # fmt: skip


@pytest.fixture
def fleet(api: Api) -> dict[str, Device]:
    found = {
        "rocky": add_host("rocky", security("openssl", "3.0-1", "3.0-2"), package("curl", "7-1", "8-1"), ip="10.0.0.1"),
        "ubuntu": add_host("ubuntu", package("curl", "7-1", "8-1"), package("vim"), ip="10.0.0.2", **DEBIAN),
        "win": add_host(
            "win", windows_update(TITLE, "5050001"), windows_update("Tool", None), ip="10.0.0.3", **WINDOWS
        ),
        "clean": add_host("clean", package("bash"), ip="10.0.0.4"),
        "old": add_host("old", package("curl", "7-1", "8-1"), ip="10.0.0.5"),
    }
    with database.connection():
        found["new"] = create_device("new")
        stale = now() - timedelta(hours=30)
        Device.update(evaluated_at=stale).where(Device.id == found["old"].id).execute()
    return found


def shown(answer: Any) -> str:
    """host:patch of each row."""
    assert answer.status_code == 200, answer.text
    assert answer.json["count"] == len(answer.json["patches"])
    return " ".join(
        f"{row['hostname']}:{row['package'] or row['kb'] or row['title']}" for row in answer.json["patches"]
    )


def unknown(answer: Any) -> str:
    return " ".join(row["hostname"] for row in answer.json["unknown"])


# -- missing patches -------------------------------------------------------------------------------------------------


def test_every_field_of_a_row(api: Api, fleet: dict[str, Device]) -> None:
    with database.connection():
        seen = Verdict.get(Verdict.package == "openssl")
    answer = api.get(MISSING)
    assert answer.mimetype == "application/json"
    assert set(answer.json) == {"count", "patches", "unknown"}
    assert answer.json["patches"][0] == {
        "id": seen.id,
        "device_id": fleet["rocky"].id,
        "agent_id": fleet["rocky"].uuid,
        "hostname": "rocky",
        "ip_address": "10.0.0.1",
        "os": "rhel",
        "os_name": "Rocky Linux",
        "title": None,
        "kb": None,
        "package": "openssl",
        "architecture": "x86_64",
        "installed_version": "3.0-1",
        "latest_version": "3.0-2",
        "replaced_by": [],
        "severity": "Critical",
        "security": True,
        "detected_at": f"{seen.first_seen:%a, %d %b %Y %H:%M:%S GMT}",
        "download_status": "not_downloaded",
        "deploy_status": "not_scheduled",
    }
    [update, tool] = api.get(f"{MISSING}/windows").json["patches"]
    names = ("title", "kb", "package", "os", "installed_version", "severity")
    assert [update[name] for name in names] == [TITLE, "KB5050001", None, "windows", None, "Critical"]
    assert (tool["title"], tool["kb"]) == ("Tool", None)


FILTERS = [
    ("", "rocky:openssl rocky:curl ubuntu:curl win:KB5050001 win:Tool", "old new"),
    ("/windows", "win:KB5050001 win:Tool", "new"),
    ("/ubuntu", "ubuntu:curl", "new"),
    ("/rhel/", "rocky:openssl rocky:curl", "old new"),
    ("?severity=critical", "rocky:openssl win:KB5050001 win:Tool", "old new"),
    ('?severity="Critical",Optional&package=curl', "rocky:curl ubuntu:curl", "old new"),
    ("?kb=KB5050001", "win:KB5050001", "old new"),
    ("?kb=5050001,KB1", "win:KB5050001", "old new"),
    ("?package=curl,openssl", "rocky:openssl rocky:curl ubuntu:curl", "old new"),
    ("?package=open*", "rocky:openssl", "old new"),
    ("?package=nothing", "", "old new"),
    ("?hostname=rocky,win", "rocky:openssl rocky:curl win:KB5050001 win:Tool", ""),
    ("?hostname=old,ubuntu", "ubuntu:curl", "old"),
    ('?agent_id="{rocky}",{new}', "rocky:openssl rocky:curl", "new"),
    ("?agent_id={clean}", "", ""),
    ("?ip_address=10.0.0.2", "ubuntu:curl", ""),
    ("/rhel?ip_address=10.0.0.1,10.0.0.2&package=curl&whatever=1", "rocky:curl", ""),
    ("/ubuntu?agent_id={rocky}", "", ""),
]


def test_filters(api: Api, fleet: dict[str, Device]) -> None:
    uuids = {name: device.uuid for name, device in fleet.items()}
    for query, rows, unsure in FILTERS:
        answer = api.get(MISSING + query.format(**uuids))
        assert (shown(answer), unknown(answer)) == (rows, unsure), query


def test_the_unknown_are_told_with_their_reason(api: Api, fleet: dict[str, Device]) -> None:
    old, new = api.get(MISSING).json["unknown"]
    assert old == {
        "device_id": fleet["old"].id,
        "agent_id": fleet["old"].uuid,
        "hostname": "old",
        "ip_address": "10.0.0.5",
        "os": "rhel",
        "reason": "the last report of packages is older than 26 h",
    }
    assert (new["os"], new["reason"]) == (None, "no report yet")
    assert api.delete("/devices/old").status_code == 204
    assert unknown(api.get(MISSING)) == "new"


def test_what_is_refused(api: Api, fleet: dict[str, Device]) -> None:
    answer = api.get(f"{MISSING}?severity=dire")
    assert answer.status_code == 400
    assert answer.json["errors"][0]["param"] == "severity"
    for path in (f"{MISSING}/solaris", f"{MISSING}/windows/x"):
        assert (api.get(path).status_code, api.get(path).json["error"]) == (404, "Not Found")
    assert api.client.get(MISSING).status_code == 401
    assert api.post(MISSING, {}).status_code == 405


def test_large_answers_are_made_batch_by_batch(
    api: Api, fleet: dict[str, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = api.get(MISSING).json
    for size in (1, 2, 5):
        monkeypatch.setattr(missing, "BATCH", size)
        assert api.get(MISSING).json == wanted
    monkeypatch.setattr(missing, "BATCH", 2)
    with queries() as seen, api.get(MISSING, buffered=False) as answer:
        parts = answer.iter_encoded()
        next(parts)
        read = len(seen)
        rest = b"".join(parts)
    assert rest.endswith(b'"count":5}')
    assert len(seen) > read


# -- scheduling ------------------------------------------------------------------------------------------------------


def item(device: Device, patch: str) -> dict[str, str]:
    return {"agent_id": device.uuid, "patch_file": patch}


def planned() -> dict[str, list[str]]:
    """Host -> packages that deployments would install there."""
    with database.connection():
        rows = DeploymentChange.select(DeploymentHost.name, DeploymentChange.package).join(DeploymentHost)
        found: dict[str, list[str]] = {}
        for name, wanted in rows.order_by(DeploymentChange.package).tuples():
            found.setdefault(name, []).append(wanted)
        return found


def test_one_patch(api: Api, fleet: dict[str, Device]) -> None:
    answer = api.post(DEPLOY, item(fleet["rocky"], "openssl"))
    assert answer.status_code == 200, answer.text
    number = answer.json["deployment_id"]
    told = {**item(fleet["rocky"], "openssl"), "deployment_id": number}
    assert answer.json == {"status": "scheduled", "jobs": 1, **told, "items": [told]}
    deployment = api.get(f"/deployments/{number}").json
    assert (deployment["state"], deployment["filter"], deployment["created_by"]) == ("queued", "packages", "admin")
    [host] = deployment["hosts"]
    assert [(change["package"], change["to"]) for change in host["changes"]] == [("openssl", "3.0-2")]
    assert api.get("/audit").json["entries"][0]["action"] == "deployment.place"
    with database.connection():
        assert Job.select().count() == 1


@pytest.mark.parametrize(
    ("host", "text", "package"),
    [
        ("rocky", "openssl=3.0-2", "openssl"),
        ("rocky", "openssl-3.0-2.x86_64.rpm", "openssl"),
        ("ubuntu", "curl_8-1_x86_64.deb", "curl"),
        ("win", "KB5050001", TITLE),
        ("win", "kb5050001", TITLE),
        ("win", "windows10.0-kb5050001-x64.msu", TITLE),
        ("win", TITLE, TITLE),
        ("win", "Tool", "Tool"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_names_of_a_patch(api: Api, fleet: dict[str, Device], host: str, text: str, package: str) -> None:
    answer = api.post(DEPLOY, item(fleet[host], text))
    assert answer.status_code == 200, answer.text
    assert planned() == {host: [package]}


def test_a_list_gives_each_host_its_own_patches(api: Api, fleet: dict[str, Device]) -> None:
    items = [
        item(fleet["rocky"], "openssl"), item(fleet["ubuntu"], "curl"), item(fleet["rocky"], "openssl"),
        item(fleet["win"], "KB5050001"),
    ]  # fmt: skip
    answer = api.post(f"{DEPLOY}/", items)
    assert answer.status_code == 200, answer.text
    assert (answer.json["status"], answer.json["jobs"], len(answer.json["items"])) == ("scheduled", 3, 4)
    assert planned() == {"rocky": ["openssl"], "ubuntu": ["curl"], "win": [TITLE]}, "rocky misses curl, too"
    first, _, again, _ = answer.json["items"]
    assert first == again


def test_hosts_with_the_same_patches_share_a_deployment(api: Api, fleet: dict[str, Device]) -> None:
    answer = api.post(DEPLOY, [item(fleet["rocky"], "curl"), item(fleet["ubuntu"], "curl")])
    assert answer.json["jobs"] == 1
    assert planned() == {"rocky": ["curl"], "ubuntu": ["curl"]}


def test_all_or_none(api: Api, fleet: dict[str, Device]) -> None:
    nobody = {"agent_id": "082b88df-5f84-472d-abac-e5ebb5be3998", "patch_file": "curl"}
    good = item(fleet["rocky"], "curl")
    assert api.delete("/devices/clean").status_code == 204
    fleet["closed"] = add_host("closed", package("curl", "7-1", "8-1"))
    fleet["vague"] = add_host("vague", package("curl", "7-1", needsUpdate=True))
    assert api.patch("/devices/closed", {"approved": False}).status_code == 200
    with database.connection():
        before = AuditEntry.select().count()
    for bad, status, said in (
        (nobody, 404, "no device 082b88df"),
        (item(fleet["clean"], "curl"), 410, "deleted"),
        (item(fleet["ubuntu"], "vim"), 409, "vim: not missing there"),
        (item(fleet["ubuntu"], "curl=9"), 409, "not missing there"),
        (item(fleet["ubuntu"], "KB5050001"), 409, "not missing there"),
        (item(fleet["ubuntu"], "c*"), 409, "not missing there"),
        (item(fleet["win"], "KB505000"), 409, "not missing there"),
        (item(fleet["old"], "curl"), 409, "it is unknown what this device misses: the last report"),
        (item(fleet["new"], "curl"), 409, "it is unknown what this device misses: no report yet"),
        (item(fleet["closed"], "curl"), 409, "waits for approval"),
        (item(fleet["vague"], "curl"), 409, "the agent names no version of it"),
        ({"agent_id": fleet["ubuntu"].uuid}, 400, "patch_file"),
        ({"agent_id": 7, "patch_file": "curl"}, 400, "agent_id"),
        ({"agent_id": "", "patch_file": ""}, 400, "agent_id"),
        ("curl", 400, ""),
    ):
        for body in (bad, [good, bad], [bad, good]):
            answer = api.post(DEPLOY, body)
            assert (answer.status_code, said in answer.json["detail"]) == (status, True), answer.text
    answer = api.post(DEPLOY, [good, item(fleet["ubuntu"], "vim")])
    assert answer.json["errors"][0]["path"] == "[1].patch_file"
    for body in ([], None, 7, "x", [good] * 1001):
        assert api.post(DEPLOY, body).status_code == 400
    answer = api.client.post(DEPLOY, data=b"{", headers={**api.headers, "Content-Type": "application/json"})
    assert (answer.status_code, answer.json["error"]) == (400, "Malformed JSON")
    with database.connection():
        assert Deployment.select().count() == Job.select().count() == 0
        assert AuditEntry.select().count() == before


def test_a_busy_host_leaves_the_other_orders_unplaced(api: Api, fleet: dict[str, Device]) -> None:
    assert api.post(DEPLOY, item(fleet["rocky"], "openssl")).status_code == 200
    answer = api.post(DEPLOY, [item(fleet["ubuntu"], "curl"), item(fleet["rocky"], "curl")])
    assert answer.status_code == 409
    with database.connection():
        assert Deployment.select().count() == Job.select().count() == 1
    assert api.post(DEPLOY, item(fleet["ubuntu"], "curl")).status_code == 200


def test_who_may_not_run_deployments(api: Api, fleet: dict[str, Device]) -> None:
    headers = {"Authorization": f"Bearer {api.api_token(role='viewer')}"}
    body = item(fleet["rocky"], "curl")
    assert api.client.post(DEPLOY, json=body, headers=headers).status_code == 403
    assert api.client.post(DEPLOY, json=body).status_code == 401
    assert api.client.get(f"{DEPLOY}/status", headers=headers).status_code == 200


# -- progress --------------------------------------------------------------------------------------------------------


def states(api: Api) -> dict[str, str]:
    return {f"{row['hostname']}:{row['package']}": row["deploy_status"] for row in api.get(MISSING).json["patches"]}


def test_the_rows_tell_what_is_done_about_them(api: Api, fleet: dict[str, Device]) -> None:
    api.post("/deployments", {"devices": ["ubuntu"], "dry_run": True})
    assert states(api)["ubuntu:curl"] == "not_scheduled", "a dry run is no deployment"
    number = api.post(DEPLOY, item(fleet["rocky"], "openssl")).json["deployment_id"]
    assert (states(api)["rocky:openssl"], states(api)["rocky:curl"]) == ("scheduled", "not_scheduled")
    with database.connection():
        DeploymentHost.update(state="running").where(DeploymentHost.deployment == number).execute()
    assert states(api)["rocky:openssl"] == "running"
    with database.connection():
        DeploymentHost.update(state="failed").where(DeploymentHost.deployment == number).execute()
        Deployment.update(state="failed").where(Deployment.id == number).execute()
        DeploymentChange.update(result="failed").execute()
    assert states(api)["rocky:openssl"] == "failed"
    again = api.post(DEPLOY, item(fleet["rocky"], "openssl")).json["deployment_id"]
    assert api.post(f"/deployments/{again}/cancel").status_code == 200
    assert states(api)["rocky:openssl"] in {"canceled", "unproven"}
    with database.connection():
        newer = {
            "hostname": "rocky",
            "osId": "rocky",
            "ecosystem": "rpm",
            "packages": [package("openssl", "3.0-1", "4")],
        }
        receive_report(fleet["rocky"].id, newer)
    assert states(api)["rocky:openssl"] == "not_scheduled", "the deployment was about another version"


def test_progress(api: Api, fleet: dict[str, Device]) -> None:
    status = f"{DEPLOY}/status"
    nothing = {"status": "none", "total": 0, "done": 0, "percent": 100, "count": 0, "agents": []}
    assert api.get(status).json == nothing
    api.post("/scans", {"devices": ["clean"]})
    assert api.get(status).json == nothing, "a scan deploys nothing"
    first = api.post(DEPLOY, [item(fleet["rocky"], "openssl"), item(fleet["rocky"], "curl")]).json["items"][0]
    second = api.post(DEPLOY, item(fleet["ubuntu"], "curl")).json
    answer = api.get(f"{status}?agent_id={fleet['rocky'].uuid}&x=1").json
    [agent] = answer.pop("agents")
    assert answer == {"status": "scheduled", "total": 2, "done": 0, "percent": 0, "count": 1}
    assert [(row["package"], row["latest_version"], row["result"]) for row in agent.pop("items")] == [
        ("curl", "8-1", "planned"),
        ("openssl", "3.0-2", "planned"),
    ]
    assert agent == {
        "agent_id": fleet["rocky"].uuid,
        "hostname": "rocky",
        "deployment_id": first["deployment_id"],
        "status": "scheduled",
        "state": "waiting",
        "message": "",
        "total": 2,
        "done": 0,
        "percent": 0,
    }
    with database.connection():
        host = DeploymentHost.get(DeploymentHost.deployment == first["deployment_id"])
        DeploymentHost.update(state="running").where(DeploymentHost.id == host.id).execute()
        change = DeploymentChange.select().where(DeploymentChange.host == host).first()
        DeploymentChange.update(result="installed").where(DeploymentChange.id == change.id).execute()
    answer = api.get(status).json
    assert (answer["status"], answer["total"], answer["done"], answer["percent"]) == ("running", 3, 1, 33)
    assert [(row["agent_id"], row["status"], row["percent"]) for row in answer["agents"]] == [
        (fleet["rocky"].uuid, "running", 50),
        (fleet["ubuntu"].uuid, "scheduled", 0),
    ]
    assert all("items" not in row for row in answer["agents"])
    with database.connection():
        DeploymentHost.update(state="patched").where(DeploymentHost.id == host.id).execute()
    assert api.post(f"/deployments/{second['deployment_id']}/cancel").status_code == 200
    answer = api.get(status).json
    assert [row["status"] for row in answer["agents"]] == ["succeeded", "canceled"]
    assert (answer["status"], answer["percent"]) == ("canceled", 100)
    by_deployment = api.get(f"{status}?deployment_id={second['deployment_id']}").json
    assert [row["hostname"] for row in by_deployment["agents"]] == ["ubuntu"]
    assert api.get(f"{status}?agent_id={fleet['clean'].uuid}").json == nothing
    assert api.get(f"{status}?agent_id=082b88df-5f84-472d-abac-e5ebb5be3998").status_code == 404


def test_progress_costs_a_fixed_number_of_queries(api: Api, fleet: dict[str, Device]) -> None:
    def cost() -> int:
        with queries() as seen, database.connection():
            deployments.progress([device.uuid for device in hosts])
        return len(seen)

    hosts = [fleet["rocky"]]
    assert api.post(DEPLOY, item(fleet["rocky"], "curl")).status_code == 200
    few = cost()
    hosts += [add_host(f"host{number}", package("curl", "7-1", "8-1")) for number in range(30)]
    assert api.post(DEPLOY, [item(device, "curl") for device in hosts[1:]]).status_code == 200
    assert cost() == few


# -- heartbeats ------------------------------------------------------------------------------------------------------


def test_heartbeats(api: Api, fleet: dict[str, Device]) -> None:
    with database.connection():
        for name, seconds in (("rocky", 1), ("ubuntu", 125), ("win", 7300), ("clean", 200_000), ("old", 0)):
            beat = now() - timedelta(seconds=seconds, milliseconds=200)
            Device.update(last_heartbeat=beat).where(Device.id == fleet[name].id).execute()
    answer = api.get("/api/heartbeat/status").json
    assert answer["count"] == 6
    assert [(row["hostname"], row["time_ago"], row["seconds_ago"], row["status"]) for row in answer["agents"]] == [
        ("rocky", "1 second ago", 1, "ONLINE"),
        ("ubuntu", "2 minutes ago", 125, "ONLINE"),
        ("win", "2 hours ago", 7300, "OFFLINE"),
        ("clean", "2 days ago", 200_000, "OFFLINE"),
        ("old", "0 seconds ago", 0, "ONLINE"),
        ("new", "never", None, "OFFLINE"),
    ]
    assert all(row["server_time"] == answer["server_time"] for row in answer["agents"])
    one = api.get(f'/api/heartbeat/status/?agent_id="{fleet["rocky"].uuid}"').json
    assert one["agents"] == [{name: one[name] for name in one["agents"][0]}]
    assert (one["count"], one["agent_id"], one["last_heartbeat"][-4:]) == (1, fleet["rocky"].uuid, " GMT")
    assert api.get("/api/heartbeat/status?agent_id=nobody").json["agents"] == []
    listed = api.get("/api/heartbeat/status?status=OFFLINE&hostname=win,new,rocky&x=1").json
    assert [row["hostname"] for row in listed["agents"]] == ["win", "new"]
    assert api.get("/api/heartbeat/status?status=asleep").status_code == 400
