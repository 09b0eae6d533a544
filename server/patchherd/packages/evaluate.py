# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""From a report's packages to what is installed and what needs attention. Pure: no database, no clock."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from patchherd.database import json_text
from patchherd.packages.items import Item
from patchherd.packages.memory import KnownItem
from patchherd.packages.reasons import blocked_reason, replaced_reason
from patchherd.packages.severity import Rating, rate, reboot_suggested, texts
from patchherd.packages.versions import key

RULES = 6
"""Raise it when the rules below change: every device is then evaluated anew by its next report."""

Package = tuple[str, str]
"""(name, architecture)"""
Identity = tuple[str, str, str]
"""The same with the id of a Windows update."""


class Finding(NamedTuple):
    """What is not simply current: the columns of a verdict row except device and first_seen."""

    ecosystem: str
    package: str
    architecture: str
    update_id: str
    installed: str | None
    candidate: str | None
    verdict: str
    reason: str | None
    severity: str
    severity_source: str
    security: bool
    advisories: str
    """JSON, as the database keeps it: findings are compared with its rows."""
    origin: str | None
    kb: str | None
    categories: str
    reboot_suggested: bool
    size: int | None = None
    """Of the download, bytes."""
    replaced_by: str | None = None
    """JSON: packages of other names that take its place, see `Verdict.replaced_by`; then the candidate is the first."""
    decided_by: str = "node"
    evidence: str | None = None
    """JSON."""

    @property
    def identity(self) -> Identity:
        return (self.package, self.architecture, self.update_id)


def evaluate(ecosystem: str, items: list[KnownItem]) -> list[Finding]:
    """The findings of a report; at most one a package and architecture, or a Windows update.

    Of several installed versions (kernels) the newest counts.
    """
    asking = [item for item in items if item.offer is not None]
    if not asking:
        return []
    identities = [item.identity for item in items]
    # Counting is what this function would cost most; mostly, nothing is there twice.
    instances = Counter(identities) if len(set(identities)) < len(identities) else {}
    several: dict[Package, list[Item]] = {}
    findings: dict[Identity, Finding] = {}
    for item in asking:
        offer: Item = item.offer  # type: ignore[assignment]
        is_update = offer.needs_update and offer.is_windows_update
        if instances.get(item.identity, 1) > 1 and not is_update:
            several.setdefault(item.identity, []).append(offer)
            continue
        if item.finding is msgspec.UNSET:
            installed = offer.current_version or None
            item.finding = (
                _windows_finding(offer) if is_update else _judge(ecosystem, item.identity, installed, [offer])
            )
        if item.finding is not None:
            findings[item.finding.identity] = item.finding
    for package, offers in several.items():
        versions = [item.triple[2] for item in items if item.triple is not None and item.identity == package]
        newest = max(versions, key=lambda version: key(ecosystem, version), default=None)
        finding = _judge(ecosystem, package, newest, offers)
        if finding is not None:
            findings[finding.identity] = finding
    return list(findings.values())


def _judge(ecosystem: str, identity: Package, installed: str | None, offered: list[Item]) -> Finding | None:
    wanted = any(item.needs_update for item in offered)
    named = [item for item in offered if item.available_version]
    best = max(named, key=lambda item: key(ecosystem, item.available_version or ""), default=offered[0])
    candidate = best.available_version or None
    verdict, reason = "missing", None
    if candidate is None:
        reason = "the agent reports an update without naming its version"
    elif not best.replaced_by and not _is_newer(ecosystem, candidate, installed):
        if not wanted and not any(item.broken for item in offered):
            return None
        verdict, reason = "current", f"the agent asks for {candidate}, which is not newer than {installed}"
    elif best.blocked:
        verdict, reason = "not_installable", blocked_reason(best.blocked, best.blocked_detail)
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
    renamed = best.replaced_by and candidate == best.available_version
    replaced_by = json_text(best.replaced_by) if renamed else None
    if replaced_by and verdict == "missing" and reason is None:
        reason = replaced_reason(replaced_by)
    deciding = [item for item in offered if item.available_version == best.available_version]
    rating = rate(deciding) if verdict != "current" else Rating("Optional", "none", False)
    return Finding(
        ecosystem=ecosystem,
        package=identity[0],
        architecture=identity[1],
        update_id="",
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
        categories="[]",
        reboot_suggested=any(map(reboot_suggested, [identity[0], *(new.name for new in best.replaced_by or ())])),
        size=best.download_size,
        replaced_by=replaced_by,
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
        update_id=item.update_id,
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
        categories=json_text(texts(item.wua_categories)),
        reboot_suggested="Definition Updates" not in texts(item.wua_categories),
        size=item.download_size,
    )


def _advisories(item: Item) -> str:
    return json_text(item.advisories or [])


def _origin(item: Item) -> str | None:
    if item.source_repository:
        return item.source_repository[:255]
    for origin in item.origins or ():
        return "/".join(filter(None, (origin.codename or origin.suite, origin.component)))[:255] or None
    return None
