# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Content views: their sources, the indexes of those, and the versions that they offer."""

from __future__ import annotations

from typing import Any

import peewee

UP = (
    'CREATE TABLE "content_view" ("id" {id}, "name" VARCHAR(255) NOT NULL, "ecosystem" VARCHAR(16) NOT NULL, '
    '"description" TEXT NOT NULL, "generation" INTEGER NOT NULL, "created_at" BIGINT NOT NULL, '
    '"updated_at" BIGINT NOT NULL)',
    'CREATE UNIQUE INDEX "content_view_name" ON "content_view" ("name")',
    'CREATE TABLE "view_source" ("id" {id}, '
    '"view_id" INTEGER NOT NULL REFERENCES "content_view" ("id") ON DELETE CASCADE, '
    '"kind" VARCHAR(16) NOT NULL, "url" VARCHAR(1000) NOT NULL, "suite" VARCHAR(255) NOT NULL, '
    '"components" TEXT NOT NULL, "architectures" TEXT NOT NULL, "aliases" TEXT NOT NULL, "keyring" TEXT NOT NULL, '
    '"allow_unsigned" {bool} NOT NULL, "allow_expired" {bool} NOT NULL, "release" TEXT NOT NULL, '
    '"validators" TEXT NOT NULL, "digest" VARCHAR(64) NOT NULL, "state" VARCHAR(16) NOT NULL, "error" TEXT, '
    '"report" TEXT NOT NULL, "requested_at" BIGINT, "started_at" BIGINT, "checked_at" BIGINT, "imported_at" BIGINT)',
    'CREATE INDEX "view_source_view_id" ON "view_source" ("view_id")',
    'CREATE UNIQUE INDEX "view_source_view_id_url_suite" ON "view_source" ("view_id", "url", "suite")',
    'CREATE TABLE "view_index" ("id" {id}, '
    '"source_id" INTEGER NOT NULL REFERENCES "view_source" ("id") ON DELETE CASCADE, "name" VARCHAR(255) NOT NULL, '
    '"digest" VARCHAR(128) NOT NULL, "entries" INTEGER NOT NULL, "refused" INTEGER NOT NULL, '
    '"refusals" TEXT NOT NULL, "imported_at" BIGINT NOT NULL)',
    'CREATE INDEX "view_index_source_id" ON "view_index" ("source_id")',
    'CREATE UNIQUE INDEX "view_index_source_id_name" ON "view_index" ("source_id", "name")',
    'CREATE TABLE "candidate" ("id" {id}, '
    '"index_id" INTEGER NOT NULL REFERENCES "view_index" ("id") ON DELETE CASCADE, '
    '"version_id" INTEGER NOT NULL REFERENCES "package_version" ("id") ON DELETE RESTRICT, '
    '"source_name" VARCHAR(255), "source_version" VARCHAR(255), "size" BIGINT, "phased" SMALLINT, '
    '"multi_arch" VARCHAR(16), "module" TEXT, "details" TEXT)',
    'CREATE INDEX "candidate_version_id" ON "candidate" ("version_id")',
    'CREATE UNIQUE INDEX "candidate_index_id_version_id" ON "candidate" ("index_id", "version_id")',
    'CREATE TABLE "view_assignment" ("id" {id}, '
    '"view_id" INTEGER NOT NULL REFERENCES "content_view" ("id") ON DELETE CASCADE, '
    '"device_id" INTEGER REFERENCES "device" ("id") ON DELETE CASCADE, '
    '"group_id" INTEGER REFERENCES "device_group" ("id") ON DELETE CASCADE, "created_at" BIGINT NOT NULL)',
    'CREATE INDEX "view_assignment_device_id" ON "view_assignment" ("device_id")',
    'CREATE INDEX "view_assignment_group_id" ON "view_assignment" ("group_id")',
    'CREATE UNIQUE INDEX "view_assignment_view_id_device_id" ON "view_assignment" ("view_id", "device_id")',
    'CREATE UNIQUE INDEX "view_assignment_view_id_group_id" ON "view_assignment" ("view_id", "group_id")',
)
TABLES = ("view_assignment", "candidate", "view_index", "view_source", "content_view")


def up(migrator: Any, db: Any) -> None:
    """Add the tables."""
    on_postgresql = isinstance(db, peewee.PostgresqlDatabase)
    types = {
        "id": ("SERIAL" if on_postgresql else "INTEGER") + " NOT NULL PRIMARY KEY",
        "bool": "BOOLEAN" if on_postgresql else "INTEGER",
    }
    for statement in UP:
        db.execute_sql(statement.format(**types))


def down(migrator: Any, db: Any) -> None:
    """Drop them; interned versions stay."""
    for table in TABLES:
        db.execute_sql(f'DROP TABLE "{table}"')
