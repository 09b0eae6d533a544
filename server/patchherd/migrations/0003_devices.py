# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Nested and dynamic groups, tags, maintenance, history, merged devices, and columns that sort."""

from __future__ import annotations

from typing import Any

import peewee

from patchherd.devices.keys import address_key, version_key

_DEVICE = (
    '"merged_into_id" INTEGER REFERENCES "device" ("id") ON DELETE SET NULL',
    '"maintenance" {boolean}',
    '"maintenance_reason" TEXT',
    '"maintenance_until" BIGINT',
    '"ip_key" VARCHAR(40)',
    '"agent_version_key" VARCHAR(128)',
    '"os_version_key" VARCHAR(128)',
)
_GROUP = ('"parent_id" INTEGER REFERENCES "device_group" ("id") ON DELETE SET NULL', '"rule" TEXT')
_INDEXES = (
    'CREATE INDEX "device_merged_into_id" ON "device" ("merged_into_id")',
    'CREATE INDEX "device_ip_key" ON "device" ("ip_key")',
    'CREATE INDEX "device_group_parent_id" ON "device_group" ("parent_id")',
    'CREATE INDEX "device_tag_device_id" ON "device_tag" ("device_id")',
    'CREATE INDEX "device_tag_tag" ON "device_tag" ("tag")',
    'CREATE INDEX "device_event_at" ON "device_event" ("at")',
    'CREATE INDEX "device_event_device_id_id" ON "device_event" ("device_id", "id")',
)
_TABLES = (
    'CREATE TABLE "device_tag" ("device_id" INTEGER NOT NULL REFERENCES "device" ("id") ON DELETE CASCADE, '
    '"tag" VARCHAR(64) NOT NULL, PRIMARY KEY ("device_id", "tag"))',
    'CREATE TABLE "device_event" ("id" {serial} NOT NULL PRIMARY KEY, '
    '"device_id" INTEGER NOT NULL REFERENCES "device" ("id") ON DELETE CASCADE, "at" BIGINT NOT NULL, '
    '"type" VARCHAR(32) NOT NULL, "actor" VARCHAR(255) NOT NULL, "detail" TEXT NOT NULL)',
)


def up(migrator: Any, db: Any) -> None:
    """Add columns, tables and indexes; make the keys of the devices that are there."""
    words = {"boolean": "INTEGER NOT NULL DEFAULT 0", "serial": "INTEGER"}
    if isinstance(db, peewee.PostgresqlDatabase):
        words = {"boolean": "BOOLEAN NOT NULL DEFAULT FALSE", "serial": "SERIAL"}
    for column in _DEVICE:
        db.execute_sql(f'ALTER TABLE "device" ADD COLUMN {column.format(**words)}')
    for column in _GROUP:
        db.execute_sql(f'ALTER TABLE "device_group" ADD COLUMN {column}')
    for statement in (*_TABLES, *_INDEXES):
        db.execute_sql(statement.format(**words))
    _make_keys(db)


def _make_keys(db: Any) -> None:
    mark = db.param
    texts = 'SELECT "id", "ip_address", "agent_version", "os_version_id" FROM "device"'
    for device, address, agent, system in db.execute_sql(texts).fetchall():
        db.execute_sql(
            f'UPDATE "device" SET "ip_key" = {mark}, "agent_version_key" = {mark}, "os_version_key" = {mark} '  # noqa: S608
            f'WHERE "id" = {mark}',
            (address_key(address), version_key(agent), version_key(system), device),
        )


def down(migrator: Any, db: Any) -> None:
    """Drop them; dynamic groups keep only the devices that were put into them."""
    for statement in _INDEXES:
        db.execute_sql(f"DROP INDEX {statement.split()[2]}")
    for table in ("device_event", "device_tag"):
        db.execute_sql(f'DROP TABLE "{table}"')
    for table, columns in (("device_group", _GROUP), ("device", _DEVICE)):
        for column in columns:
            db.execute_sql(f'ALTER TABLE "{table}" DROP COLUMN {column.split()[0]}')
