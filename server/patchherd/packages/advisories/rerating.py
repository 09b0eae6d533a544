# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Rate missing patches anew after advisories came, changed or went."""

from __future__ import annotations

from typing import Any

import msgspec
from peewee import JOIN, Value, fn

from patchherd.database import json_text, write_transaction
from patchherd.devices.models import Device
from patchherd.packages import status
from patchherd.packages.advisories.models import AdvisoryFeed, PackageSource
from patchherd.packages.advisories.rating import (
    Rated,
    Step,
    advisories_of,
    known_exploited,
    rate_step,
    rating_of,
    step_to,
)
from patchherd.packages.advisories.records import distribution_of
from patchherd.packages.advisories.store import generation
from patchherd.packages.due import ask_for
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import DevicePackages, PackageSet, Verdict

_ALIKE = (
    Device.os_id, Device.os_version_id, Verdict.ecosystem, Verdict.package, Verdict.installed, Verdict.candidate,
    Verdict.kb, Verdict.replaced_by, Verdict.severity, Verdict.severity_source, Verdict.security, Verdict.advisories,
)  # fmt: skip


def rate_anew() -> int:
    """Do it if an import left it to be done; the number of rows that changed.

    Rows that are alike are judged once and changed together, in a short transaction each.
    """
    feed = AdvisoryFeed
    feeds = list(feed.select(feed.id, feed.changes, feed.kind).where(feed.rating_due == True).tuples())  # noqa: E712
    if not feeds:
        return 0
    groups = _groups()
    exploited, current = known_exploited(), generation()
    named = advisories_of({group[0] for group in groups if group[0] is not None}, current)
    changed, recount = 0, False
    for step, where, before, base in groups:
        found = named[step] if step is not None else None
        lost = found == []
        if lost and before.severity_source == "msrc":
            base = before._replace(advisories="[]")
        after = rate_step(base, found, exploited)
        if after != before:
            lost = lost or (before.severity_source == "msrc" and after.severity != before.severity)
            changed += _change(where, before, after, lost)
            recount = recount or (after.security, after.severity) != (before.security, before.severity)
    if recount:
        with write_transaction():
            status.recount()
    with write_transaction():
        for number, changes, kind in feeds:
            feed.update(rating_due=False).where((feed.id == number) & (feed.changes == changes)).execute()
            if kind == "msrc":
                _judge_windows_anew()
    return changed


def _judge_windows_anew() -> None:
    """What replaces what, and which build has it, may have changed: ask for all whose verdicts may depend on it."""
    link = DevicePackages
    windows = link.package_set.in_(PackageSet.select(PackageSet.id).where(PackageSet.ecosystem == "windows"))
    has_rows = fn.EXISTS(Verdict.select(Value(1)).where(Verdict.device == link.device))
    concerned = link.select(link.device).where(windows & ((link.views != "") | has_rows))
    ask_for([row[0] for row in concerned.tuples()], anew=True)
    gone = link.device.in_(Device.select(Device.id).where(Device.deleted_at.is_null(False)))
    link.update(fingerprint=b"").where(windows & gone).execute()  # one that is restored is judged by its next report


Group = tuple[Step | None, tuple[Any, ...], Rated, Rated]
"""(what to ask, values of `_ALIKE`, rating as it is, rating without what advisories added)"""


def _groups() -> list[Group]:
    query = (
        Verdict.select(*_ALIKE, fn.MAX(PackageSource.source))
        .join(Device)
        .join(
            PackageSource,
            JOIN.LEFT_OUTER,
            on=(PackageSource.name == Verdict.package) & (PackageSource.ecosystem == Verdict.ecosystem),
        )
        .where((Verdict.verdict != "current") & Device.deleted_at.is_null())
        .group_by(*_ALIKE)
    )
    out: list[Group] = []
    for *alike, source in query.tuples():
        os_id, version_id, ecosystem, package, installed, candidate, kb, replaced_by, *rated, advisories = alike
        severity, word, security = rated
        before = Rated(severity, word, bool(security), _text(advisories))
        added = bool(advisories) and all("source" in advisory for advisory in advisories)
        base, step = before, None
        distribution = distribution_of(os_id, version_id)
        if added or not advisories:
            if added:
                # Nobody remembers what the report said itself: its next one tells, and until then it is no less.
                base = _without(before)
            if replaced_by and distribution:
                step = step_to(distribution, ecosystem, replaced_by)
            elif kb or (distribution and candidate):
                package, source = ("", "") if kb else (package, source or package)
                step = Step(distribution or "", ecosystem, package, source, installed, candidate, kb)
        out.append((step, tuple(alike), before, base))
    return out


def as_reported(finding: Finding) -> Finding:
    """A finding without what imported advisories have added to it."""
    advisories = msgspec.json.decode(finding.advisories)
    if not advisories or not all("source" in advisory for advisory in advisories):
        return finding
    rated = Rated(finding.severity, finding.severity_source, finding.security, finding.advisories)
    return finding._replace(**_without(rated)._asdict())


def _without(before: Rated) -> Rated:
    if before.severity_source == "msrc":  # as hosts and imported advisories both say it
        mine = rating_of(msgspec.json.decode(before.advisories)).severity != before.severity
    else:
        mine = before.severity_source in {"none", "unrated"}
    if mine:
        return before._replace(advisories="[]")
    return Rated("Important", "unrated", True, "[]") if before.security else Rated("Optional", "none", False, "[]")


def _text(advisories: Any) -> str:
    return str(Verdict.advisories.db_value(advisories))


def _change(alike: tuple[Any, ...], before: Rated, after: Rated, lost: bool) -> int:
    """Give the rows of a group another rating; `lost`: the next report of their devices is judged from scratch."""
    os_id, version_id, ecosystem, package, installed, candidate, kb, replaced_by = alike[:8]
    devices = Device.select(Device.id).where(_same(Device.os_id, os_id) & _same(Device.os_version_id, version_id))
    where = (
        (Verdict.package == package)
        & (Verdict.ecosystem == ecosystem)
        & _same(Verdict.installed, installed)
        & _same(Verdict.candidate, candidate)
        & _same(Verdict.kb, kb)
        & _same(Verdict.replaced_by, replaced_by and Value(json_text(replaced_by), converter=False))
        & (Verdict.advisories == Value(before.advisories, converter=False))
        & (Verdict.severity == before.severity)
        & (Verdict.severity_source == before.severity_source)
        & Verdict.device.in_(devices)
        & (Verdict.verdict != "current")
    )
    values = {
        "severity": after.severity,
        "severity_source": after.severity_source,
        "security": after.security,
        "advisories": Verdict.advisories.python_value(after.advisories),
    }
    with write_transaction():
        if lost:
            owners = Verdict.select(Verdict.device).where(where)
            DevicePackages.update(fingerprint=b"").where(DevicePackages.device.in_(owners)).execute()
        return int(Verdict.update(values).where(where).execute())


def _same(field: Any, value: Any) -> Any:
    return field.is_null() if value is None else field == value
