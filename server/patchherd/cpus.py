# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""On which CPUs the API works; gunicorn reads this module as its configuration.

Python runs one thread of a process at a time. With several CPUs, each turn wakes a thread on another one, which costs
more than a small request does. So a process that answers all requests alone stays on one CPU, except for what needs no
turn.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

_left: set[int] = set()
"""The CPUs that this process could use before it took one of them; empty when it did not."""


def post_fork(server: Any, worker: Any) -> None:
    """gunicorn's hook: the only worker, and all threads that it starts from now on, stay on one CPU."""
    allowed = sorted(os.sched_getaffinity(0))
    if worker.cfg.workers > 1 or len(allowed) < 2:
        return
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.sched_setaffinity(0, {allowed[worker.age % len(allowed)]})
        _left.update(allowed)


@contextlib.contextmanager
def anywhere() -> Iterator[None]:
    """Let this thread use all CPUs, for long work that Python's lock does not hold back."""
    if not _left:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _left)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)
