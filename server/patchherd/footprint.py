# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Memory that a process does not need."""

from __future__ import annotations

import sys

from patchherd.settings import Settings


def spare_unused_drivers(settings: Settings) -> None:
    """Keep psycopg out of a process that will never speak to PostgreSQL; call it before anything imports peewee.

    Peewee imports every driver that is installed. A None in sys.modules makes an import fail, as the language
    reference says (5.3.1), and saves about 10 MB in each process.
    """
    if settings.on_sqlite and not settings.queue_url.startswith("postgres"):
        sys.modules.setdefault("psycopg", None)  # type: ignore[arg-type]
