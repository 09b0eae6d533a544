# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Evaluate devices anew when what their content views offer has changed, or which views are theirs, or advisories.

Each package set is judged once for its views, however many devices have it. A device is written only if nothing about
it has changed meanwhile: its own report comes first, and is evaluated when it arrives.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from peewee import fn

from patchherd.database import among, chunked, is_sqlite, now, stored_rows, write_transaction
from patchherd.devices.models import Device
from patchherd.identity.models import AuditEntry
from patchherd.packages import verdicts
from patchherd.packages.advisories.rating import enrich
from patchherd.packages.advisories.records import distribution_of
from patchherd.packages.advisories.rerating import as_reported
from patchherd.packages.advisories.store import generation, known_sources
from patchherd.packages.applicability import windows_reports
from patchherd.packages.applicability.evaluation import ECOSYSTEMS, context_of, is_open, offers_for
from patchherd.packages.applicability.judge import Known, Outdated
from patchherd.packages.applicability.merge import merge, raw_finding
from patchherd.packages.due import ask_for
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import DevicePackages, EvaluationDue, PackageSet, PackageVersion, Verdict
from patchherd.packages.status import COUNTS, counted
from patchherd.packages.views.matching import NONE, Match, views_of
from patchherd.packages.views.models import ContentView, ViewAssignment
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.evaluation")

BATCH = 200
"""Devices that are written in one transaction: other writers do not wait for long."""
REMEMBERED_SETS = 2_000
EVALUATED = ECOSYSTEMS | {"windows"}

Progress = Callable[[int, int], None]
"""Is told how many devices are done, of how many."""


class _Machine(NamedTuple):
    """What a device's verdicts are made from, besides its rows."""

    id: int
    package_set: int
    reported: int
    machine_id: str | None
    os_id: str | None
    os_version_id: str | None
    facts: dict[str, Any]
    metadata_updated: datetime | None
    evaluated_at: datetime | None
    missing: int | None
    missing_security: int | None
    missing_critical: int | None
    missing_important: int | None
    missing_moderate: int | None
    missing_low: int | None
    patch_status: str
    patch_reason: str | None

    @property
    def state(self) -> tuple[int, datetime | None]:
        """What differs after a report."""
        return self.package_set, self.evaluated_at


_MOVES = (
    "group.update", "group.delete", "group.members", "group.add_members", "group.remove_member", "device.tags",
    "device.update", "device.merge", "device.restore",
)  # fmt: skip
"""Actions after which a group may have other members."""
_COUNTS = (*COUNTS, "patch_status", "patch_reason")


def is_due() -> bool:
    """Whether there is anything to evaluate."""
    if EvaluationDue.select().where(EvaluationDue.anew == True).exists():  # noqa: E712
        return True
    if not ContentView.select().exists():
        return DevicePackages.select().where(DevicePackages.views != "").exists()
    return bool(_stale()) or EvaluationDue.select().exists()


def _stale() -> set[int]:
    """Views that offer something else by now, or whose groups may have other members."""
    views = ContentView.select(ContentView.id, ContentView.evaluated, ContentView.generation, ContentView.matched)
    by_group = ViewAssignment.select(ViewAssignment.view).where(ViewAssignment.group.is_null(False))
    grouped = {row[0] for row in by_group.tuples()}
    return {
        number
        for number, evaluated, generation, matched in views.tuples()
        if evaluated != generation or (number in grouped and _newest_move(matched) > matched)
    }


def _newest_move(since: int) -> int:
    """Id of the newest audit entry after which groups may have other members; `since` when there is none."""
    entry = AuditEntry
    query = entry.select(fn.MAX(entry.id)).where(entry.action.in_(_MOVES) & (entry.id > since))
    return int(query.scalar() or since)


def evaluate_due(settings: Settings, progress: Progress = lambda done, total: None) -> int:
    """Evaluate every device by whose views, or what they offer, or by what else it is judged has changed; how many."""
    began, move = now(), _newest_move(0)
    columns = (ContentView.id, ContentView.ecosystem, ContentView.generation, ContentView.evaluated)
    views = {row.id: row for row in ContentView.select(*columns)}
    stale = _stale()
    asked = dict(EvaluationDue.select(EvaluationDue.device, EvaluationDue.anew).tuples())
    groups = _affected(settings, {number: row.ecosystem for number, row in views.items()}, stale, asked)
    total = sum(map(len, groups.values()))
    done, missed = 0, list[int]()
    progress(0, total)
    for (match, ecosystem), devices in groups.items():
        evaluator = _Evaluator(ecosystem, match)
        for start in range(0, len(devices), BATCH):
            missed += evaluator.evaluate(devices[start : start + BATCH])
            done += len(devices[start : start + BATCH])
            progress(done, total)
    with write_transaction():
        for number in stale & views.keys():  # unless somebody asked again meanwhile
            same = (ContentView.id == number) & (ContentView.evaluated == views[number].evaluated)
            ContentView.update(evaluated=views[number].generation, matched=move).where(same).execute()
        EvaluationDue.delete().where(EvaluationDue.asked_at < began).execute()
        ask_for(missed, anew=True)
    if total:
        log.info("devices evaluated anew", devices=total - len(missed), missed=len(missed))
    return total - len(missed)


def _affected(
    settings: Settings, ecosystems: dict[int, str], stale: set[int], asked: dict[int, bool]
) -> dict[tuple[Match, str], list[int]]:
    """(views, ecosystem) -> devices whose verdicts may have to change, those of one package set side by side.

    `asked`: device -> `EvaluationDue.anew`.
    """
    link = DevicePackages
    query = link.select(link.package_set, link.device, link.views, PackageSet.ecosystem).join(PackageSet)
    if stale or not ecosystems:
        rows = list(query.tuples())
    else:
        rows = [row for part in chunked(sorted(asked), 1) for row in query.where(link.device.in_(part)).tuples()]
    matches = views_of(settings, [device for _, device, _, _ in rows])
    found: dict[tuple[Match, str], list[int]] = defaultdict(list)
    for _, device, before, ecosystem in sorted(rows):
        match = matches[device]
        fitting = tuple(view for view in match.views if ecosystems.get(view) == ecosystem)
        match = Match(fitting, match.by) if fitting else NONE
        concerned = asked.get(device) or (match.views and (device in asked or not stale.isdisjoint(match.views)))
        if ecosystem in EVALUATED and (concerned or match.text != before):
            found[match, ecosystem].append(device)
    return found


class _Evaluator:
    """Evaluates devices of the same views."""

    def __init__(self, ecosystem: str, match: Match) -> None:
        self.ecosystem = ecosystem
        self.match = match
        self.offers = offers_for(ecosystem, match.views if ecosystem in ECOSYSTEMS else ())
        self.versions: dict[int, Known] = {}
        self.sets: OrderedDict[int, list[Outdated]] = OrderedDict()
        self.sources: dict[str, str] = {}
        """Source package by name, where its name is another one, and "" where it is not."""

    def evaluate(self, device_ids: list[int]) -> list[int]:
        """Evaluate some devices and write what has changed; those that others wrote meanwhile stay as they are."""
        advised, machines = generation(), _machines(device_ids)
        rows = verdicts.rows_of(machines)
        if self.ecosystem == "windows":
            judged = windows_reports.rejudge(machines, dict.fromkeys(machines, self.match.views))
        else:
            if self.match.views:
                self._judge({machine.package_set for machine in machines.values()})
            judged = {number: self._findings(machines[number], rows[number]) for number in machines}
        found = self._rated(machines, judged)
        moment = now()
        with write_transaction():
            states, shapes = _hold(list(machines)), _shapes(list(machines))
            kept = [
                number
                for number, machine in machines.items()
                if states.get(number) == machine.state and shapes.get(number, (0, 0)) == _shape(rows[number])
            ]
            verdicts.apply([verdicts.difference(number, rows[number], found[number], moment) for number in kept])
            self._note({number: (machines[number], found[number]) for number in kept})
            if generation() != advised:
                ask_for(kept, anew=True)  # by what of the advisories they were judged, nobody knows
        return [number for number in machines if number not in set(kept)]

    def _judge(self, set_ids: set[int]) -> None:
        new = [number for number in set_ids if number not in self.sets]
        members: dict[int, Iterable[int]] = {}
        for part in chunked(new, 1):
            query = PackageSet.select(PackageSet.id, PackageSet.members).where(PackageSet.id.in_(part))
            members |= dict(query.tuples())
        self._learn_versions({version for some in members.values() for version in some} - self.versions.keys())
        installed = [[self.versions[version] for version in some] for some in members.values()]
        self.sets |= zip(members, self.offers.outdated(*installed), strict=True)
        for number in set_ids:
            self.sets.move_to_end(number)
        while len(self.sets) > max(REMEMBERED_SETS, len(set_ids)):
            self.sets.popitem(last=False)

    def _learn_versions(self, version_ids: set[int]) -> None:
        version = PackageVersion
        columns = (version.id, version.name, version.architecture, version.version, version.sort_key)
        texts: dict[str, str] = {}  # one string for each name and architecture, however often they occur
        query = version.select(*columns).where(among(version.id, version_ids))
        for number, name, architecture, text, key in stored_rows(query):
            place = texts.setdefault(name, name), texts.setdefault(architecture, architecture)
            self.versions[number] = Known(*place, text, bytes(key))

    def _findings(self, machine: _Machine, rows: Iterable[verdicts.Row]) -> list[Finding]:
        node = [said for row in rows if (said := raw_finding(as_reported(Finding(*row[3:])))) is not None]
        if not self.match.views:
            return node
        context = context_of(self.match, machine.facts, machine.machine_id, machine.metadata_updated)
        return merge(self.ecosystem, node, self.sets[machine.package_set], self.offers.details, context)

    def _note(self, done: dict[int, tuple[_Machine, list[Finding]]]) -> None:
        """The views of the devices, and what the findings make of their patch status."""
        counts: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for number, (machine, findings) in done.items():
            told = machine.reported > 0 or self.ecosystem == "windows"  # Windows lists only what is missing
            columns = counted(findings, machine.metadata_updated, known=told)
            if any(columns[name] != getattr(machine, name) for name in _COUNTS):
                counts[tuple(columns[name] for name in _COUNTS)].append(number)
        for values, devices in counts.items():
            Device.update(dict(zip(_COUNTS, values, strict=True))).where(Device.id.in_(devices)).execute()
        DevicePackages.update(views=self.match.text).where(DevicePackages.device.in_(list(done))).execute()
        unsettled = [number for number, (_, findings) in done.items() if is_open(findings)]
        DevicePackages.update(fingerprint=b"").where(DevicePackages.device.in_(unsettled)).execute()

    def _rated(
        self, machines: dict[int, _Machine], found: dict[int, list[Finding]]
    ) -> dict[int, list[Finding]]:
        """The same findings, with what advisories say."""
        every = [finding for findings in found.values() for finding in findings]
        new = {finding.package for finding in every} - self.sources.keys()
        self.sources |= dict.fromkeys(new, "") | known_sources(self.ecosystem, new)
        sources = {finding.identity[:2]: source for finding in every if (source := self.sources[finding.package])}
        alike: dict[str | None, list[int]] = defaultdict(list)
        for number, machine in machines.items():
            alike[distribution_of(machine.os_id, machine.os_version_id)].append(number)
        out: dict[int, list[Finding]] = {}
        for distribution, numbers in alike.items():
            rated = iter(enrich(distribution, [finding for number in numbers for finding in found[number]], sources))
            for number in numbers:
                out[number] = [next(rated) for _ in found[number]]
        return out


def _machines(device_ids: list[int]) -> dict[int, _Machine]:
    linked = {"package_set", "reported"}
    columns = [getattr(DevicePackages if name in linked else Device, name) for name in _Machine._fields]
    query = Device.select(*columns).join(DevicePackages)
    found = query.where(Device.id.in_(device_ids) & Device.deleted_at.is_null()).order_by(Device.id)
    return {row[0]: _Machine._make(row) for row in found.tuples()}


def _shape(rows: list[verdicts.Row]) -> tuple[int, int]:
    """What differs after somebody else has written the rows of a device: their number and the greatest id."""
    return len(rows), max((row[0] for row in rows), default=0)


def _shapes(device_ids: list[int]) -> dict[int, tuple[int, int]]:
    query = Verdict.select(Verdict.device, fn.COUNT(Verdict.id), fn.MAX(Verdict.id))
    query = query.where(Verdict.device.in_(device_ids)).group_by(Verdict.device)
    return {device: (count, newest) for device, count, newest in query.tuples()}


def _hold(device_ids: list[int]) -> dict[int, tuple[int, datetime | None]]:
    """device id -> its state by now; nobody changes these devices before the transaction ends."""
    query = Device.select(Device.id, DevicePackages.package_set, Device.evaluated_at).join(DevicePackages)
    query = query.where(Device.id.in_(device_ids) & Device.deleted_at.is_null()).order_by(Device.id)
    if not is_sqlite():
        query = query.for_update("FOR NO KEY UPDATE", of=Device)
    return {number: (package_set, evaluated_at) for number, package_set, evaluated_at in query.tuples()}
