# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""From a report's packages to what is installed and what needs attention. Pure: no database, no clock."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from patchherd.packages.items import Item
from patchherd.packages.sets import Triple
from patchherd.packages.severity import Rating, rate, reboot_suggested, texts
from patchherd.packages.versions import key

RULES = 2
"""Raise it when the rules below change: every device is then evaluated anew by its next report."""

Identity = tuple[str, str]
"""(name, architecture)"""


class Finding(NamedTuple):
    """What is not simply current: the columns of a verdict row except device and first_seen."""

    ecosystem: str
    package: str
    architecture: str
    installed: str | None
    candidate: str | None
    verdict: str
    reason: str | None
    severity: str
    severity_source: str
    security: bool
    advisories: list[dict[str, Any]]
    origin: str | None
    kb: str | None
    categories: list[str]
    reboot_suggested: bool

    @property
    def identity(self) -> Identity:
        return (self.package, self.architecture)


def evaluate(ecosystem: str, items: list[Item]) -> tuple[list[Triple], list[Finding]]:
    """The installed triples and the findings of a report; at most one finding a package and architecture.

    Of several installed versions (kernels) the newest counts.
    """
    triples: list[Triple] = []
    offers: dict[Identity, list[Item]] = {}
    findings: dict[Identity, Finding] = {}
    for item in items:
        if item.needs_update and item.is_windows_update:
            findings[(item.name, "")] = _windows_finding(item)
            continue
        architecture = item.architecture or ""
        if item.current_version:
            triples.append((item.name, architecture, item.current_version))
        if item.needs_update or item.available_version or item.broken:
            offers.setdefault((item.name, architecture), []).append(item)
    if offers:
        newest: dict[Identity, str] = {}
        for name, architecture, version in triples:
            identity = (name, architecture)
            if identity in offers:
                best = newest.get(identity)
                if best is None or key(ecosystem, version) > key(ecosystem, best):
                    newest[identity] = version
        for identity, offered in offers.items():
            finding = _judge(ecosystem, identity, newest.get(identity), offered)
            if finding is not None:
                findings[identity] = finding
    return triples, list(findings.values())


def _judge(ecosystem: str, identity: Identity, installed: str | None, offered: list[Item]) -> Finding | None:
    wanted = any(item.needs_update for item in offered)
    named = [item for item in offered if item.available_version]
    best = max(named, key=lambda item: key(ecosystem, item.available_version or ""), default=offered[0])
    candidate = best.available_version or None
    verdict, reason = "missing", None
    if candidate is None:
        reason = "the agent reports an update without naming its version"
    elif not _is_newer(ecosystem, candidate, installed):
        if not wanted and not any(item.broken for item in offered):
            return None
        verdict, reason = "current", f"the agent asks for {candidate}, which is not newer than {installed}"
    elif any(item.held for item in offered):
        verdict, reason = "not_installable", "held"
    elif not wanted:
        if best.phased is not None and best.phased < 100:
            verdict, reason = "not_installable", f"phased: offered to {best.phased:g} % of machines"
        else:
            reason = f"the agent does not ask for {candidate}, which is newer"
    elif best.phased is not None and best.phased < 100:
        reason = f"phased: offered to {best.phased:g} % of machines"
    broken = next((item for item in offered if item.broken), None)
    if broken is not None:
        if verdict != "missing" or candidate is None:  # nothing newer to install: what is there has to be completed
            candidate = broken.current_version or None
        verdict, reason = "missing", _incomplete(broken)
    deciding = [item for item in offered if item.available_version == best.available_version]
    rating = rate(deciding) if verdict != "current" else Rating("Optional", "none", False)
    return Finding(
        ecosystem=ecosystem,
        package=identity[0],
        architecture=identity[1],
        installed=installed,
        candidate=candidate,
        verdict=verdict,
        reason=reason,
        severity=rating.severity,
        severity_source=rating.source,
        security=rating.security,
        advisories=_advisories(best),
        origin=_origin(best),
        kb=None,
        categories=[],
        reboot_suggested=reboot_suggested(identity[0]),
    )


def _incomplete(item: Item) -> str:
    state = item.broken if isinstance(item.broken, str) else "broken"
    return f"{state[:32]}: installed incompletely"


def _is_newer(ecosystem: str, candidate: str, installed: str | None) -> bool:
    if installed is None:
        return True
    if ecosystem == "other":  # no rules known: the agent's word, as long as it names a change
        return candidate != installed
    return key(ecosystem, candidate) > key(ecosystem, installed)


def _windows_finding(item: Item) -> Finding:
    rating = rate([item])
    kbs = ["KB" + number.upper().removeprefix("KB") for number in texts(item.wua_kb)]
    return Finding(
        ecosystem="windows",
        package=item.name,
        architecture="",
        installed=None,
        candidate=item.available_version or None,
        verdict="not_installable" if item.held else "missing",
        reason="hidden" if item.held else None,
        severity=rating.severity,
        severity_source=rating.source,
        security=rating.security,
        advisories=_advisories(item),
        origin=(item.source_repository or "Windows Update")[:255],
        kb=kbs[0][:32] if kbs else None,
        categories=texts(item.wua_categories),
        reboot_suggested="Definition Updates" not in texts(item.wua_categories),
    )


def _advisories(item: Item) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(advisory) for advisory in item.advisories or ()]


def _origin(item: Item) -> str | None:
    if item.source_repository:
        return item.source_repository[:255]
    for origin in item.origins or ():
        return "/".join(filter(None, (origin.codename or origin.suite, origin.component)))[:255] or None
    return None
