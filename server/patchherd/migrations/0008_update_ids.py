# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Windows updates that share a title are different updates."""

from __future__ import annotations

from typing import Any

UP = (
    """ALTER TABLE "verdict" ADD COLUMN "update_id" VARCHAR(64) NOT NULL DEFAULT ''""",
    'DROP INDEX "verdict_device_id_package_architecture"',
    'CREATE UNIQUE INDEX "verdict_device_id_package_architecture_update_id" '
    'ON "verdict" ("device_id", "package", "architecture", "update_id")',
)
DOWN = (
    # Of those that share a title one can stay; the next report decides which.
    'DELETE FROM "verdict" WHERE "id" NOT IN '
    '(SELECT MIN("id") FROM "verdict" GROUP BY "device_id", "package", "architecture")',
    'DROP INDEX "verdict_device_id_package_architecture_update_id"',
    'ALTER TABLE "verdict" DROP COLUMN "update_id"',
    'CREATE UNIQUE INDEX "verdict_device_id_package_architecture" '
    'ON "verdict" ("device_id", "package", "architecture")',
)


def up(migrator: Any, db: Any) -> None:
    """Tell updates of one title apart by their identifiers."""
    for statement in UP:
        db.execute_sql(statement)


def down(migrator: Any, db: Any) -> None:
    """Back to one verdict a title."""
    for statement in DOWN:
        db.execute_sql(statement)
