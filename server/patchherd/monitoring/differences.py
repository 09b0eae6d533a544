# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What changed between two snapshots: programs by name, everything else by path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from patchherd.devices.models import Device
from patchherd.errors import BadRequest
from patchherd.monitoring.snapshots import find_snapshot, load_sections
from patchherd.monitoring.software import read_list
from patchherd.packages.versions import loose_key

MAX_ROWS = 1000
"""Of each kind; `truncated` tells that there were more."""
_ABSENT = object()


def compare(device: Device, first: int, second: int) -> dict[str, Any]:
    """The differences from snapshot `first` to snapshot `second`. Raises NotFound."""
    old = load_sections(find_snapshot(device, first).id)
    new = load_sections(find_snapshot(device, second).id)
    lists = [_programs(sections) for sections in (old, new)]
    software = _compare_programs(*lists)
    fields = []
    for name in sorted(old.keys() | new.keys()):
        fields += list(_walk(name, old.get(name, _ABSENT), new.get(name, _ABSENT)))
    kinds = {**software, "fields": fields}
    return {
        "from": first,
        "to": second,
        "software": {name: rows[:MAX_ROWS] for name, rows in software.items()},
        "fields": fields[:MAX_ROWS],
        "truncated": any(len(rows) > MAX_ROWS for rows in kinds.values()),
    }


def _programs(sections: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """(name, vendor) -> versions; the list is taken out of its section, whose other fields are compared as fields."""
    section = sections.get("software")
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    if not isinstance(section, dict):
        return found
    try:
        titles = read_list(section)
    except BadRequest:  # it was taken before this version knew the rule
        return found
    for name, version, vendor in titles or {}:
        found[name, vendor].append(version)
    sections["software"] = {key: value for key, value in section.items() if key != "installed_software"}
    return found


def _compare_programs(old: dict[tuple[str, str], list[str]], new: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    added, removed, changed = [], [], []
    for name, vendor in sorted(old.keys() | new.keys()):
        program = {"name": name, "vendor": vendor or None}
        before, after = (set(versions.get((name, vendor), ())) for versions in (old, new))
        gone, come = (sorted(part, key=loose_key) for part in (before - after, after - before))
        if len(gone) == len(come) == 1:
            changed.append({**program, "from": gone[0] or None, "to": come[0] or None})
            continue
        removed += [{**program, "version": version or None} for version in gone]
        added += [{**program, "version": version or None} for version in come]
    return {"added": added, "removed": removed, "changed": changed}


def _walk(path: str, old: Any, new: Any) -> Iterator[dict[str, Any]]:
    """The leaves that differ; of a branch that only one side has, the branch."""
    if old == new and type(old) is type(new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _walk(f"{path}.{key}", old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for position in range(max(len(old), len(new))):
            pair = (side[position] if position < len(side) else _ABSENT for side in (old, new))
            yield from _walk(f"{path}[{position}]", *pair)
    else:
        change = "added" if old is _ABSENT else "removed" if new is _ABSENT else "changed"
        yield {"path": path, "change": change, "from": _shown(old), "to": _shown(new)}


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value
