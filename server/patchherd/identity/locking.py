# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Turn-taking between transactions where no row exists yet that could be locked."""

from __future__ import annotations

from patchherd.database import db, is_sqlite

AUDIT_CHAIN = 0x70617401
USERS = 0x70617402
AUTOMATION = 0x70617406
REGISTRATION = 0x70617416
MONITORING_AGENTS = 0x7061740A
AGENT_RELEASES = 0x7061740B


def take_turn(lock: int) -> None:
    """Wait until no other open transaction holds `lock`; it is held to the end of the current write transaction.

    SQLite lets only one transaction write anyway.
    """
    if not is_sqlite():
        db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (lock,))
