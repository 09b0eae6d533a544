# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions, and runs of profiles; who runs actions on a device."""

from __future__ import annotations

from typing import Any

import peewee

TABLES = {
    "profile_run": (
        '"profile_id" INTEGER REFERENCES "profile" ("id") ON DELETE SET NULL, "profile_name" VARCHAR(255) NOT NULL, '
        '"created_by" VARCHAR(255) NOT NULL, "created_at" BIGINT NOT NULL'
    ),
    "action": (
        '"device_id" INTEGER NOT NULL REFERENCES "device" ("id") ON DELETE CASCADE, "type" VARCHAR(32) NOT NULL, '
        '"status" VARCHAR(16) NOT NULL, "name" VARCHAR(255) NOT NULL, "payload" TEXT, "digest" VARCHAR(64) NOT NULL, '
        '"script_id" INTEGER REFERENCES "script" ("id") ON DELETE SET NULL, "script_version" INTEGER, '
        '"software_id" INTEGER REFERENCES "software_item" ("id") ON DELETE SET NULL, "installer" TEXT, '
        '"profile_run_id" INTEGER REFERENCES "profile_run" ("id") ON DELETE CASCADE, '
        '"continue_on_error" BOOLEAN NOT NULL, "timeout_seconds" INTEGER NOT NULL, "execution" VARCHAR(16) NOT NULL, '
        '"host_id" INTEGER REFERENCES "deployment_host" ("id") ON DELETE SET NULL, '
        '"cancel_requested" BOOLEAN NOT NULL, "exit_code" INTEGER, "stdout" TEXT NOT NULL, "stderr" TEXT NOT NULL, '
        '"stdout_cut" INTEGER NOT NULL, "stderr_cut" INTEGER NOT NULL, "logs" TEXT, "report_digest" VARCHAR(64), '
        '"message" TEXT NOT NULL, "created_by" VARCHAR(255) NOT NULL, "created_at" BIGINT NOT NULL, '
        '"updated_at" BIGINT NOT NULL, "started_at" BIGINT, "completed_at" BIGINT, "deadline" BIGINT'
    ),
}
INDEXES = {
    "profile_run": ("profile_id",),
    "action": (
        "script_id", "software_id", "profile_run_id", "host_id", "device_id, status", "status, execution",
    ),
}  # fmt: skip


def up(migrator: Any, db: Any) -> None:
    """Add the tables and the column of devices."""
    key = "INTEGER" if isinstance(db, peewee.SqliteDatabase) else "SERIAL"
    for table, columns in TABLES.items():
        db.execute_sql(f'CREATE TABLE "{table}" ("id" {key} NOT NULL PRIMARY KEY, {columns})')
        for index in INDEXES[table]:
            names = index.split(", ")
            listed = ", ".join(f'"{name}"' for name in names)
            db.execute_sql(f'CREATE INDEX "{table}_{"_".join(names)}" ON "{table}" ({listed})')
    db.execute_sql("""ALTER TABLE "device" ADD COLUMN "execution" VARCHAR(16) NOT NULL DEFAULT 'ansible'""")


def down(migrator: Any, db: Any) -> None:
    """Take them back."""
    db.execute_sql('ALTER TABLE "device" DROP COLUMN "execution"')
    for table in reversed(TABLES):
        db.execute_sql(f'DROP TABLE "{table}"')
