# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Deployments over HTTP: what is planned for whom, lists, events, cancel, retry."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.deployments import stream
from patchherd.deployments.models import Deployment, DeploymentHost, Job, JobEvent
from patchherd.deployments.upkeep import tidy
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.enrollment.models import BootstrapToken
from patchherd.packages.models import PackageSet
from patchherd.packages.reports import receive_report
from tests.server.api import Api
from tests.server.fleet import add_host, package, rpm_report, security
from tests.server.queries import queries


class Fleet:
    """web and db miss patches, clean has none, old is stale, silent never reported."""

    def __init__(self, api: Api) -> None:
        self.web = add_host("web", security("openssl"), package("bash", candidate="2-1"), package("zsh"))
        self.db = add_host("db", security("openssl"), package("php-fpm", candidate="3-1"))
        self.clean = add_host("clean", package("bash"))
        self.old = add_host("old", package("bash", candidate="2-1"))
        with database.connection():
            self.silent = create_device("silent")
            long_ago = now() - timedelta(days=9)
            Device.update(evaluated_at=long_ago, metadata_updated=long_ago).where(Device.id == self.old.id).execute()
        self.group = api.post("/host-groups", {"name": "Linux"}).json
        for name in ("web", "clean"):
            api.patch(f"/devices/{name}", {"groups": ["Linux"]})


@pytest.fixture
def fleet(api: Api) -> Fleet:
    return Fleet(api)


def place(api: Api, *devices: Any, expect: int = 201, **order: Any) -> dict[str, Any]:
    answer = api.post("/deployments", {"devices": list(devices), **order})
    assert answer.status_code == expect, answer.text
    return dict(answer.json)


def end(api: Api, deployment: dict[str, Any]) -> None:
    assert api.post(f"/deployments/{deployment['id']}/cancel").status_code == 200


def plan(deployment: dict[str, Any]) -> dict[str, list[str]]:
    """Host name -> planned packages."""
    return {host["name"]: [one["package"] for one in host["changes"] if one["planned"]] for host in deployment["hosts"]}


def states(deployment: dict[str, Any]) -> dict[str, str]:
    return {host["name"]: host["state"] for host in deployment["hosts"]}


# -- placing ---------------------------------------------------------------------------------------------------------


def test_place_shows_the_whole_plan(api: Api, fleet: Fleet) -> None:
    answer = api.post("/deployments", {"devices": ["web"], "reboot": "if_required"})
    assert answer.status_code == 201
    shown = answer.json
    assert answer.headers["Location"] == f"/api/v1/deployments/{shown['id']}"
    assert api.get(answer.headers["Location"]).json == shown
    assert (shown["kind"], shown["state"], shown["filter"], shown["reboot"]) == (
        "patch",
        "queued",
        "all",
        "if_required",
    )
    assert (shown["created_by"], shown["progress"], shown["dry_run"]) == ("admin", 0, False)
    assert shown["counts"]["total"] == shown["counts"]["waiting"] == 1
    (host,) = shown["hosts"]
    assert (host["device_id"], host["agent_id"], host["state"], host["attempts"]) == (
        fleet.web.id,
        fleet.web.uuid,
        "waiting",
        0,
    )
    assert host["changes"] == [
        {
            "package": name,
            "architecture": "x86_64",
            "kb": None,
            "from": "1-1",
            "to": "2-1",
            "replaced_by": [],
            "severity": severity,
            "security": name == "openssl",
            "advisories": ["RLSA-openssl"] if name == "openssl" else [],
            "planned": True,
            "result": "planned",
            "message": "",
        }
        for name, severity in (("bash", "Optional"), ("openssl", "Critical"))
    ]
    assert [(job["state"], job["attempt"]) for job in shown["jobs"]] == [("queued", 1)]
    assert "deployment.place" in [entry["action"] for entry in api.get("/audit").json["entries"]]


def test_targets_are_each_device_once(api: Api, fleet: Fleet) -> None:
    body = {
        "devices": [fleet.web.id, str(fleet.web.id), fleet.web.uuid, "web", "db"],
        "groups": ["Linux", fleet.group["id"]],
    }
    answer = api.post("/deployments", body)
    assert answer.status_code == 201, answer.text
    assert plan(answer.json) == {"web": ["bash", "openssl"], "db": ["openssl", "php-fpm"], "clean": []}
    assert states(answer.json) == {"web": "waiting", "db": "waiting", "clean": "unchanged"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_orders_that_cannot_be_placed(api: Api, fleet: Fleet) -> None:
    api.post("/host-groups", {"name": "empty"})
    api.delete(f"/devices/{fleet.clean.id}")
    for body, status, error in (
        ({}, 400, "Validation failed"),
        ({"devices": [], "groups": []}, 400, "Validation failed"),
        ({"devices": "web"}, 400, "Validation failed"),
        ({"devices": [None]}, 400, "Validation failed"),
        ({"devices": [1.5]}, 400, "Validation failed"),
        ({"devices": [""]}, 400, "Validation failed"),
        ({"groups": ["empty"]}, 400, "No targets"),
        ({"devices": ["web", "nobody"]}, 404, "Device not found"),
        ({"devices": [4711]}, 404, "Device not found"),
        ({"devices": [10**30]}, 404, "Device not found"),
        ({"devices": [-1]}, 404, "Device not found"),
        ({"groups": ["nobody"]}, 404, "Host group not found"),
        ({"devices": [fleet.clean.id]}, 410, "Device deleted"),
        ({"devices": ["web"], "filter": "urgent"}, 400, "Validation failed"),
        ({"devices": ["web"], "filter": "packages"}, 400, "Validation failed"),
        ({"devices": ["web"], "filter": "security", "packages": ["bash"]}, 400, "Validation failed"),
        ({"devices": ["web"], "packages": ["bash"]}, 400, "Validation failed"),
        ({"devices": ["web"], "filter": "packages", "packages": [""]}, 400, "Validation failed"),
        ({"devices": ["web"], "filter": "packages", "packages": ["x" * 256]}, 400, "Validation failed"),
        ({"devices": ["web"], "reboot": "always"}, 400, "Validation failed"),
        ({"devices": ["web"], "dry_run": "perhaps"}, 400, "Validation failed"),
        ({"devices": ["web"], "kind": "scan"}, 400, "Validation failed"),
    ):
        answer = api.post("/deployments", body)
        assert (answer.status_code, answer.json["error"]) == (status, error), f"{body}: {answer.text}"
    assert api.get("/deployments").json == []
    assert states(place(api, "web")) == {"web": "waiting"}, "what was refused keeps no device busy"


def test_filters(api: Api, fleet: Fleet) -> None:
    for order, expected in (
        ({"filter": "security"}, {"web": ["openssl"], "db": ["openssl"]}),
        ({"filter": "packages", "packages": ["php*", "bash"]}, {"web": ["bash"], "db": ["php-fpm"]}),
        ({"filter": "packages", "packages": ["openss?"]}, {"web": ["openssl"], "db": ["openssl"]}),
        ({"filter": "packages", "packages": ["PHP*"]}, {"web": [], "db": []}),
    ):
        deployment = place(api, "web", "db", **order)
        assert plan(deployment) == expected, order
        if any(expected.values()):
            end(api, deployment)


def test_nothing_to_install_is_done_at_once(api: Api, fleet: Fleet) -> None:
    deployment = place(api, "clean")
    assert (deployment["state"], deployment["progress"], deployment["jobs"]) == ("succeeded", 100, [])
    (host,) = deployment["hosts"]
    assert (host["state"], host["message"]) == ("unchanged", "nothing to install")
    assert deployment["finished_at"] is not None


def test_unknown_state_is_skipped_never_guessed(api: Api, fleet: Fleet) -> None:
    refused = place(api, "old", "silent", expect=409)
    assert refused["error"] == "Nothing can be deployed"
    assert "old: missing patches are unknown: the last report of packages is older than 26 h" in refused["message"]
    assert "silent: has not reported yet" in refused["message"]
    deployment = place(api, "old", "silent", "web")
    assert states(deployment) == {"web": "waiting", "old": "skipped", "silent": "skipped"}
    messages = {host["name"]: host["message"] for host in deployment["hosts"]}
    assert messages["silent"] == "has not reported yet"
    assert deployment["progress"] == 66


def test_hosts_that_nobody_may_touch_yet(api: Api, fleet: Fleet) -> None:
    api.patch("/devices/web", {"approved": False})
    assert "web: waits for approval" in place(api, "web", expect=409)["message"]
    add_host("strange", package("bash", candidate="2-1"), osType="Plan 9", osId=None)
    assert "strange: its operating system is unknown" in place(api, "strange", expect=409)["message"]
    add_host("nowhere", package("bash", candidate="2-1"), ip="")
    assert "nowhere: has no address" in place(api, "nowhere", expect=409)["message"]


def test_an_update_without_a_version_is_left_out_with_its_reason(api: Api, fleet: Fleet) -> None:
    vague = {**package("vague"), "needsUpdate": True}
    add_host("some", vague, package("bash", candidate="2-1"))
    add_host("only", vague)
    deployment = place(api, "some", "only")
    assert plan(deployment) == {"some": ["bash"], "only": []}
    assert states(deployment) == {"some": "waiting", "only": "skipped"}
    some, only = deployment["hosts"]
    assert only["message"] == "the agent names no version of what is missing: vague"
    left_out = {one["package"]: (one["result"], one["message"]) for one in some["changes"] if not one["planned"]}
    assert left_out == {"vague": ("skipped", "the agent names no version")}
    assert "names no version" in place(api, "only", expect=409)["message"]


def test_a_scan_needs_no_known_state(api: Api, fleet: Fleet) -> None:
    answer = api.post("/scans", {"devices": ["old", "silent"], "groups": ["Linux"]})
    assert answer.status_code == 201
    assert answer.json["kind"] == "scan"
    assert states(answer.json) == {"old": "waiting", "silent": "skipped", "web": "waiting", "clean": "waiting"}
    assert api.post("/scans", {"devices": ["silent"]}).status_code == 409
    assert api.post("/scans", {"devices": ["db"], "dry_run": True}).status_code == 400


def test_a_device_is_in_one_deployment_at_a_time(api: Api, fleet: Fleet) -> None:
    first = place(api, "web")
    busy = place(api, "db", "web", expect=409)
    assert (busy["error"], busy["message"]) == ("Device is busy", f"web is part of running deployment {first['id']}")
    assert states(place(api, "db")) == {"db": "waiting"}
    end(api, first)
    assert states(place(api, "web")) == {"web": "waiting"}


def test_parallel_orders_for_one_device_have_one_winner(api: Api, fleet: Fleet) -> None:
    barrier, answers = threading.Barrier(6), []

    def order() -> None:
        barrier.wait()
        answers.append(
            api.client.application.test_client().post(
                "/api/v1/deployments", json={"devices": ["web"]}, headers=api.headers
            )
        )

    threads = [threading.Thread(target=order) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]


def test_the_digest_tells_what_would_be_installed(api: Api, fleet: Fleet) -> None:
    def digest(*devices: Any, **order: Any) -> str:
        deployment = place(api, *devices, **order)
        end(api, deployment)
        return str(deployment["plan_digest"])

    whole = digest("web", "db")
    assert digest("db", fleet.web.id) == whole, "the order of targets does not matter"
    assert digest("web", "db", dry_run=True, reboot="if_required") == whole
    assert digest("web") != whole
    assert digest("web", "db", filter="security") != whole
    with database.connection():
        receive_report(
            fleet.web.id, rpm_report("web", security("openssl", candidate="3-1"), package("bash", candidate="2-1"))
        )
    assert digest("web", "db") != whole


def test_a_thousand_hosts_cost_a_fixed_number_of_queries(api: Api) -> None:
    """Far fewer hosts tell it: the number of statements does not follow theirs."""

    def cost(count: int, name: str) -> tuple[int, int]:
        numbers = [
            add_host(f"{name}{n}", security("openssl"), package("bash", candidate="2-1")).id for n in range(count)
        ]
        with queries() as seen:
            deployment = place(api, *numbers)
        with queries() as shown:
            assert len(api.get(f"/deployments/{deployment['id']}").json["hosts"]) == count
        return len(seen), len(shown)

    assert cost(2, "a") == cost(25, "b")


# -- lists, events ---------------------------------------------------------------------------------------------------


def test_list_pages_and_states(api: Api, fleet: Fleet) -> None:
    ids = [place(api, "clean")["id"] for _ in range(3)]
    queued = place(api, "web")
    ids.append(queued["id"])
    answer = api.get("/deployments?limit=2")
    assert [row["id"] for row in answer.json] == [ids[3], ids[2]]
    assert "hosts" not in answer.json[0]
    following = json.loads(answer.headers["X-Pagination"])["next_before"]
    last = api.get(f"/deployments?limit=2&before={following}")
    assert [row["id"] for row in last.json] == [ids[1], ids[0]]
    assert json.loads(last.headers["X-Pagination"])["next_before"] is None
    assert [row["id"] for row in api.get("/deployments?state=queued").json] == [queued["id"]]
    with queries() as two:
        api.get("/deployments?limit=2")
    with queries() as four:
        api.get("/deployments")
    assert len(two) == len(four)
    assert api.get("/deployments/4711").status_code == 404


def add_events(deployment: dict[str, Any], count: int, *, created: Any = None) -> None:
    job = deployment["jobs"][0]["id"]
    row = {"job": job, "deployment_id": deployment["id"], "created_at": created or now(), "event": "runner_on_ok"}
    with database.connection(), database.write_transaction():
        JobEvent.insert_many(
            [{**row, "counter": n, "task": f"task {n}", "host": "web"} for n in range(count)]
        ).execute()


def test_events_as_json(api: Api, fleet: Fleet) -> None:
    deployment = place(api, "web")
    add_events(deployment, 5)
    path = f"/deployments/{deployment['id']}/events"
    events = api.get(path).json
    assert [event["task"] for event in events] == [f"task {n}" for n in range(5)]
    assert set(events[0]) == {"id", "job", "counter", "created_at", "event", "host", "task", "changed", "message"}
    later = api.get(f"{path}?after={events[1]['id']}&limit=2").json
    assert [event["task"] for event in later] == ["task 2", "task 3"]
    other = place(api, "db")
    assert api.get(f"/deployments/{other['id']}/events").json == []
    assert api.get("/deployments/4711/events").status_code == 404


def messages(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of each message of a stream."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert set(fields) == {"id", "event", "data"}
        found.append((fields["event"], json.loads(fields["data"])))
    return found


SSE = {"Accept": "text/event-stream"}


def test_events_as_a_stream(api: Api, fleet: Fleet) -> None:
    deployment = place(api, "web")
    add_events(deployment, 3)
    end(api, deployment)
    path = f"/deployments/{deployment['id']}/events"
    answer = api.get(path, headers=SSE)
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    found = messages(answer.text)
    assert [kind for kind, _ in found] == ["event", "event", "event", "deployment", "end"]
    assert found[3][1]["state"] == found[4][1]["state"] == "canceled"
    ids = [data["id"] for kind, data in found if kind == "event"]
    again = messages(api.get(path, headers={**SSE, "Last-Event-ID": str(ids[1])}).text)
    assert [data["id"] for kind, data in again if kind == "event"] == ids[2:], "a client goes on where it was"
    for bad in ("x", "-1", "\u00b2", "1.5"):
        assert api.get(path, headers={**SSE, "Last-Event-ID": bad}).status_code == 400
    future = messages(api.get(path, headers={**SSE, "Last-Event-ID": "9" * 40}).text)
    assert [kind for kind, _ in future] == ["deployment", "end"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_streams_are_bounded_and_given_back(api: Api, fleet: Fleet) -> None:
    deployment = place(api, "web")
    path = f"/deployments/{deployment['id']}/events"
    for _ in range(20):  # never read to their end, or not at all
        with api.call("HEAD", path, headers=SSE) as answer:
            assert answer.status_code == 200
    held = []
    try:
        for _ in range(8):
            held.append(api.client.get(f"/api/v1{path}", headers={**api.headers, **SSE}, buffered=False))
        refused = api.get(path, headers=SSE)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    finally:
        for answer in held:
            answer.close()
    end(api, deployment)
    assert messages(api.get(path, headers=SSE).text)[-1][0] == "end"
    assert stream._open_streams._value == 8  # type: ignore[attr-defined]


# -- cancel, retry ---------------------------------------------------------------------------------------------------


def test_cancel_before_the_start(api: Api, fleet: Fleet) -> None:
    deployment = place(api, "web", "clean")
    canceled = api.post(f"/deployments/{deployment['id']}/cancel").json
    assert (canceled["state"], canceled["cancel_requested"]) == ("canceled", True)
    assert states(canceled) == {"web": "canceled", "clean": "unchanged"}
    assert {one["result"] for one in canceled["hosts"][0]["changes"]} == {"unproven"}
    assert [job["state"] for job in canceled["jobs"]] == ["canceled"]
    assert api.post(f"/deployments/{deployment['id']}/cancel").json == canceled, "once more changes nothing"
    done = place(api, "clean")
    answer = api.post(f"/deployments/{done['id']}/cancel")
    assert (answer.status_code, answer.json["error"]) == (409, "Deployment has ended")
    assert api.post("/deployments/4711/cancel").status_code == 404


def test_retry_takes_the_hosts_that_did_not_end_well(api: Api, fleet: Fleet) -> None:
    first = place(api, "web", "db", "clean", filter="security", reboot="if_required")
    refused = api.post(f"/deployments/{first['id']}/retry")
    assert (refused.status_code, refused.json["error"]) == (409, "Deployment is running")
    end(api, first)
    again = api.post(f"/deployments/{first['id']}/retry")
    assert again.status_code == 201
    assert again.json["id"] != first["id"]
    assert (again.json["filter"], again.json["reboot"]) == ("security", "if_required")
    assert states(again.json) == {"web": "waiting", "db": "waiting"}
    end(api, again.json)
    assert api.delete("/devices/db").status_code == 204
    third = api.post(f"/deployments/{first['id']}/retry")
    assert states(third.json) == {"web": "waiting"}, "a deleted device does not keep the others from it"
    done = place(api, "clean")
    assert api.post(f"/deployments/{done['id']}/retry").json["error"] == "Nothing to retry"
    assert api.post("/deployments/4711/retry").status_code == 404


# -- upkeep ----------------------------------------------------------------------------------------------------------


def test_upkeep_drops_the_past_and_keeps_results(api: Api, fleet: Fleet) -> None:
    api.get(f"/hosts/install?host={api.enroll()['id']}")
    deployment = place(api, "web")
    add_events(deployment, 7, created=now() - timedelta(days=91))
    end(api, deployment)
    recent = place(api, "web")
    add_events(recent, 2)
    with database.connection():
        PackageSet.update(released_at=now() - timedelta(days=999)).execute()
        sets = PackageSet.select().count()
        orphan = PackageSet.create(
            digest=b"x", ecosystem="rpm", size=0, members=[], released_at=now() - timedelta(days=999)
        )
        BootstrapToken.update(expires_at=now() - timedelta(seconds=1)).execute()
        dropped = tidy()
        assert (dropped["events"], dropped["package_sets"]) == (7, 1)
        kinds = ("events", "device_events", "outages", "package_sets", "bootstrap_tokens", "update_returns")
        assert tidy() == dict.fromkeys(kinds, 0)
        assert PackageSet.select().count() == sets
        assert PackageSet.get_or_none(PackageSet.id == orphan.id) is None
        assert JobEvent.select().count() == 2
        assert Deployment.select().count() == 2
        assert DeploymentHost.select().count() == 2
        assert Job.select().count() == 2
        assert BootstrapToken.select().count() == 0


def test_a_check_is_a_scan_of_one_device(api: Api, fleet: Fleet) -> None:
    answer = api.post("/devices/web/check")
    assert answer.status_code == 201, answer.text
    assert (answer.json["kind"], states(answer.json)) == ("scan", {"web": "waiting"})
    assert answer.headers["Location"] == f"/api/v1/deployments/{answer.json['id']}"
    assert api.get("/devices/web").json["ansible"] == {"checked_at": None, "reachable": None, "message": None}
    assert api.post("/devices/web/check").status_code == 409, "it is being checked"
    assert api.post("/devices/nobody/check").status_code == 404
