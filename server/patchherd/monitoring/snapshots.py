# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Snapshots: what was known of a device, and until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from patchherd.database import is_sqlite
from patchherd.devices.models import Device
from patchherd.errors import NotFound
from patchherd.monitoring.models import InventorySection, InventorySnapshot, MonitoringAgent, SnapshotSection
from patchherd.monitoring.sections import Section, pack, unpack


def add_snapshot(
    device_id: int,
    changed: dict[str, Section],
    *,
    moment: datetime,
    seen_before: datetime | None,
    agent_version: str | None,
    keep: int,
) -> None:
    """Store a new snapshot: these sections, and the others as they were. Call it inside the write transaction.

    `seen_before`: until when the snapshot before was confirmed; at most `keep` snapshots of the device stay.
    """
    snapshot = InventorySnapshot
    before = snapshot.select(snapshot.id).where((snapshot.device == device_id) & snapshot.last_seen.is_null())
    previous = [row[0] for row in before.tuples()]
    if previous:
        snapshot.update(last_seen=seen_before or moment).where(snapshot.id.in_(previous)).execute()
    number = snapshot.insert(device=device_id, first_seen=moment, agent_version=agent_version).execute()
    ids = {name: _store(section) for name, section in sorted(changed.items())}
    if previous:
        link = SnapshotSection
        kept = link.select(link.name, link.section).where(link.snapshot == max(previous))
        ids = dict(kept.tuples()) | ids
    rows = [{"snapshot": number, "name": name, "section": section} for name, section in ids.items()]
    SnapshotSection.insert_many(rows).execute()
    newest = snapshot.select(snapshot.id).where(snapshot.device == device_id).order_by(snapshot.id.desc())
    oldest_kept = newest.offset(keep - 1).limit(1).scalar()
    if oldest_kept is not None:
        snapshot.delete().where((snapshot.device == device_id) & (snapshot.id < oldest_kept)).execute()


def _store(section: Section) -> int:
    """The id of a section's content, new or not."""
    digest = bytes.fromhex(section.digest)
    lookup = InventorySection.select(InventorySection.id).where(InventorySection.digest == digest)
    if not is_sqlite():
        lookup = lookup.for_update("FOR KEY SHARE")  # nobody may drop it before this transaction refers to it
    found = lookup.tuples().first()
    if found is None:
        row = {"digest": digest, "size": len(section.text), "packed": pack(section.text)}
        InventorySection.insert(row).on_conflict_ignore().execute()
        found = lookup.tuples().first()
    return int(found[0])


def list_snapshots(device: Device, *, limit: int, before: int | None) -> dict[str, Any]:
    """One page of a device's snapshots, newest first, without their content."""
    snapshot = InventorySnapshot
    query = snapshot.select().where(snapshot.device == device.id).order_by(snapshot.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(snapshot.id < before)
    found = list(query)
    page = found[:limit]
    confirmed = _confirmed(device)
    names: dict[int, dict[str, int]] = {row.id: {} for row in page}
    link = SnapshotSection
    links = link.select(link.snapshot, link.name, InventorySection.size).join(InventorySection)
    for number, name, size in links.where(link.snapshot.in_(list(names))).order_by(link.name).tuples():
        names[number][name] = size
    return {
        "snapshots": [{**_head(row, confirmed), "sections": names[row.id]} for row in page],
        "next": page[-1].id if len(found) > limit else None,
    }


def get_snapshot(device: Device, number: int) -> dict[str, Any]:
    """One snapshot with its content; `readings` belong to the newest one. Raises NotFound."""
    snapshot = find_snapshot(device, number)
    agent = MonitoringAgent.get_or_none(MonitoringAgent.device == device.id)
    readings = agent.readings if agent is not None and snapshot.last_seen is None else None
    head = _head(snapshot, agent.seen_at if agent is not None else None)
    return {**head, "sections": load_sections(snapshot.id), "readings": readings}


def find_snapshot(device: Device, number: int) -> InventorySnapshot:
    """A snapshot of this device. Raises NotFound."""
    mine = (InventorySnapshot.id == number) & (InventorySnapshot.device == device.id)
    found = InventorySnapshot.get_or_none(mine)
    if found is None:
        raise NotFound("Snapshot not found", f"the device has no snapshot {number}")
    return found


def load_sections(snapshot_id: int) -> dict[str, Any]:
    """Section -> content of a snapshot."""
    query = SnapshotSection.select(SnapshotSection.name, InventorySection.packed).join(InventorySection)
    rows = query.where(SnapshotSection.snapshot == snapshot_id).order_by(SnapshotSection.name).tuples()
    return {name: unpack(bytes(packed)) for name, packed in rows}


def _confirmed(device: Device) -> datetime | None:
    row = MonitoringAgent.select(MonitoringAgent.seen_at).where(MonitoringAgent.device == device.id).tuples().first()
    return row[0] if row else None


def _head(snapshot: InventorySnapshot, confirmed: datetime | None) -> dict[str, Any]:
    current = snapshot.last_seen is None
    return {
        "id": snapshot.id,
        "first_seen": snapshot.first_seen,
        "last_seen": (confirmed or snapshot.first_seen) if current else snapshot.last_seen,
        "current": current,
        "agent_version": snapshot.agent_version,
    }
