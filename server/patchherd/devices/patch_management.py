# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Devices as the Patch Management API documents them. Its list has no pages, so it is made to be fast."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from werkzeug.http import http_date

from patchherd.database import db, now
from patchherd.devices.models import Device
from patchherd.devices.outages import outage_page, unwatched
from patchherd.devices.selection import selected, split_values
from patchherd.settings import Settings


class LegacyDevice(msgspec.Struct, frozen=True, gc=False):
    """One row, its fields in the documented order."""

    agent_id: str
    agent_version: str | None
    hostname: str
    id: int
    ip_address: str | None
    last_heartbeat: str | None
    last_seen: str | None
    os_architecture: str | None
    os_name: str | None
    os_version: str | None
    status: str
    updated_at: str | None


COLUMNS = (
    Device.uuid, Device.agent_version, Device.hostname, Device.friendly_name, Device.id, Device.ip_address,
    Device.last_heartbeat, Device.os_architecture, Device.os_name, Device.os_version, Device.updated_at,
)  # fmt: skip


def rfc1123(moment: datetime | None) -> str | None:
    """`Tue, 17 Feb 2026 06:03:22 GMT` (RFC 9110 section 5.6.7), or None."""
    return None if moment is None else http_date(moment)


class Dates(dict[int, str]):
    """Milliseconds since the epoch -> the same as `rfc1123`; many devices share few seconds and fewer days."""

    def __init__(self) -> None:
        self.days: dict[int, str] = {}

    def __missing__(self, milliseconds: int) -> str:
        seconds = milliseconds // 1000
        day, rest = divmod(seconds, 86_400)
        if day not in self.days:
            self.days[day] = http_date(datetime.fromtimestamp(day * 86_400, UTC))[:17]
        minutes, second = divmod(rest, 60)
        hour, minute = divmod(minutes, 60)
        text = f"{self.days[day]}{hour:02}:{minute:02}:{second:02} GMT"
        self[milliseconds] = text
        return text


def encode_devices(settings: Settings, filters: Mapping[str, Any]) -> bytes:
    """The JSON answer `{"count", "devices"}` of all devices that fit, by id: one query, no objects in between."""
    moment = now()
    query = Device.select(*COLUMNS).where(selected(settings, filters, moment)).order_by(Device.id)
    limit = Device.last_heartbeat.db_value(moment - timedelta(seconds=settings.online_seconds))
    dates = Dates()
    devices = []
    for uuid, version, hostname, friendly, number, address, beat, machine, os_name, os_version, updated in db.execute(
        query
    ):
        seen = None if beat is None else dates[beat]
        status = "ONLINE" if beat is not None and beat >= limit else "OFFLINE"
        devices.append(
            LegacyDevice(
                uuid, version, hostname or friendly, number, address, seen, seen, machine, os_name, os_version, status,
                dates[updated],
            )
        )  # fmt: skip
    return msgspec.json.encode({"count": len(devices), "devices": devices})


def heartbeats(settings: Settings, filters: Mapping[str, Any]) -> dict[str, Any]:
    """When each agent that fits was heard of; asked for exactly one agent, its fields stand beside the list, too."""
    moment = now()
    limit = moment - timedelta(seconds=settings.online_seconds)
    columns = (Device.uuid, Device.hostname, Device.friendly_name, Device.last_heartbeat)
    query = Device.select(*columns).where(selected(settings, filters, moment)).order_by(Device.id)
    agents = []
    for uuid, hostname, friendly, beat in query.tuples():
        seconds = None if beat is None else max(0, int((moment - beat).total_seconds()))
        agents.append(
            {
                "agent_id": uuid,
                "hostname": hostname or friendly,
                "last_heartbeat": rfc1123(beat),
                "server_time": rfc1123(moment),
                "time_ago": _in_words(seconds),
                "seconds_ago": seconds,
                "status": "ONLINE" if beat is not None and beat >= limit else "OFFLINE",
            }
        )
    single = agents[0] if len(agents) == 1 and len(split_values(filters.get("agent_id"))) == 1 else {}
    return {"count": len(agents), "server_time": rfc1123(moment), **single, "agents": agents}


def _in_words(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if number := seconds // size:
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    return f"{seconds} second{'' if seconds == 1 else 's'} ago"


def outages(filters: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """The newest outages that fit, and in `unwatched` the times that the server itself was away."""
    page = outage_page(filters, limit=limit)
    rows = [
        {
            **{name: row[name] for name in ("id", "agent_id", "hostname", "duration_seconds")},
            "down_start": rfc1123(row["down_start"]),
            "down_end": rfc1123(row["down_end"]),
        }
        for row in page.rows
    ]
    away = unwatched(filters.get("since"), filters.get("until"))
    return {
        "count": len(rows),
        "total": page.total,
        "outages": rows,
        "unwatched": [{name: rfc1123(moment) for name, moment in row.items()} for row in away],
    }
