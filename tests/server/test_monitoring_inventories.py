# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Inventories of monitoring agents: history without repetition, differences, software of a device and of the fleet."""

from __future__ import annotations

import copy
import functools
import threading
from datetime import datetime, timedelta
from typing import Any

import msgspec
import peewee
import pytest
from flask import Flask

from patchherd import database
from patchherd.app import create_app
from patchherd.database import now
from patchherd.deployments.upkeep import tidy
from patchherd.devices.models import Device
from patchherd.monitoring import upkeep
from patchherd.monitoring.models import (
    AgentMessage,
    DeviceSoftware,
    InventorySection,
    InventorySnapshot,
    MonitoringAgent,
    SoftwareTitle,
)
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.monitoring import CHROME, HARDWARE, Agent, inventory, program, software
from tests.server.queries import queries

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NOTEPAD = program("Notepad++", "8.6", "Don Ho")


@pytest.fixture
def agent(api: Api) -> Agent:
    """An agent that has registered."""
    found = Agent.with_token(api)
    found.register()
    return found


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def snapshots(api: Api, agent: Agent, **query: Any) -> list[dict[str, Any]]:
    return list(api.get(f"/devices/{agent.id}/snapshots", query_string=query).json["snapshots"])


def programs(api: Api, agent: Agent, **query: Any) -> list[dict[str, Any]]:
    return list(api.get(f"/devices/{agent.id}/software", query_string=query).json["software"])


def age(agent: Agent, **span: float) -> None:
    """Let all that is known of a device have happened so long ago."""
    shift = int(timedelta(**span).total_seconds() * 1000)
    rows = (
        (InventorySnapshot, ("first_seen", "last_seen")),
        (DeviceSoftware, ("first_seen", "last_seen", "removed_at")),
        (MonitoringAgent, ("seen_at", "software_seen_at")),
    )
    with database.connection():
        for model, names in rows:
            fields = [getattr(model, name) for name in names]
            earlier = {field: peewee.NodeList((field, peewee.SQL(f"- {shift}"))) for field in fields}
            model.update(earlier).where(model.device == agent.id).execute()


# -- history ---------------------------------------------------------------------------------------------------------


def test_an_equal_inventory_only_moves_a_time(api: Api, agent: Agent) -> None:
    agent.report()
    (first,) = snapshots(api, agent)
    age(agent, hours=1)
    later = copy.deepcopy(HARDWARE) | {"report_date": "2025-11-01T13:00:00", "available_ram_gb": 7.25}
    agent.report(hardware=later, timestamp="2025-11-01T13:00:00")
    (again,) = snapshots(api, agent)
    assert again["id"] == first["id"]
    assert again["current"] is True
    assert moment(again["last_seen"]) - moment(again["first_seen"]) >= timedelta(minutes=59)
    content = api.get(f"/devices/{agent.id}/snapshots/{first['id']}").json
    assert content["readings"]["hardware"] == {
        "report_date": "2025-11-01T13:00:00", "available_ram_gb": 7.25, "available_disk_gb": 256.0,
    }  # fmt: skip
    assert "available_ram_gb" not in content["sections"]["hardware"]
    assert content["sections"]["hardware"]["system_info"]["model"] == "OptiPlex 7090"
    with database.connection():
        assert InventorySection.select().count() == 3


def test_a_change_is_a_new_snapshot_and_shares_the_rest(api: Api, agent: Agent) -> None:
    agent.report()
    age(agent, hours=2)
    agent.report(hardware={**HARDWARE, "total_ram_gb": 32.0})
    age(agent, hours=1)
    agent.report()
    newest, middle, oldest = snapshots(api, agent)
    assert [row["current"] for row in (newest, middle, oldest)] == [True, False, False]
    assert oldest["last_seen"] < middle["first_seen"], "seen for the last time before the change came"
    assert middle["last_seen"] < newest["first_seen"]
    assert set(newest["sections"]) == {"hardware", "software", "domain"}
    assert newest["sections"] == oldest["sections"]
    with database.connection():
        assert InventorySection.select().count() == 4
    older = api.get(f"/devices/{agent.id}/snapshots/{oldest['id']}").json
    assert older["readings"] is None


def test_a_section_that_is_not_told_stays(api: Api, agent: Agent) -> None:
    agent.report()
    agent.post(f"/agents/{agent.id}/inventory", {"network": {"ip": "10.0.0.1"}, "software": None})
    newest = snapshots(api, agent)[0]
    assert set(newest["sections"]) == {"hardware", "software", "domain", "network"}
    assert [row["name"] for row in programs(api, agent)] == ["Google Chrome"]


def test_devices_share_equal_content(api: Api, agent: Agent) -> None:
    agent.report()
    for number in range(3):
        agent.register(hostname=f"PC-{number}")
        agent.report(hostname=f"PC-{number}")
    with database.connection():
        assert InventorySection.select().count() == 3
        assert InventorySnapshot.select().count() == 4


def test_pages_of_snapshots(api: Api, agent: Agent) -> None:
    for number in range(5):
        agent.report(hardware={"processor": f"CPU {number}"})
    seen, before = [], None
    while True:
        page = api.get(f"/devices/{agent.id}/snapshots?limit=2" + (f"&before={before}" if before else "")).json
        seen += [row["id"] for row in page["snapshots"]]
        before = page["next"]
        if before is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5


def test_only_so_many_snapshots_stay(app_settings: Settings) -> None:
    api = Api.with_admin(create_app(msgspec.structs.replace(app_settings, snapshots_per_device=3)))
    agent = Agent.with_token(api)
    agent.register()
    for number in range(6):
        agent.report(hardware={"processor": f"CPU {number}"})
    contents = [api.get(f"/devices/{agent.id}/snapshots/{row['id']}").json for row in snapshots(api, agent)]
    assert [content["sections"]["hardware"]["processor"] for content in contents] == ["CPU 5", "CPU 4", "CPU 3"]


def test_upkeep_drops_what_is_old(api: Api, agent: Agent, app_settings: Settings) -> None:
    agent.report(CHROME, NOTEPAD)
    agent.report(CHROME)
    agent.post(f"/agents/{agent.id}/logs", {"message": "old"})
    with database.connection():
        assert set(upkeep.tidy(app_settings).values()) == {0}
    age(agent, days=181)
    with database.connection():
        AgentMessage.update(received_at=now() - timedelta(days=181)).execute()
        dropped = upkeep.tidy(app_settings)
    assert dropped == {
        "snapshots": 1, "inventory_sections": 1, "removed_software": 1, "agent_messages": 1, "webhooks": 0,
    }  # fmt: skip
    (kept,) = snapshots(api, agent)
    assert kept["current"], "the newest stays however old it is"
    assert api.get(f"/devices/{agent.id}/snapshots/{kept['id']}").json["sections"]["software"]
    assert [row["name"] for row in programs(api, agent, removed="true")] == ["Google Chrome"]


def test_snapshots_that_are_not_there(api: Api, agent: Agent) -> None:
    agent.report()
    (mine,) = snapshots(api, agent)
    other = agent.register(hostname="OTHER")
    for path in (
        f"/devices/{other}/snapshots/{mine['id']}",
        f"/devices/{other}/snapshots/{mine['id']}/diff/{mine['id']}",
    ):
        assert api.get(path).status_code == 404
    assert api.get(f"/devices/{other}/snapshots/99999999999999").status_code in {400, 404}
    assert api.get(f"/devices/{other}/snapshots").json == {"snapshots": [], "next": None}
    assert api.get("/devices/4711/snapshots").status_code == 404
    for query in ("limit=0", "limit=1001", "before=0", "bfore=1", "before=x"):
        assert api.get(f"/devices/{other}/snapshots?{query}").status_code == 400, query


# -- differences -----------------------------------------------------------------------------------------------------


def test_differences(api: Api, agent: Agent) -> None:
    agent.report(CHROME, NOTEPAD, program("Gone", "1", None), network={"adapters": [{"ip": "10.0.0.1"}]})
    changed = {**HARDWARE, "total_ram_gb": 32.0, "gpu": "T400"}
    del changed["processor_speed"]
    agent.report(
        {**CHROME, "version": "121.0.1"}, NOTEPAD, program("New", "2"), hardware=changed,
        network={"adapters": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.3"}]},
    )  # fmt: skip
    new, old = (row["id"] for row in snapshots(api, agent))
    answer = api.get(f"/devices/{agent.id}/snapshots/{old}/diff/{new}")
    assert answer.status_code == 200, answer.text
    assert answer.json["software"] == {
        "added": [{"name": "New", "vendor": "Vendor", "version": "2"}],
        "removed": [{"name": "Gone", "vendor": None, "version": "1"}],
        "changed": [{"name": "Google Chrome", "vendor": "Google LLC", "from": "120.0.6099.109", "to": "121.0.1"}],
    }
    assert answer.json["fields"] == [
        {"path": "hardware.gpu", "change": "added", "from": None, "to": "T400"},
        {"path": "hardware.processor_speed", "change": "removed", "from": 2.9, "to": None},
        {"path": "hardware.total_ram_gb", "change": "changed", "from": 16.0, "to": 32.0},
        {"path": "network.adapters[0].ip", "change": "changed", "from": "10.0.0.1", "to": "10.0.0.2"},
        {"path": "network.adapters[1]", "change": "added", "from": None, "to": {"ip": "10.0.0.3"}},
    ]
    assert (answer.json["from"], answer.json["to"], answer.json["truncated"]) == (old, new, False)
    same = api.get(f"/devices/{agent.id}/snapshots/{new}/diff/{new}").json
    assert (same["fields"], same["software"]) == ([], {"added": [], "removed": [], "changed": []})


def test_differences_are_bounded(api: Api, agent: Agent) -> None:
    agent.report(*(program(f"p{number}") for number in range(1500)))
    agent.report(program("one"))
    new, old = (row["id"] for row in snapshots(api, agent))
    answer = api.get(f"/devices/{agent.id}/snapshots/{old}/diff/{new}").json
    assert (len(answer["software"]["removed"]), answer["truncated"]) == (1000, True)


# -- software of a device --------------------------------------------------------------------------------------------


def test_programs_come_and_go(api: Api, agent: Agent) -> None:
    agent.report(CHROME, NOTEPAD, {"version": "1"}, {"software_name": None}, {**CHROME})
    chrome, notepad = programs(api, agent)
    assert chrome["name"] == "Google Chrome"
    assert (chrome["version"], chrome["vendor"], chrome["install_date"]) == (
        "120.0.6099.109",
        "Google LLC",
        "2024-01-15",
    )
    assert chrome["removed_at"] is None
    assert notepad["install_date"] is None
    age(agent, hours=3)
    agent.report({**CHROME, "version": "121.0"}, {**NOTEPAD, "install_date": "20250101"})
    now_there = programs(api, agent)
    assert [(row["version"], row["install_date"]) for row in now_there] == [
        ("121.0", "2024-01-15"),
        ("8.6", "2025-01-01"),
    ]
    everything = programs(api, agent, removed="true")
    gone = next(row for row in everything if row["version"] == "120.0.6099.109")
    assert gone["removed_at"] is not None
    assert moment(gone["removed_at"]) - moment(gone["last_seen"]) >= timedelta(hours=2, minutes=59)
    assert len(everything) == 3
    age(agent, hours=1)
    agent.report(CHROME, NOTEPAD)
    back = next(row for row in programs(api, agent) if row["name"] == "Google Chrome")
    assert back["removed_at"] is None
    assert moment(back["last_seen"]) - moment(back["first_seen"]) >= timedelta(hours=4), "first seen stays"


def test_lists_that_say_nothing_wipe_nothing(api: Api, agent: Agent) -> None:
    agent.report(CHROME)
    for section in ({"total_software": 150}, {"total_software": 150, "installed_software": []},
                    {"installed_software": None}):  # fmt: skip
        agent.report(software=section)
        assert len(programs(api, agent)) == 1, section
    agent.report(software={"total_software": 0, "installed_software": []})
    assert programs(api, agent) == []
    page = api.get(f"/devices/{agent.id}/software").json
    assert page["total"] == 0
    assert page["reported_at"]
    other = agent.register(hostname="SILENT")
    assert api.get(f"/devices/{other}/software").json["total"] is None, "no list is not an empty list"


def test_pages_and_patterns_of_a_device(api: Api, agent: Agent) -> None:
    agent.report(*(program(f"Tool {number:02}", "1.0") for number in range(7)), program("tool x"), program("100%_a"))
    seen, after = [], ""
    while after is not None:
        page = api.get(f"/devices/{agent.id}/software?limit=2&after={after}" if after else
                       f"/devices/{agent.id}/software?limit=2").json  # fmt: skip
        assert page["total"] == 9
        seen += [row["name"] for row in page["software"]]
        after = page["next"]
    assert seen == ["100%_a", *(f"Tool {number:02}" for number in range(7)), "tool x"]
    for name, count in (("tool*", 8), ("TOOL X", 1), ("tool", 0), ("100%25_a", 1), ("%25*", 0), ("1??%25_a", 0),
                        ("*[0-9]", 0), ("*", 9)):  # fmt: skip
        found = api.get(f"/devices/{agent.id}/software?name={name}").json["software"]
        assert len(found) == count, name
    for query in ("after=x", "after=1", "after=-1:a", "limit=0", "nme=x", "removed=perhaps"):
        assert api.get(f"/devices/{agent.id}/software?{query}").status_code == 400, query


def test_odd_texts_are_stored(api: Api, agent: Agent) -> None:
    odd = [
        program("x" * 400, "1" * 200, "v" * 400), program("a\x00b\nc", "1\x00", None), program("名前 🚀", "Ⅷ", "É"),
        program("İstanbul", None, None), {"name": "By name", "display_version": 7, "publisher": "P"},
    ]  # fmt: skip
    agent.report(*odd)
    rows = {row["name"]: row for row in programs(api, agent)}
    assert set(rows) == {"x" * 255, "abc", "名前 🚀", "İstanbul", "By name"}
    assert rows["By name"]["version"] == "7"
    assert rows["İstanbul"]["version"] is None
    assert rows["x" * 255]["version"] == "1" * 100


# -- the fleet -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(api: Api) -> dict[str, int]:
    """Four devices with several versions of one program."""
    agent = Agent.with_token(api)
    found = {}
    for name, rows in {
        "a": [program("7-Zip", "9.20", "Igor Pavlov"), program("Chrome", "120.0.6099.109", "Google LLC")],
        "b": [program("7-zip", "19.00", "Igor Pavlov"), program("Chrome", "120.0.6099.99", "Google LLC")],
        "c": [program("7-Zip", "23.01", "Igor Pavlov"), program("7-Zip", None, "Igor Pavlov")],
        "d": [program("Chrome", "119.0", "Google LLC"), program("Chromium", "119.0", "The Chromium Authors")],
    }.items():
        found[name] = agent.register(hostname=name)
        agent.report(*rows, hostname=name)
    return found


SEARCHES = [
    ("name=7-zip", "abcc"),
    ("name=7-ZIP&version_below=20", "ab"),
    ("name=7-zip&version_below=9.20", ""),
    ("name=7-zip&version_below=9.20.1", "a"),
    ("name=7-zip&version_from=19", "bc"),
    ("name=7-zip&version_from=19.0.0.0&version_below=23.1", "b"),
    ("name=chrome", "abd"),
    ("name=chrome&version_below=120.0.6099.109", "bd"),
    ("name=chrom*", "abdd"),
    ("name=chrom*&vendor=google*", "abd"),
    ("vendor=the%20chromium%20authors", "d"),
    ("version=119.0", "dd"),
    ("version=120.*", "ab"),
    ("name=chrome&version=119.0", "d"),
    ("name=nothing", ""),
    ("name=%25", ""),
    ("name=ch?ome", ""),
    ("", "aabbccdd"),
]


def test_who_has_what(api: Api, fleet: dict[str, int]) -> None:
    for query, expected in SEARCHES:
        answer = api.get(f"/software?{query}")
        assert answer.status_code == 200, answer.text
        found = "".join(sorted(row["device"]["hostname"] for row in answer.json["software"]))
        assert found == expected, query
        assert answer.json["count"] == len(expected)
    one = api.get("/software?name=7-zip&version_below=10").json["software"][0]
    assert one["device"]["id"] == fleet["a"]
    assert (one["name"], one["version"], one["vendor"]) == ("7-Zip", "9.20", "Igor Pavlov")
    assert one["last_seen"] >= one["first_seen"]


def test_what_cannot_be_searched(api: Api, fleet: dict[str, int]) -> None:
    for query in ("version_below=2", "version_from=2", "nam=x", "name=x&version_below=", "after=x", "after=1:x",
                  "after=99999999999:1", "limit=0"):  # fmt: skip
        assert api.get(f"/software?{query}").status_code == 400, query


def test_deleted_devices_and_removed_programs_are_not_found(api: Api, fleet: dict[str, int]) -> None:
    assert api.delete(f"/devices/{fleet['a']}").status_code == 204
    assert "".join(sorted(r["device"]["hostname"] for r in api.get("/software?name=chrome").json["software"])) == "bd"
    titles = api.get("/software/titles?name=chrome").json["titles"]
    assert (titles[0]["devices"], [row["version"] for row in titles[0]["versions"]]) == (2, ["120.0.6099.99", "119.0"])


def test_pages_of_the_fleet(api: Api, fleet: dict[str, int]) -> None:
    seen, after = [], None
    while True:
        page = api.get("/software?limit=3" + (f"&after={after}" if after else "")).json
        assert page["count"] == 8
        seen += [(row["device"]["id"], row["name"], row["version"]) for row in page["software"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 8


def test_titles(api: Api, fleet: dict[str, int]) -> None:
    first = api.get("/software/titles?limit=2").json
    assert first["titles"][0] == {
        "name": "7-Zip",
        "vendors": ["Igor Pavlov"],
        "devices": 3,
        "versions": [
            {"version": "23.01", "vendor": "Igor Pavlov", "devices": 1},
            {"version": "19.00", "vendor": "Igor Pavlov", "devices": 1},
            {"version": "9.20", "vendor": "Igor Pavlov", "devices": 1},
            {"version": None, "vendor": "Igor Pavlov", "devices": 1},
        ],
    }
    assert [row["name"] for row in first["titles"]] == ["7-Zip", "Chrome"]
    rest = api.get(f"/software/titles?limit=2&after={first['next']}").json
    assert ([row["name"] for row in rest["titles"]], rest["next"]) == (["Chromium"], None)


# -- cost and races --------------------------------------------------------------------------------------------------


def written(statements: list[str]) -> list[str]:
    """The tables that statements change."""
    words = [statement.split() for statement in statements]
    places = {"UPDATE": 1, "INSERT": 2, "DELETE": 2}
    return [row[places[row[0].upper()]].strip('"') for row in words if row and row[0].upper() in places]


def test_signs_of_life_and_equal_inventories_are_cheap(api: Api, agent: Agent) -> None:
    many = [program(f"Program {number}", f"{number}.0") for number in range(300)]
    agent.report(*many)
    agent.report(*many)
    with queries() as beat:
        assert agent.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 200
    assert written(beat) == ["device"]
    assert len(beat) <= 4, beat
    with queries() as report:
        agent.report(*many)
    assert sorted(written(report)) == ["device", "monitoring_agent"]
    assert len(report) <= 6, report


def test_only_differences_are_written(api: Api, agent: Agent) -> None:
    many = [program(f"Program {number}", "1.0") for number in range(300)]
    agent.report(*many)
    with queries() as seen:
        agent.report(*many[:-1], program("Program 299", "2.0"))
    assert len(seen) <= 24, seen
    assert written(seen).count("device_software") == 2, "one comes, one goes"
    with database.connection():
        assert DeviceSoftware.select().count() == 301
        assert SoftwareTitle.select().count() == 301


def test_two_reports_at_once_leave_one_truth(api: Api, agent: Agent, app: Flask) -> None:
    agent.report()
    bodies = [inventory(program(f"P{number}"), agent_id=agent.id, hardware={"n": number}) for number in range(8)]
    barrier = threading.Barrier(len(bodies))
    statuses = []

    def report(body: dict[str, Any]) -> None:
        client = app.test_client()
        barrier.wait()
        statuses.append(client.post("/api/inventory", json=body, headers=agent.headers).status_code)

    threads = [threading.Thread(target=report, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(bodies)
    found = snapshots(api, agent)
    assert [row["current"] for row in found] == [True] + [False] * len(bodies)
    newest = api.get(f"/devices/{agent.id}/snapshots/{found[0]['id']}").json["sections"]
    (there,) = programs(api, agent)
    assert there["name"] == newest["software"]["installed_software"][0]["software_name"]
    assert there["name"] == f"P{newest['hardware']['n']}"
    with database.connection():
        assert DeviceSoftware.select().where(DeviceSoftware.removed_at.is_null()).count() == 1


def test_two_devices_intern_the_same_programs_at_once(api: Api, agent: Agent, app: Flask) -> None:
    rows = [program(f"Shared {number}") for number in range(200)]
    bodies = []
    for number in range(6):
        agent.register(hostname=f"PC-{number}")
        bodies.append(inventory(*(rows if number % 2 else rows[::-1]), agent_id=agent.id))
    statuses = []
    barrier = threading.Barrier(len(bodies))

    def report(body: dict[str, Any]) -> None:
        client = app.test_client()
        barrier.wait()
        statuses.append(client.post("/api/inventory", json=body, headers=agent.headers).status_code)

    threads = [threading.Thread(target=report, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(bodies)
    with database.connection():
        assert SoftwareTitle.select().count() == 200
        assert DeviceSoftware.select().count() == 1200


@SQLITE
def test_reports_are_spread(api: Api, agent: Agent) -> None:
    first = agent.report().json["next_report_in"]
    assert agent.report().json["next_report_in"] == first, "the same for a device"
    told = []
    for number in range(30):
        agent.register(hostname=f"PC-{number}")
        told.append(agent.report(hostname=f"PC-{number}").json["next_report_in"])
    assert min(told) >= 240
    assert max(told) <= 300
    assert len(set(told)) > 10


@SQLITE
def test_agent_messages_are_bounded(api: Api, agent: Agent) -> None:
    for _ in range(3):
        assert agent.post(f"/agents/{agent.id}/logs", {"logs": ["line"] * 500}).status_code == 200
    with database.connection():
        assert AgentMessage.select().count() == 1000
    page = api.get(f"/devices/{agent.id}/messages?limit=1000").json
    assert (len(page["messages"]), page["next"]) == (1000, None)
    assert api.get(f"/devices/{agent.id}/messages?kind=error").json["messages"] == []
    assert api.get(f"/devices/{agent.id}/messages?kind=x").status_code == 400


@SQLITE
def test_software_section_shapes(api: Api, agent: Agent) -> None:
    agent.report(software=software(CHROME) | {"extra": {"a": 1}})
    (head,) = snapshots(api, agent)
    content = api.get(f"/devices/{agent.id}/snapshots/{head['id']}").json["sections"]["software"]
    assert content["extra"] == {"a": 1}
    assert content["installed_software"][0]["install_location"] == CHROME["install_location"]
    with database.connection():
        assert Device.get_by_id(agent.id).missing is None


@SQLITE
def test_the_worker_does_the_upkeep(api: Api, agent: Agent, app_settings: Settings) -> None:
    agent.post(f"/agents/{agent.id}/logs", {"message": "old"})
    with database.connection():
        AgentMessage.update(received_at=now() - timedelta(days=181)).execute()
        dropped = tidy([functools.partial(upkeep.tidy, app_settings)])
        assert (dropped["agent_messages"], dropped["snapshots"]) == (1, 0)
        assert AgentMessage.select().count() == 0
