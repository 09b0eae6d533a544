# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Run the benchmarks and print their tables: `python -m tests.benchmarks [--write] [NAME …]`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import psutil

from tests.benchmarks.sheets import Sheet

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BENCHMARKS = {
    "footprint": "Start and memory",
    "ping": "Ping",
    "ingest": "Report ingest, without HTTP",
    "ingest_http": "Report ingest, over HTTP",
    "indexes": "Repository metadata",
    "agents": "Fleet of agents",
    "devices": "Device list and heartbeats",
    "inventory": "Inventory",
    "groups": "Groups",
    "advisories": "Advisories",
    "applicability": "Applicability",
    "windows": "Windows after new advisories",
    "deployment": "Deployment",
}
HEAD = """# Benchmarks

What the server costs, measured by `make bench`, which prints these tables. `make bench BENCH_ARGS=--write` measures
and rewrites this file; `BENCH_ARGS="--write ping"` only one section. Nothing here decides whether a test passes.

How to read it: client, server, database and lab hosts all share the machine that each section names, and other
programs may use it, too, as far as the section says. Absolute figures are therefore those of that machine at that
time; ratios to the floor in the same table, measured in the same minutes, say more about the product. Figures are
medians of repeated runs. PostgreSQL runs without fsync, on the same machine.
"""


def run(name: str) -> tuple[list[Sheet], str]:
    """The tables of a benchmark, and in what state the machine was."""
    busy = psutil.cpu_percent(2.0)
    started = time.monotonic()
    sheets: list[Sheet] = import_module(f"tests.benchmarks.bench_{name}").run()
    memory = psutil.virtual_memory().total / 2**30
    state = (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, {memory:.0f} GiB,"
        f" {time.monotonic() - started:.0f} s; before it began, other programs used {busy:.0f} % of the cores, and the"
        f" load average afterwards was {os.getloadavg()[0]:.1f}."
    )
    return sheets, state


def write(sections: dict[str, str]) -> None:
    """Put these sections (title -> text) into the document, the others stay as they are."""
    old = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    kept = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", old, re.MULTILINE | re.DOTALL))
    kept.update(sections)
    body = "".join(f"\n## {title}\n\n{kept[title].strip()}\n" for title in BENCHMARKS.values() if title in kept)
    DOCUMENT.write_text(HEAD + body)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure and print tables.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"unknown: {', '.join(unknown)}")
    for name in options.names or BENCHMARKS:
        print(f"\n== {BENCHMARKS[name]}", flush=True)
        sheets, state = run(name)
        for sheet in sheets:
            sheet.print()
        print(f"  {state}", flush=True)
        if options.write:
            write({BENCHMARKS[name]: "\n".join([f"{state[0].upper()}{state[1:]}\n", *(s.markdown() for s in sheets)])})
    return 0


if __name__ == "__main__":
    sys.exit(main())
