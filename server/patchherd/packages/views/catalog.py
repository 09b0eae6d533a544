# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What a view offers, in memory and compact: for questions by name and architecture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Any, NamedTuple

from patchherd.database import chunked, db
from patchherd.errors import NotFound
from patchherd.packages.models import PackageVersion
from patchherd.packages.views.models import Candidate, ContentView, ViewIndex, ViewSource

REMEMBERED = 4
"""Views whose catalogue is kept; Debian stable takes some 25 MB."""

Offered = tuple[bytes, int, int]
"""(sort key of the version, version id, candidate id): greater is newer."""


class Catalog(NamedTuple):
    """All candidates of a view at one generation."""

    view_id: int
    generation: int
    offers: dict[tuple[str, str], tuple[Offered, ...]]
    """(name, architecture) -> what is offered, newest first; the same version twice when two sources have it."""
    phased: dict[int, int]
    """candidate id -> percentage of machines that are offered it, where it is not all."""
    modules: dict[int, tuple[str, ...]]
    """candidate id -> module streams (name:stream) that it belongs to, where it does."""
    obsoletes: dict[str, tuple[tuple[int, str], ...]]
    """Name of a package -> (candidate id, relation as "name < 2.0") of those that replace it."""


class Detail(NamedTuple):
    """The rest of what is known of a candidate."""

    name: str
    architecture: str
    version: str
    source_name: str
    source_version: str
    size: int | None
    phased: int | None
    multi_arch: str | None
    module: str | None
    details: dict[str, Any] | None
    source_id: int
    origin: dict[str, Any]
    """origin, label, suite, codename of the release, as far as it says so; component of apt indexes; url."""


_lock = Lock()
_known: OrderedDict[tuple[Any, int], Catalog] = OrderedDict()


def catalog(view_id: int) -> Catalog:
    """The catalogue of a view, from memory as long as the view has not changed. Raises NotFound."""
    row = ContentView.select(ContentView.generation).where(ContentView.id == view_id).tuples().first()
    if row is None:
        raise NotFound("Content view not found")
    place = (id(db.obj), view_id)
    with _lock:
        found = _known.get(place)
        if found is not None and found.generation == row[0]:
            _known.move_to_end(place)
            return found
    fresh = _load(view_id, row[0])
    with _lock:
        _known[place] = fresh
        _known.move_to_end(place)
        while len(_known) > REMEMBERED:
            _known.popitem(last=False)
    return fresh


def forget() -> None:
    """Let go of all catalogues."""
    with _lock:
        _known.clear()


def _load(view_id: int, generation: int) -> Catalog:
    version = PackageVersion
    query = (
        Candidate.select(
            version.name, version.architecture, version.sort_key, version.id, Candidate.id,
            Candidate.phased, Candidate.module, Candidate.details,
        )
        .join(version)
        .switch(Candidate)
        .join(ViewIndex)
        .join(ViewSource)
        .where(ViewSource.view == view_id)
        .tuples()
    )  # fmt: skip
    gathered: dict[tuple[str, str], list[Offered]] = {}
    phased: dict[int, int] = {}
    modules: dict[int, tuple[str, ...]] = {}
    obsoletes: dict[str, list[tuple[int, str]]] = {}
    texts: dict[str, str] = {}  # one string for each name and architecture, however often they occur
    for name, architecture, sort_key, version_id, number, phase, module, details in query.iterator():
        place = (texts.setdefault(name, name), texts.setdefault(architecture, architecture))
        gathered.setdefault(place, []).append((bytes(sort_key), version_id, number))
        if phase is not None and phase < 100:
            phased[number] = phase
        if module:
            modules[number] = tuple(module.split())
        for relation in (details or {}).get("obsoletes", ()):
            obsoletes.setdefault(relation.partition(" ")[0], []).append((number, relation))
    offers = {place: tuple(sorted(found, reverse=True)) for place, found in gathered.items()}
    return Catalog(view_id, generation, offers, phased, modules, {name: tuple(row) for name, row in obsoletes.items()})


def newest(view_id: int, name: str, architecture: str) -> tuple[Offered, ...]:
    """What a view offers of one package, newest first."""
    return catalog(view_id).offers.get((name, architecture), ())


def details(candidate_ids: Iterable[int]) -> dict[int, Detail]:
    """candidate id -> the rest of what is known of it."""
    version = PackageVersion
    columns = (
        version.name, version.architecture, version.version, Candidate.source_name, Candidate.source_version,
        Candidate.size, Candidate.phased, Candidate.multi_arch, Candidate.module, Candidate.details,
        ViewSource.id, ViewSource.release, ViewSource.url, ViewSource.kind, ViewIndex.name,
    )  # fmt: skip
    out: dict[int, Detail] = {}
    for part in chunked(list(candidate_ids), 1):
        query = (
            Candidate.select(Candidate.id, *columns)
            .join(version)
            .switch(Candidate)
            .join(ViewIndex)
            .join(ViewSource)
            .where(Candidate.id.in_(part))
        )
        for number, *row in query.tuples():
            out[number] = _detail(row)
    return out


def _detail(row: list[Any]) -> Detail:
    name, architecture, version, source_name, source_version, *plain, source, release, url, kind, index = row
    origin = {key: release.get(key) for key in ("origin", "label", "suite", "codename") if release.get(key)}
    if kind == "apt":
        origin["component"] = index.partition("/")[0]
    head = (name, architecture, version, source_name or name, source_version or version)
    return Detail._make([*head, *plain, source, origin | {"url": url}])


def page(
    view_id: int, *, name: str | None = None, after: int = 0, limit: int = 100
) -> tuple[list[dict[str, Any]], int | None]:
    """Candidates of a view in the order of their ids, and the `after` of the next page; `name`: of that package."""
    query = (
        Candidate.select(Candidate.id)
        .join(ViewIndex)
        .join(ViewSource)
        .switch(Candidate)
        .join(PackageVersion)
        .where((ViewSource.view == view_id) & (Candidate.id > after))
        .order_by(Candidate.id)
        .limit(limit + 1)
    )
    if name is not None:
        query = query.where(PackageVersion.name == name)
    ids = [row[0] for row in query.tuples()]
    found = details(ids[:limit])
    rows = [{"id": number, **found[number]._asdict()} for number in ids[:limit] if number in found]
    return rows, ids[limit - 1] if len(ids) > limit else None
