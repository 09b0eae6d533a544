# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Keep a device's verdict rows equal to its newest findings, writing only what changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from patchherd.database import Prepared, UtcField, chunked, db
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import Verdict
from patchherd.packages.versions import key

_COLUMNS = [getattr(Verdict, name) for name in Finding._fields]
_rows = Prepared(
    lambda device: Verdict.select(Verdict.id, Verdict.first_seen, *_COLUMNS).where(Verdict.device == device)
)
_change = Prepared(
    lambda number, first_seen, *values: Verdict.update(
        first_seen=first_seen, **dict(zip(Finding._fields, values, strict=True))
    ).where(Verdict.id == number)
)


def write_findings(device_id: int, findings: list[Finding], moment: datetime) -> None:
    """Insert, change and delete rows of one device. Call it inside a write transaction that holds the device."""
    old = {row[3:6]: row for row in _rows.run(device_id).fetchall()}  # by Finding.identity
    written = UtcField().db_value(moment)
    new: list[tuple[Any, ...]] = []
    for finding in findings:
        known = old.pop(finding.identity, None)
        if known is None and finding.update_id:  # an agent that told no identifier before
            known = old.pop((finding.package, finding.architecture, ""), None)
        if known is None:
            new.append((device_id, written, *finding))
        elif known[2:] != finding:
            first_seen = known[1] if _still_open(Finding(*known[2:]), finding) else written
            _change.run(known[0], first_seen, *finding)
    for part in chunked([row[0] for row in old.values()], 1):
        Verdict.delete().where(Verdict.id.in_(part)).execute()
    for part in chunked(new, len(_COLUMNS) + 2):
        _insert(part)


def _insert(rows: list[tuple[Any, ...]]) -> None:
    """Findings are in the database's own form already, so they bypass the fields that would convert them."""
    names = ", ".join(f'"{column.column_name}"' for column in [Verdict.device, Verdict.first_seen, *_COLUMNS])
    mark = f"({', '.join([db.obj.param] * len(rows[0]))})"
    values = [value for row in rows for value in row]
    db.execute_sql(f"INSERT INTO verdict ({names}) VALUES {', '.join([mark] * len(rows))}", values)  # noqa: S608


def _still_open(old: Finding, new: Finding) -> bool:
    """Whether the device has been lacking an update all along: the older candidate never got installed."""
    if (old.verdict == "current") != (new.verdict == "current"):
        return False
    if old.installed == new.installed or not new.installed or not old.candidate:
        return True
    return key(new.ecosystem, new.installed) < key(new.ecosystem, old.candidate)
