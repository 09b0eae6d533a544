# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The threads that answer requests: gunicorn's, except that one stays with a connection whose next request is near.

gunicorn hands a kept connection back to its main thread after every request and from there to a thread again, two
changes of thread that cost more than a small request itself.
"""

from __future__ import annotations

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

STAY_MILLISECONDS = 5
"""Who sends one request after another does it sooner; for a thread it is little to lose."""


class Worker(ThreadWorker):
    """A worker class for gunicorn's command line."""

    def handle(self, conn: Any) -> Any:
        """Answer requests of this connection while they follow each other and no other connection waits for a thread.

        What gunicorn's own does with one request; the outcome is that of the last.
        """
        outcome = super().handle(conn)
        if outcome is not True:
            return outcome
        sent = select.poll()
        sent.register(conn.sock, select.POLLIN)
        while outcome is True and self.alive and self._none_waits():
            if not conn.parser.unreader.buf.getvalue() and not sent.poll(STAY_MILLISECONDS):
                break
            outcome = super().handle(conn)
        return outcome

    def _none_waits(self) -> bool:
        return bool(self.tpool._work_queue.empty())
