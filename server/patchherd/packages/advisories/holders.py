# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Which package sets hold a version: the other way round than sets are stored.

PostgreSQL has an index for it. SQLite has none, so a process that is asked keeps one in memory: four bytes for each
member of each set, brought up to date by the sets that came since.
"""

from __future__ import annotations

import threading
from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from peewee import fn

from patchherd.database import db, is_sqlite
from patchherd.packages.models import PackageSet

_HOLDERS_POSTGRESQL = """
SELECT wanted.id, array_agg(package_set.id) FROM unnest(%s::integer[]) AS wanted (id)
JOIN package_set ON package_set.members @> ARRAY[wanted.id] GROUP BY wanted.id
"""


class _Index:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.database: Any = None
        self.forget()

    def forget(self) -> None:
        self.sets: dict[int, array[int]] = defaultdict(lambda: array("I"))
        self.newest, self.count, self.digest = 0, 0, b""

    def refresh(self) -> None:
        """Take up new sets. When some were dropped, ids may have been given anew, so all are read again."""
        if self.database is not db.obj:
            self.database = db.obj
            self.forget()
        row = PackageSet.select(PackageSet.digest).where(PackageSet.id == self.newest).tuples().first()
        before = PackageSet.select(fn.COUNT(PackageSet.id)).where(PackageSet.id <= self.newest).scalar()
        if self.newest and (row is None or bytes(row[0]) != self.digest or before != self.count):
            self.forget()
        query = PackageSet.select(PackageSet.id, PackageSet.digest, PackageSet.members)
        new = query.where(PackageSet.id > self.newest).order_by(PackageSet.id)
        for number, digest, members in new.tuples().iterator():
            for version in members:
                self.sets[version].append(number)
            self.newest, self.digest, self.count = number, bytes(digest), self.count + 1


_index = _Index()


def holders(versions: Iterable[int]) -> dict[int, list[int]]:
    """set id -> which of these versions it holds, for sets that hold any."""
    wanted = sorted(set(versions))
    out: dict[int, list[int]] = defaultdict(list)
    if not wanted:
        return out
    if is_sqlite():
        with _index.lock:
            _index.refresh()
            found: Iterable[tuple[int, Iterable[int]]] = [
                (number, _index.sets[number]) for number in wanted if number in _index.sets
            ]
            for version, sets in found:
                for number in sets:
                    out[number].append(version)
        return out
    for version, sets in _from_index(wanted):
        for number in sets:
            out[number].append(version)
    return out


def _from_index(wanted: list[int]) -> list[tuple[int, list[int]]]:
    """The planner takes reading all sets for cheap: that each is unpacked for every version, it does not count."""
    with db.atomic():
        db.execute_sql("SET LOCAL enable_seqscan = off")
        found: list[tuple[int, list[int]]] = db.execute_sql(_HOLDERS_POSTGRESQL, (wanted,)).fetchall()
        db.execute_sql("SET LOCAL enable_seqscan = on")
    return found
