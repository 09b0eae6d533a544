# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What a report costs the server, from JSON text to stored verdicts: `python -m tests.benchmarks.bench_ingest`.

The floor is parsing the same JSON into plain objects, which nobody can go below. CPU time is this process's alone;
on PostgreSQL the database works in another one.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from patchherd import database
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device, find_device
from patchherd.packages.reports import receive_report
from tests.benchmarks.sheets import Sheet, median
from tests.server.api import create_schema
from tests.services import PostgresServer, find_postgres

ROUNDS = 15
SIZES = (787, 1_500)
SECURITY = {"origin": "Debian", "label": "Debian-Security", "suite": "stable-security", "codename": "bookworm-security",
            "component": "main"}  # fmt: skip


def make_report(size: int, generation: str, changed: int = 0) -> bytes:
    """A Debian host's report; one package in twenty has an update, `changed` ones differ from the generation's rest."""
    packages = []
    for number in range(size):
        version = f"1:{number % 13}.{number % 7}.{number}-{generation}"
        package: dict[str, Any] = {
            "name": f"lib-package-{number}",
            "currentVersion": version + ("+new" if number < changed else ""),
            "architecture": "amd64",
            "needsUpdate": False,
            "isSecurityUpdate": False,
            "sourceName": f"source-{number // 3}",
        }
        if number % 20 == 0:
            package |= {"needsUpdate": True, "availableVersion": version + "+z", "origins": [SECURITY]}
        packages.append(package)
    report = {
        "reportVersion": 1, "hostname": "bench", "ip": "10.0.0.1", "osType": "Debian GNU/Linux", "osId": "debian",
        "ecosystem": "deb", "packages": packages,
    }  # fmt: skip
    return json.dumps(report).encode()


def clock(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def send(device: Device, body: bytes) -> tuple[float, float]:
    fresh = find_device(device.id)
    return clock(lambda: receive_report(fresh.id, body))


def measure(size: int) -> dict[str, list[tuple[float, float]]]:
    """Case -> (wall, CPU) milliseconds of each round. Call it with an empty, configured database."""
    samples: dict[str, list[tuple[float, float]]] = {}

    def note(case: str, sample: tuple[float, float]) -> None:
        samples.setdefault(case, []).append(sample)

    for number in range(ROUNDS):
        body = make_report(size, f"g{number}")
        note("JSON parse (floor)", clock(lambda body=body: msgspec.json.decode(body)))  # type: ignore[misc]
        device = create_device("bench")
        note("first, packages never seen", send(device, body))
        note("first, twin of another host", send(create_device("twin"), body))
        note("identical", send(device, body))
        note("20 packages changed", send(device, make_report(size, f"g{number}", changed=20)))
        note("all packages changed", send(device, make_report(size, f"h{number}")))
    return samples


@contextmanager
def databases() -> Iterator[Iterator[tuple[str, str]]]:
    """(kind, URL) of an empty database of each kind that this machine has."""
    with tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory:
        bin_dir = find_postgres()
        server = PostgresServer(bin_dir) if bin_dir else None

        def each() -> Iterator[tuple[str, str]]:
            for size in SIZES:
                yield "SQLite", f"sqlite:///{Path(directory) / f'{size}.db'}"
                if server is not None:
                    yield "PostgreSQL", server.url(server.create_database())

        try:
            if server is not None:
                server.start()
            yield each()
        finally:
            database.close_all()
            if server is not None:
                server.stop()


def run() -> list[Sheet]:
    """One table for all databases and sizes."""
    sheet = Sheet(
        "Report ingest without HTTP",
        ("database", "packages", "case", "wall ms", "CPU ms", "CPU / floor"),
        f"From JSON text to stored verdicts in one process, medians of {ROUNDS} rounds. CPU time is this process's"
        " alone; on PostgreSQL the database works in another one. The floor is parsing the same JSON into plain"
        " objects.",
    )
    sizes = {"SQLite": iter(SIZES), "PostgreSQL": iter(SIZES)}
    with databases() as targets:
        for kind, url in targets:
            size = next(sizes[kind])
            database.configure(url)
            create_schema()
            with database.connection():
                samples = measure(size)
            floor = median([cpu for _, cpu in samples["JSON parse (floor)"]])
            for case, rounds in samples.items():
                wall = median([wall for wall, _ in rounds])
                cpu = median([cpu for _, cpu in rounds])
                sheet.add(kind, f"{size:,}", case, f"{wall:.2f}", f"{cpu:.2f}", f"{cpu / floor:.1f}")
    return [sheet]


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
