# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Refreshed log-ins, and roles of one's own."""

from __future__ import annotations

from typing import Any

import peewee

UP = (
    'ALTER TABLE "login_session" ADD COLUMN "generation" INTEGER NOT NULL DEFAULT 0',
    'ALTER TABLE "login_session" ADD COLUMN "address" VARCHAR(64)',
    'CREATE TABLE "role" ("name" VARCHAR(64) NOT NULL PRIMARY KEY, "description" VARCHAR(500) NOT NULL, '
    '"permissions" TEXT NOT NULL, "created_at" BIGINT NOT NULL, "updated_at" BIGINT NOT NULL)',
)
DOWN = (
    # Fewer rights rather than more for users whose role goes.
    """UPDATE "user" SET "role" = 'viewer' WHERE "role" NOT IN ('admin', 'operator', 'viewer')""",
    'DROP TABLE "role"',
    'ALTER TABLE "login_session" DROP COLUMN "address"',
    'ALTER TABLE "login_session" DROP COLUMN "generation"',
)


def up(migrator: Any, db: Any) -> None:
    """Add columns and table, make room for longer role names."""
    _run(db, UP, width=64)


def down(migrator: Any, db: Any) -> None:
    """Take them back; users with a role of one's own become viewers."""
    _run(db, DOWN, width=16)


def _run(db: Any, statements: tuple[str, ...], width: int) -> None:
    for statement in statements:
        db.execute_sql(statement)
    if isinstance(db, peewee.PostgresqlDatabase):  # SQLite keeps text of any length
        db.execute_sql(f'ALTER TABLE "user" ALTER COLUMN "role" TYPE VARCHAR({width})')
