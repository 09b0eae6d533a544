# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""How large updates are."""

from __future__ import annotations

from typing import Any

UP = ('ALTER TABLE "verdict" ADD COLUMN "size" BIGINT',)
DOWN = (
    # What a host said is kept in the order of the columns; the next report of these devices is judged from scratch.
    """UPDATE "device_packages" SET "fingerprint" = {empty} WHERE "device_id" IN (SELECT "device_id" FROM "verdict" """
    """WHERE "evidence" IS NOT NULL)""",
    'DELETE FROM "verdict" WHERE "evidence" IS NOT NULL',
    'ALTER TABLE "verdict" DROP COLUMN "size"',
)


def up(migrator: Any, db: Any) -> None:
    """Keep what hosts and content views say about it."""
    for statement in UP:
        db.execute_sql(statement)


def down(migrator: Any, db: Any) -> None:
    """Nobody says."""
    empty = "x''" if db.param == "?" else "''::bytea"
    for statement in DOWN:
        db.execute_sql(statement.format(empty=empty))
