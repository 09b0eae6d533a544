# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A small HTTP client for measuring: kept connections, a fixed number of requests, every answer checked."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Call:
    """A request and the status that answers it."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""


class Client:
    """One connection to a server that is kept open; it costs the machine as little as a client can in Python."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.socket.close()

    def send(self, call: Call) -> tuple[float, Answer, bytes]:
        """Milliseconds until the whole answer was there, the answer, its body."""
        body = call.body or b""
        headers = {"Host": self.host, "Content-Length": str(len(body)), **call.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{call.method} {call.path} HTTP/1.1\r\n{lines}\r\n".encode() + body
        started = time.perf_counter()
        self.socket.sendall(request)
        answer, body = self._receive()
        spent = (time.perf_counter() - started) * 1e3
        assert answer.status == call.status, f"{call.method} {call.path}: {answer.status} {body[:500]!r}"
        return spent, answer, body

    def _receive(self) -> tuple[Answer, bytes]:
        data = self._more(b"")
        while (end := data.find(b"\r\n\r\n")) < 0:
            data = self._more(data)
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, size = int(first.split(" ", 2)[1]), headers.get("content-length")
        assert size is not None or status in {204, 304}, f"{first}: an answer without Content-Length"
        chunks, missing = [data[end + 4 :]], int(size or 0) - (len(data) - end - 4)
        while missing > 0:
            chunk = self._more(b"")
            chunks.append(chunk)
            missing -= len(chunk)
        return Answer(status, headers), b"".join(chunks)

    def _more(self, data: bytes) -> bytes:
        chunk = self.socket.recv(1 << 18)
        assert chunk, "the server ended the connection"
        return data + chunk


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
