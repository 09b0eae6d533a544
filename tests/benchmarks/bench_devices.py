# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The list of 10,000 devices and their heartbeats, beside FastAPI: `python -m tests.benchmarks.bench_devices`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from patchherd.devices.models import Device
from tests.benchmarks import peer_fastapi
from tests.benchmarks.fleet import create_fleet, give_key
from tests.benchmarks.load import Call, run_all
from tests.benchmarks.servers import ROOT, WITH_BYTECODE, product
from tests.benchmarks.sheets import Sheet, median, percentile
from tests.running import Server, wait_for
from tests.services import free_port

DEVICES = 10_000
ROUNDS = 5
LISTS = 12
"""Requests for the list a round, one after the other."""
BEATS, CONNECTIONS = 1_600, 8
SPEAKING = 200
"""Devices that send heartbeats; each has a key of its own, which the product checks."""
WANTED = 2.0
PAGES = 100
QUERIES = (
    "limit=100", "limit=1000&fields=id,hostname,status,patch_status", "sort=hostname", "sort=-last_heartbeat",
    "sort=patch_status,-missing,hostname", "search=host-09", "os=ubuntu&reboot_required=true&sort=-missing_security",
    "group=Group%201&status=online",
)  # fmt: skip

Sample = tuple[float, float, float]
"""requests/s, median and 99th percentile in milliseconds."""


def run() -> list[Sheet]:
    """Both servers run all the time, and are asked turn and turn about."""
    sheet = Sheet(
        f"{DEVICES:,} devices, beside FastAPI and SQLAlchemy",
        ("request", "server", "requests/s", "median ms", "p99 ms", "rate / FastAPI"),
        "The server as it is started by default, on SQLite, with its log-in; beside it"
        " `tests/benchmarks/peer_fastapi.py`, which asks for none, under uvicorn with uvloop and httptools. Both run"
        f" one process. Lists: one connection, {LISTS} requests a round; the others: {CONNECTIONS} kept connections,"
        f" {BEATS:,} requests a round. Medians of {ROUNDS} rounds, turn and turn about. The client runs on the same"
        " cores.",
    )
    pages = Sheet(
        f"`GET /api/v1/devices`, {DEVICES:,} devices",
        ("query", "rows", "median ms", "p99 ms"),
        f"One connection, {PAGES} requests each.",
    )
    with tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory, product() as server:
        create_fleet(DEVICES)
        rows = list(Device.select().order_by(Device.id))
        file = Path(directory) / "peer.db"
        peer_fastapi.fill(file, [_peer_row(row) for row in rows])
        with _peer(file) as peer:
            _compare_lists(sheet, server, peer)
            _compare_beats(sheet, server, peer, [row.id for row in rows])
        _measure_pages(pages, server)
    return [sheet, pages]


def _measure_pages(sheet: Sheet, server: Server) -> None:
    worst = 0.0
    for query in QUERIES:
        call = _authorised(server, f"/api/v1/devices?{query}")
        count = len(server.get(call.path))
        _, spent = run_all(server.url, [call] * PAGES, 1)
        worst = max(worst, percentile(spent, 0.99))
        sheet.add(f"`{query}`", str(count), f"{median(spent):.1f}", f"{percentile(spent, 0.99):.1f}")
    sheet.want("99th percentile of the slowest", worst, 50.0, " ms")


def _peer_row(device: Device) -> dict[str, Any]:
    names = ("id", "agent_version", "hostname", "ip_address", "os_architecture", "os_name", "os_version")
    moments = {name: getattr(device, name).replace(tzinfo=None) for name in ("last_heartbeat", "updated_at")}
    return {"agent_id": device.uuid, **{name: getattr(device, name) for name in names}, **moments}


@contextlib.contextmanager
def _peer(file: Path) -> Iterator[str]:
    """The peer on this database; gives its URL."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.peer_fastapi:create", "--factory"]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    environment = {**os.environ, **WITH_BYTECODE, "PEER_DATABASE": str(file)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for("the peer answers", lambda: _answers(url, process), 30, 0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"uvicorn ended with {process.returncode}"
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False


def _compare_lists(sheet: Sheet, server: Server, peer: str) -> None:
    call = _authorised(server, "/api/devices")
    with requests.Session() as session:
        session.trust_env = False
        theirs = session.get(f"{peer}/api/devices", timeout=60).json()
    ours = server.get("/api/devices")
    assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True), "both must send the same"
    _add(sheet, "GET /api/devices", [call] * LISTS, 1, server.url, peer)


def _compare_beats(sheet: Sheet, server: Server, peer: str, ids: list[int]) -> None:
    path = "/api/v1/agent/heartbeat"
    if server.session.get(server.url + path, timeout=10).status_code == 404:
        return  # this version of the product does not speak that protocol
    keys = [(number, give_key(number)) for number in ids[:SPEAKING]]
    calls = [
        Call("POST", path, b'{"device_id":%d}' % number, headers)
        for number, headers in (keys[n % len(keys)] for n in range(BEATS))
    ]
    _add(sheet, f"POST {path}", calls, CONNECTIONS, server.url, peer)


def _authorised(server: Server, path: str) -> Call:
    return Call("GET", path, headers={"Authorization": str(server.session.headers["Authorization"])})


def _add(sheet: Sheet, what: str, calls: list[Call], connections: int, ours: str, theirs: str) -> None:
    """Measure both, and add their rows."""
    samples: dict[str, list[Sample]] = {ours: [], theirs: []}
    for url in samples:
        run_all(url, calls[: SPEAKING if connections > 1 else 3], connections)  # every key is known, everything loaded
    for _ in range(ROUNDS):
        for url, rounds in samples.items():
            rate, spent = run_all(url, calls, connections)
            rounds.append((rate, median(spent), percentile(spent, 0.99)))
    floor = median([rate for rate, _, _ in samples[theirs]])
    for name, url in (("Patchherd", ours), ("FastAPI", theirs)):
        rate, middle, late = (median(column) for column in zip(*samples[url], strict=True))
        sheet.add(what, name, f"{rate:.1f}", f"{middle:.1f}", f"{late:.1f}", f"{rate / floor:.2f}")
    ratio = median([rate for rate, _, _ in samples[ours]]) / floor
    sheet.want_at_least(f"{what}: rate beside FastAPI", ratio, WANTED)


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
