# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Signs of life."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from peewee import Case

from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.devices.registry import touch_heartbeat
from patchherd.errors import BadRequest
from patchherd.identity.principal import Principal


class Ping(msgspec.Struct, frozen=True):
    """What a ping may carry; agents send more, which is ignored."""

    hashes: dict[str, Any] = {}
    metadata_updated: Any = msgspec.field(default=None, name="metadataUpdated")


def read_ping(raw: bytes) -> Ping:
    """The body of a ping; an empty one is fine. Raises BadRequest."""
    if not raw.strip():
        return Ping()
    try:
        body = msgspec.json.decode(raw)
        if isinstance(body, dict) and body.get("hashes") is None:
            body.pop("hashes", None)
        return msgspec.convert(body, Ping)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise BadRequest("Malformed JSON", str(exc)) from exc


def note_ping(principal: Principal, body: Ping, *, packages_known: bool) -> None:
    """Note that the host is alive; `packages_known`: what it has and misses is still what it reported last.

    That renews the evidence. A report that told the age of its package metadata needs a ping that tells it, too.
    """
    if principal.device_id is None:
        return
    if not packages_known:
        touch_heartbeat(principal.device_id)
        return
    moment = now()
    told = _moment(body.metadata_updated)
    untold = (Device.metadata_updated == Device.evaluated_at, Device.metadata_updated.db_value(moment))
    Device.update(
        last_heartbeat=moment,
        evaluated_at=moment,
        metadata_updated=min(told, moment) if told else Case(None, (untold,), Device.metadata_updated),
    ).where(Device.id == principal.device_id).execute()


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
