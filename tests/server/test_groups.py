# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Groups: put in, by rule, nested; and everybody who asks for members gets the same answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from werkzeug.test import TestResponse

from patchherd import database
from patchherd.database import now
from patchherd.devices import rules
from patchherd.devices.groups import MAX_WEIGHT, memberships
from patchherd.devices.models import Device, DeviceGroup, GroupMember
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.fleet import add_host, package, security
from tests.server.queries import queries


@pytest.fixture
def fleet(api: Api) -> dict[str, int]:
    """Name -> id of three Rocky hosts, one Debian host and one that never reported."""
    debian = {"osType": "Debian GNU/Linux", "osId": "debian", "osVersion": "12", "ecosystem": "deb"}
    return {
        "web1": add_host("web1", security("openssl")).id,
        "web2": add_host("web2", package("bash"), ip="10.0.1.2", needsReboot=True).id,
        "db1": add_host("db1", package("bash", "1-1", "2-1"), ip="10.0.2.1").id,
        "deb1": add_host("deb1", package("bash"), ip="192.0.2.1", **debian).id,
        "new": api.get(f"/devices/{api.enroll(friendly_name='new')['id']}").json["id"],
    }


def group(api: Api, name: str, **body: Any) -> dict[str, Any]:
    answer = api.post("/host-groups", {"name": name, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def put_in(api: Api, name: str, *devices: Any) -> None:
    assert api.post(f"/host-groups/{name}/hosts", {"host_ids": list(devices)}).status_code == 200


def names(api: Api, name: str) -> list[str]:
    """Members of a group, as the group itself tells."""
    return [row["friendly_name"] for row in api.get(f"/host-groups/{name}/hosts").json]


def refused(answer: TestResponse, *words: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.text


# -- nesting ---------------------------------------------------------------------------------------------------------


def test_a_group_has_the_members_of_the_groups_below(api: Api, fleet: dict[str, int]) -> None:
    top = group(api, "Top")
    middle = group(api, "Middle", parent_id="Top")
    low = group(api, "Low", parent_id=middle["id"])
    put_in(api, "Low", "web1")
    put_in(api, "Middle", "db1", "web1")
    assert (top["parent_id"], middle["parent_id"], low["parent_id"]) == (None, top["id"], middle["id"])
    assert [names(api, name) for name in ("Top", "Middle", "Low")] == [["db1", "web1"], ["db1", "web1"], ["web1"]]
    assert {row["name"]: row["host_count"] for row in api.get("/host-groups").json} == {"Low": 1, "Middle": 2, "Top": 2}
    assert api.get("/devices/web1").json["groups"] == ["Low", "Middle", "Top"]
    assert api.get(f"/host-groups/{top['id']}").json["host_count"] == 2
    static = {row["friendly_name"]: row["static"] for row in api.get("/host-groups/Top/hosts").json}
    assert static == {"db1": False, "web1": False}
    # the middle goes: what was below stands alone
    assert api.delete("/host-groups/Middle").status_code == 200
    assert api.get("/host-groups/Low").json["parent_id"] is None
    assert names(api, "Top") == []


def test_circles_are_refused_and_named(api: Api) -> None:
    group(api, "A")
    group(api, "B", parent_id="A")
    group(api, "C", parent_id="B")
    refused(api.patch("/host-groups/A", {"parent_id": "C"}), "Circle of groups", "A > B > C > A")
    refused(api.patch("/host-groups/A", {"parent_id": "A"}), "A > A")
    refused(api.patch("/host-groups/A", {"rule": 'group == "A"'}), "A > A")
    refused(api.patch("/host-groups/C", {"rule": 'group == "A"'}), "Circle of groups")
    group(api, "D", rule='group == "A"')
    refused(api.patch("/host-groups/B", {"rule": 'not group in ("D")'}), "Circle of groups", "A > B > D > A")
    refused(api.post("/host-groups", {"name": "E", "parent_id": "nobody"}), "nobody", status=404)
    assert [row["parent_id"] is None for row in api.get("/host-groups").json] == [True, False, False, True]
    assert [row["name"] for row in api.get("/host-groups").json] == ["A", "B", "C", "D"]


def test_two_ways_to_one_group_are_no_circle(api: Api, fleet: dict[str, int]) -> None:
    group(api, "Base")
    put_in(api, "Base", "web1")
    group(api, "Left", rule='group == "Base"')
    group(api, "Right", rule='group == "Base"')
    group(api, "Both", rule='group == "Left" and group == "Right"')
    api.patch("/host-groups/Base", {"parent_id": "Both"})
    refused(api.patch("/host-groups/Left", {"rule": 'group == "Both"'}), "Circle")
    assert names(api, "Both") == ["web1"]


def test_two_changes_at_once_make_no_circle(api: Api) -> None:
    for number in range(8):
        names = (f"A{number}", f"B{number}")
        for name in names:
            group(api, name)
        ready = Barrier(2)

        def hang(below: str, above: str, ready: Barrier = ready) -> int:
            ready.wait(10)
            other = Api(api.client.application.test_client(), "")
            other.headers = api.headers
            return other.patch(f"/host-groups/{below}", {"parent_id": above}).status_code

        with ThreadPoolExecutor(2) as pool:
            answers = sorted(pool.map(hang, names, names[::-1]))
        assert answers == [200, 400]
    assert api.get("/inventory").status_code == 200


# -- rules -----------------------------------------------------------------------------------------------------------


def test_a_rule_is_never_out_of_date(api: Api, fleet: dict[str, int]) -> None:
    rule = 'os_family == "redhat" and hostname ~ "web*" and missing_security > 0 and not reboot_required'
    shown = group(api, "Urgent", rule=f"  {rule}\n")
    assert (shown["rule"], shown["host_count"]) == (rule, 1)
    assert names(api, "Urgent") == ["web1"]
    add = {"groups": [], "tags": ["urgent"]}
    assert api.patch("/devices/web1", add).json["groups"] == ["Urgent"]  # by rule, whatever was put in
    with database.connection():
        Device.update(evaluated_at=now().replace(year=2000)).where(Device.id == fleet["web1"]).execute()
    assert names(api, "Urgent") == []  # nothing is known any more
    api.patch("/host-groups/Urgent", {"rule": 'tag == "urgent"'})
    assert names(api, "Urgent") == ["web1"]
    assert api.patch("/host-groups/Urgent", {"rule": None}).json["rule"] is None
    assert names(api, "Urgent") == []


def test_put_in_and_by_rule_together(api: Api, fleet: dict[str, int]) -> None:
    group(api, "Mixed", rule='hostname == "deb1"')
    put_in(api, "Mixed", fleet["new"], "web1")
    rows = {row["friendly_name"]: row["static"] for row in api.get("/host-groups/Mixed/hosts").json}
    assert rows == {"deb1": False, "new": True, "web1": True}
    assert api.delete(f"/host-groups/Mixed/hosts/{fleet['new']}").status_code == 204
    refused(api.delete("/host-groups/Mixed/hosts/deb1"), "by rule or nesting", status=409)
    refused(api.delete("/host-groups/Mixed/hosts/nobody"), status=404)
    refused(api.post("/host-groups/Mixed/hosts", {"host_ids": ["web2", "nobody"]}), status=404)
    answer = api.call("PUT", "/host-groups/Mixed/hosts", {"host_ids": ["db1"]})
    assert [row["friendly_name"] for row in answer.json] == ["db1", "deb1"]


def test_a_bad_rule_is_refused_and_stores_nothing(api: Api) -> None:
    group(api, "Prod")
    for rule, words in (
        ("hostnam == 'x'", ("position 1", "did you mean hostname?")),
        ("group == 'Prd'", ("no group Prd", "did you mean Prod?")),
        ("approved and", ("position 13", "a field is expected")),
    ):
        for answer in (
            api.post("/host-groups", {"name": "X", "rule": rule}),
            api.patch("/host-groups/Prod", {"rule": rule, "description": "changed"}),
            api.post("/host-groups/preview", {"rule": rule}),
        ):
            refused(answer, *words)
            assert answer.json["errors"][0]["path"] == "rule"
    refused(api.post("/host-groups", {"name": "X", "rule": "approved " + " " * 2000}), "rule")
    refused(api.post("/host-groups", {"name": "X", "rule": 7}), "rule")
    assert [(row["name"], row["description"], row["rule"]) for row in api.get("/host-groups").json] == [
        ("Prod", "", None)
    ]


def test_what_a_rule_names_stays(api: Api) -> None:
    group(api, "Prod")
    group(api, "User", rule='group == "Prod"')
    refused(api.delete("/host-groups/Prod"), "the rule of User names it", status=409)
    refused(api.patch("/host-groups/Prod", {"name": "Production"}), "cannot be renamed", status=409)
    assert api.patch("/host-groups/Prod", {"name": "Prod", "color": "#000000"}).status_code == 200
    assert api.patch("/host-groups/User", {"rule": ""}).status_code == 200
    assert api.patch("/host-groups/Prod", {"name": "Production"}).status_code == 200


def test_preview(api: Api, fleet: dict[str, int]) -> None:
    group(api, "Webs", rule='hostname ~ "web*"')
    found = api.post("/host-groups/preview", {"rule": 'group == "Webs" or ip_address == "192.0.2.0/24"', "limit": 2})
    assert found.json["count"] == 3
    assert [row["friendly_name"] for row in found.json["devices"]] == ["web1", "web2"]
    assert set(found.json["devices"][0]) == {"id", "device_id", "friendly_name", "hostname", "ip"}
    assert api.post("/host-groups/preview", {"rule": "approved", "limit": 0}).json == {"count": 5, "devices": []}
    api.delete("/devices/web1")
    assert api.post("/host-groups/preview", {"rule": 'hostname == "web1"'}).json["count"] == 0
    assert [row["name"] for row in api.get("/host-groups").json] == ["Webs"]


def test_rules_together_have_a_limit(api: Api) -> None:
    many = ", ".join(['"x"'] * (rules.MAX_VALUES - 1))
    for number in range(MAX_WEIGHT // rules.MAX_VALUES):
        group(api, f"G{number}", rule=f"hostname in ({many})", **({"parent_id": f"G{number - 1}"} if number else {}))
    refused(api.post("/host-groups", {"name": "X", "rule": f"hostname in ({many})", "parent_id": "G3"}), "values")
    with queries() as sent:
        assert api.get("/host-groups").status_code == 200
    assert len([text for text in sent if "hostname" in text.lower() and text.startswith("SELECT")]) <= 3


# -- one answer everywhere -------------------------------------------------------------------------------------------


def test_everybody_who_asks_gets_the_same_members(api: Api, fleet: dict[str, int]) -> None:
    group(api, "Fleet")
    group(api, "Webs", rule='hostname ~ "web*"', parent_id="Fleet")
    put_in(api, "Fleet", "db1")
    wanted = ["db1", "web1", "web2"]
    assert names(api, "Fleet") == wanted
    assert sorted(row["hostname"] for row in api.get("/devices?group=Fleet").json) == wanted
    assert sorted(row["name"] for row in api.get("/inventory?group=Fleet").json["hosts"]) == wanted
    groups = {row["name"]: row["groups"] for row in api.get("/inventory").json["hosts"]}
    assert groups == {"web1": ["Fleet", "Webs"], "web2": ["Fleet", "Webs"], "db1": ["Fleet"], "deb1": [], "new": []}
    assert sorted(row["friendly_name"] for row in api.get("/api/hosts?hostgroup=Fleet").json["hosts"]) == wanted
    placed = api.post("/scans", {"groups": ["Fleet"]})
    assert placed.status_code == 201, placed.text
    assert sorted(host["name"] for host in placed.json["hosts"]) == wanted
    shown = {row["hostname"]: row["groups"] for row in api.get("/devices").json}
    assert shown["web1"] == ["Fleet", "Webs"]
    api.delete("/devices/web1")
    assert names(api, "Fleet") == ["db1", "web2"]
    assert api.get("/host-groups/Fleet").json["host_count"] == 2


@pytest.mark.parametrize("ids", [None, "one"])
def test_memberships_cost_three_queries_whatever_the_number(
    api: Api, app_settings: Settings, fleet: dict[str, int], ids: str | None
) -> None:
    group(api, "Base", rule='hostname ~ "web*"')
    group(api, "Top")
    for number in range(20):
        group(api, f"G{number}", rule=f'group == "Base" or missing > {number}', parent_id="Top" if number % 2 else None)
    with database.connection():
        with queries() as sent:
            found = memberships(app_settings, [fleet["web1"]] if ids else None)
        assert len(sent) == 3, sent
        assert len(found[fleet["web1"]]) == 22
    with queries() as sent:
        assert api.get("/inventory").status_code == 200
    assert len([text for text in sent if text.lstrip("( ").upper().startswith(("SELECT", "WITH"))]) <= 8, sent


def test_contract_fields_are_what_they_were(api: Api) -> None:
    shown = group(api, "Plain", description="d", color="#00ff00")
    assert {name: shown[name] for name in ("name", "description", "color", "host_count")} == {
        "name": "Plain", "description": "d", "color": "#00ff00", "host_count": 0,
    }  # fmt: skip
    assert len(shown["id"]) == 36
    token = api.enrollment_token(default_host_group_id=shown["id"])
    host = api.enroll(token)
    assert host["host_group"]["name"] == "Plain"
    assert names(api, "Plain") == ["web1"]


def test_the_deepest_rules_of_other_groups_fit_into_one_statement(api: Api, fleet: dict[str, int]) -> None:
    deep = "(" * rules.MAX_DEPTH
    group(api, "G0", rule=f'{deep}hostname ~ "web*"{")" * rules.MAX_DEPTH}')
    for number in range(1, 40):
        start = "not (" * (rules.MAX_DEPTH // 2)
        end = ")" * (rules.MAX_DEPTH // 2)
        rule = (
            f'{start}group != "G{number - 1}" and hostname != "nobody"{end}'
            if number % 2
            else f'group == "G{number - 1}"'
        )
        group(api, f"G{number}", rule=rule)
    assert names(api, "G39")
    assert api.get("/inventory?group=G39").status_code == 200
    assert api.get("/devices?group=G38").status_code == 200
    with database.connection():
        assert DeviceGroup.select().count() == 40
        assert GroupMember.select().count() == 0
