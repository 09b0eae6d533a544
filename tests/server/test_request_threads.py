# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Kept connections to a started server that has fewer threads than there are connections."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from patchherd.request_threads import STAY_MILLISECONDS
from tests.running import Server

THREADS = 2
CONNECTIONS = 12
REQUESTS = 25


class Kept:
    """A connection that is kept, and what was received ahead."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port), 30)
        self.ahead = b""

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, *paths: str) -> None:
        """So many requests at once."""
        self.socket.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for path in paths))

    def receive(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        while b"\r\n\r\n" not in self.ahead:
            self._more()
        head, _, self.ahead = self.ahead.partition(b"\r\n\r\n")
        size = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))[15:])
        while len(self.ahead) < size:
            self._more()
        body, self.ahead = self.ahead[:size], self.ahead[size:]
        return int(head.split()[1]), body

    def _more(self) -> None:
        received = self.socket.recv(65_536)
        assert received, "the server ended the connection"
        self.ahead += received


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("threads") / "data"
    with Server(data, PATCHHERD_THREADS=str(THREADS), PATCHHERD_PROCESSES="1") as running:
        yield running


def test_one_request_follows_another(server: Server) -> None:
    with Kept(server) as kept:
        for pause in (0.0, 0.0, STAY_MILLISECONDS / 1000 * 4, 0.0):  # sooner and later than a thread stays
            time.sleep(pause)
            kept.send("/healthz")
            assert kept.receive()[0] == 200


def test_requests_that_are_sent_ahead_are_answered_in_order(server: Server) -> None:
    with Kept(server) as kept:
        kept.send("/healthz", "/nowhere", "/healthz", "/api/v1/devices")
        assert [kept.receive()[0] for _ in range(4)] == [200, 404, 200, 401]


def test_more_busy_connections_than_threads_all_get_their_turn(server: Server) -> None:
    def ask(_: int) -> list[int]:
        with Kept(server) as kept:
            statuses = []
            for _ in range(REQUESTS):
                kept.send("/healthz")
                statuses.append(kept.receive()[0])
            return statuses

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        assert list(pool.map(ask, range(CONNECTIONS))) == [[200] * REQUESTS] * CONNECTIONS


def test_quiet_connections_keep_no_thread(server: Server) -> None:
    quiet = [Kept(server) for _ in range(CONNECTIONS)]
    try:
        for kept in quiet:
            kept.send("/healthz")
            assert kept.receive()[0] == 200
        with Kept(server) as other:
            other.send("/healthz")
            assert other.receive()[0] == 200
        for kept in quiet:
            kept.send("/healthz")
            assert kept.receive()[0] == 200, "and they are still there"
    finally:
        for kept in quiet:
            kept.socket.close()


def test_a_stop_waits_for_no_connection(tmp_path: Path) -> None:
    with Server(tmp_path / "data", PATCHHERD_THREADS=str(THREADS)) as server, Kept(server) as kept:
        kept.send("/healthz")
        assert kept.receive()[0] == 200
        assert server.stop(20) == 0
