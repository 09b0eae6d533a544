# SPDX-License-Identifier: Apache-2.0
"""Migrations lead to what the models say, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peewee import sort_models

from patchherd import database, schema
from patchherd.devices.keys import address_key, version_key
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.identity.models import LoginSession, Role, User
from patchherd.packages.models import DevicePackages, Verdict
from patchherd.packages.reports import receive_report
from patchherd.settings import Settings
from tests.services import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings with an empty database, opened."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    database.configure(url)
    yield Settings(data=tmp_path, database_url=url)
    database.close_all()


def tables() -> dict[str, Any]:
    """Table -> columns (with nullability) and indexes (columns, uniqueness) of the open database."""
    db = database.db
    return {
        table: (
            sorted((column.name, column.null) for column in db.get_columns(table)),
            sorted({(tuple(index.columns), index.unique) for index in db.get_indexes(table)}),
        )
        for table in db.get_tables()
        if table != "schema_migration"
    }


def test_they_lead_to_the_models(settings: Settings) -> None:
    with database.connection():
        database.db.create_tables(sort_models(schema.all_models()))
        wanted = tables()
        database.db.drop_tables(schema.all_models())
        assert tables() == {}
    assert schema.migrate(settings)
    assert schema.migrate(settings) == []
    with database.connection():
        assert tables() == wanted


def test_each_goes_back_and_forth(settings: Settings) -> None:
    names = schema.migrate(settings)
    shapes = []
    for name in reversed(names):
        with database.connection():
            shapes.append(tables())
        assert schema.rollback(settings) == [name]
    with database.connection():
        assert tables() == {}
    for name, shape in zip(names, reversed(shapes), strict=True):
        assert schema.migrate(settings, name) == [name]
        with database.connection():
            assert tables() == shape


def test_users_with_a_role_of_ones_own_become_viewers_on_the_way_back(settings: Settings) -> None:
    first = "0002_sessions_and_roles"
    schema.migrate(settings, first)
    moment = database.now()
    with database.connection():
        Role.create(name="a role with a long name", permissions=["users:manage"], created_at=moment, updated_at=moment)
        for name, role in (("ann", "a role with a long name"), ("bob", "admin")):
            user = User.create(
                uuid=name, username=name, role=role, password_hash="x", created_at=moment, updated_at=moment
            )
            LoginSession.create(key=name, user=user, created_at=moment, expires_at=moment)
    assert schema.rollback(settings)[-1] == first
    assert schema.migrate(settings, first) == [first]
    with database.connection():
        assert {user.username: user.role for user in User.select()} == {"ann": "viewer", "bob": "admin"}
        assert [login.generation for login in LoginSession.select()] == [0, 0]


def test_updates_of_one_title_become_one_on_the_way_back(settings: Settings) -> None:
    name = "0008_update_ids"
    schema.migrate(settings)
    with database.connection():
        send(create_device("win"), "a-1", "a-2")
        assert Verdict.select().count() == 2
    assert schema.rollback(settings, name)[-1] == name
    with database.connection():
        ((count,),) = database.db.execute_sql('SELECT COUNT(*) FROM "verdict"').fetchall()
    assert count == 1
    assert schema.migrate(settings)[0] == name
    with database.connection():
        send(Device.get(), "a-2", "a-1")
        assert sorted(row.update_id for row in Verdict.select()) == ["a-1", "a-2"]


def send(device: Device, *guids: str) -> None:
    driver = {"name": "Driver", "currentVersion": "", "needsUpdate": True}
    updates = [{**driver, "wuaGuid": guid} for guid in guids]
    receive_report(device.id, {"ecosystem": "windows", "packages": updates})


def test_replaced_packages_are_judged_anew_on_the_way_back(settings: Settings) -> None:
    name = "0015_replacements"
    old = {"name": "old", "currentVersion": "1-1", "architecture": "x86_64", "needsUpdate": True}
    other = {**old, "name": "other", "availableVersion": "2-1"}
    new = {**old, "availableVersion": "3-1", "replacedBy": [{"name": "new", "version": "3-1"}]}
    schema.migrate(settings)
    with database.connection():
        for device, packages in (("rpm", [new, other]), ("plain", [other])):
            receive_report(create_device(device).id, {"ecosystem": "rpm", "packages": packages})
    assert schema.rollback(settings, name)[-1] == name
    with database.connection():
        rows = database.db.execute_sql('SELECT "package" FROM "verdict"').fetchall()
        kept = [bytes(row.fingerprint) != b"" for row in DevicePackages.select().order_by(DevicePackages.device)]
    assert (rows, kept) == ([("other",), ("other",)], [False, True])
    assert schema.migrate(settings)[0] == name
    with database.connection():
        receive_report(Device.get().id, {"ecosystem": "rpm", "packages": [new, other]})
        row = Verdict.get(Verdict.package == "old")
        assert row.replaced_by == [{"name": "new", "version": "3-1", "architecture": None}]


def test_devices_that_are_there_get_the_columns_that_sort(settings: Settings) -> None:
    schema.migrate(settings, "0002_sessions_and_roles")
    texts = ("uuid", "friendly_name", "ip_address", "agent_version", "os_version_id", "patch_status")
    empty = {"notes": "''", "enrolment_metadata": "'{}'", "facts": "'{}'", "ssh_host_keys": "'[]'",
             "reported_host_keys": "'[]'", "created_at": "1", "updated_at": "1", "approved": "'1'"}  # fmt: skip
    names = ", ".join(f'"{name}"' for name in (*texts, *empty))
    with database.connection():
        mark = database.db.obj.param
        for row in (("a", "a", "10.0.0.1", "1.2", "12", "x"), ("b", "b", None, None, None, "x")):
            values = ", ".join([mark] * len(texts) + list(empty.values()))
            database.db.execute_sql(f"INSERT INTO device ({names}) VALUES ({values})", row)  # noqa: S608 - no text from outside
    schema.migrate(settings, "0003_devices")
    columns = (Device.ip_key, Device.agent_version_key, Device.os_version_key, Device.maintenance)
    with database.connection():
        rows = list(Device.select(*columns).order_by(Device.uuid).tuples())
    assert rows == [(address_key("10.0.0.1"), version_key("1.2"), version_key("12"), False), (None, None, None, False)]
    assert schema.rollback(settings, "0003_devices")[-1] == "0003_devices"
    with database.connection():
        assert database.db.execute_sql("SELECT ip_address FROM device WHERE uuid = 'a'").fetchone()[0] == "10.0.0.1"
