# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who is exposed to a CVE among 10,000 devices, and import of advisories: `python -m tests.benchmarks advisories`."""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path

from patchherd import database
from patchherd.database import chunked, db, is_sqlite, now, write_transaction
from patchherd.devices.models import Device
from patchherd.packages.advisories.importing import define_feed, import_feed
from patchherd.packages.models import DevicePackages
from patchherd.packages.sets import intern, store_members
from tests.benchmarks.fleet import create_fleet
from tests.benchmarks.load import Call, Client
from tests.benchmarks.servers import empty_databases, product
from tests.benchmarks.sheets import Sheet, median, percentile

DEVICES = 10_000
PACKAGES = 1_500
ROUNDS = 300
NOTICES = 5_000
SETS = (500, 2_000)
CVES = {"one package": "CVE-2026-0", "20 packages": "CVE-2026-1", "every device": "CVE-2026-2"}


def run() -> list[Sheet]:
    exposure = Sheet(
        "`GET /api/v1/cves/{id}`",
        ("database", "distinct sets", "CVE", "exposed", "unknown", "first ms", "median ms", "p99 ms"),
        f"{DEVICES:,} devices with {PACKAGES:,} packages each, one connection, {ROUNDS} requests of 100 devices. The"
        " first request of a process on SQLite also builds the index of sets in memory.",
    )
    imports = Sheet(
        "`patchherd advisories import usn`",
        ("database", "notices", "seconds", "notices/s", "again s"),
        "Notices of four packages each in an otherwise empty database; the second import finds nothing new.",
    )
    for sets in SETS:
        with empty_databases() as databases:
            for kind, environment in databases:
                with product(PATCHHERD_PROCESSES="1", **environment) as server:
                    create_fleet(DEVICES)
                    _give_packages(sets)
                    with tempfile.TemporaryDirectory() as place:
                        _import(Path(place) / "usn.json", kind, imports if sets == SETS[0] else None)
                    if not is_sqlite():
                        db.execute_sql("VACUUM ANALYZE")  # as PostgreSQL does by itself in the minutes after
                    headers = {"Authorization": str(server.session.headers["Authorization"])}
                    with Client(server.url) as client:
                        for name, cve in CVES.items():
                            _measure(
                                exposure, kind, sets, name, client, Call("GET", f"/api/v1/cves/{cve}", headers=headers)
                            )
    return [exposure, imports]


def _give_packages(sets: int) -> None:
    """Every device becomes an Ubuntu host with one of `sets` package lists, each mostly like the others."""
    chance = random.Random(sets)
    triples = [(f"package{number}", "amd64", f"1.{step}-1") for number in range(PACKAGES) for step in range(10)]
    with database.connection(), write_transaction():
        ids = intern("deb", triples)
        known = [
            store_members(
                "deb",
                [ids[f"package{number}", "amd64", f"1.{chance.choice((8, 8, 8, 9, chance.randrange(10)))}-1"]
                 for number in range(PACKAGES)],
            )
            for _ in range(sets)
        ]  # fmt: skip
        Device.update(
            os_id="ubuntu", os_version_id="22.04", os_family="debian", evaluated_at=now(), metadata_updated=now()
        ).execute()
        devices = [row[0] for row in Device.select(Device.id).tuples()]
        links = [
            {"device": device, "package_set": known[number % sets], "fingerprint": b"", "reported": PACKAGES}
            for number, device in enumerate(devices)
        ]
        for part in chunked(links, 4):
            DevicePackages.insert_many(part).execute()


def _notice(cves: list[str], fixes: dict[str, str]) -> dict[str, object]:
    sources = {name: {"version": version} for name, version in fixes.items()}
    return {"title": "t", "cves": cves, "timestamp": 1780000000, "releases": {"jammy": {"sources": sources}}}


def _import(path: Path, kind: str, sheet: Sheet | None) -> None:
    chance = random.Random(0)
    notices = {
        str(number): _notice(
            [f"CVE-2025-{number}"], {f"package{chance.randrange(PACKAGES)}": "1.5-1" for _ in range(4)}
        )
        for number in range(NOTICES)
    }
    notices["one"] = _notice([CVES["one package"]], {"package0": "1.3-1"})
    notices["twenty"] = _notice([CVES["20 packages"]], {f"package{number}": "1.8-1" for number in range(1, 21)})
    notices["all"] = _notice([CVES["every device"]], {"package30": "1.99-1"})
    path.write_text(json.dumps(notices))
    with database.connection():
        started = time.perf_counter()
        assert import_feed(define_feed("usn", "usn", str(path))).taken == len(notices)
        first = time.perf_counter() - started
        path.write_text(json.dumps(notices, indent=1))
        started = time.perf_counter()
        assert import_feed(define_feed("usn", "usn", str(path))).changed == 0
        again = time.perf_counter() - started
    if sheet is not None:
        sheet.add(kind, f"{NOTICES:,}", f"{first:.1f}", f"{NOTICES / first:,.0f}", f"{again:.1f}")


def _measure(sheet: Sheet, kind: str, sets: int, name: str, client: Client, call: Call) -> None:
    first, _, body = client.send(call)
    answer = json.loads(body)
    walls = [client.send(call)[0] for _ in range(ROUNDS)]
    high = percentile(walls, 0.99)
    exposed, unknown = f"{answer['exposed_devices']:,}", f"{answer['unknown_devices']:,}"
    sheet.add(kind, f"{sets:,}", name, exposed, unknown, f"{first:.0f}", f"{median(walls):.1f}", f"{high:.1f}")
    sheet.want(f"p99 on {kind}, {sets:,} sets, {name}", high, 50, " ms")


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
