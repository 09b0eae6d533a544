# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The task queue: it only wakes workers up. What is to be done, and by whom, stands in the job ledger."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import structlog
from huey import Huey
from huey.api import TaskWrapper
from huey.serializer import SignedSerializer

from patchherd.errors import SettingsError
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.queue")

_run: Callable[[int], None] | None = None
"""What this process does with a job id; None: it only sends them."""


def wake_worker(settings: Settings, job_id: int) -> None:
    """Tell a worker about a queued job. A wake-up that gets lost is repeated by the reaper, so it never fails."""
    try:
        open_queue(settings)[1](job_id)
    except Exception:
        log.exception("worker cannot be woken", job=job_id)


def serve_queue(settings: Settings, run: Callable[[int], None]) -> Huey:
    """The queue, with `run` as what is done with each job id in this process."""
    global _run
    _run = run
    return open_queue(settings)[0]


@lru_cache(maxsize=4)
def open_queue(settings: Settings) -> tuple[Huey, TaskWrapper]:
    """The queue that `settings.queue_url` names (SQLite in the data directory, Redis or PostgreSQL), and its one task.

    Messages are signed: whoever can write to a shared broker cannot make a worker unpickle what it likes.
    """
    huey = _connect(settings)
    return huey, huey.task(name="run_job")(_run_job)


def _run_job(job_id: int) -> None:
    if _run is None:
        raise RuntimeError("only workers run jobs")
    _run(job_id)


def _connect(settings: Settings) -> Huey:
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
