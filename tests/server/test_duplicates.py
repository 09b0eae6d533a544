# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""One machine enrolled twice, clones, and what was deleted: found, merged, brought back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flask import Flask

from patchherd import database
from patchherd.app import create_app
from patchherd.deployments.history import deployments_of_device
from patchherd.devices import history
from patchherd.devices.models import Device
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.fleet import add_host, security
from tests.server.queries import queries
from tests.server.test_device_history import KEYS, events


def add(name: str, **report: Any) -> int:
    return int(add_host(name, security("openssl"), **report).id)


@pytest.fixture
def pair(api: Api) -> tuple[int, int]:
    """Two devices of one machine; the second reported last."""
    return add("web", machineId="m-1", sshHostKeys=[KEYS[0]]), add("web", machineId="m-1", ip="10.0.0.2")


# -- finding ---------------------------------------------------------------------------------------------------------


def test_what_is_shared_makes_a_set(api: Api) -> None:
    one = add("a", machineId="m-1", sshHostKeys=[KEYS[0]])
    two = add("b", machineId="m-1")
    three = add("c", machineId="m-3", sshHostKeys=[KEYS[0], KEYS[1]])
    torn = [add(f"torn{number}", sshHostKeys=[f"ssh-ed25519 {'A' * 41}"]) for number in range(2)]
    lonely = add("d", machineId="m-4", sshHostKeys=[KEYS[2]])
    clones = [add(f"clone{number}", machineId="template") for number in range(3)]
    nameless = [add("x"), add("y")]
    api.delete(f"/devices/{add('gone', machineId='m-4')}")
    with queries() as sent:
        found = api.get("/devices/duplicates").json
    assert len([text for text in sent if '"device"' in text]) == 2
    assert found["count"] == 2
    first, second = found["duplicates"]
    assert [row["id"] for row in first["devices"]] == [one, two, three]
    assert first["reasons"] == [
        {"kind": "machine_id", "value": "m-1", "devices": [one, two]},
        {"kind": "ssh_host_key", "value": history.fingerprints(KEYS)[0], "devices": [one, three]},
    ]
    assert first["newest"] == three
    assert [row["id"] for row in second["devices"]] == clones
    assert not {lonely, *nameless, *torn} & {row["id"] for one_set in found["duplicates"] for row in one_set["devices"]}
    limited = api.get("/devices/duplicates?limit=1").json
    assert (limited["count"], len(limited["duplicates"])) == (2, 1)
    assert api.get("/devices/duplicates?limit=0").status_code == 400


def test_chains_become_one_set_in_whatever_order(api: Api) -> None:
    ids = [add(f"h{n}", machineId=f"m-{n // 2}") for n in range(6)]  # pairs 01 23 45
    with database.connection():
        for left, right, key in ((1, 4, 0), (5, 2, 1)):
            Device.update(ssh_host_keys=[KEYS[key]]).where(Device.id.in_([ids[left], ids[right]])).execute()
    found = api.get("/devices/duplicates").json
    assert found["count"] == 1
    assert [row["id"] for row in found["duplicates"][0]["devices"]] == ids
    assert len(found["duplicates"][0]["reasons"]) == 5


# -- merging ---------------------------------------------------------------------------------------------------------


def test_merge_unites(api: Api, pair: tuple[int, int]) -> None:
    old, new = pair
    for name in ("A", "B"):
        api.post("/host-groups", {"name": name})
    api.patch(f"/devices/{old}", {"tags": ["prod", "old"], "groups": ["A"], "friendly_name": "old web"})
    api.patch(f"/devices/{new}", {"tags": ["prod", "new"], "groups": ["B"]})
    merged = api.post(f"/devices/{new}/merge", {"from": [old]})
    assert merged.status_code == 200, merged.text
    assert (merged.json["tags"], merged.json["groups"], merged.json["id"]) == (["new", "old", "prod"], ["A", "B"], new)
    gone = api.get(f"/devices/{old}")
    assert gone.status_code == 410
    assert f"merged into device {new}" in gone.text
    assert api.get("/devices/duplicates").json["count"] == 0
    assert [row["id"] for row in api.get("/devices").json] == [new]
    told = events(api, new)
    assert ("renamed", {"field": "friendly_name", "from": "web", "to": "old web"}) in told  # of the old one
    assert told[-1][0] == "merged"
    assert told[-1][1]["from"] == [{"id": old, "name": "web"}]
    (deleted,) = api.get("/devices/deleted").json["devices"]
    assert (deleted["id"], deleted["merged_into"]) == (old, new)
    # merged again: the first one's history comes along
    third = add("third")
    assert api.post(f"/devices/{third}/merge", {"from": [str(new)]}).status_code == 200
    assert {row["device_id"] for row in api.get(f"/devices/{third}/history").json["events"]} == {old, new, third}
    assert {row["merged_into"] for row in api.get("/devices/deleted").json["devices"]} == {third}


def test_deployments_of_the_others_are_shown_with_its_own(api: Api, pair: tuple[int, int]) -> None:
    old, new = pair
    placed = api.post("/scans", {"devices": [old]}).json["id"]
    api.post(f"/deployments/{placed}/cancel")
    api.post(f"/devices/{new}/merge", {"from": [old]})
    with database.connection():
        assert [row["id"] for row in deployments_of_device(new, 10)] == [placed]


def test_credentials_of_the_kept_one_work_and_the_others_do_not(api: Api) -> None:
    hosts = [api.enroll(friendly_name=f"h{number}", machine_id="same") for number in range(2)]
    for host in hosts:
        report = {"hostname": "h", "ip": "192.0.2.7", "osType": "Debian GNU/Linux"}
        assert api.host("POST", "/hosts/update", host, report).status_code == 200
    assert api.post(f"/devices/{hosts[0]['id']}/merge", {"from": [hosts[1]["id"]]}).status_code == 200
    assert [api.host("POST", "/hosts/ping", host).status_code for host in hosts] == [200, 401]


def test_what_cannot_be_merged(api: Api, pair: tuple[int, int]) -> None:
    old, new = pair
    waiting = api.enroll(friendly_name="waiting")["id"]
    bad = [
        (old, {"from": [old]}, 400, "into itself"),
        (old, {"from": [new, old]}, 400, "into itself"),
        (old, {"from": []}, 400, "from"),
        (old, {}, 400, "from"),
        (old, {"from": "web"}, 400, "from"),
        (old, {"from": [None]}, 400, "from"),
        (old, {"from": [999_999]}, 404, "no device"),
        ("web", {"from": [new]}, 409, "use the id"),
        (old, {"from": [waiting]}, 409, "waits for approval or its first report"),
        (waiting, {"from": [old]}, 409, "Device is pending"),
    ]
    for keep, body, status, words in bad:
        answer = api.post(f"/devices/{keep}/merge", body)
        assert answer.status_code == status, answer.text
        assert words in answer.text
    placed = api.post("/scans", {"devices": [new]}).json["id"]
    for keep, others in ((old, [new]), (new, [old])):
        answer = api.post(f"/devices/{keep}/merge", {"from": others})
        assert answer.status_code == 409
        assert f"running deployment {placed}" in answer.text
    assert len(api.get("/devices").json) == 3
    api.post(f"/deployments/{placed}/cancel")
    assert api.post(f"/devices/{old}/merge", {"from": [new]}).status_code == 200
    assert api.post(f"/devices/{old}/merge", {"from": [new]}).status_code == 410
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    assert api.post(f"/devices/{old}/merge", {"from": [new]}, headers=viewer).status_code == 403


# -- deleting and restoring ------------------------------------------------------------------------------------------


def reported(api: Api, **host: Any) -> dict[str, Any]:
    enrolled = api.enroll(**host)
    body = {"hostname": "web1", "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "sshHostKeys": [KEYS[0]]}
    assert api.host("POST", "/hosts/update", enrolled, body).status_code == 200
    return enrolled


def test_deleted_and_back(api: Api) -> None:
    host = reported(api)
    assert api.post(f"/devices/{host['id']}/restore", {}).status_code == 409
    api.patch(f"/devices/{host['id']}", {"tags": ["prod"]})
    api.delete(f"/devices/{host['id']}")
    assert api.get(f"/devices/{host['id']}").status_code == 410
    assert api.host("POST", "/hosts/ping", host).status_code == 401
    (shown,) = api.get("/devices/deleted").json["devices"]
    assert shown["deleted_at"].endswith("Z")
    back = api.post(f"/devices/{shown['id']}/restore", {})
    assert back.status_code == 200, back.text
    assert (back.json["credentials"], back.json["credentials_reason"], back.json["tags"]) == ("kept", None, ["prod"])
    assert api.host("POST", "/hosts/ping", host).status_code == 200
    assert api.get("/devices/deleted").json == {"devices": [], "next": None}
    assert [kind for kind, _ in events(api, host["id"])][-2:] == ["deleted", "restored"]
    assert api.post("/devices/nobody/restore", {}).status_code == 404


@pytest.mark.parametrize("shared", ["machine id", "SSH host key"])
def test_credentials_that_were_replaced_do_not_come_back(api: Api, shared: str) -> None:
    own = {"machine_id": "m-1"} if shared == "machine id" else {}
    host = reported(api, **own)
    api.delete(f"/devices/{host['id']}")
    newer = reported(api, friendly_name="again", **own)
    back = api.post(f"/devices/{host['id']}/restore", {}).json
    assert back["credentials"] == "revoked"
    assert f"with the same {shared}" in back["credentials_reason"]
    assert [api.host("POST", "/hosts/ping", one).status_code for one in (host, newer)] == [401, 200]
    assert api.get("/devices/duplicates").json["count"] == 1
    api.delete(f"/devices/{host['id']}")
    assert api.post(f"/devices/{host['id']}/restore", {"credentials": "keep"}).json["credentials"] == "none"


def test_the_operator_decides_about_credentials(api: Api) -> None:
    kept, other = reported(api, friendly_name="kept"), reported(api, friendly_name="other")
    assert api.post(f"/devices/{kept['id']}/merge", {"from": [other["id"]]}).status_code == 200
    assert api.post(f"/devices/{other['id']}/restore", {"credentials": "maybe"}).status_code == 400
    back = api.post(f"/devices/{other['id']}/restore", {"credentials": "keep"}).json
    assert (back["credentials"], back["merged_into"]) == ("kept", None)
    assert api.host("POST", "/hosts/ping", other).status_code == 200
    assert ("deleted", {"merged_into": api.get(f"/devices/{kept['id']}").json["id"]}) in events(api, other["id"])
    api.post(f"/devices/{kept['id']}/merge", {"from": [other["id"]]})
    back = api.post(f"/devices/{other['id']}/restore", {}).json
    assert (back["credentials"], "merged into device" in back["credentials_reason"]) == ("revoked", True)
    api.delete(f"/devices/{kept['id']}")
    assert api.post(f"/devices/{kept['id']}/restore", {"credentials": "revoke"}).json["credentials"] == "revoked"
    assert api.host("POST", "/hosts/ping", kept).status_code == 401


def test_where_hosts_need_approval_a_restored_one_needs_it_again(app: Flask, app_settings: Settings) -> None:
    api = Api.with_admin(create_app(msgspec.structs.replace(app_settings, host_approval=True)))
    host = reported(api)
    api.patch(f"/devices/{host['id']}", {"approved": True})
    api.delete(f"/devices/{host['id']}")
    assert api.post(f"/devices/{host['id']}/restore", {}).json["state"] == "pending"


def test_pages_of_deleted_devices(api: Api) -> None:
    ids = [add(f"h{number}") for number in range(5)]
    for number in ids[:4]:
        api.delete(f"/devices/{number}")
    first = api.get("/devices/deleted?limit=3").json
    assert [row["id"] for row in first["devices"]] == ids[:3]
    assert api.get(f"/devices/deleted?limit=3&after={first['next']}").json["next"] is None
    assert [row["id"] for row in api.get(f"/devices/deleted?after={first['next']}").json["devices"]] == [ids[3]]
    for bad in ("limit=0", "after=-1", "after=x", "aftr=1"):
        assert api.get(f"/devices/deleted?{bad}").status_code == 400
