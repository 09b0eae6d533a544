# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The first schema, as frozen SQL: later changes of the models must not change what this creates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import peewee

from patchherd.schema import execute_script

HERE = Path(__file__).parent


def _script(db: Any) -> Path:
    kind = "sqlite" if isinstance(db, peewee.SqliteDatabase) else "postgresql"
    return HERE / f"0001_initial.{kind}.sql"


def up(migrator: Any, db: Any) -> None:
    """Create all tables and indexes."""
    execute_script(db, _script(db))


def down(migrator: Any, db: Any) -> None:
    """Drop all tables, the dependent ones first."""
    for table in reversed(re.findall(r'^CREATE TABLE "(\w+)"', _script(db).read_text(), re.MULTILINE)):
        db.execute_sql(f'DROP TABLE "{table}"')
