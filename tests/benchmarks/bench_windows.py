# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Judge a fleet of Windows devices anew after an import of MSRC's advisories: `python -m tests.benchmarks windows`."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from patchherd.database import chunked, now, write_transaction
from patchherd.devices.models import Device
from patchherd.packages import status, verdicts
from patchherd.packages.advisories.importing import define_feed, import_feed
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import DevicePackages, EvaluationDue, Verdict
from patchherd.packages.sets import intern, store_members
from tests.benchmarks.bench_applicability import DEVICES, evaluate, settle
from tests.benchmarks.fleet import create_fleet
from tests.benchmarks.servers import empty_databases, product
from tests.benchmarks.sheets import Sheet

UPDATES = 15
"""That each device's search offers."""
HOTFIXES = 20
KBS = 400
SETS = 500
PRODUCTS = {str(number): f"Windows Server 2022, part {number}" for number in range(3)}


def kb_of(number: int) -> int:
    return 5_000_000 + number


def run() -> list[Sheet]:
    sheet = Sheet(
        f"{DEVICES:,} Windows devices that miss {UPDATES} updates each",
        ("database", "documents", "import s", "evaluation s", "CPU s", "MiB", "rows that changed"),
        f"Documents of MSRC about {KBS} updates, in chains of up to 40 that replace each other; the import rates what"
        " is missing and marks the devices, `patchherd view evaluate`, as the worker runs it, judges them.",
    )
    with empty_databases() as databases:
        for kind, environment in databases:
            with product(PATCHHERD_PROCESSES="1", **environment) as server:
                server.stop()  # its worker would do the same at the same time
                create_fleet(DEVICES)
                _give_updates()
                settle()
                for what, step in (("first", 12), ("changed", 10)):
                    _measure(sheet, kind, what, server.data, environment, step)
    return [sheet]


def _give_updates() -> None:
    """What the devices would have reported themselves."""
    chance = random.Random(0)
    moment = now()
    with write_transaction():
        system = {"os_family": "windows", "os_id": "windows", "os_version": "10.0.20348.2340"}
        Device.update(os_name="Microsoft Windows Server 2022 Standard", **system).execute()
        sets = []
        for _ in range(SETS):
            kbs = [(f"KB{kb_of(number)}", "", "installed") for number in chance.sample(range(KBS), HOTFIXES)]
            sets.append(store_members("windows", intern("windows", kbs).values()))
        links, rows = [], []
        for place, (device,) in enumerate(Device.select(Device.id).order_by(Device.id).tuples()):
            links.append({"device": device, "package_set": sets[place % SETS], "fingerprint": b"x", "reported": 30})
            found = [_finding(number) for number in chance.sample(range(KBS), UPDATES)]
            rows.append(verdicts.difference(device, (), found, moment))
        for part in chunked(links, 4):
            DevicePackages.insert_many(part).execute()
        verdicts.apply(rows)
        Device.update(missing=UPDATES).execute()
        status.recount()


def _finding(number: int) -> Finding:
    kb = f"KB{kb_of(number)}"
    return Finding(
        "windows", f"2026-01 Cumulative Update for Windows Server 2022 ({kb})", "", f"id-{number}", None, None,
        "missing", None, "Important", "unrated", True, "[]", "Windows Update", kb, '["Security Updates"]', True,
    )  # fmt: skip


def _document(step: int) -> dict[str, Any]:
    """Each update replaces the one `step` before."""
    names = [{"ProductID": number, "Value": name} for number, name in PRODUCTS.items()]
    return {
        "DocumentTracking": {"Identification": {"ID": {"Value": "2026-Jan"}}},
        "ProductTree": {"FullProductName": names},
        "Vulnerability": [_vulnerability(number, step) for number in range(KBS)],
    }


def _vulnerability(number: int, step: int) -> dict[str, Any]:
    replaced = f"{kb_of(number - step)}" if number >= step else ""
    word = ("Critical", "Important", "Moderate")[number % 3]
    return {
        "CVE": f"CVE-2026-{number:04}",
        "Threats": [{"Type": 3, "Description": {"Value": word}}],
        "Remediations": [
            {
                "Type": 2, "Description": {"Value": f"{kb_of(number)}"}, "Supercedence": replaced,
                "ProductID": list(PRODUCTS), "FixedBuild": f"10.0.20348.{2200 + number}",
            }
        ],
    }  # fmt: skip


def _measure(sheet: Sheet, kind: str, what: str, data: Path, environment: dict[str, str], step: int) -> None:
    file = data / "msrc.json"
    file.write_text(json.dumps(_document(step)))
    before = _rows()
    started = time.perf_counter()
    outcome = import_feed(define_feed("msrc", "msrc", str(file)))
    assert outcome.changed, outcome
    assert EvaluationDue.select().count() == DEVICES
    imported = time.perf_counter() - started
    wall, cpu, peak = evaluate(data, environment)
    assert not EvaluationDue.select().exists()
    after = _rows()
    changed = sum(before[number] != row for number, row in after.items())
    assert changed
    sheet.add(kind, what, f"{imported:.1f}", f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{changed:,}")
    sheet.want(f"{kind}, {what}", imported + wall, 60.0, " s")


def _rows() -> dict[int, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in Verdict.select(Verdict.id, Verdict.verdict, Verdict.reason).tuples()}


if __name__ == "__main__":
    for table in run():
        table.print()
    sys.exit(0)
