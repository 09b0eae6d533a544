# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The evidence chain of one verdict: who says what, in the order in which it counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from patchherd.database import json_text
from patchherd.devices.models import Device
from patchherd.errors import NotFound
from patchherd.packages.applicability import background, windows_explain
from patchherd.packages.applicability.evaluation import ECOSYSTEMS, Offers, context_of, offers_for
from patchherd.packages.applicability.judge import Known, Outdated, known
from patchherd.packages.applicability.merge import choose, is_security, raw_finding
from patchherd.packages.evaluate import Finding
from patchherd.packages.listing import device_name
from patchherd.packages.models import DevicePackages, PackageSet, Verdict
from patchherd.packages.patches import patch_row, patch_state
from patchherd.packages.reasons import replaced_reason
from patchherd.packages.sets import load_set
from patchherd.packages.severity import word_of
from patchherd.packages.views import catalog
from patchherd.packages.views.catalog import Detail
from patchherd.packages.views.matching import Match
from patchherd.packages.views.models import ContentView, ViewSource
from patchherd.settings import Settings

MAX_OFFERS = 20

Step = dict[str, "str | None"]
"""step, source, says"""


def explain(settings: Settings, device: Device, package: str, architecture: str | None = None) -> dict[str, Any]:
    """Why a device misses a package or does not (see `schemas.Explanations`). Raises NotFound: it has none of it."""
    link = DevicePackages.get_or_none(DevicePackages.device == device.id)
    rows = [
        row
        for row in Verdict.select().where((Verdict.device == device.id) & _named(package))
        if architecture is None or row.architecture == architecture
    ]
    ecosystem = PackageSet.get_by_id(link.package_set_id).ecosystem if link else None
    installed = [known(ecosystem, *one) for one in load_set(link.package_set_id)] if link and ecosystem else []
    mine = [one for one in installed if one.name == package and architecture in {None, one.architecture}]
    updates = list(_updates(device.id, package, rows)) if ecosystem == "windows" else []
    if not rows and not mine and not updates:
        raise NotFound("Package not found", f"the device has not reported {package}")
    match = Match.read(link.views) if link else Match((), "none")
    head = list(_report(device))
    rows = [row for row in rows if not row.update_id]
    mine = mine if not updates else []
    places = sorted({(one.name, one.architecture) for one in mine} | {(row.package, row.architecture) for row in rows})
    offers = offers_for(ecosystem, match.views, {package}) if ecosystem in ECOSYSTEMS else None
    found = {one.installed[:2]: one for one in offers.outdated(installed)[0]} if offers else {}
    stored = {(row.package, row.architecture): row for row in rows}
    status, reason = patch_state(device, settings)
    return {
        "device": device_name(device),
        "status": status,
        "status_reason": reason,
        "pending": background.is_due(),
        "explanations": [
            _explanation((row.package if row else package, ""), row, [*head, *steps], status, reason)
            for row, steps in updates
        ]
        + [
            _explanation(
                place,
                stored.get(place),
                [*head, *_installed(mine, place), *_host(stored.get(place)), *_views(match)]
                + (_offers(offers, match, device, place, found.get(place)) if offers and match.views else []),
                status,
                reason,
            )
            for place in places
        ],
    }


def _named(package: str) -> Any:
    kb = "KB" + package.upper().removeprefix("KB")
    windows = (Verdict.kb == kb) | (Verdict.update_id == package.lower())
    return (Verdict.package == package) | ((Verdict.ecosystem == "windows") & windows)


def _updates(device_id: int, named: str, rows: list[Verdict]) -> Iterable[tuple[Verdict | None, list[Step]]]:
    """The Windows updates of that name, each with its evidence; without a row for one that nothing asks for."""
    updates = [row for row in rows if row.update_id]
    for row in updates:
        steps = windows_explain.explain(device_id, row.update_id)
        yield row, [step for step in steps if step["step"] not in {"advisory", "verdict"}]  # the row tells these
    if not rows and (steps := windows_explain.explain(device_id, named)):
        yield None, [step for step in steps if step["step"] != "verdict"]


def _explanation(
    place: tuple[str, str],
    row: Verdict | None,
    evidence: list[Step],
    status: str,
    reason: str | None,
) -> dict[str, Any]:
    if row is not None:
        verdict, why = row.verdict, row.reason
        evidence += _advisories(row)
    elif status == "unknown":
        verdict, why = "unknown", reason
    else:
        verdict, why = "current", None
    if status == "unknown" and reason != why:
        evidence.append(_step("age", "server", f"the device's state is unknown by now: {reason}"))
    says = f"{verdict}: {why}" if why else verdict
    decided = {"node": "host", "view": "content view", "both": "host and content view"}
    evidence.append(_step("verdict", decided[row.decided_by] if row else "server", says))
    return {
        "package": place[0],
        "architecture": place[1] or None,
        "verdict": verdict,
        "reason": why,
        "patch": patch_row(row) if row else None,
        "evidence": evidence,
    }


def _step(step: str, source: str | None, says: str) -> Step:
    return {"step": step, "source": source, "says": says}


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "never"


def _report(device: Device) -> Iterable[Step]:
    brought = device.facts.get("source", "agent")
    says = f"last report of packages: {_time(device.evaluated_at)}; package metadata refreshed: "
    yield _step("report", brought, says + _time(device.metadata_updated))
    for problem in device.facts.get("problems") or ():
        yield _step("problem", brought, str(problem))


def _installed(mine: list[Known], place: tuple[str, str]) -> Iterable[Step]:
    versions = sorted((one for one in mine if one[:2] == place), key=lambda one: one.sort_key, reverse=True)
    if versions:
        more = f" (and {', '.join(one.version for one in versions[1:])})" if versions[1:] else ""
        yield _step("installed", "host", versions[0].version + more)


def _host(row: Verdict | None) -> Iterable[Step]:
    said = raw_finding(_finding(row)) if row else None
    if said is None:
        yield _step("host", "package manager", "offers nothing newer")
        return
    origin = f" from {said.origin}" if said.origin else ""
    reason = f" ({said.reason})" if said.reason else ""
    if said.replaced_by:
        named = replaced_reason(said.replaced_by)
        yield _step("host", "package manager", f"has it {named}{origin}" + (reason if said.reason != named else ""))
        return
    offers = f"offers {said.candidate}{origin}" if said.candidate else "asks for an update without naming a version"
    yield _step("host", "package manager", offers + reason)


def _finding(row: Verdict) -> Finding:
    """The row as a finding, in the database's form."""
    values = {name: getattr(row, name) for name in Finding._fields}
    for name in ("advisories", "categories", "evidence", "replaced_by"):
        if values[name] is not None:
            values[name] = json_text(values[name])
    return Finding(**values)


def _views(match: Match) -> Iterable[Step]:
    if not match.views:
        yield _step("views", "server", "no content view is the device's: its own package manager decides")
        return
    by = {"device": "assigned to the device", "group": "assigned to its group", "reported": "it reports their source"}
    for view in ContentView.select().where(ContentView.id.in_(match.views)).order_by(ContentView.name):
        newest = max((source.imported_at for source in view.sources if source.imported_at), default=None)
        yield _step("views", f"content view {view.name}", f"{by[match.by]}; last import: {_time(newest)}")
        for source in ViewSource.select().where((ViewSource.view == view.id) & (ViewSource.state == "failed")):
            yield _step("problem", f"content view {view.name}", f"import of {source.url} failed: {source.error}")


def _offers(
    offers: Offers, match: Match, device: Device, place: tuple[str, str], one: Outdated | None
) -> list[Step]:
    """Every version that the views have of it, newest first, and what becomes of it."""
    ids = [number for view in match.views for _, _, number in catalog.of_name(view, place[0])][:MAX_OFFERS]
    details = catalog.details(ids)
    context = context_of(match, device.facts, device.machine_id, device.metadata_updated)
    chosen = choose(one, offers.details, context) if one else None
    reasons = [(skipped.detail, skipped.reason) for skipped in chosen.skipped] if chosen else []
    considered = [offers.details[number] for _, _, number in one.newer.candidates] if one else []
    steps = [] if details else [_step("offer", "content views", "have no version of it")]
    for number in ids:
        detail = details[number]
        fate = _fate(detail, reasons, considered, chosen.detail if chosen else None, place[1])
        steps.append(_step("offer", f"content view {detail.view}", f"{_shown(detail)}: {fate}"))
    for detail in chosen.replaces if chosen else ():
        steps.append(_step("offer", f"content view {detail.view}", f"{_shown(detail)}: replaces it"))
    for detail, reason in reasons:
        if detail.name != place[0]:
            steps.append(_step("offer", f"content view {detail.view}", f"{_shown(detail)}: would replace it; {reason}"))
    return steps


def _fate(
    detail: Detail,
    reasons: list[tuple[Detail, str]],
    considered: list[Detail],
    chosen: Detail | None,
    architecture: str,
) -> str:
    if detail == chosen:
        return "this is the one"
    for skipped, reason in reasons:
        if detail == skipped:
            return reason
    if detail in considered:
        return "newer than installed, and older than the one"
    if detail.architecture not in {architecture, "all", "noarch"}:
        return "for another architecture"
    return "not newer than what is installed, or of lower priority"


def _shown(detail: Detail) -> str:
    origin = detail.origin
    place = "/".join(filter(None, (origin.get("codename") or origin.get("suite"), origin.get("component"))))
    words = [detail.name, detail.version, detail.architecture, f"from {place or origin['url']}"]
    if is_security(detail):
        words.append("(security archive)")
    if detail.phased is not None and detail.phased < 100:
        words.append(f"(phased, {detail.phased} %)")
    return " ".join(words)


def _advisories(row: Verdict) -> list[Step]:
    steps = []
    for advisory in row.advisories[:MAX_OFFERS]:
        rated = advisory.get("word") or advisory.get("severity") or "unrated"
        words = [advisory.get("type") or "", rated, " ".join(advisory["cves"] or ())]
        words += ["known to be exploited"] if advisory.get("exploited") else []
        source = advisory.get("source") or "host"
        steps.append(_step("advisory", source, f"{advisory['id']}: {', '.join(filter(None, words))}"))
    word = word_of(row.severity, row.severity_source, row.advisories)
    if not row.security:
        rated = f"{row.severity}: no security update"
    elif row.severity_source == "unrated":
        rated = f"{row.severity}: a security update that nobody has rated"
        if word:
            rated += f" ({word!r})"
    else:
        rated = f"{row.severity}, says {row.severity_source}"
        if word and word != row.severity:
            rated += f" ({word!r})"
    return [*steps, _step("severity", row.severity_source, rated)]
