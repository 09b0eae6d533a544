# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What content views offer that is newer than what is installed. Pure, and the same for all devices of a package set.

deb: apt's default policy (apt_preferences(5)): a version of a lower priority than what is installed is no update, and
packages for all architectures are those of the host's own. rpm: an update keeps the architecture or goes from or to
noarch, of install-only packages the newest counts, and a package may be replaced by one that obsoletes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from patchherd.packages.versions import key
from patchherd.packages.views.catalog import Catalog, Offered, Replacing

USUAL = 500
INSTALLED = 100
"""Priorities of a release, and of what is installed and offered nowhere."""
_BEARERS = {"deb": "dpkg", "rpm": "rpm"}
"""Packages that every host has, for its own architecture."""
_NEUTRAL = {"deb": "all", "rpm": "noarch"}


class Known(NamedTuple):
    """One installed version."""

    name: str
    architecture: str
    version: str
    sort_key: bytes


class Newer(NamedTuple):
    """What is offered above one installed version: what the package manager would prefer first."""

    candidates: tuple[Offered, ...]
    replacing: tuple[Replacing, ...] = ()
    """Packages that obsolete it."""


class Outdated(NamedTuple):
    """A package of which something newer is offered."""

    installed: Known
    """The newest one, of several."""
    newer: Newer


Look = Callable[[Known], "Newer | None"]


def known(ecosystem: str, name: str, architecture: str, version: str) -> Known:
    """An installed version with its key."""
    return Known(name, architecture, version, key(ecosystem, version))


def outdated(installed: Sequence[Known], look: Look) -> list[Outdated]:
    """Packages of which something newer is offered than the newest installed version. `look`: see `looking`."""
    found: dict[tuple[str, str], Known] = {}
    for one in installed:
        if look(one) is not None:
            found[one[:2]] = one
    for one in installed if found else ():
        newest = found.get(one[:2])
        if newest is not None and one.sort_key > newest.sort_key:
            found[one[:2]] = one
    out = []
    for one in found.values():
        newer = look(one)
        if newer is not None and newer.replacing:  # by what is there already, as a rule
            names = {other.name for other in installed}
            newer = newer._replace(replacing=tuple(other for other in newer.replacing if other.name not in names))
        if newer is not None and (newer.candidates or newer.replacing):
            out.append(Outdated(one, newer))
    return out


def native_of(ecosystem: str, installed: Sequence[Known]) -> str:
    """The host's own architecture, without its bearer that of most packages; empty when nothing tells."""
    bearer, neutral = _BEARERS.get(ecosystem), _NEUTRAL.get(ecosystem, "")
    for one in installed:
        if one.name == bearer:
            return one.architecture
    found = Counter(one.architecture for one in installed if one.architecture != neutral)
    return found.most_common(1)[0][0] if found else ""


def looking(ecosystem: str, catalogs: Sequence[Catalog], native: str) -> Look:
    """The question that `outdated` asks, for hosts of the architecture `native` with these views; it remembers."""
    return _Memory(ecosystem, catalogs, native).__getitem__


class _Memory(dict[Known, "Newer | None"]):
    def __init__(self, ecosystem: str, catalogs: Sequence[Catalog], native: str) -> None:
        self._asked = (ecosystem, catalogs, native)

    def __missing__(self, one: Known) -> Newer | None:
        found = self[one] = _newer(*self._asked, one)
        return found


def _newer(ecosystem: str, catalogs: Sequence[Catalog], native: str, one: Known) -> Newer | None:
    offers = _offers(ecosystem, catalogs, native, one)
    newer = [offer for offer in offers if offer[0] > one.sort_key]
    if newer and ecosystem == "deb":
        newer = _preferred(catalogs, offers, newer, one.sort_key)
    replacing = [
        other
        for catalog in catalogs
        for other in catalog.obsoletes.get(one.name, ())
        if other.architecture in {one.architecture, native, "noarch"} and _obsoletes(other.relation, one)
    ]
    return Newer(tuple(newer), tuple(replacing)) if newer or replacing else None


def _offers(ecosystem: str, catalogs: Sequence[Catalog], native: str, one: Known) -> list[Offered]:
    """All offers that could take its place, newest first."""
    neutral = _NEUTRAL.get(ecosystem, "")
    architectures = {one.architecture}
    if one.architecture == neutral:
        architectures.add(native)
    elif ecosystem == "rpm" or one.architecture == native:
        architectures.add(neutral)
    elif not one.architecture:  # an agent that does not tell
        architectures |= {native, neutral}
    found: list[Offered] = []
    for catalog in catalogs:
        for architecture in architectures:
            found += catalog.offers.get((one.name, architecture), ())
    found.sort(reverse=True)
    return found


def _preferred(
    catalogs: Sequence[Catalog], offers: list[Offered], newer: list[Offered], installed: bytes
) -> list[Offered]:
    def priority(offer: Offered) -> int:
        return next((catalog.priorities[offer[2]] for catalog in catalogs if offer[2] in catalog.priorities), USUAL)

    own = max([INSTALLED, *(priority(offer) for offer in offers if offer[0] == installed)])
    kept = [(priority(offer), offer) for offer in newer]
    return [offer for rank, offer in sorted(kept, key=lambda pair: (pair[0], pair[1][0]), reverse=True) if rank >= own]


_SIGNS: dict[str, Callable[[bytes, bytes], bool]] = {
    "<": bytes.__lt__, "<=": bytes.__le__, "=": bytes.__eq__, ">=": bytes.__ge__, ">": bytes.__gt__,
}  # fmt: skip


def _obsoletes(relation: str, one: Known) -> bool:
    """`name`, or `name < version`; where the relation names no release, only versions count (rpm's dependency rule)."""
    _, _, rest = relation.partition(" ")
    if not rest:
        return True
    sign, _, version = rest.partition(" ")
    compare = _SIGNS.get(sign)
    if compare is None:
        return False
    mine = one.version if "-" in version else one.version.rpartition("-")[0] or one.version
    return compare(key("rpm", mine), key("rpm", version))
