# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Reports through a started server, as hosts send them: `python -m tests.benchmarks.bench_ingest_http`.

The floor is an endpoint under the same gunicorn that does nothing but parse the same JSON.
"""

from __future__ import annotations

from tests.benchmarks.bench_ingest import SIZES, make_report
from tests.benchmarks.fleet import create_host
from tests.benchmarks.load import Call, Client
from tests.benchmarks.servers import empty_databases, gunicorn, product
from tests.benchmarks.sheets import Sheet, median, percentile

ROUNDS = 25


def measure(product_url: str, bare_url: str, size: int) -> dict[str, list[float]]:
    """Case -> milliseconds of each round. The product's database must be open here."""
    samples: dict[str, list[float]] = {}
    with Client(product_url) as client, Client(bare_url) as bare:
        for number in range(ROUNDS):
            first, second = create_host(f"bench-{size}-{number}"), create_host(f"twin-{size}-{number}")
            body = make_report(size, f"g{number}")
            changed = make_report(size, f"g{number}", changed=20)

            def note(case: str, sender: Client, headers: dict[str, str], content: bytes) -> None:
                spent, _, _ = sender.send(Call("POST", "/api/v1/hosts/update", content, headers))
                samples.setdefault(case, []).append(spent)

            note("bare endpoint: parse only", bare, {"Content-Type": "application/json"}, body)
            note("first, packages never seen", client, first, body)
            note("first, twin of another host", client, second, body)
            note("identical", client, first, body)
            note("20 packages changed", client, first, changed)
    return samples


def run() -> list[Sheet]:
    """One table for all databases and sizes."""
    sheet = Sheet(
        "Report ingest over HTTP",
        ("database", "packages", "KiB", "case", "median ms", "p90 ms", "median / bare"),
        f"`POST /api/v1/hosts/update` with host credentials, one after the other over one kept connection,"
        f" {ROUNDS} rounds. Bodies are not compressed. The bare endpoint"
        " runs under the same gunicorn command and parses the same body into plain objects.",
    )
    with empty_databases() as databases:
        for kind, environment in databases:
            with product(**environment) as server, gunicorn("bare_parser()", server.data) as bare_url:
                measure(server.url, bare_url, 100)  # every code path and connection is warm
                for size in SIZES:
                    kib = len(make_report(size, "g0")) / 1024
                    samples = measure(server.url, bare_url, size)
                    floor = median(samples["bare endpoint: parse only"])
                    for case, spent in samples.items():
                        middle, late = median(spent), percentile(spent, 0.9)
                        figures = f"{middle:.1f}", f"{late:.1f}", f"{middle / floor:.1f}"
                        sheet.add(kind, f"{size:,}", f"{kib:.0f}", case, *figures)
    return [sheet]


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
