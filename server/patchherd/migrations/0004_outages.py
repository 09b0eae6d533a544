# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Intervals in which devices were silent, the times at which the server watched, and what Ansible found last."""

from __future__ import annotations

from typing import Any

import peewee

TABLES = """
CREATE TABLE "outage" ("id" {id}, "device_id" INTEGER NOT NULL, "down_start" BIGINT NOT NULL, "down_end" BIGINT,
  FOREIGN KEY ("device_id") REFERENCES "device" ("id") ON DELETE CASCADE);
CREATE INDEX "outage_device_id_down_start" ON "outage" ("device_id", "down_start");
CREATE INDEX "outage_down_start" ON "outage" ("down_start");
CREATE INDEX "outage_down_end" ON "outage" ("down_end");
CREATE TABLE "watch" ("id" {id}, "started_at" BIGINT NOT NULL, "seen_at" BIGINT NOT NULL);
CREATE INDEX "watch_seen_at" ON "watch" ("seen_at")
"""
LISTED = """
CREATE INDEX "device_listed" ON "device" ("deleted_at", "id", "uuid", "hostname", "friendly_name", "ip_address",
  "os_family", "os_id", "os_name", "os_version", "os_architecture", "agent_version", "approved", "reboot_required",
  "updated_at", "last_heartbeat", "last_report", "evaluated_at", "metadata_updated", "missing", "missing_security")
"""
COLUMNS = {"ansible_checked_at": "BIGINT", "ansible_reachable": "{bool}", "ansible_message": "TEXT"}


def up(migrator: Any, db: Any) -> None:
    """Create tables and columns; on SQLite, replace the index of heartbeats by one of all that lists go through."""
    on_sqlite = isinstance(db, peewee.SqliteDatabase)
    identity = "INTEGER NOT NULL PRIMARY KEY" if on_sqlite else "SERIAL NOT NULL PRIMARY KEY"
    for statement in TABLES.format(id=identity).split(";"):
        db.execute_sql(statement)
    for name, kind in COLUMNS.items():
        kind = kind.format(bool="INTEGER" if on_sqlite else "BOOLEAN")
        db.execute_sql(f'ALTER TABLE "device" ADD COLUMN "{name}" {kind}')
    db.execute_sql('DROP INDEX "device_last_heartbeat"')
    if on_sqlite:
        db.execute_sql(LISTED)


def down(migrator: Any, db: Any) -> None:
    """Drop them."""
    if isinstance(db, peewee.SqliteDatabase):
        db.execute_sql('DROP INDEX "device_listed"')
    db.execute_sql('CREATE INDEX "device_last_heartbeat" ON "device" ("last_heartbeat")')
    for name in COLUMNS:
        db.execute_sql(f'ALTER TABLE "device" DROP COLUMN "{name}"')
    for table in ("watch", "outage"):
        db.execute_sql(f'DROP TABLE "{table}"')
