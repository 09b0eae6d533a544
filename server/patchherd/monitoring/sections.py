# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The parts of an inventory: checked, made comparable, packed.

What changes from one report to the next without being news (the time, free memory) is kept apart as readings, so that
a report of an unchanged machine is an equal report.
"""

from __future__ import annotations

import hashlib
import zlib
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from patchherd.errors import TooLarge, invalid

KNOWN = ("hardware", "software", "network", "domain", "antivirus", "office")
OBJECTS = frozenset({"hardware", "software", "domain"})
"""The others may be lists, too."""
OTHER = "other"
"""Section of values that stand beside the sections."""
ENVELOPE = frozenset({"agent_id", "asset_id", "hostname", "timestamp", "agent_version"})
READINGS = frozenset(
    {"report_date", "timestamp", "collected_at", "available_ram_gb", "available_disk_gb", "used_ram_gb", "used_disk_gb",
     "cpu_usage", "cpu_percent", "memory_percent", "disk_percent", "uptime", "uptime_seconds"}
)  # fmt: skip
MAX_SECTIONS = 64
MAX_NAME = 64
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_READING = 64


class Section(NamedTuple):
    """One section in canonical form."""

    content: Any
    text: bytes
    digest: str
    readings: dict[str, Any]


def split(body: dict[str, Any]) -> dict[str, Any]:
    """The sections of an inventory by name; sections that are null are not told. Raises BadRequest."""
    found: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    for name, value in body.items():
        if name in ENVELOPE or value is None:
            continue
        if name in KNOWN:
            if not isinstance(value, dict if name in OBJECTS else dict | list):
                raise invalid(name, "an object is needed")
            found[name] = value
        elif isinstance(value, dict | list) and len(name) <= MAX_NAME and name != OTHER:
            found[name] = value
        else:
            beside[name] = value
    if beside:
        found[OTHER] = beside
    if len(found) > MAX_SECTIONS:
        raise invalid("", f"at most {MAX_SECTIONS} sections are taken")
    return found


def canonical(name: str, value: Any) -> Section:
    """A section as it is compared and stored. Raises BadRequest for one too deep, TooLarge for one too large."""
    readings: dict[str, Any] = {}
    if isinstance(value, dict):
        readings = {key: item for key, item in value.items() if key in READINGS and _is_short(item)}
        value = {key: item for key, item in value.items() if key not in readings}
    try:
        text = msgspec.json.encode(value, order="sorted")
    except RecursionError:
        raise invalid(name, f"at most {MAX_DEPTH} levels are taken") from None
    if len(text) > MAX_BYTES:
        raise TooLarge("Request body too large", f"{name}: a section may have {MAX_BYTES} bytes")
    return Section(value, text, hashlib.sha256(text).hexdigest()[:32], readings)


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) <= MAX_READING


def check_depth(name: str, value: Any) -> None:
    """Refuse what no reader could show. Raises BadRequest."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for parent in level
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise invalid(name, f"at most {MAX_DEPTH} levels are taken")


def pack(text: bytes) -> bytes:
    """Compressed JSON text."""
    return zlib.compress(text, 6)


def unpack(packed: bytes) -> Any:
    """The value of compressed JSON text."""
    return msgspec.json.decode(zlib.decompress(packed))


def parse_moment(value: Any, field: str) -> datetime:
    """A time as agents write it: ISO 8601, UTC when it names no zone, or seconds since 1970. Raises BadRequest."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise invalid(field, "an ISO 8601 time is needed", value=value) from None
