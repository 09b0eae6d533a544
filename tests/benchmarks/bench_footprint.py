# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Time to the first answer and memory at rest: `python -m tests.benchmarks.bench_footprint`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from tests.benchmarks.servers import WITH_BYTECODE, empty_databases
from tests.benchmarks.sheets import Sheet, median, spread
from tests.running import Server

ROUNDS = 5
REST_SECONDS = 6
"""Longer than the interval of the worker's own rounds."""
START_LIMIT = 3.0
MEMORY_LIMIT = 150
MIB = 2**20


def run() -> list[Sheet]:
    """Starts on SQLite, memory on each kind of database."""
    with tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory:
        place = Path(directory)
        # Bytecode in a place of its own: whether this environment keeps any must not decide the figures.
        bytecode = {**WITH_BYTECODE, "PYTHONPYCACHEPREFIX": str(place / "bytecode")}
        with Server(place / "first", **bytecode):
            pass
        return [_starts(place, bytecode), *_memory(place, bytecode)]


def _starts(place: Path, environment: dict[str, str]) -> Sheet:
    sheet = Sheet(
        "From `patchherd serve` to the first answer of `/healthz`",
        ("start", "seconds", "lowest-highest"),
        f"SQLite, medians of {ROUNDS} starts, asked every 50 ms. An empty folder includes migrations, SSH key and"
        " first user.",
    )
    empty, again = [], []
    for number in range(ROUNDS):
        server = Server(place / f"start-{number}", **environment)
        for samples in (empty, again):
            started = time.perf_counter()
            with server:
                samples.append(time.perf_counter() - started)
    sheet.add("empty folder", f"{median(empty):.2f}", spread(empty, 2))
    sheet.add("existing folder", f"{median(again):.2f}", spread(again, 2))
    sheet.want("Start in an empty folder", median(empty), START_LIMIT, " s")
    sheet.want("Start in an existing folder", median(again), START_LIMIT, " s")
    return sheet


def _memory(place: Path, environment: dict[str, str]) -> list[Sheet]:
    sheets = []
    with empty_databases() as databases:
        for kind, extra in databases:
            with Server(place / f"memory-{kind}", **environment, **extra) as server:
                time.sleep(REST_SECONDS)
                sheets.append(_memory_sheet(kind, server))
    return sheets


def _memory_sheet(kind: str, server: Server) -> Sheet:
    sheet = Sheet(
        f"Memory at rest on {kind}, MiB",
        ("process", "number", "PSS", "RSS", "USS"),
        f"{REST_SECONDS} s after the start. PSS counts a page that several processes share once in total; RSS counts it"
        " in each."
        " With Python's bytecode kept, as `make venv` does; without it, compiling leaves a quarter more behind."
        + ("" if kind == "SQLite" else " Without PostgreSQL's own processes. Two API processes per core."),
    )
    parts: dict[str, list[tuple[int, int, int]]] = {}
    for pid in server.processes():
        process = psutil.Process(pid)
        used = process.memory_full_info()
        parts.setdefault(_role(process), []).append((used.pss, used.rss, used.uss))
    for role, members in parts.items():
        sheet.add(role, str(len(members)), *(f"{sum(column) / MIB:.0f}" for column in zip(*members, strict=True)))
    every = [member for members in parts.values() for member in members]
    total = [sum(column) / MIB for column in zip(*every, strict=True)]
    sheet.add("all", str(len(every)), *(f"{value:.0f}" for value in total))
    if kind == "SQLite":
        sheet.want("Memory of the whole tree (PSS)", total[0], MEMORY_LIMIT, " MiB")
        sheet.want("The same, shared pages counted in each process (RSS)", total[1], MEMORY_LIMIT, " MiB")
    return sheet


def _role(process: psutil.Process) -> str:
    line = process.cmdline()
    if "gunicorn" in line:
        return "gunicorn's master" if process.children() else "API"
    return "supervisor" if "patchherd.serve" in line else "job worker"


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
