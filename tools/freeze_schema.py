#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Write the SQL of the first migration from the models, for both databases. Only for use before a release.

    .venv/bin/python -m tools.freeze_schema

Later changes of the models get migrations of their own, by hand.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from peewee import sort_models

from patchherd import database, schema
from tests.services import PostgresServer, find_postgres

HEAD = "-- SPDX-License-Identifier: Apache-2.0\n-- Copyright (c) 2026, Patchherd contributors\n"


def freeze(url: str, target: Path) -> None:
    """Record the statements that create all tables on the database at `url`."""
    statements: list[str] = []

    def record(*args: Any) -> None:
        sql = str(args[0] if isinstance(args[0], str) else args[1])
        if sql.upper().startswith("CREATE"):
            statements.append(sql.replace(" IF NOT EXISTS", ""))

    bound = database.configure(url)
    with database.connection():
        execute = bound.execute_sql
        bound.execute_sql = lambda sql, *rest, **options: (record(sql), execute(sql, *rest, **options))[1]  # type: ignore[method-assign]
        for model in sort_models(schema.all_models()):
            model.create_table()
    database.close_all()
    target.write_text(HEAD + "\n;\n".join(statements) + "\n")
    print(f"{target.name}: {len(statements)} statements")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        freeze(f"sqlite:///{directory}/frozen.db", schema.MIGRATIONS / "0001_initial.sqlite.sql")
    programs = find_postgres()
    if programs is None:
        raise SystemExit("PostgreSQL is needed")
    server = PostgresServer(programs)
    server.start()
    try:
        freeze(server.url(server.create_database()), schema.MIGRATIONS / "0001_initial.postgresql.sql")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
