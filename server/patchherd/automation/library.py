# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What scripts, software, images and profiles have in common: finding, pages, one writer at a time, free names."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_
from typing import Any, TypeVar

import peewee

from patchherd.database import BaseModel, now, write_transaction
from patchherd.devices.registry import MAX_ID
from patchherd.errors import BadRequest, NotFound, field_error, invalid
from patchherd.identity.locking import AUTOMATION, take_turn

Row = TypeVar("Row", bound=BaseModel)

SHOWN_USES = 50


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """A write transaction that no other change of the library overlaps: what was checked in it stays true."""
    with write_transaction():
        take_turn(AUTOMATION)
        yield


def find(model: type[Row], number: int, word: str) -> Row:
    """The row with this id. Raises NotFound, which calls it `word`."""
    row: Row | None = model.get_or_none(model.id == min(number, MAX_ID))
    if row is None:
        raise NotFound(f"{word} not found", f"no {word.lower()} {number}")
    return row


def page(
    query: Any, model: Any, fields: Iterable[Any], *, after: int, limit: int, search: str | None
) -> tuple[list[Any], int | None]:
    """Rows with an id above `after`, in order, whose `fields` contain `search`; and where the next page starts."""
    if search:
        query = query.where(reduce(or_, [field.contains(search) for field in fields]))
    rows = list(query.where(model.id > after).order_by(model.id).limit(limit + 1))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def refuse_taken(field: peewee.Field, value: str | None, besides: int | None = None) -> None:
    """Refuse a value that another row has already. Raises BadRequest."""
    taken = field.model.select(field.model.id).where((field == value) & (field.model.id != (besides or 0)))
    if value is not None and taken.exists():
        raise invalid(field.name, "already taken", value=value)


def refuse_used(word: str, uses: list[str]) -> None:
    """Refuse to delete what is in use, and tell by what. Raises BadRequest."""
    if not uses:
        return
    rows = [field_error("id", f"used by {use}", "path") for use in uses[:SHOWN_USES]]
    more = f" and {len(uses) - SHOWN_USES} more" if len(uses) > SHOWN_USES else ""
    raise BadRequest(f"{word} is in use", f"used by {', '.join(uses[:SHOWN_USES])}{more}", errors=rows)


def digest(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def facts(values: dict[str, Any]) -> dict[str, Any]:
    """Values for the audit trail, in which long texts are digests."""
    return {
        name: f"sha256:{digest(value)}" if name in {"content", "payload"} and value is not None else value
        for name, value in values.items()
    }


def differing(row: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` that the row does not have yet."""
    return {name: value for name, value in values.items() if getattr(row, name) != value}


def assign(row: Any, values: dict[str, Any]) -> None:
    """Set columns of a row and the moment of the change; the caller saves it."""
    for name, value in {**values, "updated_at": now()}.items():
        setattr(row, name, value)
