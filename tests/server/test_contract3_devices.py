# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Devices and agents of the DeployFlow API: their fields, registration, tokens of one string, the default token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from werkzeug.test import TestResponse

from patchherd import database, schema
from patchherd.app import create_app
from patchherd.cli import main
from patchherd.commands import start
from patchherd.devices.models import Device
from patchherd.devices.os_types import os_type
from patchherd.enrollment.models import EnrollmentToken, HostCredential
from patchherd.errors import SettingsError
from patchherd.settings import Settings
from tests.server.api import Api, host_headers
from tests.server.test_contract3 import TIME, make, missing, refused

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FIELDS = {
    "id", "hostname", "profile_id", "status", "os_type", "os_version", "hardware_summary", "last_check_in",
    "created_at",
}  # fmt: skip
AGENT = {
    "hostname": "DESKTOP-1",
    "os_type": "windows",
    "os_version": "10.0.22631",
    "os_description": "Microsoft Windows 11 Pro",
    "hardware_summary": "4 cores, 16 GiB",
    "agent_version": "1.2",
}


def one_string(api: Api, **body: Any) -> str:
    answer = api.post("/enrollment-tokens", {"name": "agents", **body})
    assert answer.status_code == 201, answer.text
    return str(answer.json["token"])


def register(api: Api, token: Any, headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
    sent = {**AGENT, "enrollment_token": token, **body}
    return api.client.post("/api/v1/agent/register", json=sent, headers=headers or {})


# -- devices ---------------------------------------------------------------------------------------------------------


def test_devices_carry_the_documented_fields(api: Api) -> None:
    registered = register(api, one_string(api)).json["device_id"]
    device = api.get(f"/devices/{registered}/").json
    assert set(device) >= FIELDS
    assert device.items() >= {
        "id": registered, "hostname": "DESKTOP-1", "profile_id": None, "status": "online", "os_type": "windows",
        "os_version": "10.0.22631", "hardware_summary": "4 cores, 16 GiB",
    }.items()  # fmt: skip
    assert device["last_check_in"] == device["last_heartbeat"]
    listed = {row["id"]: row for row in api.get("/devices").json}[registered]
    assert {name: listed[name] for name in FIELDS} == {name: device[name] for name in FIELDS}
    with database.connection():
        Device.update(last_heartbeat=0).execute()
    assert api.get(f"/devices/{registered}").json["status"] == "offline"


def test_what_get_gave_can_be_put(api: Api) -> None:
    number = register(api, one_string(api)).json["device_id"]
    profile = make(api, "/profiles")["id"]
    device = {name: value for name, value in api.get(f"/devices/{number}").json.items() if name in FIELDS}
    wanted = {
        "hostname": "renamed", "os_type": "windows_server", "os_version": "2022", "hardware_summary": "8 cores",
        "profile_id": profile,
    }  # fmt: skip
    answer = api.call("PUT", f"/devices/{number}/", {**device, **wanted})
    assert answer.status_code == 200, answer.text
    assert {name: answer.json[name] for name in FIELDS} == {**device, **wanted}
    assert {name: api.get(f"/devices/{number}").json[name] for name in FIELDS} == {**device, **wanted}
    cleared = dict.fromkeys(("os_version", "hardware_summary", "profile_id"))
    assert api.call("PUT", f"/devices/{number}", cleared).json.items() >= cleared.items()
    assert refused(api.call("PUT", f"/devices/{number}", {"colour": "red"}), "colour") == "Unknown field."


def test_profiles_of_devices(api: Api) -> None:
    number = register(api, one_string(api)).json["device_id"]
    profile, template = make(api, "/profiles")["id"], make(api, "/templates", name="t")["id"]
    assert "7" in missing(api.call("PUT", f"/devices/{number}", {"profile_id": 7, "notes": "x"}), "Profile not found")
    assert api.get(f"/devices/{number}").json["notes"] != "x"
    assert refused(api.call("PUT", f"/devices/{number}", {"profile_id": template}), "profile_id")
    assert api.call("PUT", f"/devices/{number}", {"profile_id": profile}).json["profile_id"] == profile
    answer = api.delete(f"/profiles/{profile}")
    assert (answer.status_code, answer.json["error"]) == (400, "Profile is in use")
    assert answer.json["message"] == f"used by device {number} 'DESKTOP-1'"
    assert api.call("PUT", f"/profiles/{profile}", {"is_template": True}).status_code == 400
    assert api.delete(f"/devices/{number}").status_code == 204
    assert api.delete(f"/profiles/{profile}").status_code == 204


def test_delete_is_soft(api: Api) -> None:
    number = register(api, one_string(api)).json["device_id"]
    answer = api.delete(f"/devices/{number}/")
    assert (answer.status_code, answer.data) == (204, b"")
    assert api.get(f"/devices/{number}").status_code == 410
    assert api.get("/devices").json == []
    with database.connection():
        assert Device.get_by_id(number).deleted_at is not None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("hostname", ["", " ", "a\nb", "x" * 256, None, 5, []]),
        ("os_type", ["beos", 5, []]),
        ("os_version", ["x" * 256, 5]),
        ("hardware_summary", ["x" * 4001, {}]),
        ("profile_id", ["x", 0, -1, 2**31, True, 1.5]),
    ],
)
def test_bad_device_fields(api: Api, field: str, values: list[Any]) -> None:
    number = register(api, one_string(api)).json["device_id"]
    before = api.get(f"/devices/{number}").json
    for value in values:
        assert refused(api.call("PUT", f"/devices/{number}", {field: value}), field)
        assert refused(api.post("/devices", {"hostname": "new", field: value}), field)
    assert api.get(f"/devices/{number}").json == before
    for method in ("GET", "PUT", "DELETE"):
        assert api.call(method, "/devices/99", {} if method == "PUT" else None).status_code == 404


def test_devices_are_added_by_hand(api: Api) -> None:
    answer = api.post("/devices/", {"hostname": "nas", "os_type": "Debian", "address": "10.0.0.9"})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/v1/devices/{answer.json['id']}"
    assert answer.json.items() >= {"hostname": "nas", "friendly_name": "nas", "status": "unknown"}.items()
    assert (answer.json["os_type"], answer.json["os_family"]) == ("debian", "debian")
    assert answer.json["connection"]["address"] == "10.0.0.9"
    assert api.get(f"/devices/{answer.json['id']}").json["last_check_in"] is None
    assert refused(api.post("/devices", {"hostname": "nas"}), "hostname") == "already taken"
    assert refused(api.post("/devices", {}), "hostname")
    assert api.post("/devices", {"hostname": "b", "profile_id": 9}).status_code == 404
    assert [row["hostname"] for row in api.get("/devices").json] == ["nas"]


DERIVED: list[tuple[dict[str, Any], str | None]] = [
    ({"os_family": "windows", "os_name": "Microsoft Windows Server 2022 Datacenter"}, "windows_server"),
    ({"os_family": "windows", "os_name": "Microsoft Windows 11 Pro"}, "windows"),
    ({"os_family": "windows"}, "windows"),
    ({"os_family": "debian", "os_id": "debian", "os_name": "Debian GNU/Linux"}, "debian"),
    ({"os_family": "debian", "os_id": "ubuntu", "os_name": "Ubuntu"}, "ubuntu"),
    ({"os_family": "debian", "os_name": "Proxmox VE on Debian"}, "proxmox"),
    ({"os_family": "debian", "os_id": "linuxmint", "os_name": "Linux Mint"}, "linux"),
    ({"os_family": "redhat", "os_id": "rocky", "os_name": "Rocky Linux"}, "rocky"),
    ({"os_family": "redhat", "os_id": "almalinux", "os_name": "AlmaLinux"}, "almalinux"),
    ({"os_family": "redhat", "os_name": "Red Hat Enterprise Linux"}, "rhel"),
    ({"os_family": "redhat", "os_id": "rhel"}, "rhel"),
    ({"os_family": "redhat", "os_id": "centos"}, "centos"),
    ({"os_family": "redhat", "os_id": "fedora"}, "linux"),
    ({"os_name": "macOS 14"}, "macos"),
    ({"os_name": "Darwin"}, "macos"),
    ({"os_name": "Arch Linux"}, "linux"),
    ({"os_name": "Plan 9"}, None),
    ({}, None),
    ({"os_type": "other", "os_family": "windows"}, "other"),
]


@pytest.mark.parametrize(("columns", "kind"), DERIVED, ids=str)
def test_os_types_are_derived(columns: dict[str, Any], kind: str | None) -> None:
    assert os_type(Device(**columns)) == kind


def test_a_reporting_device_has_an_os_type(api: Api) -> None:
    host = api.enroll()
    report = {"hostname": "web1", "osType": "Debian GNU/Linux", "osId": "debian", "packages": None}
    assert api.host("POST", "/hosts/update", host, report).status_code == 200
    assert api.get("/devices/web1").json["os_type"] == "debian"
    assert api.call("PUT", "/devices/web1", {"os_type": "proxmox"}).json["os_type"] == "proxmox"
    assert api.get("/devices/web1").json["os_family"] == "debian"
    assert api.call("PUT", "/devices/web1", {"os_type": None}).json["os_type"] == "debian"


# -- registration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("field", ["enrollment_token", "token"])
def test_register(api: Api, field: str, slash: str) -> None:
    body = {**AGENT, field: one_string(api), "shoe_size": 43}
    answer = api.client.post(f"/api/v1/agent/register{slash}", json=body)
    assert answer.status_code == 200
    assert answer.text.startswith('{"device_id":1,"poll_interval_seconds":30,')
    assert set(answer.json) == {"device_id", "poll_interval_seconds", "api_id", "api_key"}
    assert api.host("POST", "/hosts/ping", answer.json).status_code == 200
    device = api.get("/devices/1").json
    assert device["notes"].startswith("Auto-enrolled via agents on ")
    assert (device["friendly_name"], device["os_name"], device["os_family"]) == (
        "DESKTOP-1", "Microsoft Windows 11 Pro", "windows",
    )  # fmt: skip
    assert device["connection"]["type"] == "psrp"
    assert (device["state"], device["agent_version"]) == ("pending", "1.2")
    with database.connection():
        row = Device.get_by_id(1)
        assert row.enrolled_from == "127.0.0.1"
        assert row.enrolled_with == EnrollmentToken.get().uuid


def test_the_same_host_again_is_the_same_device_without_new_credentials(api: Api) -> None:
    token = one_string(api)
    first = register(api, token).json
    before = api.get(f"/devices/{first['device_id']}").json
    with database.connection():
        key = HostCredential.get().key_hash
    again = register(api, token, os_type="ubuntu", hardware_summary="taken over", os_version="1")
    assert again.status_code == 200
    assert again.json == {"device_id": first["device_id"], "poll_interval_seconds": 30}
    wrong = {**host_headers(first), "X-API-KEY": "0" * 64}
    assert register(api, token, wrong).json == again.json
    assert api.get(f"/devices/{first['device_id']}").json == before
    with database.connection():
        assert HostCredential.get().key_hash == key
        assert Device.select().count() == 1
    assert api.host("POST", "/hosts/ping", first).status_code == 200


def test_the_same_host_with_its_credentials(api: Api) -> None:
    token = one_string(api)
    first = register(api, token).json
    again = register(api, token, host_headers(first), hostname="RENAMED", os_version="11")
    assert again.json == first
    device = api.get(f"/devices/{first['device_id']}").json
    assert (device["hostname"], device["os_version"]) == ("RENAMED", "11")


def test_who_is_another_device(api: Api) -> None:
    token, other = one_string(api), one_string(api, name="other")
    first = register(api, token).json["device_id"]
    assert register(api, other).json["device_id"] != first
    assert register(api, token, hostname="DESKTOP-2").json["device_id"] != first
    assert api.delete(f"/devices/{first}").status_code == 204
    assert "api_key" in (new := register(api, token).json)
    assert new["device_id"] != first


def test_a_host_of_the_other_enrolment_is_known(api: Api) -> None:
    token = api.enrollment_token()
    host = api.enroll(token, friendly_name="DESKTOP-1")
    answer = register(api, f"{token['token_key']}:{token['token_secret']}")
    assert answer.json == {"device_id": api.get(f"/devices/{host['id']}").json["id"], "poll_interval_seconds": 30}


def test_twenty_at_once_are_one_device(app: Flask, api: Api) -> None:
    token = one_string(api, max_hosts_per_day=3)

    def go(_: int) -> TestResponse:
        return app.test_client().post("/api/v1/agent/register", json={**AGENT, "token": token})

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(go, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json["device_id"] for answer in answers} == {1}
    assert sum("api_key" in answer.json for answer in answers) == 1
    assert api.get("/enrollment-tokens").json[0]["hosts_created_today"] == 1


BAD_TOKENS: list[Any] = [
    None, "", " ", 5, [], {}, "nonsense", "a:b", ":", "patchmon_ae_" + "0" * 32 + ":" + "0" * 64, "changeme", "ä:ö",
]  # fmt: skip


@SQLITE
def test_bad_tokens_are_401(api: Api) -> None:
    good = one_string(api)
    for token in [*BAD_TOKENS, good[:-1], good + "0", good.split(":")[0], good.replace(":", "")]:
        answer = register(api, token)
        assert answer.status_code == 401, token
        assert answer.json["detail"]
    assert register(api, "a:b", hostname="").status_code == 401, "the token is looked at first"
    answer = api.client.post("/api/v1/agent/register")
    assert answer.status_code == 401
    assert api.call("POST", "/agent/register", AGENT).status_code == 401, "an administrator is no token"


@SQLITE
def test_tokens_that_may_not(api: Api, app_settings: Settings) -> None:
    past = one_string(api, expires_at="2020-01-01")
    assert register(api, past).json["error"] == "Token expired"
    elsewhere = one_string(api, allowed_ip_ranges=["10.0.0.0/8"])
    assert register(api, elsewhere).status_code == 403
    off = one_string(api)
    number = api.get("/enrollment-tokens").json[0]["id"]
    assert api.call("PUT", f"/enrollment-tokens/{number}", {"is_active": False}).status_code == 200
    assert register(api, off).status_code == 401
    reader = api.enrollment_token(metadata={"integration_type": "api"}, scopes={"host": ["get"]})
    assert register(api, f"{reader['token_key']}:{reader['token_secret']}").status_code == 403
    one = one_string(api, max_hosts_per_day=1)
    assert register(api, one).status_code == 200
    full = register(api, one, hostname="second")
    assert full.status_code == 429
    assert int(full.headers["Retry-After"]) > 0
    assert register(api, one).status_code == 200, "who is known takes nothing from the quota"


@SQLITE
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("hostname", [None, "", "a\tb", "x" * 256, 5]),
        ("os_type", ["dos", 5, []]),
        ("os_version", ["x" * 256, 5]),
        ("os_description", ["x" * 256]),
        ("hardware_summary", ["x" * 4001, 5, True, {"x": "y" * 4000}]),
        ("machine_id", ["x" * 256, {}]),
        ("metadata", ["x", 5]),
    ],
)
def test_bad_bodies_are_400(api: Api, field: str, values: list[Any]) -> None:
    token = one_string(api)
    for value in values:
        assert refused(register(api, token, **{field: value}), field)
    assert api.get("/devices").json == []


@SQLITE
@pytest.mark.parametrize(
    ("body", "kind"), [(b"{", "application/json"), (b"[]", "application/json"), (b"x=1", "text/plain")]
)
def test_bodies_that_are_none(api: Api, body: bytes, kind: str) -> None:
    answer = api.client.post("/api/v1/agent/register", data=body, content_type=kind)
    assert answer.status_code in {400, 401}
    assert answer.json["error"]
    assert api.client.get("/api/v1/agent/register").status_code == 405


@SQLITE
@pytest.mark.parametrize(
    ("summary", "kept"), [({"cpu": "x"}, '{"cpu":"x"}'), ([1], "[1]"), ({}, None), ("", None), (" a ", "a")]
)
def test_hardware_summaries(api: Api, summary: Any, kept: str | None) -> None:
    number = register(api, one_string(api), hardware_summary=summary).json["device_id"]
    assert api.get(f"/devices/{number}").json["hardware_summary"] == kept


@SQLITE
def test_registered_devices_may_need_approval(app_settings: Settings) -> None:
    settings = msgspec.structs.replace(app_settings, host_approval=True, agent_poll_seconds=60)
    api = Api.with_admin(create_app(settings))
    answer = register(api, one_string(api)).json
    assert answer["poll_interval_seconds"] == 60
    with database.connection():
        assert Device.get_by_id(answer["device_id"]).approved is False
    database.close_all()


@SQLITE
def test_known_machines_are_refused_when_the_setting_says_so(app_settings: Settings) -> None:
    api = Api.with_admin(create_app(msgspec.structs.replace(app_settings, duplicate_hosts="reject")))
    token = one_string(api)
    assert register(api, token, machine_id="m").status_code == 200
    assert register(api, token, machine_id="m").status_code == 200
    assert register(api, token, machine_id="m", hostname="other").status_code == 409
    database.close_all()


@SQLITE
def test_guessing_is_limited(app_settings: Settings) -> None:
    api = Api.with_admin(create_app(msgspec.structs.replace(app_settings, auth_rate_limit="3 per hour")))
    assert [register(api, "a:b").status_code for _ in range(5)] == [401, 401, 401, 429, 429]
    database.close_all()


# -- tokens of one string --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_string_tokens(api: Api, slash: str) -> None:
    created = api.post(f"/enrollment-tokens{slash}", {"name": "agents", "max_hosts_per_day": 5})
    assert created.status_code == 201
    key, _, secret = created.json["token"].partition(":")
    assert key == created.json["token_key"]
    assert len(secret) == 64
    path = f"/enrollment-tokens/{created.json['id']}{slash}"
    assert created.headers["Location"] == f"/api/v1/enrollment-tokens/{created.json['id']}"
    shown = {name: value for name, value in created.json.items() if name != "token"}
    assert api.get(path).json == shown
    assert api.get(f"/enrollment-tokens{slash}").json == [shown]
    assert secret not in api.get("/auto-enrollment/tokens").text
    assert TIME.match(shown["created_at"])
    changed = api.call("PATCH", path, {"name": "new", "is_active": False, "expires_at": None}).json
    assert (changed["name"], changed["is_active"]) == ("new", False)
    assert api.delete(path).status_code == 204
    missing_token = api.get(path)
    assert missing_token.status_code == 404


@SQLITE
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "max_hosts_per_day": 0}, "max_hosts_per_day"),
        ({"name": "x", "max_hosts_per_day": 1001}, "max_hosts_per_day"),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
        ({"name": "x", "allowed_ip_ranges": ["10.0.0.0/33"]}, "allowed_ip_ranges[0]"),
    ],
)
def test_bad_one_string_tokens(api: Api, body: dict[str, Any], field: str) -> None:
    assert refused(api.post("/enrollment-tokens", body), field)
    viewer = {"Authorization": f"Bearer {api.user_token('operator')}"}
    assert api.client.post("/api/v1/enrollment-tokens", json=body, headers=viewer).status_code == 403


# -- the default token -----------------------------------------------------------------------------------------------


def test_the_default_token_of_development(app_settings: Settings) -> None:
    settings = msgspec.structs.replace(app_settings, mode="development")
    create_app(settings)
    for _ in range(2):
        start.prepare(settings)
    api = Api(app := create_app(settings).test_client(), "")
    assert app.post("/api/v1/agent/register", json={**AGENT, "token": "changeme"}).status_code == 200
    assert register(api, "changeme:changeme", hostname="b").status_code == 200
    assert register(api, "changeme:other", hostname="b").status_code == 401
    with database.connection():
        assert EnrollmentToken.select().count() == 1
        EnrollmentToken.update(is_active=False).execute()
    start.prepare(settings)
    assert register(Api(create_app(settings).test_client(), ""), "changeme").status_code == 401
    database.close_all()
    create_app(app_settings)
    with pytest.raises(SettingsError, match="changeme") as refusal:
        start.prepare(app_settings)
    assert "patchherd token delete changeme" in str(refusal.value)
    deleted = command(app_settings, "token", "delete", "changeme")
    assert deleted.exit_code == 0, deleted.output
    database.configure(app_settings.resolved_database_url)
    start.prepare(app_settings)
    with database.connection():
        assert not EnrollmentToken.select().exists()
    database.close_all()


def test_production_may_have_a_strong_one(app_settings: Settings) -> None:
    strong = "Z" * 40
    settings = msgspec.structs.replace(app_settings, default_enrollment_token=strong)
    app = create_app(settings)
    start.prepare(settings)
    assert register(Api(app.test_client(), ""), strong).status_code == 200
    assert register(Api(app.test_client(), ""), "changeme").status_code == 401
    database.close_all()


# -- db reset --------------------------------------------------------------------------------------------------------


def command(settings: Settings, *words: str, mode: str = "production", answer: str | None = None) -> Result:
    environment = {"PATCHHERD_DATABASE_URL": settings.database_url, "PATCHHERD_MODE": mode}
    return CliRunner().invoke(main, [*words, "--data", str(settings.data)], env=environment, input=answer)


@pytest.fixture
def filled(app: Flask, api: Api, app_settings: Settings) -> Settings:
    """A database with rows that refer to each other, and one table that no migration knows."""
    path = f"/profiles/{make(api, '/profiles')['id']}/tasks"
    make(api, path, name="t", script_id=make(api, "/scripts")["id"])
    register(api, one_string(api))
    with database.connection():
        database.db.execute_sql('CREATE TABLE "leftover" ("id" INTEGER)')
    return app_settings


def shape() -> tuple[set[str], int]:
    with database.connection():
        tables = {name for name in database.db.get_tables() if not name.startswith("sqlite_")}
        return tables, Device.select().count()


def database_name(settings: Settings) -> str:
    return settings.database_url.rpartition("/")[2]


def test_reset_starts_anew(filled: Settings) -> None:
    old, _ = shape()
    done = command(filled, "db", "reset", mode="development", answer=f"{database_name(filled)}\n")
    assert done.exit_code == 0, done.output
    assert f"all {len(old)} tables" in done.output
    assert database_name(filled) in done.output
    tables, devices = shape()
    assert tables == old - {"leftover"}
    assert devices == 0
    assert all(applied for _, applied in schema.status())
    with database.connection():
        if database.is_sqlite():
            assert database.db.execute_sql("PRAGMA foreign_keys").fetchone() == (1,)
    again = command(filled, "db", "reset", "--yes", mode="development")
    assert again.exit_code == 0, again.output
    assert shape()[0] == tables


@pytest.mark.parametrize("answer", ["yes\n", "\n", "", "y\n"])
def test_reset_needs_the_name(filled: Settings, answer: str) -> None:
    before = shape()
    done = command(filled, "db", "reset", mode="development", answer=answer)
    assert done.exit_code == 1
    assert shape() == before


def test_reset_is_for_development(filled: Settings) -> None:
    before = shape()
    done = command(filled, "db", "reset", "--yes")
    assert done.exit_code == 1
    assert "development" in done.output
    assert shape() == before


@SQLITE
def test_reset_names_the_database_without_its_password(tmp_path: Path, app_settings: Settings) -> None:
    settings = msgspec.structs.replace(app_settings, database_url="postgresql://me:hunter2@127.0.0.1:1/fleet")
    done = command(settings, "db", "reset", mode="development", answer="fleet\n")
    assert done.exit_code == 1
    assert "hunter2" not in done.output
