# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Settings, database and tables for commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchherd import database, logs, schema
from patchherd.database import sqlite_file
from patchherd.errors import PatchherdError
from patchherd.settings import Settings, load_settings, with_secret_key


def open_server(data: Path, **overrides: Any) -> Settings:
    """Settings with a secret key, logs and database configured; what this process writes is its user's alone."""
    os.umask(0o077)
    settings = with_secret_key(load_settings(data, **overrides))
    logs.configure(settings)
    database.configure(settings.resolved_database_url)
    return settings


@contextlib.contextmanager
def database_of(data: Path) -> Iterator[Settings]:
    """An open connection to the database of an existing server. Raises PatchherdError when there is none in `data`."""
    known = load_settings(data)
    if not data.is_dir() or (known.on_sqlite and not sqlite_file(known.resolved_database_url).exists()):
        raise PatchherdError(f"{data}: no server has been started with this data directory")
    settings = open_server(data, log_level=os.environ.get("PATCHHERD_LOG_LEVEL", "warning"))
    pending = [name for name, applied in schema.status() if not applied]
    if pending:
        raise PatchherdError(f"the database lacks {', '.join(pending)}: run patchherd db migrate, or start the server")
    with database.connection():
        yield settings


def print_table(headings: list[str], rows: list[list[Any]]) -> None:
    """A table on standard output; None shows as a dash."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 400  # pipes and files have no edge to wrap at
    console.print(table)


def _text(cell: Any) -> str:
    if isinstance(cell, list):
        return ", ".join(map(str, cell)) or "-"
    return "-" if cell is None else str(cell)
