# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Advisories of vendors: what they fix, and where they come from. Frozen SQL, like the first schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import peewee

from patchherd.schema import execute_script

HERE = Path(__file__).parent
LISTED = (
    '"deleted_at", "id", "uuid", "hostname", "friendly_name", "ip_address", "os_family", "os_id", "os_name", '
    '"os_version", "os_architecture", "agent_version", "approved", "reboot_required", "updated_at", '
    '"last_heartbeat", "last_report", "evaluated_at", "metadata_updated", "missing", "missing_security"'
)


def _script(db: Any) -> Path:
    kind = "sqlite" if isinstance(db, peewee.SqliteDatabase) else "postgresql"
    return HERE / f"0011_advisories.{kind}.sql"


def _list(db: Any, columns: str) -> None:
    """Give SQLite's index of what is asked of all devices other columns."""
    if isinstance(db, peewee.SqliteDatabase):
        db.execute_sql('DROP INDEX "device_listed"')
        db.execute_sql(f'CREATE INDEX "device_listed" ON "device" ({columns})')


def up(migrator: Any, db: Any) -> None:
    """Create the tables and their indexes."""
    execute_script(db, _script(db))
    _list(db, f'{LISTED}, "os_version_id"')


def down(migrator: Any, db: Any) -> None:
    """Drop them, the dependent ones first."""
    _list(db, LISTED)
    for table in reversed(re.findall(r'^CREATE TABLE "(\w+)"', _script(db).read_text(), re.MULTILINE)):
        db.execute_sql(f'DROP TABLE "{table}"')
