# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Tags: small words that operators hang on devices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import peewee

from patchherd.database import now, write_transaction
from patchherd.devices import history
from patchherd.devices.models import Device, DeviceTag
from patchherd.errors import NotFound, invalid
from patchherd.identity import audit

MAX_TAGS = 64
"""Of one device."""
_TAG = re.compile(r"^[a-z0-9][a-z0-9_.:-]{0,63}\Z")
RULE = "1 to 64 of the characters a-z 0-9 _ . : - are needed, a letter or digit first"


def clean_tags(texts: Iterable[str], path: str = "tags", location: str = "body") -> list[str]:
    """The tags in lower case, sorted, each once. Raises BadRequest for what is no tag, and for too many."""
    found = set()
    for text in texts:
        tag = text.strip().lower()
        if not _TAG.match(tag):
            raise invalid(path, RULE, location, text)
        found.add(tag)
    if len(found) > MAX_TAGS:
        raise invalid(path, f"a device has at most {MAX_TAGS} tags", location)
    return sorted(found)


def replace(device: Device, tags: list[str]) -> None:
    """Make these clean tags the tags of a device, inside a transaction."""
    known = set(tags_of([device.id]).get(device.id, []))
    if known == set(tags):
        return
    DeviceTag.delete().where(DeviceTag.device == device).execute()
    if tags:
        DeviceTag.insert_many([{"device": device.id, "tag": tag} for tag in tags]).execute()
    detail = {"added": sorted(set(tags) - known), "removed": sorted(known - set(tags))}
    history.note(device.id, "tags_changed", detail)


def add(device: Device, texts: list[str]) -> list[str]:
    """Hang more tags on a device; all that it has then."""
    with write_transaction():
        known = tags_of([device.id]).get(device.id, [])
        tags = clean_tags([*known, *clean_tags(texts)])
        _store(device, known, tags)
    return tags


def remove(device: Device, text: str) -> list[str]:
    """Take one tag off; those that are left. Raises NotFound when the device does not have it."""
    with write_transaction():
        known = tags_of([device.id]).get(device.id, [])
        tag = text.strip().lower()
        if tag not in known:
            raise NotFound("Tag not found", f"{device.hostname or device.friendly_name} has no tag {text[:80]}")
        tags = [other for other in known if other != tag]
        _store(device, known, tags)
    return tags


def _store(device: Device, known: list[str], tags: list[str]) -> None:
    replace(device, tags)
    Device.update(updated_at=now()).where(Device.id == device.id).execute()
    audit.record("device.tags", "device", device.uuid, before={"tags": known}, after={"tags": tags})


def tags_of(device_ids: Iterable[int]) -> dict[int, list[str]]:
    """Device id -> its tags, sorted; one query a thousand devices, or one for all when there are more."""
    wanted = list(device_ids)
    rows = DeviceTag.select(DeviceTag.device, DeviceTag.tag).order_by(DeviceTag.tag)
    if len(wanted) <= 1000:
        rows = rows.where(DeviceTag.device.in_(wanted))
    found: dict[int, list[str]] = {}
    for device, tag in rows.tuples():
        found.setdefault(device, []).append(tag)
    return found


def all_tags() -> list[dict[str, Any]]:
    """Every tag in use with the number of living devices that have it."""
    count = peewee.fn.COUNT(Device.id)
    rows = DeviceTag.select(DeviceTag.tag, count).join(Device).where(Device.deleted_at.is_null())
    counted = rows.group_by(DeviceTag.tag).order_by(DeviceTag.tag)
    return [{"tag": tag, "devices": number} for tag, number in counted.tuples()]


def has_tags(tags: list[str]) -> Any:
    """The condition for devices that have any of these tags."""
    return Device.id.in_(DeviceTag.select(DeviceTag.device).where(DeviceTag.tag.in_(tags)))


def unite(keep: Device, others: list[Device]) -> None:
    """Give one device the tags of others, too; its own count first where they are too many together."""
    own = tags_of([keep.id]).get(keep.id, [])
    theirs = {tag for tags in tags_of([device.id for device in others]).values() for tag in tags}
    replace(keep, [*own, *sorted(theirs - set(own))][:MAX_TAGS])
