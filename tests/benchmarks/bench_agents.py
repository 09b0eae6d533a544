# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A fleet of agents at a started server with default settings: `python -m tests.benchmarks.bench_agents`.

Reports a second against a bare endpoint that parses the same JSON, pings against bcrypt on every request, the largest
report, and a thousand agents that start at once.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import psutil

from patchherd.devices.models import Device
from tests.benchmarks.bench_ingest import make_report
from tests.benchmarks.fleet import create_host
from tests.benchmarks.load import Call, Client, run_all
from tests.benchmarks.servers import api_processes, empty_databases, gunicorn, product
from tests.benchmarks.sheets import Sheet, median, percentile
from tests.running import Server

HOSTS = 200
PACKAGES = 1_500
CONNECTIONS = 8
ROUNDS = 3
AGENTS = 1_000
MOST_PACKAGES = 10_000
UPDATE, PING = "/api/v1/hosts/update", "/api/v1/hosts/ping"
TOKEN_COST = "10"
"""bcrypt cost of host keys in the systems that Patchherd is compared with."""

Headers = dict[str, str]


def measure(url: str, rounds: list[list[Call]]) -> tuple[float, float, float]:
    """Medians over the rounds: requests/s, median and 99th percentile of a request in milliseconds."""
    results = [run_all(url, calls, CONNECTIONS) for calls in rounds]
    return (
        median([rate for rate, _ in results]),
        median([median(spent) for _, spent in results]),
        median([percentile(spent, 0.99) for _, spent in results]),
    )


def reports(hosts: list[Headers], bodies: Callable[[int], bytes]) -> list[Call]:
    """One report of each host."""
    return [Call("POST", UPDATE, bodies(number), headers) for number, headers in enumerate(hosts)]


def run() -> list[Sheet]:
    """All tables."""
    sheets = [
        Sheet(
            f"Reports and pings of {HOSTS} hosts",
            ("database", "request", "requests/s", "median ms", "p99 ms", "rate / bare"),
            f"{PACKAGES:,} packages a report, {CONNECTIONS} kept connections, medians of {ROUNDS} rounds, the server's"
            " defaults. The bare endpoint runs under the same gunicorn command and parses the same body into plain"
            " objects. The client runs on the same cores, in all rows alike.",
        ),
        Sheet(
            f"Reports of {MOST_PACKAGES:,} packages and more",
            ("database", "report", "seconds", "status", "growth MiB"),
            "Growth is that of the peak memory of the API processes, polled every 10 ms.",
        ),
        Sheet(
            f"{AGENTS:,} agents start at once",
            ("database", "seconds", "first answer 200", "other first answers", "reports lost", "p99 s"),
            "Every agent sends its first report on a connection of its own, and again later when it is not taken.",
        ),
    ]
    with empty_databases() as databases:
        for kind, environment in databases:
            with product(**environment) as server:
                _measure_fleet(sheets[0], kind, server, environment)
                _measure_largest(sheets[1], kind, server)
                _measure_start(sheets[2], kind, server)
    return sheets


def _measure_fleet(sheet: Sheet, kind: str, server: Server, environment: dict[str, str]) -> None:
    hosts = [create_host(f"host-{number}") for number in range(HOSTS)]
    first, other = make_report(PACKAGES, "g"), [make_report(PACKAGES, f"h{number}") for number in range(ROUNDS)]
    slightly = [make_report(PACKAGES, "g", changed=20 + number) for number in range(ROUNDS)]
    processes = len(api_processes(server))
    run_all(server.url, reports(hosts, lambda number: _own(first, number)), CONNECTIONS)
    own = measure(server.url, [reports(hosts, lambda n, body=body: _own(body, n)) for body in slightly])  # type: ignore[misc]
    run_all(server.url, reports(hosts, lambda _: first), CONNECTIONS)
    with gunicorn("bare_parser()", server.data, processes) as bare_url:
        plain = [Call("POST", UPDATE, first, {"Content-Type": "application/json"})] * HOSTS
        run_all(bare_url, plain, CONNECTIONS)
        floor = measure(bare_url, [plain] * ROUNDS)
    samples = {
        "parse the JSON only (bare)": floor,
        "report, identical": measure(server.url, [reports(hosts, lambda _: first)] * ROUNDS),
        "report, 20 packages changed": measure(
            server.url,
            [reports(hosts, lambda _, body=body: body) for body in slightly],  # type: ignore[misc]
        ),
        "report, 20 packages changed, no two hosts alike": own,
        "report, all packages changed": measure(
            server.url,
            [reports(hosts, lambda _, body=body: body) for body in other],  # type: ignore[misc]
        ),
    }
    pings = [Call("POST", PING, b"{}", hosts[number % HOSTS]) for number in range(HOSTS * 5)]
    samples["ping"] = measure(server.url, [pings] * ROUNDS)
    with _costly_keys(server, environment, processes) as (url, costly):
        few = [Call("POST", PING, b"{}", costly[number % len(costly)]) for number in range(60)]
        samples[f"ping, bcrypt of cost {TOKEN_COST} every time"] = measure(url, [few] * ROUNDS)
    for name, (rate, middle, late) in samples.items():
        sheet.add(kind, name, f"{rate:.0f}", f"{middle:.1f}", f"{late:.1f}", f"{rate / floor[0]:.2f}")
    ping, slow = samples["ping"][0], samples[f"ping, bcrypt of cost {TOKEN_COST} every time"][0]
    _want_at_least(sheet, f"{kind}: ping, times bcrypt on every request", ping / slow, 50)
    _want_at_least(sheet, f"{kind}: identical report / bare", samples["report, identical"][0] / floor[0], 0.6)
    _want_at_least(
        sheet, f"{kind}: 20 packages changed / bare", samples["report, 20 packages changed"][0] / floor[0], 0.35
    )


def _own(report: bytes, number: int) -> bytes:
    """The report with a package that no other host has."""
    return report.replace(b'"lib-package-1"', b'"lib-of-host-%d"' % number)


def _want_at_least(sheet: Sheet, what: str, value: float, limit: float) -> None:
    verdict = "reached" if value >= limit else "MISSED"
    sheet.targets.append(f"{what}: {value:.2f}, wanted at least {limit:.2f}: {verdict}")


@contextlib.contextmanager
def _costly_keys(server: Server, environment: dict[str, str], processes: int) -> Iterator[tuple[str, list[Headers]]]:
    """The same handlers and database without memory of verified keys, and hosts whose keys cost as elsewhere."""
    costly = [create_host(f"costly-{number}", cost=int(TOKEN_COST)) for number in range(8)]
    with gunicorn(f"forgetful({str(server.data)!r})", server.data, processes, **environment) as url:
        yield url, costly


def _measure_largest(sheet: Sheet, kind: str, server: Server) -> None:
    host = create_host("largest")
    cases = {f"{MOST_PACKAGES:,}": (MOST_PACKAGES, 200), f"{MOST_PACKAGES + 1:,}": (MOST_PACKAGES + 1, 400)}
    spent: dict[str, float] = {}
    with Client(server.url) as client:
        for name, (size, status) in cases.items():
            body = make_report(size, "large")
            with _peak_growth(api_processes(server)) as growth:
                milliseconds, _, _ = client.send(Call("POST", UPDATE, body, host, status))
            spent[name] = milliseconds / 1000
            sheet.add(kind, name, f"{spent[name]:.2f}", str(status), f"{growth[0]:.0f}")
            if status == 200:
                sheet.want(f"{kind}: {name} packages", spent[name], 1.0, " s")
                sheet.want(f"{kind}: growth", growth[0], 150, " MiB")
    taken, refused = spent.values()
    sheet.want(f"{kind}: the refused report against the taken one", refused / taken, 1.0)


@contextlib.contextmanager
def _peak_growth(processes: list[psutil.Process]) -> Iterator[list[float]]:
    """Growth of the processes' memory at its peak in MiB, once the block has ended."""

    def total() -> float:
        return float(sum(process.memory_info().rss for process in processes)) / 2**20

    before, growth, done = total(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            growth[0] = max(growth[0], total() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()
        growth[0] = max(growth[0], total() - before)


def _measure_start(sheet: Sheet, kind: str, server: Server) -> None:
    hosts = [create_host(f"agent-{number}") for number in range(AGENTS)]
    body = make_report(300, "start")
    gate = threading.Barrier(AGENTS)
    first: Counter[str] = Counter()
    spent: list[float] = []
    lock = threading.Lock()

    def agent(headers: Headers) -> None:
        gate.wait()
        started, attempts = time.monotonic(), 0
        while time.monotonic() - started < 120:
            attempts += 1
            status, wait = _send(server.url, body, headers)
            with lock:
                if attempts == 1:
                    first[status] += 1
                if status == "200":
                    spent.append(time.monotonic() - started)
                    return
            time.sleep(wait)

    started = time.monotonic()
    threading.stack_size(256 * 1024)
    with ThreadPoolExecutor(AGENTS) as pool:
        list(pool.map(agent, hosts))
    seconds = time.monotonic() - started
    stored = (
        Device.select().where(Device.friendly_name.startswith("agent-") & Device.last_report.is_null(False)).count()
    )
    others = ", ".join(f"{status}: {number}" for status, number in first.items() if status != "200") or "none"
    lost = AGENTS - stored
    sheet.add(kind, f"{seconds:.1f}", str(first["200"]), others, str(lost), f"{percentile(spent, 0.99):.1f}")
    sheet.want(f"{kind}: reports lost", lost, 0)


def _send(url: str, body: bytes, headers: Headers) -> tuple[str, float]:
    """(status or what went wrong, seconds that the server asks to wait)."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    try:
        connection.request("POST", UPDATE, body, headers)
        answer: Any = connection.getresponse()
        answer.read()
    except OSError as exc:
        return type(exc).__name__, 1.0
    else:
        return str(answer.status), float(answer.headers.get("Retry-After") or 1)
    finally:
        connection.close()


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
