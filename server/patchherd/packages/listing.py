# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Lists of patches and packages: filters, pages, counts."""

from __future__ import annotations

import fnmatch
from datetime import datetime, timedelta
from typing import Any

import msgspec
import peewee
from peewee import fn

from patchherd.database import is_sqlite, json_text, now
from patchherd.devices.conditions import any_of, is_not
from patchherd.devices.evidence import is_known
from patchherd.devices.models import Device
from patchherd.devices.selection import selected
from patchherd.errors import invalid
from patchherd.packages.models import DevicePackages, Verdict
from patchherd.packages.patches import (
    count_columns,
    count_if,
    count_patches,
    named_counts,
    patch_row,
    patch_state,
    patches_of,
    sum_counts,
)
from patchherd.packages.reasons import has_code
from patchherd.packages.sets import load_set
from patchherd.packages.severity import SEVERITIES
from patchherd.settings import Settings

PATCH_FILTERS = frozenset(
    {
        "verdict", "reason", "severity", "security", "package", "kb", "ecosystem", "decided_by", "advisory", "cve",
        "exploited", "min_age_days",
    }
)  # fmt: skip
"""Filters of rows; the others are about devices."""


def device_name(device: Device) -> dict[str, Any]:
    """How other objects name a device."""
    return {"id": device.id, "agent_id": device.uuid, "hostname": device.hostname or device.friendly_name}


def device_patches(settings: Settings, device: Device, filters: dict[str, Any]) -> dict[str, Any]:
    """One device's patch state with its rows, worst first; counts are about the device, not about the filter."""
    status, reason = patch_state(device, settings)
    rows = patches_of([device.id])[device.id]
    known = status != "unknown"
    return {
        "device": device_name(device),
        "status": status,
        "reason": reason,
        "reported_at": device.last_report,
        "metadata_updated": device.metadata_updated,
        "evaluated_at": device.evaluated_at,
        "as_of": None if known else device.evaluated_at,
        "problems": [str(problem) for problem in device.facts.get("problems") or ()],
        "counts": count_patches(rows) if known else None,
        "patches": [row for row in rows if _fits(row, filters)],
    }


def _fits(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    return (
        ("severity" not in filters or row["severity"] in filters["severity"])
        and ("security" not in filters or row["security"] == filters["security"])
        and ("verdict" not in filters or row["verdict"] in filters["verdict"])
        and ("reason" not in filters or has_code(row["reason"], filters["reason"]))
        and ("package" not in filters or _named(row["package"], filters["package"]))
        and ("kb" not in filters or row["kb"] in _kbs(filters["kb"]))
        and ("ecosystem" not in filters or row["ecosystem"] in filters["ecosystem"])
        and ("decided_by" not in filters or row["decided_by"] in filters["decided_by"])
        and ("advisory" not in filters or not set(filters["advisory"]).isdisjoint(row["advisories"]))
        and ("cve" not in filters or not {name.upper() for name in filters["cve"]}.isdisjoint(row["cves"]))
        and ("exploited" not in filters or row["exploited"] == filters["exploited"])
        and ("min_age_days" not in filters or row["age_days"] >= filters["min_age_days"])
    )


def _glob(pattern: str) -> str:
    """The pattern, in which only * is special, as a shell pattern."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _named(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, _glob(pattern)) for pattern in patterns)


def _kbs(values: list[str]) -> list[str]:
    return ["KB" + value.upper().removeprefix("KB") for value in values]


def _matches(field: Any, patterns: list[str]) -> Any:
    """The same question as `_named` to the database: case counts on both."""
    names = [pattern for pattern in patterns if "*" not in pattern]
    terms = [field.in_(names)] if names or not patterns else []
    for pattern in patterns:
        if "*" in pattern:
            if is_sqlite():
                word, text = "GLOB", _glob(pattern)
            else:
                escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
                word, text = "LIKE", escaped.replace("*", "%")
            terms.append(peewee.NodeList((field, peewee.SQL(word), peewee.Value(text)), parens=True))
    return any_of(terms)


def fleet_patches(
    settings: Settings, filters: dict[str, Any], *, limit: int, after: str | None = None, group_by: str | None = None
) -> dict[str, Any]:
    """One page of patches across devices, flat or one row a package, with counts over all pages.

    Rows of a device whose state is unknown by now carry `as_of` and are not in `counts`. Raises BadRequest for an
    `after` that no page gave.
    """
    moment = now()
    known = is_known(settings, moment)
    machines = selected(settings, filters, moment)
    if group_by:
        page = _grouped(_of(machines, filters) & matching(filters), limit, after)
    else:
        page = _flat(settings, moment, machines, filters, limit, after)
    return page | _counts(machines, known, filters)


def _finds_rows(filters: dict[str, Any]) -> bool:
    """Whether rows are found sooner by what is asked of them than by the devices."""
    told = {name for name, value in filters.items() if value not in (None, "")}
    if not told <= PATCH_FILTERS:
        return False
    return not told.isdisjoint({"package", "kb"}) or (told == {"verdict"} and "missing" in filters["verdict"])


def _device(filters: dict[str, Any]) -> Any:
    """The device of a row in a condition. SQLite has no statistics, and would begin with all devices."""
    if is_sqlite() and _finds_rows(filters):
        return peewee.NodeList((peewee.SQL("+"), Verdict.device), glue="")
    return Verdict.device


def _of(devices: Any, filters: dict[str, Any]) -> Any:
    """The condition for rows of devices that meet another one."""
    found = Device.select(Device.id).where(devices)
    return peewee.Expression(_device(filters), peewee.OP.IN, found)


def _counts(machines: Any, known: Any, filters: dict[str, Any]) -> dict[str, Any]:
    """counts: of devices whose state is known; outdated: rows of the others; unknown_devices: how many these are."""
    numbers_of = (fn.COUNT(Device.id), count_if(known), fn.COALESCE(fn.SUM(Device.missing), 0), *count_columns(known))
    devices, proven, every, *numbers = Device.select(*numbers_of).where(machines).tuples().first()
    if {name for name in filters if name in PATCH_FILTERS} == {"verdict"} and filters["verdict"] == ["missing"]:
        counts = named_counts(numbers)  # the devices know it themselves
    else:
        alike = (Verdict.severity, Verdict.security)
        if is_sqlite():
            # Which devices are known is in an index; looked up one by one, they would be read as wide rows.
            current = Verdict.device.in_(Device.select(Device.id).where(machines & known))
            query = Verdict.select(*alike, count_if(current), fn.COUNT(Verdict.id)).where(_of(machines, filters))
        else:
            query = Verdict.select(*alike, count_if(known), fn.COUNT(Verdict.id)).join(Device).where(machines)
        rows = list(query.where(matching(filters)).group_by(*alike).tuples())
        counts = sum_counts(row[:3] for row in rows)
        every = sum(row[3] for row in rows)
    return {"counts": counts, "outdated": int(every) - counts["total"], "unknown_devices": devices - proven}


def matching(filters: dict[str, Any]) -> Any:
    """The condition for verdicts that fit: those of PATCH_FILTERS."""
    where: Any = Verdict.verdict.in_(filters["verdict"]) if "verdict" in filters else peewee.SQL("1=1")
    if "reason" in filters:
        begins: Any = Verdict.reason.in_(filters["reason"])
        for code in filters["reason"]:
            begins |= Verdict.reason.startswith(f"{code}:")
        where &= begins
    if "severity" in filters:
        where &= Verdict.severity.in_(filters["severity"])
    if "security" in filters:
        where &= Verdict.security == filters["security"]
    if "package" in filters:
        where &= _matches(Verdict.package, filters["package"])
    if "kb" in filters:
        where &= Verdict.kb.in_(_kbs(filters["kb"]))
    if "ecosystem" in filters:
        where &= Verdict.ecosystem.in_(filters["ecosystem"])
    if "decided_by" in filters:
        where &= Verdict.decided_by.in_(filters["decided_by"])
    if "advisory" in filters:
        where &= any_of([_within(f'"id":{json_text(name)}') for name in filters["advisory"]])
    if "cve" in filters:
        where &= any_of([_within(json_text(name.upper())) for name in filters["cve"]])
    if "exploited" in filters:
        where &= _exploited() if filters["exploited"] else is_not(_exploited())
    if "min_age_days" in filters:
        where &= Verdict.first_seen <= now() - timedelta(days=filters["min_age_days"])
    return where


def _exploited() -> Any:
    return _within('"exploited":true')


def _within(text: str) -> Any:
    """Whether the advisories of a verdict, as JSON, hold this text."""
    find = fn.INSTR if is_sqlite() else fn.STRPOS
    return find(Verdict.advisories, peewee.Value(text, converter=False)) > 0


def _flat(
    settings: Settings, moment: datetime, machines: Any, filters: dict[str, Any], limit: int, after: str | None
) -> dict[str, Any]:
    where = machines & matching(filters)
    if after is not None:
        if not after.isdecimal() or len(after) > 15:
            raise invalid("after", "no page gave this value", "query", after)
        where &= Verdict.id > int(after)
    columns = (
        Device.id, Device.uuid, Device.hostname, Device.friendly_name, Device.last_report, Device.evaluated_at,
        Device.metadata_updated, Device.missing, Device.patch_reason,
    )  # fmt: skip
    query = Verdict.select(Verdict, *columns).join(Device, on=_device(filters) == Device.id, attr="device")
    found = list(query.where(where).order_by(Verdict.id).limit(limit + 1))
    rows = []
    for verdict in found[:limit]:
        unknown = patch_state(verdict.device, settings, moment)[0] == "unknown"
        row = patch_row(verdict)
        row["device"] = device_name(verdict.device)
        row["as_of"] = verdict.device.evaluated_at if unknown else None
        rows.append(row)
    following = str(rows[-1]["id"]) if len(found) > limit else None
    return {"patches": rows, "count": len(rows), "next": following}


def _grouped(start: Any, limit: int, after: str | None) -> dict[str, Any]:
    if after is not None:
        ecosystem, colon, package = after.partition(":")
        if not colon:
            raise invalid("after", "no page gave this value", "query", after)
        start &= (Verdict.package > package) | ((Verdict.package == package) & (Verdict.ecosystem > ecosystem))
        start &= Verdict.package >= package  # from which an index can begin
    rank = peewee.Case(Verdict.severity, [(name, number) for number, name in enumerate(SEVERITIES)])
    query = (
        Verdict.select(
            Verdict.package,
            Verdict.ecosystem,
            fn.MAX(Verdict.kb),
            fn.MIN(rank),
            fn.MAX(peewee.Case(None, ((Verdict.security, 1),), 0)),
            fn.COUNT(fn.DISTINCT(Verdict.device)),
            fn.MIN(Verdict.first_seen),
            fn.MAX(peewee.Case(None, ((_exploited(), 1),), 0)),
            _several(Verdict.candidate),
        )
        .where(start)
        .group_by(Verdict.package, Verdict.ecosystem)
        .order_by(Verdict.package, Verdict.ecosystem)
        .limit(limit + 1)
    )
    found = list(query.tuples())
    rows = [
        {
            "package": package,
            "ecosystem": ecosystem,
            "kb": kb,
            "severity": SEVERITIES[worst],
            "security": bool(security),
            "exploited": bool(exploited),
            "devices": devices,
            "candidates": sorted(filter(None, candidates)),
            "first_seen": first_seen,
        }
        for package, ecosystem, kb, worst, security, devices, first_seen, exploited, candidates in found[:limit]
    ]
    following = f"{rows[-1]['ecosystem']}:{rows[-1]['package']}" if len(found) > limit else None
    return {"patches": rows, "count": len(rows), "next": following}


def _several(field: Any) -> Any:
    """The different values of a column in a group, as a list; null among them."""
    if is_sqlite():
        return fn.JSON_GROUP_ARRAY(fn.DISTINCT(field)).python_value(msgspec.json.decode)
    return fn.ARRAY_AGG(fn.DISTINCT(field))


def device_packages(device: Device, *, name: list[str] | None = None, limit: int, after: int = 0) -> dict[str, Any]:
    """One page of what is installed on a device, by name; total null when it never reported packages."""
    link = DevicePackages.get_or_none(DevicePackages.device == device.id)
    triples = load_set(link.package_set_id) if link is not None else []
    if name is not None:
        triples = [triple for triple in triples if _named(triple[0], name)]
    page = triples[after : after + limit]
    return {
        "device": device_name(device),
        "reported_at": device.evaluated_at,
        "total": None if link is None else len(triples),
        "packages": [
            {"name": package, "architecture": architecture or None, "version": version}
            for package, architecture, version in page
        ],
        "next": after + limit if after + limit < len(triples) else None,
    }
