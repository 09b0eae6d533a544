# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Outages: intervals in which a device was silent for longer than `online_seconds` while the server watched.

`watch` runs every few seconds. Signs of life pay nothing for it: they write the one column that they always write, and
`watch` reads from it who fell silent and who came back. While the server itself is away nobody can report, so that
time is in no outage: those that run end where the server last watched, and who is still silent when it has watched
again for `online_seconds` gets a new one. `unwatched` tells these times. A silence that outlasts `online_seconds` by
less than the pause between two looks is none.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import peewee
import structlog
from peewee import fn

from patchherd.database import chunked, now, write_transaction
from patchherd.devices.models import Device, Outage, Watch
from patchherd.devices.registry import clean_address
from patchherd.devices.selection import split_values
from patchherd.identity.locking import take_turn
from patchherd.paging import SortKey, cursor, cursor_columns, ordered
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.outages")

WATCHING = 0x70617411
"""Lock of those who watch: two workers must not book one silence twice."""
BREAK = timedelta(seconds=60)
"""A longer pause between two looks means that the server was away."""
KEEP = timedelta(days=400)
NEWEST_FIRST = (
    SortKey("down_start", Outage.down_start, int, descending=True, nullable=False),
    SortKey("id", Outage.id, int, descending=True, nullable=False),
)


def watch(settings: Settings, moment: datetime | None = None) -> tuple[int, int]:
    """Close the outages of devices that came back, open those of devices that fell silent; how many of each."""
    moment = moment or now()
    with write_transaction():
        take_turn(WATCHING)
        since, closed = _note_watch(moment)
        closed += _close_returned()
        opened = _open_silent(moment - timedelta(seconds=settings.online_seconds), since)
    if closed or opened:
        log.info("outages", closed=closed, opened=opened)
    return closed, opened


def _note_watch(moment: datetime) -> tuple[datetime, int]:
    """From when on the server has been watching without a break; the outages that were closed because there was one."""
    newest = Watch.select().order_by(Watch.seen_at.desc()).first()
    if newest is not None and moment - newest.seen_at <= BREAK:
        Watch.update(seen_at=max(moment, newest.seen_at)).where(Watch.id == newest.id).execute()
        return newest.started_at, 0
    Watch.create(started_at=moment, seen_at=moment)
    if newest is None:
        return moment, 0
    returned = _close_returned(newest.seen_at)
    last = Watch.seen_at.db_value(newest.seen_at)
    end = peewee.Case(None, ((Outage.down_start < last, last),), Outage.down_start)
    rest = Outage.update(down_end=end).where(Outage.down_end.is_null()).execute()
    return moment, returned + rest


def _close_returned(limit: datetime | None = None) -> int:
    """End the outages of devices heard of since (before `limit`), or deleted."""
    rows = (
        Outage.select(Outage.id, Outage.down_start, Device.last_heartbeat, Device.deleted_at)
        .join(Device)
        .where(Outage.down_end.is_null())
        .where((Device.last_heartbeat > Outage.down_start) | Device.deleted_at.is_null(False))
    )
    closed = 0
    for number, start, beat, deleted in rows.tuples():
        end = beat if beat is not None and beat > start else max(start, deleted)
        if limit is None or end <= limit:
            closed += Outage.update(down_end=end).where(Outage.id == number).execute()
    return closed


def _open_silent(limit: datetime, since: datetime) -> int:
    """Begin an outage for each device that was last heard of before `limit`, as far as that was watched."""
    if since > limit:
        return 0
    running = Outage.select(Outage.device).where(Outage.down_end.is_null())
    silent = Device.select(Device.id, Device.last_heartbeat).where(
        Device.deleted_at.is_null() & (Device.last_heartbeat < limit) & Device.id.not_in(running)
    )
    found = dict(silent.tuples())
    booked: dict[int, datetime] = {}
    for part in chunked(list(found), 1):
        ends = Outage.select(Outage.device, fn.MAX(Outage.down_end)).where(Outage.device.in_(part))
        booked.update(dict(ends.group_by(Outage.device).tuples()))
    rows = [
        {"device": device, "down_start": max(beat, since, booked.get(device, since))} for device, beat in found.items()
    ]
    for some in chunked(rows, 2):
        Outage.insert_many(some).execute()
    return len(rows)


def drop_old() -> int:
    """Delete outages, and watched times, that ended long ago; how many."""
    oldest = now() - KEEP
    with write_transaction():
        Watch.delete().where(Watch.seen_at < oldest).execute()
        return Outage.delete().where(Outage.down_end < oldest).execute()


# -- views -----------------------------------------------------------------------------------------------------------


class OutagePage(NamedTuple):
    rows: list[dict[str, Any]]
    following: str | None
    total: int


def outage_page(
    filters: Mapping[str, Any], *, limit: int, after: str | None = None, device: Device | None = None
) -> OutagePage:
    """Outages, newest first, of one or of all devices; those of deleted devices stay.

    `filters`: agent_id, hostname, ip_address (comma-separated texts), since and until (moments; an outage counts that
    was running at any time between), min_duration (seconds), ongoing (bool). A running one lasts until now.
    """
    moment = now()
    query = Outage.select().join(Device)
    if device is not None:
        query = query.where(Outage.device == device)
    for condition in _conditions(filters, moment):
        query = query.where(condition)
    total = query.count()
    columns = (Outage.id, Outage.down_start, Outage.down_end, Device.id.alias("device_id"), Device.uuid,
               Device.hostname, Device.friendly_name)  # fmt: skip
    wanted = ordered(query.select(*columns, *cursor_columns(NEWEST_FIRST)), NEWEST_FIRST, after).limit(limit + 1)
    found = list(wanted.namedtuples())
    following = cursor(NEWEST_FIRST, found[limit - 1]) if len(found) > limit else None
    return OutagePage([_view(row, moment) for row in found[:limit]], following, total)


def _conditions(filters: Mapping[str, Any], moment: datetime) -> list[Any]:
    found: list[Any] = []
    end = fn.COALESCE(Outage.down_end, Outage.down_end.db_value(moment))
    if ids := split_values(filters.get("agent_id")):
        found.append(Device.uuid.in_([value.lower() for value in ids]))
    if names := split_values(filters.get("hostname")):
        found.append(fn.COALESCE(Device.hostname, Device.friendly_name).in_(names))
    if addresses := split_values(filters.get("ip_address")):
        found.append(Device.ip_address.in_([clean_address(value) or value for value in addresses]))
    if since := filters.get("since"):
        found.append(Outage.down_end.is_null() | (Outage.down_end > since))
    if until := filters.get("until"):
        found.append(Outage.down_start < until)
    if filters.get("min_duration"):
        found.append(end - Outage.down_start >= int(filters["min_duration"] * 1000))
    if filters.get("ongoing") is not None:
        found.append(Outage.down_end.is_null(filters["ongoing"]))
    return found


def _view(row: Any, moment: datetime) -> dict[str, Any]:
    end = row.down_end or max(moment, row.down_start)
    return {
        "id": row.id,
        "device_id": row.device_id,
        "agent_id": row.uuid,
        "hostname": row.hostname or row.friendly_name,
        "down_start": row.down_start,
        "down_end": row.down_end,
        "duration_seconds": int((end - row.down_start).total_seconds()),
    }


def unwatched(since: datetime | None = None, until: datetime | None = None) -> list[dict[str, Any]]:
    """The times, oldest first, in which the server itself was away: no outage says anything about them."""
    rows = list(Watch.select().order_by(Watch.started_at))
    breaks = [(earlier.seen_at, later.started_at) for earlier, later in itertools.pairwise(rows)]
    return [
        {"start": start, "end": end}
        for start, end in breaks
        if (since is None or end > since) and (until is None or start < until)
    ]
