# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The verdicts of a Windows host: what its own search says, held against build, hotfixes, supersedence and views. Pure.

The host's search is believed, except where there is proof against it (docs/patches.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from copy import copy
from datetime import datetime
from typing import Any, NamedTuple

from patchherd.database import json_text
from patchherd.packages.applicability.merge import said
from patchherd.packages.applicability.supersedence import Settled, settled
from patchherd.packages.applicability.windows_products import Build, Product, fits, products_in
from patchherd.packages.applicability.windows_sources import Advised, Offered, Update
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import NAME_LENGTH
from patchherd.packages.severity import normalised

MAX_ADDED = 500
"""Updates that only views ask for, of one device: the newest ones."""
WANTED = frozenset({"Security Updates", "Critical Updates", "Update Rollups", "Updates", "Service Packs"})
"""Classifications that a view may ask for: whether a host needs a driver or definitions, it alone knows."""
_OPTIONAL = ("preview", "dynamic")


class Host(NamedTuple):
    """What a report tells of a Windows host."""

    system: Product | None
    build: Build | None
    installed: frozenset[str]
    """KBs among its hotfixes."""
    searched: datetime | None
    """When it last searched for updates with success."""


class Known:
    """What views and advisories say, as one graph for one host (or for several, see `of`).

    A node is a KB, or the id of an update whose KB does not tell which one it is.
    """

    def __init__(self, host: Host, views: list[Offered], advised: Advised) -> None:
        self.host, self.views, self.advised = host, views, advised
        self.reused = frozenset[str]().union(*(view.reused for view in views))
        self._above: dict[str, frozenset[str]] = {}
        self._nodes: dict[str, str | None] = {}
        self._builds: dict[str, list[Build]] = {}

    def of(self, host: Host) -> Known:
        """The same for another host of the same Windows; what is found out for one is known for both."""
        other = copy(self)
        other.host = host
        return other

    def update(self, update_id: str, kb: str | None) -> tuple[Offered, Update] | None:
        """The view that has an update, by its id or by a KB that tells it."""
        for view in self.views:
            if update_id in view.updates:
                return view, view.updates[update_id]
        if kb and kb not in self.reused:
            for view in self.views:
                for number in view.by_kb.get(kb, ()):
                    if view.updates[number].fits(self.host.system) is not False:
                        return view, view.updates[number]
        return None

    def node(self, update_id: str, kb: str | None) -> str:
        if update_id not in self._nodes:
            listed = next((view.updates[update_id] for view in self.views if update_id in view.updates), None)
            self._nodes[update_id] = self._name(listed) if listed else None
        return self._nodes[update_id] or (kb if kb and kb not in self.reused else update_id)

    def _name(self, update: Update) -> str:
        if update.kb and update.kb not in self.reused and update.fits(self.host.system) is not False:
            return update.kb
        return update.id

    def label(self, node: str) -> str:
        """The node for people."""
        if not node.startswith("KB"):
            for view in self.views:
                if node in view.updates:
                    return f"{view.updates[node].title[:100]} ({node})"
        return node

    def above(self, node: str) -> frozenset[str]:
        """What replaces it directly."""
        if node not in self._above:
            self._above[node] = frozenset(self._replacing(node)) - {node}
        return self._above[node]

    def _replacing(self, node: str) -> Iterator[str]:
        if node in self.reused:
            return
        for view in self.views:
            for number in view.by_kb.get(node, ()) if node.startswith("KB") else (node,):
                if number != node and view.updates[number].fits(self.host.system) is False:
                    continue
                for new in view.replaced_by.get(number, ()):
                    yield self.node(new, None)
        for kb, product in self.advised.replaced_by.get(node, ()):
            if kb not in self.reused and self._concerns(product):
                yield kb

    def _concerns(self, product: str) -> bool:
        """Whether what is said of a product of MSRC holds on this host."""
        named = products_in(product)
        return not named or fits(named, self.host.system) is True

    def builds(self, kb: str | None) -> list[Build]:
        """The builds that a KB brings to systems of the host's line."""
        if self.host.build is None or kb is None:
            return []
        if kb not in self._builds:
            self._builds[kb] = [
                build
                for build, product in self.advised.builds.get(kb, ())
                if build.line == self.host.build.line and fits(products_in(product), self.host.system) is not False
            ]
        return self._builds[kb]

    def proven(self, kb: str | None) -> Build | None:
        """The build that a KB brings, where the host has that one or a newer one."""
        builds = self.builds(kb)
        newest = max(builds) if builds else None
        return newest if newest and self.host.build and self.host.build >= newest else None

    def below(self, kb: str | None) -> str | None:
        """How the host's build falls short of what a KB brings; None when that is not known."""
        builds = self.builds(kb)
        if not builds or self.host.build is None or self.host.build >= min(builds):
            return None
        return f"build {self.host.build} is below {min(builds)}"


class _Installed(Collection[str]):
    """KBs that are there: among the hotfixes, unless the host's search asks for them, or by the build."""

    def __init__(self, known: Known, hotfixes: frozenset[str]) -> None:
        self._known, self._hotfixes = known, hotfixes

    def __contains__(self, node: object) -> bool:
        if not isinstance(node, str) or node in self._known.reused:
            return False
        return node in self._hotfixes or self._known.proven(node) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._hotfixes)

    def __len__(self) -> int:
        return len(self._hotfixes)


class State(NamedTuple):
    """What is known of a host's updates before verdicts are made of it."""

    nodes: dict[int, str]
    """Position of a finding -> its node, for updates that the host misses and has not by its build."""
    proven: dict[int, Build]
    """Position of a finding -> the build that proves its update to be there."""
    installed: Collection[str]
    settled: dict[str, Settled]


def assess(findings: list[Finding], known: Known) -> State:
    """What follows for the updates that a host's own search named."""
    nodes: dict[int, str] = {}
    proven: dict[int, Build] = {}
    for at, finding in enumerate(findings):
        if not finding.update_id or finding.verdict != "missing":
            continue
        build = None if finding.kb in known.reused else known.proven(finding.kb)
        if build is not None:
            proven[at] = build
        else:
            nodes[at] = known.node(finding.update_id, finding.kb)
    missing = frozenset(nodes.values())
    installed = _Installed(known, known.host.installed - missing)
    return State(nodes, proven, installed, settled(nodes.values(), known.above, installed, missing))


def judge(findings: list[Finding], known: Known) -> list[Finding]:
    """The verdicts, from the findings of the host's own report; those of views alone come last."""
    state = assess(findings, known)
    out = []
    for at, finding in enumerate(findings):
        listed = known.update(finding.update_id, finding.kb) if finding.update_id else None
        node = state.nodes.get(at)
        if at in state.proven:
            evidence = {"build": str(known.host.build), "brings": str(state.proven[at])}
            reason = f"build: {known.host.build} is at least {state.proven[at]}, which {finding.kb} brings"
            out.append(_changed(finding, listed, "current", reason, evidence))
        elif node in state.settled:
            out.append(_superseded(finding, listed, state.settled[node], known))
        elif node in known.host.installed and node not in known.reused:
            reason = f"hotfix: {finding.kb} is installed, and yet the host's search offers it"
            out.append(_changed(finding, listed, "missing", reason, {"hotfix": True}))
        elif listed is not None:
            out.append(_changed(finding, listed, finding.verdict, finding.reason, {}))
        else:
            out.append(finding)
    return out + _only_views(findings, state, known)


def _superseded(finding: Finding, listed: tuple[Offered, Update] | None, by: Settled, known: Known) -> Finding:
    state = "installed" if by.installed else "missing itself"
    if by.installed and (short := known.below(by.by)):
        state = f"installed, but not effective: {short}"
    reason = f"superseded: by {known.label(by.by)}, which is {state}"
    evidence = {"superseded_by": by.by, "installed": by.installed}
    return _changed(finding, listed, "not_installable", reason, evidence)


def _changed(
    finding: Finding, listed: tuple[Offered, Update] | None, verdict: str, reason: str | None, evidence: dict[str, Any]
) -> Finding:
    """A finding of the host with another verdict; what it was is kept (see `merge.raw_finding`)."""
    view = _shown(*listed) if listed else None
    told = {"node": said(finding), "view": view, **evidence}
    severity = normalised(listed[1].severity) if listed and finding.severity_source in {"none", "unrated"} else None
    if severity:
        finding = finding._replace(severity=severity, severity_source="msrc", security=True)
    if listed and finding.size is None:
        finding = finding._replace(size=listed[1].size)
    return finding._replace(
        verdict=verdict, reason=reason, decided_by="both" if listed else "node", evidence=json_text(told)
    )


def _only_views(findings: list[Finding], state: State, known: Known) -> list[Finding]:
    """What views offer to this host for sure, and neither its search nor anything installed speaks of."""
    system = known.host.system
    if system is None or not known.views:
        return []
    ids = {finding.update_id for finding in findings}
    named = {known.node(finding.update_id, finding.kb) for finding in findings if finding.update_id}
    wanted: dict[str, tuple[Offered, Update]] = {}
    for view in known.views:
        for update in view.for_system(system):
            node = known.node(update.id, update.kb)
            if node in wanted or node in named or update.id in ids or node in state.installed:
                continue
            if update.kb == node and update.classification in WANTED and not _is_optional(update):
                wanted[node] = (view, update)
    missing = frozenset(wanted) | frozenset(state.nodes.values())
    above = settled(wanted, known.above, state.installed, missing)
    left = [found for node, found in wanted.items() if node not in above]
    left.sort(key=lambda found: (found[1].released, found[1].id), reverse=True)
    return [_asked_by_view(*found, known) for found in left[:MAX_ADDED]]


def _is_optional(update: Update) -> bool:
    title = update.title.lower()
    return any(word in title for word in _OPTIONAL)


def _asked_by_view(view: Offered, update: Update, known: Known) -> Finding:
    verdict, reason = _unconfirmed(view, update, known)
    severity = normalised(update.severity)
    security = severity is not None or update.classification == "Security Updates"
    return Finding(
        ecosystem="windows",
        package=update.title[:NAME_LENGTH],
        architecture="",
        update_id=update.id,
        installed=None,
        candidate=None,
        verdict=verdict,
        reason=reason,
        severity=severity or ("Important" if security else "Optional"),
        severity_source="msrc" if severity else "unrated" if security else "none",
        security=security,
        advisories="[]",
        origin=view.name,
        kb=update.kb,
        categories=json_text([update.classification, *update.products[:20]]),
        reboot_suggested=update.reboot != "never",
        size=update.size,
        decided_by="view",
        evidence=json_text({"node": None, "view": _shown(view, update)}),
    )


def _unconfirmed(view: Offered, update: Update, known: Known) -> tuple[str, str]:
    """Verdict and reason of what the host's own search does not offer."""
    host, short = known.host, known.below(update.kb)
    below = f"; {short}, which it brings" if short else ""
    if host.searched is None:
        return "missing", f"stale: content view {view.name} offers it, and the host's own search failed{below}"
    if update.released > host.searched.date().isoformat():
        searched = host.searched.strftime("%Y-%m-%dT%H:%MZ")
        return "missing", f"stale: the host last searched at {searched}, before this was released{below}"
    return "unknown", f"disagree: content view {view.name} offers it, the host's own search does not{below}"


def _shown(view: Offered, update: Update) -> dict[str, Any]:
    return {"name": view.name, "id": update.id, "kb": update.kb, "title": update.title}


def is_settled(reason: str | None) -> bool:
    """Whether a reason says that something installed and effective replaces the update: nothing of it is lacking."""
    return bool(reason and reason.startswith("superseded: ") and reason.endswith("which is installed"))


def hotfixes(names: Iterable[str]) -> frozenset[str]:
    """The KBs among names of what is installed."""
    return frozenset(
        name.upper() for name in names if name[:2].upper() == "KB" and name[2:].isdecimal() and len(name) <= 32
    )
