# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Software of a device, and of the fleet: who has what, in which version.

It covers what monitoring agents report. What package managers installed is in the packages room.
"""

from __future__ import annotations

from typing import Any

import peewee
from peewee import fn

from patchherd.database import chunked, is_sqlite
from patchherd.devices.models import Device
from patchherd.devices.registry import MAX_ID, is_number
from patchherd.errors import BadRequest, invalid
from patchherd.monitoring.models import DeviceSoftware, MonitoringAgent, SoftwareTitle
from patchherd.packages.listing import device_name
from patchherd.packages.versions import loose_key


def device_software(
    device: Device, *, name: str | None, removed: bool, limit: int, after: str | None
) -> dict[str, Any]:
    """One page of a device's programs by name; with `removed` also those that are gone. `total` is of all pages, null
    when the device never reported a list."""
    title, row = SoftwareTitle, DeviceSoftware
    where = row.device == device.id
    if not removed:
        where &= row.removed_at.is_null()
    if name is not None:
        where &= _matches(title.name_key, name.lower())
    agent = MonitoringAgent.get_or_none(MonitoringAgent.device == device.id)
    confirmed = agent.software_seen_at if agent is not None else None
    columns = (title.id, title.name_key, title.name, title.version, title.vendor, row.install_date, row.first_seen)
    query = row.select(*columns, row.last_seen, row.removed_at).join(title).where(where)
    total = query.count() if confirmed else None
    if after is not None:
        number, key = _read_mark(after)
        query = query.where((title.name_key > key) | ((title.name_key == key) & (title.id > number)))
    found = list(query.order_by(title.name_key, title.id).limit(limit + 1).tuples())
    return {
        "device": device_name(device),
        "reported_at": confirmed,
        "total": total,
        "software": [_shown(cells[2:], confirmed) for cells in found[:limit]],
        "next": f"{found[limit - 1][0]}:{found[limit - 1][1]}" if len(found) > limit else None,
    }


def _shown(cells: tuple[Any, ...], confirmed: Any) -> dict[str, Any]:
    name, version, vendor, install_date, first_seen, last_seen, removed_at = cells
    return {
        "name": name,
        "version": version or None,
        "vendor": vendor or None,
        "install_date": install_date,
        "first_seen": first_seen,
        "last_seen": last_seen or confirmed,
        "removed_at": removed_at,
    }


def fleet_software(filters: dict[str, str], *, limit: int, after: str | None) -> dict[str, Any]:
    """One page of (device, program) pairs that match, and how many there are on all pages.

    `filters`: name, vendor (case does not count), version (case counts), in which * stands for any text;
    version_below, version_from. A program whose version is unknown is neither below nor from anything.
    """
    title, row, agent = SoftwareTitle, DeviceSoftware, MonitoringAgent
    columns = (
        row.title, row.device, Device.uuid, Device.hostname, Device.friendly_name, agent.software_seen_at, title.name,
        title.version, title.vendor, row.install_date, row.first_seen, row.last_seen, row.removed_at,
    )  # fmt: skip
    query = _installed(row.select(*columns), filters).join(agent, on=agent.device == row.device)
    total = _installed(row.select(), filters).count()
    if after is not None:
        number, text = _read_mark(after)
        device = _number(text, after)
        query = query.where((row.title > number) | ((row.title == number) & (row.device > device)))
    found = list(query.order_by(row.title, row.device).limit(limit + 1).tuples())
    rows = []
    for _, number, uuid, hostname, friendly_name, confirmed, *cells in found[:limit]:
        device = Device(id=number, uuid=uuid, hostname=hostname, friendly_name=friendly_name)
        rows.append({"device": device_name(device), **_shown(tuple(cells), confirmed)})
    return {
        "count": total,
        "software": rows,
        "next": f"{found[limit - 1][0]}:{found[limit - 1][1]}" if len(found) > limit else None,
    }


def fleet_titles(filters: dict[str, str], *, limit: int, after: str | None) -> dict[str, Any]:
    """One page of programs by name (case does not count), each with its versions, newest first, and how many devices
    have each."""
    title, row = SoftwareTitle, DeviceSoftware
    gone = Device.select(Device.id).where(Device.deleted_at.is_null(False))  # few: cheaper than a join with all
    there = row.removed_at.is_null() & row.device.not_in(gone)
    # A scalar subquery is one index look-up a title; EXISTS may become a join of everything with everything while
    # PostgreSQL has no statistics yet.
    holder = row.select(row.device).where((row.title == title.id) & there).limit(1)
    where = _fits(filters) & (fn.COALESCE(holder, 0) > 0)
    if after is not None:
        where &= title.name_key > after
    keys = title.select(title.name_key).where(where).distinct().order_by(title.name_key).limit(limit + 1)
    page = [key for (key,) in keys.tuples()]
    known = title.select(title.id, title.name_key, title.name, title.version, title.vendor)
    known = known.where(_fits(filters) & title.name_key.in_(page[:limit]))
    order = (title.name_key, title.sort_key.desc(), title.version, title.vendor)
    titles = {cells[0]: cells[1:] for cells in known.order_by(*order).tuples()}
    counts: dict[int, int] = {}
    for part in chunked(sorted(titles), 1):
        holders = row.select(row.title, fn.COUNT(row.device)).where(row.title.in_(part) & there)
        counts |= dict(holders.group_by(row.title).tuples())
    rows: dict[str, dict[str, Any]] = {}
    for number, (key, name, version, vendor) in titles.items():
        if devices := counts.get(number):
            found = rows.setdefault(key, {"name": name, "devices": devices, "vendors": set(), "versions": []})
            found["vendors"] |= {vendor} - {""}
            found["versions"].append({"version": version or None, "vendor": vendor or None, "devices": devices})
    several = [key for key, found in rows.items() if len(found["versions"]) > 1]  # a device may have two of them
    by_name = row.select(title.name_key, fn.COUNT(fn.DISTINCT(row.device))).join(title)
    by_name = by_name.where(_fits(filters) & title.name_key.in_(several) & there)
    for key, devices in by_name.group_by(title.name_key).tuples():
        rows[key]["devices"] = devices
    return {
        "titles": [{**found, "vendors": sorted(found["vendors"])} for found in rows.values()],
        "next": page[limit - 1] if len(page) > limit else None,
    }


def _installed(query: Any, filters: dict[str, str]) -> Any:
    """Rows of programs that are there, on living devices, and match."""
    where = DeviceSoftware.removed_at.is_null() & Device.deleted_at.is_null() & _fits(filters)
    query = query.join(SoftwareTitle).switch(DeviceSoftware).join(Device).switch(DeviceSoftware)
    return query.where(where)


def _fits(filters: dict[str, str]) -> Any:
    """The condition on titles."""
    title = SoftwareTitle
    where: Any = peewee.SQL("1=1")
    if "name" in filters:
        where &= _matches(title.name_key, filters["name"].lower())
    if "vendor" in filters:
        where &= _matches(fn.LOWER(title.vendor), filters["vendor"].lower())
    if "version" in filters:
        where &= _matches(title.version, filters["version"])
    for name, compare in (("version_below", peewee.OP.LT), ("version_from", peewee.OP.GTE)):
        if name in filters:
            if "name" not in filters:
                raise invalid(name, "versions compare within one program: name it, too", "query", filters[name])
            where &= peewee.Expression(title.sort_key, compare, loose_key(filters[name])) & (title.version != "")
    return where


def _matches(field: Any, pattern: str) -> Any:
    """Equality, or with * any text in its place."""
    if "*" not in pattern:
        return field == pattern
    if is_sqlite():
        word, text = "GLOB", pattern.replace("[", "[[]").replace("?", "[?]")
    else:
        escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        word, text = "LIKE", escaped.replace("*", "%")
    return peewee.NodeList((field, peewee.SQL(word), peewee.Value(text)), parens=True)


def _read_mark(after: str) -> tuple[int, str]:
    """The two parts of a `next` value. Raises BadRequest for what no page gave."""
    number, colon, text = after.partition(":")
    if not colon:
        raise _no_mark(after)
    return _number(number, after), text


def _number(text: str, after: str) -> int:
    if not is_number(text) or int(text) > MAX_ID:
        raise _no_mark(after)
    return int(text)


def _no_mark(after: str) -> BadRequest:
    return invalid("after", "no page gave this value", "query", after)
