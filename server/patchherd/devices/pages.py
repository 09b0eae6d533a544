# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The native device list: pages, and the same rows as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from patchherd.database import connection, now
from patchherd.devices.fields import FIELDS, Shown, columns_of, sort_keys, view
from patchherd.devices.groups import group_names
from patchherd.devices.models import Device
from patchherd.devices.selection import selected
from patchherd.devices.tags import tags_of
from patchherd.paging import cursor, cursor_columns, ordered
from patchherd.settings import Settings

EXPORT_BATCH = 500


class Page(NamedTuple):
    """Rows as they are shown, the cursor of the page behind (None: this is the last), how many rows all pages have."""

    rows: list[dict[str, Any]]
    following: str | None
    total: int


def device_page(
    settings: Settings,
    filters: Mapping[str, Any],
    *,
    sort: Sequence[str] = (),
    fields: Sequence[str] = (),
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """One page of devices; four queries at most. Raises BadRequest for an `after` that no page gave."""
    rows, following = _rows(settings, filters, sort, fields, after, limit)
    if after is None and following is None:
        return Page(rows, None, len(rows))
    return Page(rows, following, Device.select().where(selected(settings, filters, now())).count())


def _rows(
    settings: Settings, filters: Mapping[str, Any], sort: Sequence[str], fields: Sequence[str], after: str | None,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:  # fmt: skip
    shown, names = Shown(settings, now()), list(fields or FIELDS)
    keys = sort_keys(sort, shown)
    query = Device.select(Device.id, *cursor_columns(keys)).where(selected(settings, filters, shown.moment))
    found = list(ordered(query, keys, after).limit(limit + 1).namedtuples())
    following = cursor(keys, found[limit - 1]) if len(found) > limit else None
    ids = [row.id for row in found[:limit]]
    # The whole rows of one page only: choosing and sorting are done on what the index has.
    rows = {row.id: row for row in Device.select(*columns_of(names)).where(Device.id.in_(ids)).namedtuples()}
    if "groups" in names:
        shown.groups = group_names(settings, ids)
    if "tags" in names:
        shown.tags = tags_of(ids)
    return [view(rows[number], shown, names) for number in ids if number in rows], following


# -- export ----------------------------------------------------------------------------------------------------------


def export(
    settings: Settings, format_: str, filters: Mapping[str, Any], sort: Sequence[str], fields: Sequence[str]
) -> Iterator[bytes]:
    """The rows of all pages as `csv` or `jsonl`, made while they are read: memory does not depend on their number.

    Raises what the first page raises before anything is sent.
    """
    names = list(fields or FIELDS)
    first = _rows(settings, filters, sort, names, None, EXPORT_BATCH)
    encode: Callable[[list[dict[str, Any]]], bytes] = _json_lines if format_ == "jsonl" else _csv
    head = b"" if format_ == "jsonl" else _csv([{name: name for name in names}])

    def parts() -> Iterator[bytes]:
        rows, following = first
        yield head + encode(rows)
        while following:
            with connection():
                rows, following = _rows(settings, filters, sort, names, following, EXPORT_BATCH)
            yield encode(rows)

    return parts()


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """A value as text that no spreadsheet takes for a formula: hosts choose their names themselves."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ";".join(map(str, value))
    if not isinstance(value, str):
        value = msgspec.json.encode(value).decode().strip('"')
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
