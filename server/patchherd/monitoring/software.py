# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The programs of a device: rows are written for what differs from the last list, and for nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

import peewee

from patchherd.database import chunked
from patchherd.devices.registry import clean_text
from patchherd.errors import invalid
from patchherd.monitoring.models import NAME_LENGTH, VERSION_LENGTH, DeviceSoftware, SoftwareTitle
from patchherd.packages.versions import loose_key

MAX_ITEMS = 20_000
FIELD = "software.installed_software"

Title = tuple[str, str, str]
"""(name, version, vendor)"""


class Installed(NamedTuple):
    """A program of a device as it is stored."""

    id: int
    install_date: str | None


def read_list(section: dict[str, Any]) -> dict[Title, str | None] | None:
    """Title -> date of installation; None when the section holds no list, or an empty one that it contradicts itself.

    Raises BadRequest. Entries without a name, as registries have them, stay in the snapshot only.
    """
    items = section.get("installed_software")
    if items is None:
        return None
    if not isinstance(items, list):
        raise invalid(FIELD, "a list is needed")
    if len(items) > MAX_ITEMS:
        raise invalid(FIELD, f"at most {MAX_ITEMS} programs are taken")
    total = section.get("total_software")
    if not items and isinstance(total, int) and total > 0:
        return None
    found: dict[Title, str | None] = {}
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            raise invalid(f"{FIELD}[{position}]", "an object is needed", value=item)
        name = clean_text(_first(item, "software_name", "name", "display_name"), NAME_LENGTH)
        if name is None:
            continue
        version = clean_text(_first(item, "version", "display_version"), VERSION_LENGTH) or ""
        vendor = clean_text(_first(item, "vendor", "publisher"), NAME_LENGTH) or ""
        found[name, version, vendor] = clean_date(item.get("install_date"))
    return found


def _first(item: dict[str, Any], *names: str) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def clean_date(value: Any) -> str | None:
    """`2024-01-15` of the forms that installers write: 20240115, ISO 8601; None for what is none of these."""
    text = str(value or "").strip()
    if re.fullmatch(r"[0-9]{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return None


def write_list(device_id: int, wanted: dict[Title, str | None], seen_before: datetime | None, moment: datetime) -> None:
    """Make these the programs of a device. Call it inside the transaction that stores the snapshot.

    `seen_before`: when the list before this one was last confirmed; what is gone was seen then for the last time.
    """
    known = _rows_of(device_id)
    new = [title for title in wanted if title not in known]
    if new:
        _add(device_id, intern(new), wanted, moment)
    gone = [row.id for title, row in known.items() if title not in wanted]
    _update(device_id, gone, last_seen=seen_before or moment, removed_at=moment)
    dated: dict[str | None, list[int]] = defaultdict(list)
    for title, row in known.items():
        if title in wanted and wanted[title] != row.install_date:
            dated[wanted[title]].append(row.id)
    for day, titles in dated.items():
        _update(device_id, titles, install_date=day)


def _add(device_id: int, ids: dict[Title, int], dates: dict[Title, str | None], moment: datetime) -> None:
    """Add programs; those that were there once come back."""
    row = DeviceSoftware
    rows = [
        {"device": device_id, "title": number, "install_date": dates[title], "first_seen": moment}
        for title, number in ids.items()
    ]
    back = {row.last_seen: None, row.removed_at: None, row.install_date: peewee.EXCLUDED.install_date}
    for part in chunked(rows, 4):
        row.insert_many(part).on_conflict(conflict_target=[row.device, row.title], update=back).execute()


def _rows_of(device_id: int) -> dict[Title, Installed]:
    title, row = SoftwareTitle, DeviceSoftware
    columns = (title.name, title.version, title.vendor, title.id, row.install_date)
    query = row.select(*columns).join(title).where((row.device == device_id) & row.removed_at.is_null())
    return {cells[:3]: Installed(cells[3], cells[4]) for cells in query.tuples()}


def _update(device_id: int, titles: list[int], **columns: Any) -> None:
    for part in chunked(titles, 1):
        DeviceSoftware.update(**columns).where(
            (DeviceSoftware.device == device_id) & DeviceSoftware.title.in_(part)
        ).execute()


def intern(titles: Iterable[Title]) -> dict[Title, int]:
    """The ids of these titles; unknown ones are added, whoever else adds them at the same time."""
    wanted = sorted(set(titles))  # everybody in one order, or two transactions wait for each other
    ids = _find(wanted)
    new = [title for title in wanted if title not in ids]
    rows = [
        {
            "name": name,
            "name_key": name.lower()[:NAME_LENGTH],
            "vendor": vendor,
            "version": version,
            "sort_key": loose_key(version),
        }
        for name, version, vendor in new
    ]
    for part in chunked(rows, 5):
        SoftwareTitle.insert_many(part).on_conflict_ignore().execute()
    return ids | _find(new)


def _find(titles: list[Title]) -> dict[Title, int]:
    wanted = set(titles)
    title = SoftwareTitle
    found: dict[Title, int] = {}
    for part in chunked(titles, 2):
        names, versions = {name for name, _, _ in part}, {version for _, version, _ in part}
        query = title.select(title.name, title.version, title.vendor, title.id)
        query = query.where(title.name.in_(sorted(names)) & title.version.in_(sorted(versions)))
        found |= {row[:3]: row[3] for row in query.tuples() if row[:3] in wanted}
    return found
