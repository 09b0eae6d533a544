# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The task queue: it only wakes workers up. What is to be done, and by whom, stands in the job ledger."""

from __future__ import annotations

from functools import lru_cache

from huey import Huey
from huey.serializer import SignedSerializer

from patchherd.errors import SettingsError
from patchherd.settings import Settings

RUN_JOB = "patchherd.run_job"


@lru_cache(maxsize=4)
def open_queue(settings: Settings) -> Huey:
    """The queue that `settings.queue_url` names: SQLite in the data directory, Redis or PostgreSQL.

    Messages are signed: whoever can write to a shared broker cannot make a worker unpickle what it likes.
    """
    serializer = SignedSerializer(secret=settings.secret_key, salt="patchherd-queue")
    options = {"name": "patchherd", "results": False, "serializer": serializer}
    url = settings.queue_url
    if not url:
        from huey import SqliteHuey

        return SqliteHuey(filename=str(settings.data / "queue.db"), cache_mb=1, **options)
    if url.startswith(("redis://", "rediss://", "unix://")):
        from huey import RedisHuey

        return RedisHuey(url=url, **options)
    if url.startswith(("postgresql://", "postgres://")):
        from huey import PostgresHuey

        return PostgresHuey(dsn=url, **options)
    raise SettingsError("queue_url: redis://…, postgresql://… or nothing (SQLite) is needed")
