# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A small HTTP client for measuring: kept connections, a fixed number of requests, every answer checked."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Call:
    """A request and the status that answers it."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


class Client:
    """One connection to a server that is kept open."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.connection.close()

    def send(self, call: Call) -> tuple[float, http.client.HTTPResponse, bytes]:
        """Milliseconds until the whole answer was there, the answer, its body."""
        started = time.perf_counter()
        self.connection.request(call.method, call.path, call.body, call.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        spent = (time.perf_counter() - started) * 1e3
        assert answer.status == call.status, f"{call.method} {call.path}: {answer.status} {body[:500]!r}"
        return spent, answer, body


def run_all(url: str, calls: Sequence[Call], connections: int) -> tuple[float, list[float]]:
    """Send all calls over so many connections, each with one request at a time: requests/s, milliseconds of each."""

    def send_share(number: int) -> list[float]:
        with Client(url) as client:
            return [client.send(call)[0] for call in calls[number::connections]]

    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        shares = list(pool.map(send_share, range(connections)))
    seconds = time.perf_counter() - started
    return len(calls) / seconds, [spent for share in shares for spent in share]
