# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Pages, order, columns and export of the native device list."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask import Flask

from patchherd import database
from patchherd.database import now
from patchherd.devices import pages
from patchherd.devices.fields import FIELDS, SORTABLE
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device, find_device
from tests.server.api import Api
from tests.server.queries import queries

VALUES = {
    "hostname": [None, "a", "B", "b", "ä", "web"], "os_name": [None, "Debian", "Rocky Linux"],
    "os_family": [None, "debian", "redhat"], "agent_version": [None, "1", "2"], "approved": [True, False],
    "reboot_required": [None, True, False], "missing": [None, 0, 3], "missing_security": [0, 1],
}  # fmt: skip


@pytest.fixture
def fleet(api: Api) -> list[Device]:
    """Devices that share many values, and lack some."""
    chance, moment = random.Random(1), now()
    with database.connection():
        for number in range(60):
            device = create_device(f"host-{number:02}")
            values = {name: chance.choice(some) for name, some in VALUES.items()}
            ages = [None, *(moment - timedelta(seconds=age) for age in (5, 5, 200, 400, 200_000))]
            for name in ("last_heartbeat", "last_report", "evaluated_at", "metadata_updated"):
                values[name] = chance.choice(ages)
            Device.update(**values).where(Device.id == device.id).execute()
        return list(Device.select().order_by(Device.id))


def walk(api: Api, query: str, limit: int = 7) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list."""
    after = ""
    while True:
        answer = api.get(f"/devices?limit={limit}{query}{after}")
        assert answer.status_code == 200, answer.text
        page = json.loads(answer.headers["X-Pagination"])
        assert page["limit"] == limit
        assert isinstance(page["total"], int)
        yield answer.json
        if page["next"] is None:
            return
        after = f"&after={page['next']}"


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_pages_hold_every_device_once_in_every_order(api: Api, fleet: list[Device]) -> None:
    every = {device.id for device in fleet}
    for name in SORTABLE:
        for sort in (name, f"-{name}", f"{name},-hostname"):
            parts = list(walk(api, f"&sort={sort}&fields=id,hostname,{name}", 11))
            rows = [row for part in parts for row in part]
            assert len(rows) == len(every), sort
            assert {row["id"] for row in rows} == every, sort
            assert [len(part) for part in parts] == [11, 11, 11, 11, 11, 5]
            values = [row[name] for row in rows]
            known = [value for value in values if value is not None]
            assert values == known + [None] * (len(values) - len(known)), f"{sort}: without a value last"
            if not any(isinstance(value, str) for value in known):  # texts go as the database collates them
                assert known == sorted(known, reverse=sort.startswith("-")), sort
            assert rows == api.get(f"/devices?limit=1000&sort={sort}&fields=id,hostname,{name}").json


def test_equal_ones_go_by_the_next_key_and_then_by_id(api: Api, fleet: list[Device]) -> None:
    rows = [row for part in walk(api, "&sort=-reboot_required,missing") for row in part]
    order = {True: 0, False: 1, None: 2}
    keys = [(order[row["reboot_required"]], row["missing"] is None, row["missing"] or 0, row["id"]) for row in rows]
    assert keys == sorted(keys)
    assert [row["id"] for part in walk(api, "&sort=-id") for row in part] == [device.id for device in fleet][::-1]


def test_the_default_page(api: Api, fleet: list[Device]) -> None:
    answer = api.get("/devices/")
    assert json.loads(answer.headers["X-Pagination"]) == {"limit": 100, "total": 60, "next": None}
    assert ids(answer.json) == [device.id for device in fleet]
    assert list(answer.json[0]) == list(FIELDS)


def test_the_total_is_that_of_the_filter(api: Api, fleet: list[Device]) -> None:
    for query, wanted in (
        ("reboot_required=true", [device for device in fleet if device.reboot_required]),
        ("os=debian&reboot_required=false", [d for d in fleet if d.os_name == "Debian" and d.reboot_required is False]),
        ("hostname=b,a", [device for device in fleet if device.hostname in {"a", "b"}]),
    ):
        answer = api.get(f"/devices?limit=2&{query}")
        page = json.loads(answer.headers["X-Pagination"])
        assert page["total"] == len(wanted) > 2, query
        rows = [row for part in walk(api, f"&{query}", 3) for row in part]
        assert ids(rows) == [device.id for device in wanted], query


def test_each_state_filter_finds_what_the_view_shows(api: Api, fleet: list[Device]) -> None:
    rows = api.get("/devices?limit=1000").json
    for name, states in (
        ("status", ("online", "offline", "unknown")),
        ("state", ("active", "pending")),
        ("patch_status", ("missing", "current", "unknown")),
    ):
        for state in states:
            shown = [row["id"] for row in rows if row[name] == state]
            assert shown, f"{name}={state} is not among the samples"
            assert ids(api.get(f"/devices?limit=1000&{name}={state}").json) == shown
    unknown = [row for row in rows if row["patch_status"] == "unknown"]
    assert all((row["missing"], row["missing_security"]) == (None, None) for row in unknown)
    assert all(row["patch_reason"] for row in unknown)


def test_what_comes_and_goes_between_two_pages_moves_nothing(api: Api, fleet: list[Device]) -> None:
    seen: list[int] = []
    for number, part in enumerate(walk(api, "&sort=hostname", 10)):
        seen += ids(part)
        if number == 1:
            with database.connection():
                create_device("0-first")
                Device.update(hostname="zzz").where(Device.id == create_device("x").id).execute()
            for gone in (seen[0], seen[-1]):  # one that was shown, and the one that the next page begins after
                assert api.delete(f"/devices/{gone}").status_code == 204
    with database.connection():
        late = find_device("zzz").id
    assert len(seen) == len(set(seen))
    assert set(seen) == {device.id for device in fleet} | {late}


def test_some_fields(api: Api, fleet: list[Device]) -> None:
    group = api.post("/host-groups", {"name": "G"}).json["id"]
    api.patch(f"/devices/{fleet[0].id}", {"groups": [group]})
    whole = api.get("/devices?limit=3").json
    for name in FIELDS:
        assert api.get(f"/devices?limit=3&fields={name}").json == [{name: row[name]} for row in whole], name
    answer = api.get("/devices?limit=1&fields=groups,id,ansible")
    assert list(answer.json[0].items()) == [
        ("groups", ["G"]),
        ("id", fleet[0].id),
        ("ansible", {"checked_at": None, "reachable": None, "message": None}),
    ]
    with queries() as seen:
        api.get("/devices?fields=id,hostname")
    assert not any("facts" in text or "ssh_host_keys" in text for text in seen)


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).rstrip(b"=").decode()


def test_cursors_that_no_page_gave(api: Api, fleet: list[Device]) -> None:
    for sort, bad in (
        ("", "7"),
        ("", "x" * 50),
        ("", "é"),
        ("", "%00"),
        ("", cursor()),
        ("", cursor("id")),
        ("", cursor("id", "7")),
        ("", cursor("id", None)),
        ("", cursor("id", True)),
        ("", cursor("id", 2**63)),
        ("", cursor("id", {"a": 1})),
        ("", cursor("-id", 7)),
        ("", cursor("hostname,id", "a", 7)),
        ("&sort=os_name", cursor("id", 7)),
        ("&sort=os_name", cursor("os_name,id", 7, 7)),
        ("&sort=os_name", cursor("os_name,id", "a\0b", 7)),
        ("&sort=reboot_required", cursor("reboot_required,id", 1, 7)),
        ("&sort=last_heartbeat", cursor("last_heartbeat,id", "now", 7)),
    ):
        answer = api.get(f"/devices?after={bad}{sort}")
        assert answer.status_code == 400, f"{bad} {sort}: {answer.text}"
    assert api.get(f"/devices?after={cursor('id', 2**61)}").json == []


# -- export ----------------------------------------------------------------------------------------------------------


def test_csv(api: Api, fleet: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EXPORT_BATCH", 7)
    answer = api.get("/devices/export?sort=-hostname")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="devices-{now():%Y-%m-%d}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    wanted = api.get("/devices?limit=1000&sort=-hostname").json
    assert list(rows[0]) == list(FIELDS)
    assert [row["id"] for row in rows] == [str(row["id"]) for row in wanted]
    assert [row["last_heartbeat"] for row in rows] == [row["last_heartbeat"] or "" for row in wanted]
    assert [row["reboot_required"] for row in rows] == [json.dumps(row["reboot_required"]).replace("null", "")
                                                        for row in wanted]  # fmt: skip
    assert [json.loads(row["connection"]) for row in rows] == [row["connection"] for row in wanted]


def test_json_lines(api: Api, fleet: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EXPORT_BATCH", 7)
    answer = api.get("/devices/export?format=jsonl&reboot_required=true&fields=id,hostname,groups")
    assert answer.headers["Content-Type"].startswith("application/jsonl")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert rows == api.get("/devices?limit=1000&reboot_required=true&fields=id,hostname,groups").json
    assert rows


def test_no_cell_is_a_formula(api: Api) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain", 'quo"te', "a,b", "-"]
    with database.connection():
        for name in names:
            create_device(name)
    answer = api.get("/devices/export?fields=friendly_name,notes")
    cells = [row["friendly_name"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))]
    assert cells == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "plain", 'quo"te', "a,b", "'-"]


def test_an_empty_export_has_its_head(api: Api) -> None:
    assert api.get("/devices/export?fields=id,hostname").text == "id,hostname\r\n"
    assert api.get("/devices/export?format=jsonl").data == b""


def test_exports_that_are_refused(api: Api, app: Flask) -> None:
    for query, status in (("format=xlsx", 400), ("limit=5", 400), ("after=x", 400), ("group=nobody", 404)):
        answer = api.get(f"/devices/export?{query}")
        assert answer.status_code == status, query
        assert answer.json["error"]
    assert app.test_client().get("/api/v1/devices/export").status_code == 401


def test_an_export_reads_in_batches(api: Api, fleet: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EXPORT_BATCH", 10)
    with queries() as seen, api.get("/devices/export?fields=id", buffered=False) as answer:
        first = next(answer.iter_encoded())
        assert first.count(b"\r\n") == 11
        read = len([text for text in seen if text.startswith("SELECT") and "LIMIT" in text])
        rest = b"".join(answer.iter_encoded())
    assert rest.count(b"\r\n") == 50
    assert len([text for text in seen if text.startswith("SELECT") and "LIMIT" in text]) > read
