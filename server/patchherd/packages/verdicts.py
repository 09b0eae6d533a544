# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Keep a device's verdict rows equal to its newest findings, writing only what changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import peewee

from patchherd.database import Prepared, chunked
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import Verdict
from patchherd.packages.versions import key

_COLUMNS = [getattr(Verdict, name) for name in Finding._fields]
# Text comes as it is; what SQLite keeps as a number or as JSON has to be made into what it means.
_CONVERTED = [
    (at, column.python_value)
    for at, column in enumerate(_COLUMNS)
    if not isinstance(column, peewee.CharField) and type(column) is not peewee.TextField
]
_rows = Prepared(
    lambda device: Verdict.select(Verdict.id, Verdict.first_seen, *_COLUMNS).where(Verdict.device == device)
)


def write_findings(device_id: int, findings: list[Finding], moment: datetime) -> None:
    """Insert, change and delete rows of one device. Call it inside a write transaction that holds the device."""
    old = {}
    for number, first_seen, *values in _rows.run(device_id).fetchall():
        for at, convert in _CONVERTED:
            values[at] = convert(values[at])
        finding = Finding(*values)
        old[finding.identity] = (number, Verdict.first_seen.python_value(first_seen), finding)
    new: list[dict[str, Any]] = []
    for finding in findings:
        known = old.pop(finding.identity, None)
        if known is None:
            new.append({"device": device_id, "first_seen": moment, **finding._asdict()})
        elif known[2] != finding:
            first_seen = known[1] if _still_open(known[2], finding) else moment
            changes = {**finding._asdict(), "first_seen": first_seen}
            Verdict.update(**changes).where(Verdict.id == known[0]).execute()
    for part in chunked([row[0] for row in old.values()], 1):
        Verdict.delete().where(Verdict.id.in_(part)).execute()
    for part in chunked(new, len(_COLUMNS) + 2):
        Verdict.insert_many(part).execute()


def _still_open(old: Finding, new: Finding) -> bool:
    """Whether the device has been lacking an update all along: the older candidate never got installed."""
    if (old.verdict == "current") != (new.verdict == "current"):
        return False
    if old.installed == new.installed or not new.installed or not old.candidate:
        return True
    return key(new.ecosystem, new.installed) < key(new.ecosystem, old.candidate)
