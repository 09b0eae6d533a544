# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What advisories say about the step from one version to another: for patches whose own report names no advisory."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from patchherd.database import chunked, db, json_text
from patchherd.packages.advisories.models import Advisory, AdvisoryCve, AdvisoryFix, KnownExploited
from patchherd.packages.advisories.store import generation
from patchherd.packages.evaluate import Finding
from patchherd.packages.severity import SEVERITIES, Rating
from patchherd.packages.versions import key

MAX_ADVISORIES = 50
"""Of one patch, the worst ones: a kernel that was not updated for years has hundreds."""
REMEMBERED = 50_000


class Step(NamedTuple):
    """A package's way from what is installed to what is offered."""

    distribution: str
    ecosystem: str
    package: str
    source: str
    installed: str | None
    candidate: str | None
    kb: str | None


class Rated(NamedTuple):
    """The columns of a verdict that advisories decide."""

    severity: str
    severity_source: str
    security: bool
    advisories: str


class _Memory:
    """Answers of this process to steps, valid for one generation of the advisories of one database."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.state: Any = None
        self.steps: OrderedDict[Step, list[dict[str, Any]]] = OrderedDict()
        self.exploited: frozenset[str] | None = None

    def at(self, current: tuple[int, int]) -> None:
        with self.lock:
            if self.state != (db.obj, current):
                self.state, self.exploited = (db.obj, current), None
                self.steps.clear()


_memory = _Memory()


def enrich(
    distribution: str | None,
    findings: list[Finding],
    sources: Mapping[tuple[str, str], str],
    current: tuple[int, int] | None = None,
) -> list[Finding]:
    """The same findings, rated by what is known of advisories. `sources`: source package by (name, architecture).

    `current`: what `store.generation` says, for those who have asked already.
    """
    if not findings:
        return findings
    current = current or generation()
    if current == (0, 0):
        return findings
    steps = [_step(distribution, finding, sources) for finding in findings]
    named = advisories_of({step for step in steps if step is not None}, current)
    exploited = _exploited(current)
    out = []
    for finding, step in zip(findings, steps, strict=True):
        found = named[step] if step is not None else None
        base = Rated(finding.severity, finding.severity_source, finding.security, finding.advisories)
        rated = rate_step(base, found, exploited) if finding.verdict != "current" else base
        out.append(finding if rated == base else finding._replace(**rated._asdict()))
    return out


def _step(distribution: str | None, finding: Finding, sources: Mapping[tuple[str, str], str]) -> Step | None:
    """What to ask about a finding; None when its report names advisories itself, or there is nothing to ask."""
    if finding.advisories != "[]" or not (finding.kb or (distribution and finding.candidate)):
        return None
    if finding.replaced_by:
        return step_to(distribution or "", finding.ecosystem, msgspec.json.decode(finding.replaced_by))
    source = sources.get((finding.package, finding.architecture)) or finding.package
    package = "" if finding.kb else finding.package
    return Step(
        distribution or "", finding.ecosystem, package, "" if finding.kb else source, finding.installed,
        finding.candidate, finding.kb,
    )  # fmt: skip


def step_to(distribution: str, ecosystem: str, replaced_by: list[dict[str, Any]]) -> Step:
    """What to ask about a package that another one replaces: all that the new one has ever fixed."""
    name, version = replaced_by[0]["name"], replaced_by[0]["version"]
    return Step(distribution, ecosystem, name, name, None, version, None)


def rate_step(base: Rated, found: list[dict[str, Any]] | None, exploited: frozenset[str]) -> Rated:
    """The rating with these advisories; None: the base's own advisories count, only exploitation is added."""
    if found is None:
        if not exploited or base.advisories == "[]":
            return base
        own = msgspec.json.decode(base.advisories)
        for advisory in own:
            advisory.pop("exploited", None)
            if exploited.intersection(advisory.get("cves") or ()):
                advisory["exploited"] = True
        text = json_text(own)
        return base if text == base.advisories else base._replace(advisories=text)
    if not found:
        return base
    text = json_text(found)
    rating = rating_of(found)
    if base.severity_source == "msrc" or (base.security and not rating.security):
        return base._replace(advisories=text)
    return Rated(rating.severity, rating.source, rating.security, text)


def rating_of(found: list[dict[str, Any]]) -> Rating:
    """The rating that these advisories alone give."""
    fixes = [advisory for advisory in found if advisory["type"] == "security"]
    if not fixes:
        return Rating("Optional", "none", False)
    for severity in SEVERITIES:
        for advisory in fixes:
            if advisory["severity"] == severity:
                return Rating(severity, advisory["source"], True)
    return Rating("Important", "unrated", True)


def advisories_of(steps: set[Step], current: tuple[int, int]) -> dict[Step, list[dict[str, Any]]]:
    """Step -> [{"id", "type", "severity", "cves", "source", "word"?, "exploited"?}], exploited and worst first.

    "word" is the publisher's own for the severity, where it is another one.
    """
    _memory.at(current)
    known = {step: _memory.steps[step] for step in steps if step in _memory.steps}
    missing = [step for step in steps if step not in known]
    if missing:
        fresh = _look_up(missing, current)
        known |= fresh
        with _memory.lock:
            if _memory.state == (db.obj, current):
                _memory.steps.update(fresh)
                while len(_memory.steps) > REMEMBERED:
                    _memory.steps.popitem(last=False)
    return known


def _look_up(steps: list[Step], current: tuple[int, int]) -> dict[Step, list[dict[str, Any]]]:
    by_name, by_kb = _fixes(steps)
    hits: dict[Step, set[int]] = {}
    for step in steps:
        if step.kb:
            hits[step] = by_kb.get(step.kb, set())
            continue
        own = by_name.get((step.distribution, step.package, False), {})
        built_from = by_name.get((step.distribution, step.source, True), {})
        low = key(step.ecosystem, step.installed) if step.installed else b""
        high = key(step.ecosystem, step.candidate) if step.candidate else b""
        fixes = {**built_from, **own}  # a version of the binary's own outranks that of its source
        hits[step] = {advisory for advisory, keys in fixes.items() if any(low < fixed <= high for fixed in keys)}
    details = _details(set().union(*hits.values()), _exploited(current))
    out = {}
    for step, advisories in hits.items():
        found = sorted((details[number] for number in advisories if number in details), key=_worst_first)
        out[step] = found[:MAX_ADVISORIES]
    return out


Fixes = dict[tuple[str, str, bool], dict[int, list[bytes]]]
"""(distribution, package, is a source) -> advisory -> keys of fixed versions."""


def _fixes(steps: list[Step]) -> tuple[Fixes, dict[str, set[int]]]:
    by_name: Fixes = defaultdict(lambda: defaultdict(list))
    by_kb: dict[str, set[int]] = defaultdict(set)
    names = {name for step in steps if not step.kb for name in (step.package, step.source)}
    distributions = {step.distribution for step in steps}
    fix = AdvisoryFix
    columns = (fix.distribution, fix.package, fix.is_source, fix.advisory, fix.sort_key)
    for part in chunked(sorted(names), 1):
        where = fix.package.in_(part) & fix.distribution.in_(distributions) & fix.sort_key.is_null(False)
        for distribution, package, is_source, advisory, fixed in fix.select(*columns).where(where).tuples():
            by_name[distribution, package, bool(is_source)][advisory].append(bytes(fixed))
    for part in chunked(sorted({step.kb for step in steps if step.kb}), 1):
        for kb, advisory in fix.select(fix.kb, fix.advisory).where(fix.kb.in_(part)).distinct().tuples():
            by_kb[kb].add(advisory)
    return by_name, by_kb


def _details(advisories: set[int], exploited: frozenset[str]) -> dict[int, dict[str, Any]]:
    cves: dict[int, set[str]] = defaultdict(set)
    severities: dict[int, set[str]] = defaultdict(set)
    for part in chunked(sorted(advisories), 1):
        query = AdvisoryCve.select(AdvisoryCve.advisory, AdvisoryCve.cve, AdvisoryCve.severity)
        for advisory, cve, severity in query.where(AdvisoryCve.advisory.in_(part)).tuples():
            cves[advisory].add(cve)
            severities[advisory].add(severity)
    out = {}
    columns = (Advisory.id, Advisory.name, Advisory.type, Advisory.severity, Advisory.source, Advisory.severity_word)
    for part in chunked(sorted(advisories), 1):
        query = Advisory.select(*columns).where(Advisory.id.in_(part) & Advisory.withdrawn_at.is_null())
        for number, name, kind, severity, source, word in query.tuples():
            worst = next((word for word in SEVERITIES if word in severities[number]), None)
            out[number] = {
                "id": name,
                "type": kind,
                "severity": severity or worst,
                "cves": sorted(cves[number]),
                "source": source,
            }
            if word and word != out[number]["severity"]:
                out[number]["word"] = word
            if exploited.intersection(cves[number]):
                out[number]["exploited"] = True
    return out


def _worst_first(advisory: dict[str, Any]) -> tuple[bool, bool, int, str]:
    severity = advisory["severity"]
    rank = SEVERITIES.index(severity) if severity else len(SEVERITIES)
    return "exploited" not in advisory, advisory["type"] != "security", rank, advisory["id"]


def _exploited(current: tuple[int, int]) -> frozenset[str]:
    _memory.at(current)
    found = _memory.exploited
    if found is None:
        found = frozenset(row[0] for row in KnownExploited.select(KnownExploited.cve).tuples())
        with _memory.lock:
            if _memory.state == (db.obj, current):
                _memory.exploited = found
    return found


def known_exploited() -> frozenset[str]:
    """CVEs that are known to be exploited."""
    return _exploited(generation())


def sources_of(rows: Iterable[Any]) -> dict[tuple[str, str], str]:
    """(name, architecture) -> source package, where its name is another one, from items of a report."""
    return {item.identity: item.source for item in rows if item.source}
