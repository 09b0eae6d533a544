# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Devices that are judged anew although no content view is theirs, words of ratings, and lists by package."""

from __future__ import annotations

from typing import Any

UP = (
    'ALTER TABLE "evaluation_due" ADD COLUMN "anew" BOOLEAN NOT NULL DEFAULT FALSE',
    # What is missing learns the words of those who rated it.
    'UPDATE "advisory_feed" SET "rating_due" = TRUE WHERE "changes" > 0',
    # In the order of lists by package.
    'DROP INDEX "verdict_package_device_id"',
    'CREATE INDEX "verdict_package_ecosystem_device_id" ON "verdict" ("package", "ecosystem", "device_id")',
)
DOWN = (
    'DROP INDEX "verdict_package_ecosystem_device_id"',
    'CREATE INDEX "verdict_package_device_id" ON "verdict" ("package", "device_id")',
    'ALTER TABLE "evaluation_due" DROP COLUMN "anew"',
)


def up(migrator: Any, db: Any) -> None:
    """Say why a device is to be evaluated."""
    for statement in UP:
        db.execute_sql(statement)


def down(migrator: Any, db: Any) -> None:
    """Content views are the only reason."""
    for statement in DOWN:
        db.execute_sql(statement)
