# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What changed about a device is remembered once, and ordinary reports write nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from patchherd import database
from patchherd.database import now
from patchherd.devices import history
from patchherd.devices.models import Device, DeviceEvent
from patchherd.settings import Settings
from tests.server.api import Api, host_headers, token_headers
from tests.server.fleet import add_host, package
from tests.server.queries import queries
from tests.server.test_results import AFTER, BEFORE, Run

KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB{letter * 42}" for letter in "xyz"]
REPORT: dict[str, Any] = {
    "hostname": "web1", "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "osVersion": "12 (bookworm)",
    "agentVersion": "1.0", "packages": [], "sections": ["packages"], "sshHostKeys": [KEYS[0]],
}  # fmt: skip


def events(api: Api, device: Any, query: str = "") -> list[tuple[str, dict[str, Any]]]:
    """(type, detail) oldest first."""
    answer = api.get(f"/devices/{device}/history{query}")
    assert answer.status_code == 200, answer.text
    return [(row["type"], row["detail"]) for row in reversed(answer.json["events"])]


def report(api: Api, host: dict[str, Any], **changes: Any) -> None:
    answer = api.host("POST", "/hosts/update", host, {**REPORT, **changes})
    assert answer.status_code == 200, answer.text


@pytest.fixture
def host(api: Api) -> dict[str, Any]:
    """A host that has sent REPORT."""
    enrolled = api.enroll(friendly_name="web1")
    report(api, enrolled)
    return enrolled


def test_the_life_of_a_device(api: Api, host: dict[str, Any]) -> None:
    ref = host["id"]
    report(api, host, hostname="web01", ip="192.0.2.8", osVersion="13 (trixie)", agentVersion="1.1")
    report(
        api, host, hostname="web01", ip="192.0.2.8", osVersion="13 (trixie)", agentVersion="1.1", sshHostKeys=[KEYS[1]]
    )
    api.post(f"/devices/{ref}/host-keys/accept")
    api.post("/host-groups", {"name": "Web"})
    api.patch(f"/devices/{ref}", {"friendly_name": "Web one", "groups": ["Web"], "tags": ["prod"], "notes": "n"})
    api.delete(f"/host-groups/Web/hosts/{ref}")
    api.patch(f"/devices/{ref}", {"approved": False})
    api.patch(f"/devices/{ref}", {"approved": True, "address": "web.example.com"})
    api.patch(f"/devices/{ref}", {"maintenance": True, "maintenance_reason": "disk"})
    api.delete(f"/devices/{ref}")
    first, second = (history.fingerprints([key]) for key in KEYS[:2])
    wanted = [
        ("enrolled", {"token": "test token", "name": "web1"}),
        ("first_report", {"hostname": "web1", "ip_address": "192.0.2.7", "os_name": "Debian GNU/Linux",
                          "os_version": "12 (bookworm)", "agent_version": "1.0"}),
        ("renamed", {"field": "hostname", "from": "web1", "to": "web01"}),
        ("moved", {"field": "ip_address", "from": "192.0.2.7", "to": "192.0.2.8"}),
        ("agent_updated", {"field": "agent_version", "from": "1.0", "to": "1.1"}),
        ("os_upgraded", {"from": "Debian GNU/Linux 12 (bookworm)", "to": "Debian GNU/Linux 13 (trixie)"}),
        ("host_keys_changed", {"from": first, "to": second}),
        ("host_keys_accepted", {"from": first, "to": second}),
        ("groups_changed", {"added": ["Web"], "removed": []}),
        ("tags_changed", {"added": ["prod"], "removed": []}),
        ("renamed", {"field": "friendly_name", "from": "web1", "to": "Web one"}),
        ("groups_changed", {"added": [], "removed": ["Web"]}),
        ("approval_withdrawn", {}),
        ("moved", {"field": "address", "from": None, "to": "web.example.com"}),
        ("approved", {}),
        ("maintenance", {"on": True, "reason": "disk", "until": None}),
        ("deleted", {}),
    ]  # fmt: skip
    assert events(api, ref) == wanted
    actors = {row["type"]: row["actor"] for row in api.get(f"/devices/{ref}/history").json["events"]}
    assert (actors["enrolled"], actors["os_upgraded"], actors["approved"]) == ("test token", "device", "admin")
    assert first[0].startswith("SHA256:")


def test_ordinary_reports_write_nothing(api: Api, host: dict[str, Any]) -> None:
    before = events(api, host["id"])
    with queries() as sent:
        report(api, host)
        report(api, host, packages=[package("bash", "1", "2")])
        report(api, host, systemUptime="2 days", loadAverage=[1, 2, 3], needsReboot=True, bootId="other")
    assert not [text for text in sent if "device_event" in text]
    assert events(api, host["id"]) == before
    report(api, host, hostname=None, ip=None, osVersion=None, agentVersion=None)  # what is not said did not change
    assert events(api, host["id"]) == before
    api.patch(f"/devices/{host['id']}", {"friendly_name": "web1", "groups": [], "tags": [], "maintenance": False})
    assert events(api, host["id"]) == before


def test_re_enrolment(api: Api, host: dict[str, Any]) -> None:
    headers = token_headers(api.enrollment_token()) | host_headers(host)
    again = api.client.post("/api/v1/auto-enrollment/enroll", json={"friendly_name": "web1"}, headers=headers)
    assert again.status_code in (200, 201), again.text
    assert events(api, host["id"])[-1][0] == "re_enrolled"


def test_pages_and_filters(api: Api, host: dict[str, Any]) -> None:
    for number in range(7):
        report(api, host, hostname=f"web-{number}")
    path = f"/devices/{host['id']}/history"
    seen, query = [], "limit=3"
    while query:
        page = api.get(f"{path}?{query}").json
        seen += [row["id"] for row in page["events"]]
        query = f"limit=3&before={page['next']}" if page["next"] else ""
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) == 9
    assert [kind for kind, _ in events(api, host["id"], "?type=enrolled,first_report")] == ["enrolled", "first_report"]
    with database.connection():
        DeviceEvent.update(at=now() - timedelta(days=3)).where(DeviceEvent.type == "enrolled").execute()
    moment = (now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(events(api, host["id"], f"?since={moment}")) == 8
    for bad in ("type=born", "since=yesterday", "limit=0", "limit=501", "before=0", "before=x", "sort=up"):
        assert api.get(f"{path}?{bad}").status_code == 400, bad
    assert api.get("/devices/nobody/history").status_code == 404


def test_a_deployment_leaves_its_mark(app: Flask, app_settings: Settings) -> None:
    run = Run(app_settings, "web")
    run.report("before", *BEFORE)
    run.report("after", *AFTER)
    shown = run.end()
    assert shown["hosts"]["web"]["state"] == "patched"
    with database.connection():
        rows = [(row.type, row.detail) for row in DeviceEvent.select().order_by(DeviceEvent.id)]
    told = {"deployment": shown["id"], "installed": 2, "reboot_required": False}
    assert rows[-1] == ("patched", told)
    assert [kind for kind, _ in rows].count("patched") == 1


def test_old_and_too_many_events_go(api: Api, app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEEP_EACH", 5)
    with database.connection():
        busy, quiet = add_host("busy", package("bash")).id, add_host("quiet", package("bash")).id
        for number in range(20):
            history.note(busy, "renamed", {"number": number})
        DeviceEvent.update(at=now() - history.KEEP - timedelta(days=1)).where(DeviceEvent.device == quiet).execute()
        history.note(quiet, "approved")
        assert history.drop_old() == 1 + 16
        left = [(row.device_id, row.detail.get("number")) for row in DeviceEvent.select().order_by(DeviceEvent.id)]
        assert left == [(busy, number) for number in range(15, 20)] + [(quiet, None)]
        assert history.drop_old() == 0


def test_what_a_device_is_comes_with_it(api: Api) -> None:
    device = add_host("gone", package("bash"))
    with database.connection():
        Device.delete().where(Device.id == device.id).execute()
        assert DeviceEvent.select().count() == 0


def test_what_operators_add_and_rename(api: Api) -> None:
    added = api.post("/devices", {"hostname": "srv1", "os_type": "linux"})
    assert added.status_code == 201, added.text
    assert api.patch("/devices/srv1", {"hostname": "srv2"}).status_code == 200
    told = events(api, "srv2")
    assert told[0] == ("enrolled", {"token": None, "name": "srv1"})
    assert told[-1] == ("renamed", {"field": "hostname", "from": "srv1", "to": "srv2"})
