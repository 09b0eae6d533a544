# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What agents tell of themselves: lines of their logs, and errors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from patchherd.database import chunked, now, write_transaction
from patchherd.devices.models import Device
from patchherd.devices.registry import clean_text
from patchherd.errors import invalid
from patchherd.monitoring.agents import Known
from patchherd.monitoring.models import AgentMessage
from patchherd.monitoring.sections import parse_moment

LISTS = ("logs", "errors", "entries")
TEXTS = ("message", "msg", "error", "error_message", "text")
TIMES = ("timestamp", "time", "at")
MAX_MESSAGES = 500
MAX_TEXT = 10_000
MAX_DETAILS = 10_000
MAX_KEPT = 1000
"""Of each device; the oldest go first."""
LEVELS = {"log": "info", "error": "error"}


def receive_messages(known: Known, kind: str, body: Any) -> int:
    """Store the messages of a request: one object, a list of them, or such a list under logs, errors or entries.

    Returns how many. Raises BadRequest.
    """
    entries, path = _entries(body)
    if len(entries) > MAX_MESSAGES:
        raise invalid(path, f"at most {MAX_MESSAGES} messages are taken at once")
    moment = now()
    rows = [_row(known, kind, entry, f"{path}[{at}]" if path else "", moment) for at, entry in enumerate(entries)]
    if not rows:
        return 0
    with write_transaction():
        for part in chunked(rows, 7):
            AgentMessage.insert_many(part).execute()
        mine = AgentMessage.device == known.device_id
        newest = AgentMessage.select(AgentMessage.id).where(mine).order_by(AgentMessage.id.desc())
        oldest_kept = newest.offset(MAX_KEPT - 1).limit(1).scalar()
        if oldest_kept is not None:
            AgentMessage.delete().where(mine & (AgentMessage.id < oldest_kept)).execute()
    return len(rows)


def _entries(body: Any) -> tuple[list[Any], str]:
    if isinstance(body, list):
        return body, "body"
    if not isinstance(body, dict):
        raise invalid("", "an object or a list of objects is needed")
    for name in LISTS:
        if isinstance(body.get(name), list):
            return body[name], name
    return [body], ""


def _row(known: Known, kind: str, entry: Any, path: str, moment: datetime) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {"message": entry}
    if not isinstance(entry, dict):
        raise invalid(path, "an object or a text is needed")
    key = next((name for name in TEXTS if isinstance(entry.get(name), str) and entry[name].strip()), None)
    if key is None:
        raise invalid(f"{path}.message".lstrip("."), "a text is needed")
    when = next((name for name in TIMES if entry.get(name) is not None), None)
    at = parse_moment(entry[when], f"{path}.{when}".lstrip(".")) if when else moment
    details = {name: value for name, value in entry.items() if name not in {key, when, "level", "agent_id"}}
    if len(msgspec.json.encode(details)) > MAX_DETAILS:
        raise invalid(path, f"a message may have {MAX_DETAILS} bytes besides its text")
    return {
        "device": known.device_id,
        "kind": kind,
        "level": (clean_text(entry.get("level"), 16) or LEVELS[kind]).lower(),
        "message": entry[key].strip()[:MAX_TEXT],
        "details": details,
        "at": at,
        "received_at": moment,
    }


def list_messages(device: Device, *, kind: str | None, limit: int, before: int | None) -> dict[str, Any]:
    """One page of what a device's agent told of itself, newest first."""
    query = AgentMessage.select().where(AgentMessage.device == device.id)
    if kind is not None:
        query = query.where(AgentMessage.kind == kind)
    if before is not None:
        query = query.where(AgentMessage.id < before)
    found = list(query.order_by(AgentMessage.id.desc()).limit(limit + 1))
    return {"messages": found[:limit], "next": found[limit - 1].id if len(found) > limit else None}
