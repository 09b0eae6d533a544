# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Pings of 200 hosts with their own credentials: `python -m tests.benchmarks.bench_ping`."""

from __future__ import annotations

import time

import bcrypt

from tests.benchmarks.fleet import create_host
from tests.benchmarks.load import Call, run_all
from tests.benchmarks.servers import api_processes, empty_databases, gunicorn, product
from tests.benchmarks.sheets import Sheet, median, percentile

HOSTS = 200
CONNECTIONS = 8
REQUESTS = 1_600
ROUNDS = 3
COSTS = (5, 10, 12)

Sample = tuple[float, float, float]


def measure(url: str, calls: list[Call]) -> Sample:
    """Medians over the rounds: requests/s, median and 99th percentile of a request in milliseconds."""
    run_all(url, calls[:HOSTS], CONNECTIONS)  # every credential is known, every connection to the database open
    rounds = [run_all(url, calls, CONNECTIONS) for _ in range(ROUNDS)]
    return (
        median([rate for rate, _ in rounds]),
        median([median(spent) for _, spent in rounds]),
        median([percentile(spent, 0.99) for _, spent in rounds]),
    )


def run() -> list[Sheet]:
    """The table of requests and the table of bcrypt."""
    sheet = Sheet(
        "Ping, 200 hosts",
        ("database", "request", "requests/s", "median ms", "p99 ms", "rate / healthz"),
        f"`POST /api/v1/hosts/ping` over {CONNECTIONS} kept connections, {REQUESTS:,} requests a round, medians of"
        f" {ROUNDS} rounds. The client runs on the same cores, in all rows alike. The last row of each database is the"
        " same server without its memory of verified keys.",
    )
    with empty_databases() as databases:
        for kind, environment in databases:
            _measure_database(sheet, kind, environment)
    return [sheet, _bcrypt_sheet()]


def _measure_database(sheet: Sheet, kind: str, environment: dict[str, str]) -> None:
    with product(**environment) as server:
        hosts = [create_host(f"host-{number}") for number in range(HOSTS)]
        plain = [Call("POST", "/api/v1/hosts/ping", b"{}", hosts[n % HOSTS]) for n in range(REQUESTS)]
        body = b'{"hashes":{"packagesHash":"%s"}}' % (b"0" * 64)
        hashed = [Call("POST", "/api/v1/hosts/ping", body, hosts[n % HOSTS]) for n in range(REQUESTS)]
        samples = {
            "GET /healthz": measure(server.url, [Call("GET", "/healthz")] * REQUESTS),
            "ping": measure(server.url, plain),
            "ping with hashes": measure(server.url, hashed),
        }
        data = repr(str(server.data))
        processes = len(api_processes(server))
        with gunicorn(f"forgetful({data})", server.data, processes, **environment) as url:
            samples["ping, bcrypt on every request"] = measure(url, plain)
    floor = samples["GET /healthz"][0]
    for name, (rate, middle, late) in samples.items():
        sheet.add(kind, name, f"{rate:.0f}", f"{middle:.1f}", f"{late:.1f}", f"{rate / floor:.2f}")


def _bcrypt_sheet() -> Sheet:
    sheet = Sheet(
        "One bcrypt.checkpw",
        ("cost", "ms", "times cost 5"),
        "Medians of 15 calls in one process. Host keys are 256 random bits, so cost 5 is enough for them; passwords"
        " have cost 12, enrolment tokens 10.",
    )
    secret, spent = b"a" * 64, {}
    for cost in COSTS:
        stored, samples = bcrypt.hashpw(secret, bcrypt.gensalt(cost)), []
        for _ in range(15):
            started = time.perf_counter()
            assert bcrypt.checkpw(secret, stored)
            samples.append((time.perf_counter() - started) * 1e3)
        spent[cost] = median(samples)
        sheet.add(str(cost), f"{spent[cost]:.2f}", f"{spent[cost] / spent[COSTS[0]]:.1f}")
    return sheet


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
