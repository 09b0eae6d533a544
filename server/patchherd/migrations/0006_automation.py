# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Scripts, software, images and profiles; and what a device says or is told about them."""

from __future__ import annotations

from typing import Any

import peewee

TABLES = {
    "script": (
        '"name" VARCHAR(255) NOT NULL, "description" TEXT, "language" VARCHAR(16) NOT NULL, '
        '"target_os_type" VARCHAR(32), "content" TEXT NOT NULL, "version" INTEGER NOT NULL, '
        '"digest" VARCHAR(64) NOT NULL, "created_at" BIGINT NOT NULL, "updated_at" BIGINT NOT NULL, '
        '"created_by" VARCHAR(255) NOT NULL'
    ),
    "script_version": (
        '"script_id" INTEGER NOT NULL REFERENCES "script" ("id") ON DELETE CASCADE, "version" INTEGER NOT NULL, '
        '"content" TEXT NOT NULL, "digest" VARCHAR(64) NOT NULL, "created_at" BIGINT NOT NULL, '
        '"created_by" VARCHAR(255) NOT NULL'
    ),
    "software_item": (
        '"name" VARCHAR(255) NOT NULL, "slug" VARCHAR(255) NOT NULL, "version" VARCHAR(64), '
        '"installer_type" VARCHAR(16) NOT NULL, "source_type" VARCHAR(16) NOT NULL, "source" TEXT, '
        '"install_args" TEXT, "uninstall_args" TEXT, "target_os_type" VARCHAR(32), "checksum" VARCHAR(64), '
        '"created_at" BIGINT NOT NULL, "updated_at" BIGINT NOT NULL'
    ),
    "os_image": (
        '"name" VARCHAR(255) NOT NULL, "os_type" VARCHAR(32) NOT NULL, "version" VARCHAR(64), '
        '"architecture" VARCHAR(32), "description" TEXT, "source" TEXT, "checksum" VARCHAR(64), '
        '"created_at" BIGINT NOT NULL, "updated_at" BIGINT NOT NULL'
    ),
    "profile": (
        '"name" VARCHAR(255) NOT NULL, "description" TEXT, "target_os_type" VARCHAR(32), '
        '"is_template" BOOLEAN NOT NULL, "created_at" BIGINT NOT NULL, "updated_at" BIGINT NOT NULL'
    ),
    "profile_task": (
        '"profile_id" INTEGER NOT NULL REFERENCES "profile" ("id") ON DELETE CASCADE, "name" VARCHAR(255) NOT NULL, '
        '"description" TEXT, "order_index" INTEGER NOT NULL, "action_type" VARCHAR(32) NOT NULL, '
        '"script_id" INTEGER REFERENCES "script" ("id") ON DELETE RESTRICT, '
        '"software_id" INTEGER REFERENCES "software_item" ("id") ON DELETE RESTRICT, '
        '"continue_on_error" BOOLEAN NOT NULL, "payload" TEXT, "timeout_seconds" INTEGER, '
        '"created_at" BIGINT NOT NULL, "updated_at" BIGINT NOT NULL'
    ),
}
INDEXES = (
    'CREATE UNIQUE INDEX "script_name" ON "script" ("name")',
    'CREATE INDEX "script_version_script_id" ON "script_version" ("script_id")',
    'CREATE UNIQUE INDEX "script_version_script_id_version" ON "script_version" ("script_id", "version")',
    'CREATE UNIQUE INDEX "software_item_slug" ON "software_item" ("slug")',
    'CREATE UNIQUE INDEX "os_image_name" ON "os_image" ("name")',
    'CREATE UNIQUE INDEX "profile_name" ON "profile" ("name")',
    'CREATE INDEX "profile_task_profile_id" ON "profile_task" ("profile_id")',
    'CREATE INDEX "profile_task_script_id" ON "profile_task" ("script_id")',
    'CREATE INDEX "profile_task_software_id" ON "profile_task" ("software_id")',
)
DEVICE_COLUMNS = {
    "os_type": "VARCHAR(32)",
    "hardware_summary": "TEXT",
    "profile_id": "INTEGER",
    "enrolled_with": "VARCHAR(36)",
    "enrolled_from": "VARCHAR(64)",
}


def up(migrator: Any, db: Any) -> None:
    """Add the tables and the columns of devices."""
    key = "INTEGER" if isinstance(db, peewee.SqliteDatabase) else "SERIAL"
    for table, columns in TABLES.items():
        db.execute_sql(f'CREATE TABLE "{table}" ("id" {key} NOT NULL PRIMARY KEY, {columns})')
    for statement in INDEXES:
        db.execute_sql(statement)
    for name, kind in DEVICE_COLUMNS.items():
        db.execute_sql(f'ALTER TABLE "device" ADD COLUMN "{name}" {kind}')


def down(migrator: Any, db: Any) -> None:
    """Take them back."""
    for name in reversed(DEVICE_COLUMNS):
        db.execute_sql(f'ALTER TABLE "device" DROP COLUMN "{name}"')
    for table in reversed(TABLES):
        db.execute_sql(f'DROP TABLE "{table}"')
