# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Judge Windows devices: at a report, and again from what is stored when views or advisories have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from peewee import JOIN

from patchherd.database import chunked, now
from patchherd.devices.models import Device
from patchherd.packages.advisories.rerating import as_reported
from patchherd.packages.applicability import windows_loops as loops
from patchherd.packages.applicability.merge import raw_finding
from patchherd.packages.applicability.windows import Host, Known, hotfixes, judge
from patchherd.packages.applicability.windows_products import build_of, system_of
from patchherd.packages.applicability.windows_sources import Offered, advised, offered
from patchherd.packages.evaluate import Finding
from patchherd.packages.memory import KnownItem
from patchherd.packages.models import DevicePackages, PackageSet, PackageVersion, Verdict
from patchherd.packages.views.matching import Match

_COLUMNS = (
    Device.id, Device.os_name, Device.os_version, Device.os_architecture, Device.facts, Device.metadata_updated,
    DevicePackages.package_set, DevicePackages.views,
)  # fmt: skip


class Stored(NamedTuple):
    """What is stored of a Windows device."""

    id: int
    os_name: str | None
    os_version: str | None
    os_architecture: str | None
    facts: dict[str, Any]
    metadata_updated: datetime | None
    package_set: int | None
    views: str | None

    def host(self, installed: frozenset[str]) -> Host:
        """Its build counts only where the newest report told it: what was read before a search proves nothing."""
        told = self.facts.get("source") != "ansible"
        system = system_of(self.os_name, self.facts.get("osCodename"), self.os_architecture)
        return Host(system, build_of(self.os_version) if told else None, installed, self.metadata_updated)


def stored(device_ids: Iterable[int]) -> dict[int, Stored]:
    """device id -> what is stored of it."""
    out: dict[int, Stored] = {}
    for part in chunked(list(device_ids), 1):
        query = Device.select(*_COLUMNS).join(DevicePackages, JOIN.LEFT_OUTER).where(Device.id.in_(part))
        out |= {row[0]: Stored(*row) for row in query.tuples()}
    return out


def installed_kbs(set_ids: Iterable[int | None]) -> dict[int | None, frozenset[str]]:
    """package set -> KBs among its hotfixes."""
    out: dict[int | None, frozenset[str]] = {None: frozenset()}
    wanted = [number for number in set_ids if number is not None]
    names = dict(
        PackageVersion.select(PackageVersion.id, PackageVersion.name)
        .where((PackageVersion.ecosystem == "windows") & PackageVersion.name.startswith("KB"))
        .tuples()
        if wanted
        else ()
    )
    for part in chunked(sorted(set(wanted)), 1):
        query = PackageSet.select(PackageSet.id, PackageSet.members).where(PackageSet.id.in_(part))
        for number, members in query.tuples():
            out[number] = hotfixes(names[member] for member in members if member in names)
    return out


def reported_by(device_ids: Iterable[int]) -> dict[int, list[Finding]]:
    """device id -> what its newest report itself said of updates."""
    columns = [getattr(Verdict, name) for name in Finding._fields]
    raw = {"advisories", "categories", "evidence"}
    out: dict[int, list[Finding]] = {}
    for part in chunked(list(device_ids), 1):
        where = Verdict.device.in_(part) & (Verdict.ecosystem == "windows")
        for device, *values in Verdict.select(Verdict.device, *columns).where(where).order_by(Verdict.id).tuples():
            texts = [
                getattr(Verdict, name).db_value(value) if name in raw else value
                for name, value in zip(Finding._fields, values, strict=True)
            ]
            if (said := raw_finding(as_reported(Finding(*texts)))) is not None:
                out.setdefault(device, []).append(said)
    return out


def at_report(
    device_id: int, findings: list[Finding], items: list[KnownItem], changes: Mapping[str, Any], facts: dict[str, Any]
) -> tuple[list[Finding], loops.Turn]:
    """The verdicts of a Windows device that has just reported, and what they mean for updates that come and go.

    `findings` are those of the report alone, `changes` the columns of the device that it changes.
    """
    before = stored([device_id])[device_id]
    device = before._replace(facts=facts, **{name: value for name, value in changes.items() if name in Stored._fields})
    own = hotfixes(item.triple[0] for item in items if item.triple is not None)
    by_ansible = facts.get("source") == "ansible"  # its search lists only what is missing
    if by_ansible:
        own |= installed_kbs([device.package_set])[device.package_set]
    host = device.host(own)
    known = Known(host, offered(Match.read(device.views or "").views), advised())
    listed = {finding.update_id for finding in findings}
    missing = {finding.update_id for finding in findings if finding.verdict == "missing" and finding.update_id}
    was = reported_by([device_id]).get(device_id, ())
    turn = loops.follow(
        loops.load([device_id]).get(device_id, {}),
        [one for one in was if one.verdict == "missing"],
        listed,
        missing,
        lambda kb: kb in own or (kb not in known.reused and known.proven(kb) is not None),
        complete=host.searched is not None and (by_ansible or bool(items)),
        moment=now(),
    )
    return loops.with_reasons(judge(findings, known), turn.reasons), turn


def rejudge(device_ids: Iterable[int], views: Mapping[int, Iterable[int]] | None = None) -> dict[int, list[Finding]]:
    """device id -> what its verdicts would be now, from what is stored; nothing is written.

    `views`: device id -> content views to judge with; those that the device was judged with last, where it has none.
    Ratings are those of the reports: `advisories.rating.enrich` adds what advisories say.
    """
    devices = stored(device_ids)
    kbs = installed_kbs({device.package_set for device in devices.values()})
    rows, moving, advice = reported_by(devices), loops.load(devices), advised()
    loaded: dict[tuple[int, ...], list[Offered]] = {}
    alike: dict[Any, Known] = {}
    out = {}
    for number, device in devices.items():
        told = (views or {}).get(number)
        chosen = Match.read(device.views or "").views if told is None else tuple(told)
        if chosen not in loaded:
            loaded[chosen] = offered(chosen)
        host = device.host(kbs[device.package_set])
        kind = (chosen, host.system, host.build and host.build.line)
        if kind not in alike:
            alike[kind] = Known(host, loaded[chosen], advice)
        known = alike[kind].of(host)
        reported = rows.get(number, [])
        missing = [one.update_id for one in reported if one.verdict == "missing" and one.update_id]
        found = loops.reasons(moving.get(number, {}), missing, now())
        out[number] = loops.with_reasons(judge(reported, known), found)
    return out
