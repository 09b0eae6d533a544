# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Patches and packages as the API shows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.devices.changes import delete_device
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.packages.models import Verdict
from patchherd.packages.reports import receive_report
from tests.server.api import Api
from tests.server.queries import queries


def item(name: str, candidate: str | None = "2-1", **more: Any) -> dict[str, Any]:
    offered = {} if candidate is None else {"availableVersion": candidate}
    return {"name": name, "currentVersion": "1-1", "needsUpdate": candidate is not None, **offered, **more}


def rpm_security(name: str, severity: str, advisory: str = "RLSA-1", candidate: str = "2-1") -> dict[str, Any]:
    cves = ["CVE-2026-1", "CVE-2026-2"]
    return item(name, candidate, advisories=[{"id": advisory, "type": "security", "severity": severity, "cves": cves}])


class Fleet:
    """Three devices that reported, one of them long ago, and one that never did."""

    def __init__(self) -> None:
        with database.connection():
            self.web = self.report(
                "web", "10.0.0.1", rpm_security("openssl", "Critical"), item("bash"), item("held", held=True)
            )
            self.mail = self.report(
                "mail",
                "10.0.0.2",
                rpm_security("openssl", "Low", candidate="3-1"),
                item("100%_done"),
                item("zsh", None),
            )
            self.old = self.report("old", "10.0.0.3", item("bash"), item("openssl"))
            long_ago = now() - timedelta(days=9)
            Device.update(evaluated_at=long_ago, metadata_updated=long_ago).where(Device.id == self.old.id).execute()
            self.silent = create_device("silent")
            deleted = self.report("deleted", "10.0.0.4", item("bash"))
            delete_device(deleted)

    def report(self, hostname: str, address: str, *packages: dict[str, Any]) -> Device:
        device = create_device(hostname)
        receive_report(device.id, {"hostname": hostname, "ip": address, "ecosystem": "rpm", "packages": list(packages)})
        return device


@pytest.fixture
def fleet(api: Api) -> Fleet:
    return Fleet()


def names(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    return sorted((row["device"]["hostname"], row["package"]) for row in answer.json["patches"])


def test_a_device_that_misses_patches(api: Api, fleet: Fleet) -> None:
    answer = api.get(f"/devices/{fleet.web.id}/patches").json
    assert answer["device"] == {"id": fleet.web.id, "agent_id": fleet.web.uuid, "hostname": "web"}
    assert (answer["status"], answer["reason"], answer["as_of"]) == ("missing", None, None)
    assert answer["counts"] == {
        "total": 2,
        "security": 1,
        "critical": 1,
        "important": 0,
        "moderate": 0,
        "low": 0,
        "optional": 1,
    }
    assert [row["package"] for row in answer["patches"]] == ["openssl", "bash", "held"], "worst first"
    openssl = answer["patches"][0]
    assert openssl["advisories"] == ["RLSA-1"]
    assert openssl["cves"] == ["CVE-2026-1", "CVE-2026-2"]
    assert openssl["first_seen"].endswith("Z")
    assert answer["patches"][2]["verdict"] == "not_installable"
    assert answer["patches"][2]["reason"] == "held"
    for reference in (fleet.web.uuid, "web"):
        assert api.get(f"/devices/{reference}/patches").json == answer


def test_a_device_that_never_reported(api: Api, fleet: Fleet) -> None:
    answer = api.get(f"/devices/{fleet.silent.id}/patches").json
    assert (answer["status"], answer["reason"], answer["counts"], answer["patches"]) == (
        "unknown",
        "no report yet",
        None,
        [],
    )


def test_a_device_whose_report_is_old_shows_what_was_known_then(api: Api, fleet: Fleet) -> None:
    answer = api.get(f"/devices/{fleet.old.id}/patches").json
    assert (answer["status"], answer["reason"]) == ("unknown", "the last report of packages is older than 26 h")
    assert answer["counts"] is None
    assert answer["as_of"] == answer["evaluated_at"] is not None
    assert [row["package"] for row in answer["patches"]] == ["bash", "openssl"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("severity=critical", ["openssl"]),
        ("severity=Critical,Optional&verdict=missing", ["openssl", "bash"]),
        ("security=true", ["openssl"]),
        ("security=false&verdict=missing", ["bash"]),
        ("package=ba*,held", ["bash", "held"]),
        ("package=b", []),
        ("verdict=not_installable", ["held"]),
        ("verdict=current", []),
    ],
)
def test_filters_of_a_device(api: Api, fleet: Fleet, query: str, expected: list[str]) -> None:
    answer = api.get(f"/devices/{fleet.web.id}/patches?{query}").json
    assert [row["package"] for row in answer["patches"]] == expected
    assert answer["counts"]["total"] == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/devices/web/patches?severity=bad", 400),
        ("/devices/web/patches?verdict=gone", 400),
        ("/devices/web/patches?security=perhaps", 400),
        ("/devices/web/patches?reason=because", 400),
        ("/patches?reason=held,because", 400),
        ("/devices/nobody/patches", 404),
        ("/devices/deleted-uuid/packages", 404),
        ("/patches?severity=bad", 400),
        ("/patches?group_by=device", 400),
        ("/patches?limit=0", 400),
        ("/patches?after=x", 400),
        ("/patches?after=1;drop", 400),
        ("/patches?group_by=package&after=nocolon", 400),
        ("/devices/web/packages?after=-1", 400),
    ],
)
def test_bad_questions(api: Api, fleet: Fleet, path: str, status: int) -> None:
    answer = api.get(path)
    assert answer.status_code == status
    assert answer.json["detail"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "",
            {
                ("web", "openssl"),
                ("web", "bash"),
                ("mail", "openssl"),
                ("mail", "100%_done"),
                ("old", "bash"),
                ("old", "openssl"),
            },
        ),
        ("verdict=not_installable", {("web", "held")}),
        ("severity=low,critical", {("web", "openssl"), ("mail", "openssl")}),
        ("security=true", {("web", "openssl"), ("mail", "openssl")}),
        ("package=bash", {("web", "bash"), ("old", "bash")}),
        ("package=100%25_done", {("mail", "100%_done")}),
        ("package=1*%25_d*", {("mail", "100%_done")}),
        ("package=%25", set()),
        ("package=b_sh*", set()),
        ("hostname=web,old&package=openssl", {("web", "openssl"), ("old", "openssl")}),
        ("ip_address=10.0.0.2", {("mail", "openssl"), ("mail", "100%_done")}),
        ("kb=KB1", set()),
    ],
)
def test_filters_of_the_fleet(api: Api, fleet: Fleet, query: str, expected: set[tuple[str, str]]) -> None:
    assert names(api.get(f"/patches?{query}")) == sorted(expected)


REASONS = {
    "one": ("held", "held by dpkg"), "two": ("pinned", "2 has priority -1"), "three": ("pinned", None),
    "four": ("held", None), "five": ("dependency", "Depends: pinned: held"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("reason=held", {"one", "four"}),
        ("reason=Pinned", {"two", "three"}),
        ("reason=pinned,dependency", {"two", "three", "five"}),
        ("reason=pinned&package=t*", {"two", "three"}),
        ("reason=held&verdict=missing", set()),
        ("reason=held&verdict=not_installable", {"one", "four"}),
        ("reason=esm", set()),
    ],
)
def test_patches_are_found_by_why_they_cannot_be_installed(
    api: Api, fleet: Fleet, query: str, expected: set[str]
) -> None:
    blocked = [
        item(name, needsUpdate=False, blocked=code, blockedDetail=detail) for name, (code, detail) in REASONS.items()
    ]
    with database.connection():
        fleet.report("stuck", "10.0.0.9", item("bash"), *blocked)
    ours = f"/patches?hostname=stuck&{query}"
    assert names(api.get(ours)) == sorted(("stuck", name) for name in expected)
    assert {row["package"] for row in api.get("/devices/stuck/patches?" + query).json["patches"]} == expected
    grouped = api.get(f"{ours}&group_by=package").json
    assert {row["package"] for row in grouped["patches"]} == expected
    assert grouped["counts"]["total"] == len(expected)


def test_agent_ids_may_be_quoted(api: Api, fleet: Fleet) -> None:
    answer = api.get(f'/patches?agent_id="{fleet.web.uuid}","{fleet.mail.uuid}"&package=openssl')
    assert names(answer) == [("mail", "openssl"), ("web", "openssl")]


def test_counts_leave_out_what_is_unknown_and_say_so(api: Api, fleet: Fleet) -> None:
    answer = api.get("/patches?limit=1").json
    assert answer["counts"]["total"] == 4
    assert answer["counts"]["critical"] == answer["counts"]["low"] == 1
    assert answer["outdated"] == 2
    assert answer["unknown_devices"] == 2
    rows = api.get("/patches").json["patches"]
    assert {row["device"]["hostname"] for row in rows if row["as_of"] is not None} == {"old"}


def test_pages_hold_every_row_once(api: Api, fleet: Fleet) -> None:
    seen, after = [], ""
    for _ in range(6):
        answer = api.get(f"/patches?limit=1{after}").json
        seen += [row["id"] for row in answer["patches"]]
        after = f"&after={answer['next']}"
    assert answer["next"] is None
    assert len(set(seen)) == len(seen) == 6


def test_grouped_by_package(api: Api, fleet: Fleet) -> None:
    answer = api.get("/patches?group_by=package").json
    rows = {row.pop("package"): row for row in answer["patches"]}
    assert list(rows) == ["100%_done", "bash", "openssl"]
    assert rows["openssl"].pop("first_seen")
    assert rows["openssl"] == {
        "ecosystem": "rpm",
        "kb": None,
        "severity": "Critical",
        "security": True,
        "exploited": False,
        "devices": 3,
        "candidates": ["2-1", "3-1"],
    }
    first = api.get("/patches?group_by=package&limit=2").json
    assert [row["package"] for row in first["patches"]] == ["100%_done", "bash"]
    second = api.get("/patches", query_string={"group_by": "package", "limit": 2, "after": first["next"]}).json
    assert [row["package"] for row in second["patches"]] == ["openssl"]
    assert second["next"] is None


def test_groups_tell_what_is_exploited(api: Api, fleet: Fleet) -> None:
    with database.connection():
        (row,) = [row for row in Verdict.select().where(Verdict.device == fleet.mail.id) if row.package == "openssl"]
        row.advisories = [{**row.advisories[0], "exploited": True}]
        row.save()
    rows = api.get("/patches?group_by=package").json["patches"]
    assert {row["package"]: row["exploited"] for row in rows} == {"openssl": True, "bash": False, "100%_done": False}
    (exploited,) = api.get("/patches?group_by=package&exploited=true").json["patches"]
    assert (exploited["devices"], exploited["severity"], exploited["candidates"]) == (1, "Low", ["3-1"])
    rest = api.get("/patches?group_by=package&exploited=false").json["patches"]
    assert {row["package"]: (row["devices"], row["exploited"]) for row in rest} == {
        "openssl": (2, False), "bash": (2, False), "100%_done": (1, False)
    }  # fmt: skip


@pytest.mark.parametrize("query", ["", "&group_by=package"])
def test_the_answer_is_the_same_whatever_finds_it(api: Api, fleet: Fleet, query: str) -> None:
    """Rows of all devices are found by what is asked of them, those of some by the devices."""
    for asked in ("limit=50", "package=openssl", "package=open*,b*", "verdict=missing,not_installable"):
        every = api.get(f"/patches?{asked}{query}").json
        named = api.get(f"/patches?{asked}{query}&hostname=web,mail,old,silent,deleted").json
        assert every == named
        assert every["patches"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("group_by=package", "SCAN t1 USING INDEX verdict_package_ecosystem_device_id"),
        ("package=openssl", "SEARCH t1 USING INDEX verdict_package_ecosystem_device_id (package=?)"),
        ("package=open*", "SEARCH t1 USING INDEX verdict_package_ecosystem_device_id (package>? AND package<?)"),
        ("hostname=web&package=openssl", "SEARCH t1 USING INDEX verdict_device_id"),
    ],
)
def test_sqlite_begins_where_there_is_least_to_read(api: Api, fleet: Fleet, query: str, wanted: str) -> None:
    with queries() as seen:
        assert api.get(f"/patches?{query}").json["patches"]
    asked = [text for text in seen if 'FROM "verdict" AS "t1"' in text]
    assert asked
    with database.connection():
        for text in asked:
            plan = database.db.execute_sql(f"EXPLAIN QUERY PLAN {text}", ["x"] * text.count("?")).fetchall()
            assert any(row[-1].startswith(wanted) for row in plan), plan


def test_query_count_does_not_grow_with_rows(api: Api, fleet: Fleet) -> None:
    with queries() as few:
        api.get("/patches?limit=1")
    with queries() as many:
        api.get("/patches?limit=1000")
    assert len(many) == len(few)


def test_installed_packages_come_in_pages(api: Api, fleet: Fleet) -> None:
    answer = api.get("/devices/web/packages?limit=2").json
    assert (answer["total"], answer["next"]) == (3, 2)
    assert answer["packages"][0] == {"name": "bash", "architecture": None, "version": "1-1"}
    rest = api.get("/devices/web/packages?limit=2&after=2").json
    assert [row["name"] for row in answer["packages"] + rest["packages"]] == ["bash", "held", "openssl"]
    assert rest["next"] is None
    assert api.get("/devices/web/packages?name=b*").json["total"] == 1
    assert api.get(f"/devices/{fleet.silent.id}/packages").json["total"] is None


def test_who_may_look(api: Api, fleet: Fleet) -> None:
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    for path in ("/patches", "/devices/web/patches", "/devices/web/packages"):
        assert api.client.get(f"/api/v1{path}").status_code == 401
        assert api.client.get(f"/api/v1{path}", headers=viewer).status_code == 200
