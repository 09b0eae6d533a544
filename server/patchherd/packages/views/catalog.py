# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What a view offers, in memory and compact: for questions by name and architecture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from patchherd.database import among, stored_rows
from patchherd.errors import NotFound
from patchherd.packages.models import PackageVersion
from patchherd.packages.views.models import Candidate, ContentView, ViewIndex, ViewSource
from patchherd.packages.views.remembered import Remembered

REMEMBERED = 4
"""Views whose catalogue is kept; Debian stable takes some 25 MB."""

Offered = tuple[bytes, int, int]
"""(sort key of the version, version id, candidate id): greater is newer."""


class Replacing(NamedTuple):
    """A candidate that obsoletes another package."""

    candidate: int
    name: str
    relation: str
    """As "name < 2.0"."""
    architecture: str


class Catalog(NamedTuple):
    """All candidates of a view at one generation."""

    view_id: int
    generation: int
    offers: dict[tuple[str, str], tuple[Offered, ...]]
    """(name, architecture) -> what is offered, newest first; the same version twice when two sources have it."""
    priorities: dict[int, int]
    """candidate id -> apt's priority of its release, where that is not 500."""
    modules: dict[int, tuple[str, ...]]
    """candidate id -> module streams (name:stream) that it belongs to, where it does."""
    obsoletes: dict[str, tuple[Replacing, ...]]
    """Name of a package -> what replaces it; a package that replaces older versions of itself does not count."""


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
    view: str
    """Name."""
    origin: dict[str, Any]
    """origin, label, suite, codename, date of the release, as far as it says so; component of apt indexes; url."""


_catalogs: Remembered[Catalog] = Remembered(REMEMBERED)
_replacing: Remembered[dict[str, tuple[Replacing, ...]]] = Remembered(REMEMBERED)


def catalog(view_id: int) -> Catalog:
    """The catalogue of a view, from memory as long as the view has not changed. Raises NotFound."""
    current, ecosystem = _generation(view_id)
    return _catalogs.get(view_id, current, lambda: _load(view_id, current, ecosystem))


def part(view_id: int, names: Iterable[str]) -> Catalog:
    """What a view offers of these packages and to replace them, read from the database. Raises NotFound."""
    current, ecosystem = _generation(view_id)
    return _load(view_id, current, ecosystem, sorted(set(names)))


def _generation(view_id: int) -> tuple[int, str]:
    query = ContentView.select(ContentView.generation, ContentView.ecosystem).where(ContentView.id == view_id)
    row = query.tuples().first()
    if row is None:
        raise NotFound("Content view not found")
    return row[0], row[1]


def forget() -> None:
    """Let go of all catalogues."""
    _catalogs.clear()
    _replacing.clear()


def _load(view_id: int, generation: int, ecosystem: str, names: list[str] | None = None) -> Catalog:
    version = PackageVersion
    query = (
        Candidate.select(
            version.name, version.architecture, version.sort_key, version.id, Candidate.id, ViewIndex.source,
            Candidate.module,
        )
        .join(version)
        .switch(Candidate)
        .join(ViewIndex)
        .join(ViewSource)
        .where(ViewSource.view == view_id)
    )  # fmt: skip
    releases = dict(ViewSource.select(ViewSource.id, ViewSource.release).where(ViewSource.view == view_id).tuples())
    unusual = {number: told["priority"] for number, told in releases.items() if told.get("priority", 500) != 500}
    gathered: dict[tuple[str, str], list[Offered]] = {}
    priorities: dict[int, int] = {}
    modules: dict[int, tuple[str, ...]] = {}
    texts: dict[str, str] = {}  # one string for each name and architecture, however often they occur
    rows = stored_rows(query if names is None else query.where(among(version.name, names)))
    for name, architecture, sort_key, version_id, number, source, module in rows:
        place = (texts.setdefault(name, name), texts.setdefault(architecture, architecture))
        gathered.setdefault(place, []).append((bytes(sort_key), version_id, number))
        if source in unusual:
            priorities[number] = unusual[source]
        if module:
            modules[number] = tuple(module.split())
    offers = {place: tuple(sorted(found, reverse=True)) for place, found in gathered.items()}
    rpm = ecosystem == "rpm"
    replacing = _replacing.get(view_id, generation, lambda: _obsoletes(view_id)) if rpm else {}
    return Catalog(view_id, generation, offers, priorities, modules, replacing)


def _obsoletes(view_id: int) -> dict[str, tuple[Replacing, ...]]:
    """See `Catalog.obsoletes`."""
    query = (
        Candidate.select(Candidate.id, PackageVersion.name, PackageVersion.architecture, Candidate.details)
        .join(PackageVersion)
        .switch(Candidate)
        .join(ViewIndex)
        .join(ViewSource)
        .where((ViewSource.view == view_id) & Candidate.details.is_null(False))
    )
    gathered: dict[str, list[Replacing]] = {}
    for number, name, architecture, more in query.tuples().iterator():
        for relation in more.get("obsoletes", ()):
            replaced = relation.partition(" ")[0]
            if replaced != name:
                gathered.setdefault(replaced, []).append(Replacing(number, name, relation, architecture))
    return {name: tuple(rows) for name, rows in gathered.items()}


def of_name(view_id: int, name: str) -> list[Offered]:
    """What a view offers of one package for any architecture, newest first. Raises NotFound."""
    return sorted((offer for offers in part(view_id, [name]).offers.values() for offer in offers), reverse=True)


def details(candidate_ids: Iterable[int]) -> dict[int, Detail]:
    """candidate id -> the rest of what is known of it."""
    version = PackageVersion
    columns = (
        version.name, version.architecture, version.version, Candidate.source_name, Candidate.source_version,
        Candidate.size, Candidate.phased, Candidate.multi_arch, Candidate.module, Candidate.details,
        ViewIndex.id,
    )  # fmt: skip
    out: dict[int, Detail] = {}
    origins: dict[int, tuple[int, str, dict[str, Any]]] = {}
    query = (
        Candidate.select(Candidate.id, *columns)
        .join(version)
        .switch(Candidate)
        .join(ViewIndex)
        .where(among(Candidate.id, candidate_ids))
    )
    for number, name, architecture, evr, source_name, source_version, *plain, more, index in stored_rows(query):
        if index not in origins:
            origins[index] = _origin(index)
        head = (name, architecture, evr, source_name or name, source_version or evr)
        details = msgspec.json.decode(more) if more else None
        out[number] = Detail._make([*head, *plain, details, *origins[index]])
    return out


def _origin(index_id: int) -> tuple[int, str, dict[str, Any]]:
    """(source id, view, origin) of what an index offers."""
    columns = (ViewSource.id, ContentView.name, ViewSource.release, ViewSource.url, ViewSource.kind, ViewIndex.name)
    query = ViewIndex.select(*columns).join(ViewSource).join(ContentView).where(ViewIndex.id == index_id)
    source, view, release, url, kind, index = query.tuples().first()
    origin = {key: release.get(key) for key in ("origin", "label", "suite", "codename", "date") if release.get(key)}
    if kind == "apt":
        origin["component"] = index.partition("/")[0]
    return source, view, origin | {"url": url}


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
