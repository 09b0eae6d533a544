# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Packages that others replace under another name."""

from __future__ import annotations

from typing import Any

UP = (
    'ALTER TABLE "verdict" ADD COLUMN "replaced_by" TEXT',
    'ALTER TABLE "deployment_change" ADD COLUMN "replaced_by" TEXT',
)
DOWN = (
    # Without the other name its version says nothing; the next report of these devices is judged from scratch.
    """UPDATE "device_packages" SET "fingerprint" = {empty} WHERE "device_id" IN (SELECT "device_id" FROM "verdict" """
    """WHERE "replaced_by" IS NOT NULL OR ("ecosystem" = 'rpm' AND "evidence" IS NOT NULL))""",
    """DELETE FROM "verdict" WHERE "replaced_by" IS NOT NULL OR ("ecosystem" = 'rpm' AND "evidence" IS NOT NULL)""",
    'ALTER TABLE "deployment_change" DROP COLUMN "replaced_by"',
    'ALTER TABLE "verdict" DROP COLUMN "replaced_by"',
)


def up(migrator: Any, db: Any) -> None:
    """Say what replaces a package."""
    for statement in UP:
        db.execute_sql(statement)


def down(migrator: Any, db: Any) -> None:
    """Newer versions of the same package only."""
    empty = "x''" if db.param == "?" else "''::bytea"
    for statement in DOWN:
        db.execute_sql(statement.format(empty=empty))
