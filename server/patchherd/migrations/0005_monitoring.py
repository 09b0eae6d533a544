# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Monitoring agents: inventories with history, software, messages, releases, webhooks."""

from __future__ import annotations

from typing import Any

import peewee

_DEVICE = '"device_id" INTEGER NOT NULL REFERENCES "device" ("id") ON DELETE CASCADE'
TABLES = {
    "monitoring_agent": (
        '"device_id" INTEGER NOT NULL PRIMARY KEY REFERENCES "device" ("id") ON DELETE CASCADE, '
        '"owner_kind" VARCHAR(16) NOT NULL, "owner_id" BIGINT NOT NULL, "name_key" VARCHAR(255) NOT NULL, '
        '"serial" VARCHAR(255), "address" VARCHAR(64), "registered_at" BIGINT NOT NULL, "sealed_secret" TEXT NOT NULL, '
        '"seen_at" BIGINT, "software_seen_at" BIGINT, "sections" TEXT NOT NULL, "readings" TEXT NOT NULL'
    ),
    "inventory_section": '{id}, "digest" {bytes} NOT NULL, "size" INTEGER NOT NULL, "packed" {bytes} NOT NULL',
    "inventory_snapshot": (
        f'{{id}}, {_DEVICE}, "first_seen" BIGINT NOT NULL, "last_seen" BIGINT, "agent_version" VARCHAR(64)'
    ),
    "snapshot_section": (
        '"snapshot_id" INTEGER NOT NULL REFERENCES "inventory_snapshot" ("id") ON DELETE CASCADE, '
        '"name" VARCHAR(64) NOT NULL, '
        '"section_id" INTEGER NOT NULL REFERENCES "inventory_section" ("id") ON DELETE RESTRICT, '
        'PRIMARY KEY ("snapshot_id", "name")'
    ),
    "software_title": (
        '{id}, "name" VARCHAR(255) NOT NULL, "name_key" VARCHAR(255) NOT NULL, "vendor" VARCHAR(255) NOT NULL, '
        '"version" VARCHAR(100) NOT NULL, "sort_key" {bytes} NOT NULL'
    ),
    "device_software": (
        f'{_DEVICE}, "title_id" INTEGER NOT NULL REFERENCES "software_title" ("id") ON DELETE RESTRICT, '
        '"install_date" VARCHAR(10), "first_seen" BIGINT NOT NULL, "last_seen" BIGINT, "removed_at" BIGINT, '
        'PRIMARY KEY ("device_id", "title_id")'
    ),
    "agent_message": (
        f'{{id}}, {_DEVICE}, "kind" VARCHAR(8) NOT NULL, "level" VARCHAR(16) NOT NULL, "message" TEXT NOT NULL, '
        '"details" TEXT NOT NULL, "at" BIGINT NOT NULL, "received_at" BIGINT NOT NULL'
    ),
    "agent_release": (
        '{id}, "version" VARCHAR(64) NOT NULL, "platform" VARCHAR(16) NOT NULL, "changelog" TEXT NOT NULL, '
        '"file_name" VARCHAR(255) NOT NULL, "sha256" VARCHAR(64) NOT NULL, "size" BIGINT NOT NULL, '
        '"published_by" VARCHAR(255) NOT NULL, "published_at" BIGINT NOT NULL, "withdrawn_at" BIGINT'
    ),
    "webhook_delivery": (
        f'{{id}}, {_DEVICE}, "type" VARCHAR(16) NOT NULL, "address" VARCHAR(64) NOT NULL, "port" INTEGER NOT NULL, '
        '"requested_by" VARCHAR(255) NOT NULL, "created_at" BIGINT NOT NULL, "status" INTEGER, "duration_ms" INTEGER, '
        '"error" VARCHAR(500)'
    ),
}
INDEXES = {
    "monitoring_agent_owner_kind_owner_id_name_key": '"monitoring_agent" ("owner_kind", "owner_id", "name_key")',
    "inventory_section_digest": '"inventory_section" ("digest")',
    "inventory_snapshot_device_id": '"inventory_snapshot" ("device_id")',
    "inventory_snapshot_first_seen": '"inventory_snapshot" ("first_seen")',
    "snapshot_section_section_id": '"snapshot_section" ("section_id")',
    "software_title_name_version_vendor": '"software_title" ("name", "version", "vendor")',
    "software_title_name_key_sort_key": '"software_title" ("name_key", "sort_key")',
    "device_software_title_id_removed_at_device_id": '"device_software" ("title_id", "removed_at", "device_id")',
    "agent_message_received_at": '"agent_message" ("received_at")',
    "agent_message_device_id_id": '"agent_message" ("device_id", "id")',
    "webhook_delivery_created_at": '"webhook_delivery" ("created_at")',
    "webhook_delivery_device_id_id": '"webhook_delivery" ("device_id", "id")',
}
UNIQUE = {"inventory_section_digest", "software_title_name_version_vendor"}


def up(migrator: Any, db: Any) -> None:
    """Create the tables and their indexes."""
    sqlite = isinstance(db, peewee.SqliteDatabase)
    number = "INTEGER" if sqlite else "SERIAL"
    words = {"id": f'"id" {number} NOT NULL PRIMARY KEY', "bytes": "BLOB" if sqlite else "BYTEA"}
    for table, columns in TABLES.items():
        db.execute_sql(f'CREATE TABLE "{table}" ({columns.format(**words)})')
    for name, place in INDEXES.items():
        db.execute_sql(f'CREATE {"UNIQUE " if name in UNIQUE else ""}INDEX "{name}" ON {place}')


def down(migrator: Any, db: Any) -> None:
    """Drop them, the dependent ones first. Devices that only these agents knew stay, without their inventories."""
    for table in reversed(TABLES):
        db.execute_sql(f'DROP TABLE "{table}"')
