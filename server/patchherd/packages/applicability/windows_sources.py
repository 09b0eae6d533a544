# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What content views and MSRC's advisories say about updates of Windows, in memory and made for questions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

from patchherd.database import db
from patchherd.packages.advisories.models import Advisory, AdvisoryFix
from patchherd.packages.advisories.store import generation
from patchherd.packages.applicability.windows_products import Build, Product, build_of, fits, products_in
from patchherd.packages.models import PackageVersion
from patchherd.packages.views.models import Candidate, ContentView, ViewIndex, ViewSource
from patchherd.packages.views.remembered import Remembered

REMEMBERED = 8
"""Views that are kept in memory."""
MAX_SYSTEMS = 100
_ELSEWHERE = re.compile(
    r"\bfor (?!(?:microsoft )?windows\b|microsoft server operating system|(?:x64|x86|arm64|32-bit|64-bit)\b)", re.I
)
"""A title with these words is about something that runs on Windows, and that not every device has."""


class Update(NamedTuple):
    """An update as a list has it."""

    id: str
    kb: str | None
    title: str
    classification: str
    severity: str | None
    products: tuple[str, ...]
    released: str
    reboot: str
    revision: int
    size: int | None = None

    def fits(self, system: Product | None) -> bool | None:
        """Whether it is for this Windows; None when nobody can tell."""
        by_product = fits([product for text in self.products for product in products_in(text)], system)
        named = products_in(self.title)
        by_title = fits(named, system)
        if by_product is False or (named and by_title is False):
            return False
        if _ELSEWHERE.search(self.title) or (by_title is None and named):
            return None
        return True if by_title or by_product else None


class Offered(NamedTuple):
    """What a view offers at one generation."""

    view_id: int
    name: str
    generation: int
    updates: dict[str, Update]
    """By id."""
    replaced_by: dict[str, tuple[str, ...]]
    """id -> ids of what replaces it."""
    by_kb: dict[str, tuple[str, ...]]
    """KB -> ids."""
    reused: frozenset[str]
    """KBs that updates share which follow each other, as those of Defender do: such a KB tells none of them."""
    applicable: dict[Product, tuple[Update, ...]]
    """What is for a Windows for sure, for those that somebody has asked about."""

    def for_system(self, system: Product) -> tuple[Update, ...]:
        """What is for this Windows for sure."""
        found = self.applicable.get(system)
        if found is None:
            if len(self.applicable) >= MAX_SYSTEMS:
                self.applicable.clear()
            found = tuple(update for update in self.updates.values() if update.fits(system))
            self.applicable[system] = found
        return found


class Advised(NamedTuple):
    """What MSRC says; products in its words."""

    replaced_by: dict[str, tuple[tuple[str, str], ...]]
    """KB -> (KB that replaces it, on which product)."""
    builds: dict[str, tuple[tuple[Build, str], ...]]
    """KB -> (build that it brings, to which product)."""


NOTHING = Advised({}, {})
_lock = Lock()
_views: Remembered[Offered] = Remembered(REMEMBERED)
_advised: tuple[Any, Advised] = (None, NOTHING)


def offered(view_ids: Iterable[int]) -> list[Offered]:
    """What these views offer, those of other ecosystems and deleted ones left out; one query when all are known."""
    wanted = list(view_ids)
    if not wanted:
        return []
    query = ContentView.select(ContentView.id, ContentView.name, ContentView.generation)
    query = query.where(ContentView.id.in_(wanted) & (ContentView.ecosystem == "windows")).order_by(ContentView.id)
    return [
        _views.get(number, (name, current), partial(_load, number, name, current))
        for number, name, current in query.tuples()
    ]


def _load(view_id: int, name: str, current: int) -> Offered:
    query = (
        Candidate.select(PackageVersion.name, PackageVersion.version, Candidate.details)
        .join(PackageVersion)
        .switch(Candidate)
        .join(ViewIndex)
        .join(ViewSource)
        .where(ViewSource.view == view_id)
    )
    updates: dict[str, Update] = {}
    above: dict[str, set[str]] = defaultdict(set)
    for number, revision, told in query.tuples().iterator():
        told = told or {}
        for old in told.get("supersedes", ()):
            above[old].add(number)
        known = updates.get(number)
        if known is None or known.revision < int(revision):
            updates[number] = Update(
                number, told.get("kb"), told.get("title", ""), told.get("classification", "Updates"),
                told.get("severity"), tuple(told.get("products", ())), told.get("released", ""),
                told.get("reboot", "can"), int(revision), told.get("size"),
            )  # fmt: skip
    by_kb: dict[str, list[str]] = defaultdict(list)
    for update in updates.values():
        if update.kb:
            by_kb[update.kb].append(update.id)
    replaced_by = {old: tuple(sorted(new)) for old, new in above.items()}
    reused = frozenset(kb for kb, ids in by_kb.items() if _is_reused(ids, updates, replaced_by))
    ids_of = {kb: tuple(sorted(ids)) for kb, ids in by_kb.items()}
    return Offered(view_id, name, current, updates, replaced_by, ids_of, reused, {})


def _is_reused(ids: list[str], updates: dict[str, Update], replaced_by: dict[str, tuple[str, ...]]) -> bool:
    if len({updates[number].released for number in ids} - {""}) > 1:
        return True
    own = set(ids)
    return any(own.intersection(replaced_by.get(number, ())) for number in ids)


def advised() -> Advised:
    """What advisories that still stand say; two queries when nothing has changed since the last time, else more."""
    global _advised
    current = generation()
    if current == (0, 0):
        return NOTHING
    state = (db.obj, current)
    with _lock:
        if _advised[0] == state:
            return _advised[1]
    fix = AdvisoryFix
    query = (
        fix.select(fix.kb, fix.product, fix.fixed, fix.supersedes)
        .join(Advisory)
        .where((fix.ecosystem == "windows") & fix.kb.is_null(False) & Advisory.withdrawn_at.is_null())
        .distinct()
    )
    above: dict[str, set[tuple[str, str]]] = defaultdict(set)
    builds: dict[str, set[tuple[Build, str]]] = defaultdict(set)
    for kb, product, fixed, supersedes in query.tuples():
        for old in supersedes:
            above[old].add((kb, product or ""))
        if (build := build_of(fixed)) is not None:
            builds[kb].add((build, product or ""))
    found = Advised(
        {kb: tuple(sorted(rows)) for kb, rows in above.items()},
        {kb: tuple(sorted(rows)) for kb, rows in builds.items()},
    )
    with _lock:
        _advised = (state, found)
    return found
