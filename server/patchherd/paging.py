# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Pages of sorted lists. They begin after a row, not after a number of rows: what comes or goes moves nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import peewee

from patchherd.errors import invalid


class SortKey(NamedTuple):
    """One part of an order. Rows without a value come last, whichever the direction."""

    name: str
    expression: Any
    kind: type
    """str, int (moments, too, as milliseconds) or bool."""
    descending: bool = False
    nullable: bool = True

    @property
    def label(self) -> str:
        return f"-{self.name}" if self.descending else self.name


def ordered(query: Any, keys: Sequence[SortKey], after: str | None) -> Any:
    """The query in this order, from the row behind the cursor `after` on. The last key must be unique.

    Raises BadRequest for a cursor that no page of this order gave.
    """
    terms: list[Any] = []
    for key in keys:
        if key.nullable:
            terms.append(peewee.Case(None, ((key.expression.is_null(), 1),), 0))
        terms.append(key.expression.desc() if key.descending else key.expression.asc())
    query = query.order_by(*terms)
    return query.where(_beyond(keys, _decode(keys, after))) if after else query


def cursor_columns(keys: Sequence[SortKey]) -> list[Any]:
    """What a query has to select besides its own columns for `cursor`: key_0, key_1, …"""
    return [key.expression.alias(f"key_{number}") for number, key in enumerate(keys)]


def cursor(keys: Sequence[SortKey], row: Any) -> str:
    """The cursor that stands for this row, which has `cursor_columns`."""
    values = [_plain(getattr(row, f"key_{number}")) for number in range(len(keys))]
    raw = msgspec.json.encode([",".join(key.label for key in keys), *values])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _plain(value: Any) -> Any:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


def _decode(keys: Sequence[SortKey], text: str) -> list[Any]:
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
        order, *values = msgspec.json.decode(raw, type=list[str | int | bool | None])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        order, values = None, []
    fits = order == ",".join(key.label for key in keys) and len(values) == len(keys)
    if not fits or not all(_is_of(key, value) for key, value in zip(keys, values, strict=True)):
        raise invalid("after", "no page in this order gave this value", "query", text)
    return values


def _is_of(key: SortKey, value: Any) -> bool:
    if value is None:
        return key.nullable
    if isinstance(value, str):
        return key.kind is str and "\0" not in value
    if isinstance(value, bool):
        return key.kind is bool
    return isinstance(value, int) and key.kind is int and abs(value) < 2**62


def _beyond(keys: Sequence[SortKey], values: Sequence[Any]) -> Any:
    """The condition for rows behind the one with these values: the first key that differs decides."""
    alternatives: list[Any] = []
    same: list[Any] = []
    for key, value in zip(keys, values, strict=True):
        column = key.expression
        if value is not None:
            later = column < value if key.descending else column > value
            later = (later | column.is_null()) if key.nullable else later
            alternatives.append(_all([*same, later]))
        same.append(column.is_null() if value is None else column == value)
    condition = alternatives[0]
    for alternative in alternatives[1:]:
        condition |= alternative
    return condition


def _all(conditions: list[Any]) -> Any:
    whole = conditions[0]
    for condition in conditions[1:]:
        whole &= condition
    return whole
