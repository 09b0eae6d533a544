# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Keep a device's verdict rows equal to its newest findings, writing only what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from patchherd.database import Prepared, UtcField, among, chunked, db, is_sqlite, stored_rows
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import Verdict
from patchherd.packages.versions import key

_FIELDS = ("device", "first_seen", *Finding._fields)
_NAMES = [getattr(Verdict, name).column_name for name in _FIELDS]
_OTHERS = {
    "device": "integer", "first_seen": "bigint", "size": "bigint", "security": "boolean", "reboot_suggested": "boolean",
}  # fmt: skip
_TYPES = [_OTHERS.get(name, "text") for name in _FIELDS]
_COLUMNS = [getattr(Verdict, name) for name in ("id", *_FIELDS)]
ROWS = Prepared(lambda device: Verdict.select(*_COLUMNS).where(Verdict.device == device))
"""The rows of a device."""

Row = tuple[Any, ...]
"""A verdict as the database keeps it: id, device, first_seen and the fields of a finding."""


class Difference(NamedTuple):
    """What makes rows equal to findings."""

    new: list[Row]
    """Without id."""
    changed: list[Row]
    gone: list[int]
    """Ids."""


def rows_of(device_ids: Iterable[int]) -> dict[int, list[Row]]:
    """device id -> its rows."""
    out: dict[int, list[Row]] = {number: [] for number in device_ids}
    for row in stored_rows(Verdict.select(*_COLUMNS).where(among(Verdict.device, out))):
        out[row[1]].append(row)
    return out


def difference(device_id: int, rows: Iterable[Row], findings: Iterable[Finding], moment: datetime) -> Difference:
    """What is to be written so that a device's rows are its findings."""
    old = {row[4:7]: row for row in rows}  # by Finding.identity
    written = UtcField().db_value(moment)
    new: list[Row] = []
    changed: list[Row] = []
    for finding in findings:
        known = old.pop(finding.identity, None)
        if known is None and finding.update_id:  # an agent that told no identifier before
            known = old.pop((finding.package, finding.architecture, ""), None)
        if known is None:
            new.append((device_id, written, *finding))
        elif known[3:] != finding:
            first_seen = known[2] if _still_open(Finding(*known[3:]), finding) else written
            changed.append((known[0], device_id, first_seen, *finding))
    return Difference(new, changed, [row[0] for row in old.values()])


def apply(differences: Sequence[Difference]) -> None:
    """Write them, in a few statements however many there are. Call it inside a write transaction.

    Findings are in the database's own form already, so they bypass the fields that would convert them.
    """
    gone = [number for one in differences for number in one.gone]
    if len(gone) <= _FEW:
        for number in gone:
            _drop_one.tell(number)
    else:
        for part in chunked(gone, 1):
            Verdict.delete().where(Verdict.id.in_(part)).execute()
    _change([row for one in differences for row in one.changed])
    _insert([row for one in differences for row in one.new])


def _change(rows: list[Row]) -> None:
    if len(rows) <= _FEW:
        for number, *values in rows:
            _change_one.tell(number, *values)
    elif is_sqlite():
        db.connection().executemany(_CHANGE_SQLITE, [(*row[1:], row[0]) for row in rows])
    else:
        db.execute_sql(_CHANGE_POSTGRESQL, [list(column) for column in zip(*rows, strict=True)])


def _insert(rows: list[Row]) -> None:
    if len(rows) <= _FEW:
        for row in rows:
            _insert_one.tell(*row)
    elif is_sqlite():
        db.connection().executemany(_INSERT_SQLITE, rows)
    else:
        db.execute_sql(_INSERT_POSTGRESQL, [list(column) for column in zip(*rows, strict=True)])


_FEW = 4
"""So many rows are written one by one: with everything else that is told the database, and nothing is put together."""
_drop_one = Prepared(lambda number: Verdict.delete().where(Verdict.id == number))
_change_one = Prepared(
    lambda number, *values: Verdict.update(dict(zip(_COLUMNS[1:], values, strict=True))).where(Verdict.id == number)
)
_insert_one = Prepared(lambda *values: Verdict.insert(dict(zip(_COLUMNS[1:], values, strict=True))))
_LIST = ", ".join(f'"{name}"' for name in _NAMES)
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
_MARKS = ", ".join("?" * len(_NAMES))
_MARKED = ", ".join(f'"{name}" = ?' for name in _NAMES)
_TAKEN = ", ".join(f'"{name}" = new."{name}"' for name in _NAMES)
_INSERT_SQLITE = f'INSERT INTO "verdict" ({_LIST}) VALUES ({_MARKS})'  # noqa: S608 - constants, as below
_INSERT_POSTGRESQL = f'INSERT INTO "verdict" ({_LIST}) SELECT * FROM unnest({_ARRAYS})'  # noqa: S608
_CHANGE_SQLITE = f'UPDATE "verdict" SET {_MARKED} WHERE id = ?'  # noqa: S608
_CHANGE_POSTGRESQL = f"""
UPDATE "verdict" SET {_TAKEN}
FROM unnest(%s::integer[], {_ARRAYS}) AS new ("id", {_LIST}) WHERE "verdict".id = new.id
"""  # noqa: S608


def _still_open(old: Finding, new: Finding) -> bool:
    """Whether the device has been lacking an update all along: the older candidate never got installed."""
    if (old.verdict == "current") != (new.verdict == "current"):
        return False
    if old.replaced_by:  # it would be gone, and with it the row
        return True
    if old.installed == new.installed or not new.installed or not old.candidate:
        return True
    return key(new.ecosystem, new.installed) < key(new.ecosystem, old.candidate)
