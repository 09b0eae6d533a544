# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A deployment's progress as Server-Sent Events, read from the database: any process can serve any deployment."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import msgspec

from patchherd.database import connection
from patchherd.deployments import orders
from patchherd.deployments.models import OPEN_STATES
from patchherd.errors import TooManyRequests

POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15
LIFE_SECONDS = 600
"""A stream ends after this; EventSource clients reconnect and go on where they were."""

_open_streams = threading.BoundedSemaphore(8)


class Progress:
    """Messages `event` (ids as in the events endpoint), `deployment` (its summary changed) and `end`.

    A stream occupies a request thread, so their number is bounded: raises TooManyRequests before the first message.
    It counts until it ends or is closed, which servers also do with one that they never read, as after a HEAD request.
    """

    def __init__(self, deployment_id: int, after: int) -> None:
        if not _open_streams.acquire(blocking=False):
            raise TooManyRequests("Too many open streams", headers={"Retry-After": "5"})
        self._messages = _messages(deployment_id, after)
        self._is_open = True

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._messages
        finally:
            self.close()

    def close(self) -> None:
        try:
            self._messages.close()
        finally:
            if self._is_open:
                self._is_open = False
                _open_streams.release()


def _messages(deployment_id: int, after: int) -> Generator[str]:
    shown: dict[str, Any] | None = None
    started = last = time.monotonic()
    while time.monotonic() - started < LIFE_SECONDS:
        with connection():
            summary = orders.brief(deployment_id)
            events = orders.events_after(deployment_id, after, 1000)
        for event in events:
            after = event["id"]
            yield _message("event", event, after)
        if summary != shown:
            shown = summary
            yield _message("deployment", summary, after)
        if summary["state"] not in OPEN_STATES and not events:
            yield _message("end", {"state": summary["state"]}, after)
            return
        moment = time.monotonic()
        if events:
            last = moment
        elif moment - last > KEEP_ALIVE_SECONDS:
            last = moment
            yield ": keep-alive\n\n"
        if not events:
            time.sleep(POLL_SECONDS)


def _message(kind: str, data: Any, number: int) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {msgspec.json.encode(data).decode()}\n\n"
