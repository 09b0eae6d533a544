# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What operators hang on devices: tags, notes, and the flag that keeps deployments away."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import Deployment, DeploymentHost
from patchherd.deployments.runner import _write_inputs
from patchherd.devices.models import Device
from patchherd.devices.tags import MAX_TAGS
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.fleet import add_host, security
from tests.server.queries import queries


@pytest.fixture
def fleet(api: Api) -> dict[str, int]:
    return {name: add_host(name, security("openssl"), ip=f"10.0.0.{n}").id for n, name in enumerate(("web", "db"), 1)}


def tags(api: Api, device: str) -> list[str]:
    return list(api.get(f"/devices/{device}").json["tags"])


# -- tags ------------------------------------------------------------------------------------------------------------


def test_tags_are_small_words_in_lower_case(api: Api, fleet: dict[str, int]) -> None:
    shown = api.patch("/devices/web", {"tags": ["Prod", " dmz ", "prod", "tier:1"]})
    assert shown.json["tags"] == tags(api, "web") == ["dmz", "prod", "tier:1"]
    assert api.post("/devices/web/tags", {"tags": ["NEW", "dmz"]}).json == {"tags": ["dmz", "new", "prod", "tier:1"]}
    assert api.delete("/devices/web/tags/Tier:1").json == {"tags": ["dmz", "new", "prod"]}
    assert api.delete("/devices/web/tags/tier:1").status_code == 404
    api.patch("/devices/db", {"tags": ["prod"]})
    assert api.get("/tags").json == [
        {"tag": "dmz", "devices": 1},
        {"tag": "new", "devices": 1},
        {"tag": "prod", "devices": 2},
    ]
    api.delete("/devices/db")
    assert api.get("/tags").json[-1] == {"tag": "prod", "devices": 1}
    assert api.patch("/devices/web", {"tags": []}).json["tags"] == []


BAD = [["a b"], ["-a"], [""], ["ä"], ["x" * 65], ["a\n"], [None], [7], "prod", ["a/b"], ["<b>"], ["{{ 1 }}"]]


@pytest.mark.parametrize("given", BAD)
def test_what_is_no_tag_is_a_400(api: Api, fleet: dict[str, int], given: Any) -> None:
    for answer in (api.patch("/devices/web", {"tags": given}), api.post("/devices/web/tags", {"tags": given})):
        if given == ["a\n"]:  # blanks around a tag are dropped
            assert answer.status_code == 200
            continue
        assert answer.status_code == 400, answer.text
        assert answer.json["errors"][0]["path"].startswith("tags")
        assert tags(api, "web") == []


def test_a_device_has_so_many_tags(api: Api, fleet: dict[str, int]) -> None:
    many = [f"t{number}" for number in range(MAX_TAGS)]
    assert api.patch("/devices/web", {"tags": many}).status_code == 200
    assert api.post("/devices/web/tags", {"tags": ["one-more"]}).status_code == 400
    assert len(tags(api, "web")) == MAX_TAGS


def test_tags_select(api: Api, fleet: dict[str, int]) -> None:
    api.patch("/devices/web", {"tags": ["prod", "dmz"]})
    api.patch("/devices/db", {"tags": ["prod"]})
    for query, wanted in (("prod", ["web", "db"]), ("DMZ", ["web"]), ("dmz,nobody", ["web"]), ("nobody", [])):
        assert [row["hostname"] for row in api.get(f"/devices?tag={query}").json] == wanted, query
    assert api.get("/devices?tag=a%20b").status_code == 400
    hosts = {row["name"]: row["tags"] for row in api.get("/inventory").json["hosts"]}
    assert hosts == {"web": ["dmz", "prod"], "db": ["prod"]}
    with queries() as sent:
        api.get("/devices")
    assert len([text for text in sent if "device_tag" in text]) == 1


def test_a_failed_change_changes_no_tag(api: Api, fleet: dict[str, int]) -> None:
    assert api.patch("/devices/web", {"tags": ["a"], "groups": ["nobody"]}).status_code == 404
    assert api.patch("/devices/web", {"tags": ["a"], "maintenance_reason": "x"}).status_code == 400
    assert tags(api, "web") == []


# -- maintenance -----------------------------------------------------------------------------------------------------


def test_maintenance_is_shown_and_filtered(api: Api, fleet: dict[str, int]) -> None:
    shown = api.patch("/devices/web", {"maintenance": True, "maintenance_reason": "new disk"}).json
    assert (shown["maintenance"], shown["maintenance_reason"], shown["maintenance_until"]) == (True, "new disk", None)
    assert [row["hostname"] for row in api.get("/devices?maintenance=true").json] == ["web"]
    assert [row["hostname"] for row in api.get("/devices?maintenance=false").json] == ["db"]
    assert {row["name"]: row["maintenance"] for row in api.get("/inventory").json["hosts"]} == {
        "web": True,
        "db": False,
    }
    assert api.post("/host-groups/preview", {"rule": "maintenance"}).json["count"] == 1
    shown = api.patch("/devices/web", {"notes": "still"}).json
    assert shown["maintenance_reason"] == "new disk"
    shown = api.patch("/devices/web", {"maintenance": False}).json
    assert (shown["maintenance"], shown["maintenance_reason"]) == (False, None)


def test_maintenance_ends_by_itself(api: Api, fleet: dict[str, int]) -> None:
    until = (now() + timedelta(hours=1)).replace(microsecond=0)
    body = {"maintenance": True, "maintenance_until": until.isoformat()}
    assert api.patch("/devices/web", body).json["maintenance"] is True
    with database.connection():
        Device.update(maintenance_until=now() - timedelta(seconds=1)).where(Device.id == fleet["web"]).execute()
    assert api.get("/devices/web").json["maintenance"] is False
    assert api.get("/devices?maintenance=true").json == []
    assert api.post("/host-groups/preview", {"rule": "not maintenance"}).json["count"] == 2
    assert api.post("/deployments", {"devices": ["web"]}).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {"maintenance_reason": "x"},
        {"maintenance": False, "maintenance_reason": "x"},
        {"maintenance": True, "maintenance_until": "2020-01-01T00:00:00Z"},
        {"maintenance": True, "maintenance_until": "soon"},
        {"maintenance": True, "maintenance_reason": "a\nb"},
        {"maintenance": True, "maintenance_reason": "x" * 501},
        {"maintenance": "perhaps"},
        {"maintenance": None},
    ],
)
def test_bad_maintenance_is_a_400(api: Api, fleet: dict[str, int], body: dict[str, Any]) -> None:
    answer = api.patch("/devices/web", body)
    assert answer.status_code == 400, answer.text
    assert answer.json["errors"][0]["path"].startswith("maintenance")
    assert api.get("/devices/web").json["maintenance"] is False


def test_nothing_is_deployed_to_a_device_in_maintenance(api: Api, fleet: dict[str, int]) -> None:
    api.patch("/devices/web", {"maintenance": True, "maintenance_reason": "new disk"})
    for path in ("/deployments", "/scans"):
        placed = api.post(path, {"devices": ["web", "db"]}).json
        rows = {host["name"]: (host["state"], host["message"]) for host in placed["hosts"]}
        assert rows == {"web": ("skipped", "in maintenance: new disk"), "db": ("waiting", "")}
        api.post(f"/deployments/{placed['id']}/cancel")
        alone = api.post(path, {"devices": ["web"]})
        assert alone.status_code == 409
        assert "web: in maintenance: new disk" in alone.text


def test_maintenance_that_begins_after_the_plan_is_kept_too(
    api: Api, app_settings: Settings, fleet: dict[str, int], tmp_path: Path
) -> None:
    placed = api.post("/deployments", {"devices": ["web", "db"]}).json
    api.patch("/devices/web", {"maintenance": True})
    with database.connection():
        assert _write_inputs(app_settings, kind_of(Deployment.get_by_id(placed["id"])), tmp_path)
        rows = {host.name: (host.state, host.message) for host in DeploymentHost.select()}
    assert rows == {"web": ("skipped", "in maintenance"), "db": ("waiting", "")}
    assert b"10.0.0.1" not in (tmp_path / "inventory" / "hosts.json").read_bytes()
