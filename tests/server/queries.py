# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Count what reaches the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from patchherd import database


@contextmanager
def queries() -> Iterator[list[str]]:
    """The SQL statements that the block sends, in order, from any thread."""
    seen: list[str] = []

    def note(event: Any) -> None:
        seen.append(event.sql.strip())

    hooks = database.db.obj.query_hooks
    hooks.append(note)
    try:
        yield seen
    finally:
        hooks.remove(note)
