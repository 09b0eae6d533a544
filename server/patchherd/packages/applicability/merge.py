# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""One verdict from two witnesses: what the host's package manager says, and what its content views offer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from patchherd.database import json_text
from patchherd.packages.applicability.judge import Outdated
from patchherd.packages.applicability.phasing import is_offered, share
from patchherd.packages.evaluate import Finding
from patchherd.packages.items import Origin
from patchherd.packages.reasons import replaced_reason
from patchherd.packages.severity import Rating, is_security_archive, reboot_suggested
from patchherd.packages.versions import key
from patchherd.packages.views.catalog import Detail

_ESM = frozenset({"UbuntuESM", "UbuntuESMApps"})
_RELEASED_BY = frozenset({"Debian", "Ubuntu", *_ESM})
"""Publishers of whose releases each is for one version of the system only, named by its codename."""
_WORDS = Finding._fields.index("replaced_by") + 1
"""Columns of a finding that the host alone fills."""


class Context(NamedTuple):
    """What the choice depends on besides versions."""

    by: str = "group"
    """How the views came to the device: device, group, reported; request: none was asked about."""
    codename: str | None = None
    metadata: datetime | None = None
    """How old the host's own metadata is; None: it never refreshed them."""
    machine_id: str | None = None
    """By which apt draws the device's share of phased updates; None: unknown; "": apt draws nothing, and takes all."""
    modules: frozenset[str] | None = None
    """Enabled module streams as name:stream; None: the host does not tell."""
    esm: bool = False
    """Whether the host has repositories of Ubuntu Pro."""

    @property
    def assigned(self) -> bool:
        """Whether somebody decided that the device takes its packages from these views only."""
        return self.by in {"device", "group"}


class Skipped(NamedTuple):
    """A version that is offered, and why it is not for this device."""

    detail: Detail
    reason: str


class Chosen(NamedTuple):
    """What a device gets from its views."""

    detail: Detail | None
    security: bool
    skipped: list[Skipped]
    replaces: tuple[Detail, ...] = ()
    """Packages of other names that take its place, one of each name; `detail` is the first. Empty: a newer version."""


def choose(outdated: Outdated, details: Mapping[int, Detail], context: Context) -> Chosen:
    """The version that the package manager of such a device would take, and those that it passes over."""
    replaces, not_replaced = _replacing(outdated, details, context)
    if replaces:  # dnf prefers them to newer versions of the package itself
        return Chosen(replaces[0], False, not_replaced, replaces)
    skipped: list[Skipped] = []
    offered = [details[number] for _, _, number in outdated.newer.candidates]
    secure = [is_security(detail) for detail in offered]
    for index, detail in enumerate(offered):
        # apt hands out at once what goes past a security fix, but not what is one.
        reason = _obstacle(detail, context, urgent=any(secure[index + 1 :]))
        if reason is None:
            return Chosen(detail, any(secure[index:]), skipped)
        skipped.append(Skipped(detail, reason))
    return Chosen(None, any(secure), skipped + not_replaced)


def _replacing(
    outdated: Outdated, details: Mapping[int, Detail], context: Context
) -> tuple[tuple[Detail, ...], list[Skipped]]:
    """The newest of each package that replaces this one, best for its architecture; and what is passed over."""
    found: dict[str, tuple[tuple[bool, bool, bytes], Detail]] = {}
    skipped: list[Skipped] = []
    for replacing in outdated.newer.replacing:
        detail = details[replacing.candidate]
        reason = _obstacle(detail, context, urgent=False)
        if reason is not None:
            skipped.append(Skipped(detail, reason))
            continue
        own = detail.architecture == outdated.installed.architecture
        rank = (own, detail.architecture != "noarch", key("rpm", detail.version))
        if detail.name not in found or rank > found[detail.name][0]:
            found[detail.name] = (rank, detail)
    return tuple(found[name][1] for name in sorted(found)), skipped


def is_security(detail: Detail) -> bool:
    """Whether its distribution publishes security fixes where it comes from."""
    origin = detail.origin
    return is_security_archive(Origin(**{name: origin.get(name) for name in ("origin", "label", "suite", "codename")}))


def _obstacle(detail: Detail, context: Context, *, urgent: bool) -> str | None:
    """Why a version is not for this device, None when it is; `urgent`: phasing does not count."""
    publisher, codename = detail.origin.get("origin"), detail.origin.get("codename") or ""
    if context.assigned and publisher in _RELEASED_BY and context.codename and codename:
        release = codename.partition("-")[0]
        if release != context.codename:
            return f"wrong_release: for {release}, this device runs {context.codename}"
    if publisher in _ESM and not context.esm:
        return "esm: needs Ubuntu Pro, which this device has not attached"
    if detail.module and context.modules is not None and context.modules.isdisjoint(detail.module.split()):
        return f"module: of {detail.module}, which is not enabled"
    if detail.phased is not None and detail.phased < 100 and not urgent:
        return phase(detail.phased, detail.source_name, detail.source_version, context.machine_id)
    return None


def phase(percentage: float, source: str, version: str, machine_id: str | None) -> str | None:
    """Why a phased update has not come to a machine yet, None when it has (see `phasing`)."""
    if machine_id is None:
        return f"phased: offered to {percentage:g} % of machines, and this device's machine id is unknown"
    if not machine_id or is_offered(percentage, source, version, machine_id):
        return None
    return f"phased: offered to {percentage:g} % of machines, this one waits for {share(source, version, machine_id)} %"


def merge(
    ecosystem: str,
    node: Iterable[Finding],
    outdated: Iterable[Outdated],
    details: Mapping[int, Detail],
    context: Context,
) -> list[Finding]:
    """The verdicts of a device with views, from the findings of its own report and what the views offer."""
    said = {finding.identity[:2]: finding for finding in node}
    out = []
    for one in outdated:
        finding = said.pop(one.installed[:2], None)
        out.append(_judge(ecosystem, finding, one, choose(one, details, context), context))
    for finding in said.values():
        out.append(_only_node(finding, context))
    return out


def _judge(ecosystem: str, node: Finding | None, one: Outdated, chosen: Chosen, context: Context) -> Finding:
    evidence = {"by": context.by, "node": node and said(node), "view": _shown(chosen)}
    if node is not None and _is_repair(node):
        return _with(node, evidence)
    detail = chosen.detail
    if detail is None:
        return _blocked(ecosystem, node, one, chosen, evidence)
    verdict, reason, decided_by = "missing", None, "view"
    replaced_by = _replaced_by(chosen.replaces)
    if replaced_by:
        reason = replaced_reason(replaced_by)
    ours, theirs = _steps(one.installed.name, detail.version, replaced_by), {}
    if node is not None and node.candidate:
        theirs = _steps(node.package, node.candidate, node.replaced_by)
    if node is not None and node.verdict == "not_installable":
        verdict, reason, decided_by = node.verdict, node.reason, "both"
    elif node is not None and node.verdict == "missing":
        if not theirs or theirs == ours:
            reason, decided_by = node.reason or reason, "both"
        elif not context.assigned and _lead_to(ecosystem, ours, theirs):
            # It has the repository itself, and looked later.
            return _with(node, evidence, reason=f"disagree: content view {detail.view} offers {_named(one, ours)}")
        else:
            shown = _named(one, theirs), _named(one, ours)
            reason = f"disagree: the host offers {shown[0]}, content view {detail.view} {shown[1]}"
    elif context.by != "request":
        verdict, reason = _unconfirmed(detail, _named(one, ours), context)
    rating = Rating("Important", "unrated", True) if chosen.security else Rating("Optional", "none", False)
    advisories = "[]"
    if node is not None and node.verdict != "current" and theirs and _lead_to(ecosystem, theirs, ours):
        advisories = node.advisories
        if node.security or not chosen.security:
            rating = Rating(node.severity, node.severity_source, node.security)
    return Finding(
        ecosystem, one.installed.name, one.installed.architecture, "", one.installed.version, detail.version, verdict,
        reason, rating.severity, rating.source, rating.security, advisories, _origin(detail), None, "[]",
        any(map(reboot_suggested, [one.installed.name, *ours])), detail.size, replaced_by, decided_by,
        json_text(evidence),
    )  # fmt: skip


Steps = dict[str, str]
"""Package -> version: the newer version of a package itself, or those packages that replace it."""


def _steps(package: str, candidate: str, replaced_by: str | None) -> Steps:
    if replaced_by is None:
        return {package: candidate}
    return {new["name"]: new["version"] for new in msgspec.json.decode(replaced_by)}


def _named(one: Outdated, steps: Steps) -> str:
    return " and ".join(
        version if name == one.installed.name else f"{name} {version}" for name, version in steps.items()
    )


def _lead_to(ecosystem: str, steps: Steps, others: Steps) -> bool:
    """Whether one offer is on the way to another one, with all that it fixes."""
    same = steps.keys() == others.keys()
    return same and all(key(ecosystem, steps[name]) <= key(ecosystem, others[name]) for name in steps)


def _replaced_by(details: Iterable[Detail]) -> str | None:
    rows = [{"name": new.name, "version": new.version, "architecture": new.architecture} for new in details]
    return json_text(rows) if rows else None


def _unconfirmed(detail: Detail, offered: str, context: Context) -> tuple[str, str]:
    """Verdict and reason where the host's package manager does not offer what its content view has."""
    published = detail.origin.get("date")
    if context.metadata is None:
        return "missing", "stale: the host has never refreshed its package metadata"
    if published and context.metadata < _moment(published):
        return "missing", f"stale: the host's metadata is of {_shown_time(context.metadata)}, before this was published"
    own = f"the host's package manager (metadata of {_shown_time(context.metadata)})"
    return "unknown", f"disagree: content view {detail.view} offers {offered}, {own} does not"


def _blocked(
    ecosystem: str, node: Finding | None, one: Outdated, chosen: Chosen, evidence: dict[str, Any]
) -> Finding:
    """All that the views offer is not for this device."""
    first = chosen.skipped[0]
    waits = first.reason.startswith(("phased", "esm"))
    if node is not None and node.verdict == "missing" and not (waits and node.candidate == first.detail.version):
        return _with(node, evidence, reason=f"disagree: of content view {first.detail.view}, {first.reason}")
    if node is not None and node.verdict != "missing":
        return _with(node, evidence)
    rating = Rating("Important", "unrated", True) if chosen.security else Rating("Optional", "none", False)
    if node is not None and node.security:
        rating = Rating(node.severity, node.severity_source, True)
    return Finding(
        ecosystem, one.installed.name, one.installed.architecture, "", one.installed.version, first.detail.version,
        "not_installable", first.reason, rating.severity, rating.source, rating.security,
        node.advisories if node else "[]", _origin(first.detail), None, "[]", reboot_suggested(one.installed.name),
        first.detail.size, _replaced_by([first.detail] if first.detail.name != one.installed.name else ()),
        "both" if node else "view", json_text(evidence),
    )  # fmt: skip


def _only_node(node: Finding, context: Context) -> Finding:
    evidence = {"by": context.by, "node": said(node), "view": None}
    if node.verdict == "missing" and context.assigned and node.candidate and not _is_repair(node):
        steps = _steps("", node.candidate, node.replaced_by)
        offered = " and ".join(f"{name} {version}".strip() for name, version in steps.items())
        reason = f"not_in_view: the host's repositories offer {offered}, its content views do not"
        return _with(node, evidence, verdict="not_installable", reason=reason)
    return _with(node, evidence)


def _is_repair(node: Finding) -> bool:
    """A package that is to be completed, not to be updated."""
    return node.verdict == "missing" and node.candidate == node.installed and not node.replaced_by


def said(node: Finding) -> list[Any]:
    """What the host itself said, for the evidence of a finding that is another one; see `raw_finding`."""
    words = list(node[:_WORDS])
    while words[-1] is None:
        words.pop()
    return words


def _with(node: Finding, evidence: dict[str, Any], **changes: Any) -> Finding:
    return node._replace(decided_by="node", evidence=json_text(evidence), **changes)


def raw_finding(finding: Finding) -> Finding | None:
    """What the host itself said, from a finding that this module made; None: nothing."""
    evidence = msgspec.json.decode(finding.evidence) if finding.evidence else None
    if evidence is None:
        return finding
    return Finding(*evidence["node"]) if evidence["node"] else None


def _shown(chosen: Chosen) -> dict[str, Any]:
    detail = chosen.detail or chosen.skipped[0].detail
    shown: dict[str, Any] = {"name": detail.view, "package": detail.name, "version": detail.version, **detail.origin}
    if detail.phased is not None:
        shown["phased"] = detail.phased
    if chosen.skipped:
        shown["skipped"] = [{"version": skipped.detail.version, "reason": skipped.reason} for skipped in chosen.skipped]
    return shown


def _shown_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _origin(detail: Detail) -> str:
    release = detail.origin.get("codename") or detail.origin.get("suite")
    return "/".join(filter(None, (release, detail.origin.get("component"))))[:255] or detail.view


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
