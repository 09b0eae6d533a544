# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who is in which group, with rules, at 10,000 devices: `python -m tests.benchmarks.bench_groups`."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patchherd import database
from patchherd.database import chunked
from patchherd.devices import duplicates, groups, tags
from patchherd.devices.group_changes import create_group
from patchherd.devices.models import Device, DeviceTag
from patchherd.devices.registry import find_group
from patchherd.devices.views import select_devices
from patchherd.inventory.hosts import all_hosts
from patchherd.settings import Settings
from tests.benchmarks.fleet import create_fleet
from tests.benchmarks.servers import empty_databases
from tests.benchmarks.sheets import Sheet, median
from tests.server.api import create_schema
from tests.server.queries import queries

SIZE = 10_000
ROUNDS = 7
RULES = 20


def run() -> list[Sheet]:
    sheet = Sheet(
        f"Groups of {SIZE:,} devices",
        ("database", "case", "queries", "median ms"),
        f"40 groups that devices were put into, {RULES} with a rule of four to six comparisons, half of them below"
        f" others and half of them naming other groups. In process, medians of {ROUNDS} rounds.",
    )
    with tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory, empty_databases() as databases:
        for kind, environment in databases:
            url = environment.get("PATCHHERD_DATABASE_URL") or f"sqlite:///{Path(directory) / 'groups.db'}"
            database.configure(url)
            create_schema()
            with database.connection():
                create_fleet(SIZE)
                settings = Settings(data=Path(directory))
                sheet.add(kind, "inventory without any rule", *_measured(lambda settings=settings: all_hosts(settings)))  # type: ignore[misc]
                for case, work in _cases(settings).items():
                    sheet.add(kind, case, *_measured(work))
    return [sheet]


def _cases(settings: Settings) -> dict[str, Callable[[], Any]]:
    _add_tags()
    for number in range(RULES):
        rule = (
            f'os_family == "debian" and hostname ~ "host-0{number % 10}*" and tag in ("prod", "t{number}")'
            f' and (missing_security > 0 or not reboot_required) and ip_address == "10.0.{number}.0/20"'
        )
        named = f' or group == "Rule {number - 1}"' if number % 2 else ""
        create_group({"name": f"Rule {number}", "rule": rule + named, "parent_id": f"Group {number}"})
    one = Device.select().order_by(Device.id).first().id
    return {
        "groups of all devices": lambda: groups.memberships(settings),
        "groups of one device": lambda: groups.memberships(settings, [one]),
        "all groups with counts": lambda: groups.list_groups(settings),
        "devices of one group with rules below": lambda: select_devices(settings, group="Group 3"),
        "count of one group": lambda: groups.with_count(settings, find_group("Group 3")),
        "preview of a rule": lambda: groups.preview(settings, 'tag == "prod" and hostname ~ "*7*"', 20),
        "inventory with groups and tags": lambda: all_hosts(settings),
        "tags of all devices": lambda: tags.all_tags(),
        "duplicates": lambda: duplicates.find_duplicates(100),
    }


def _add_tags() -> None:
    chance = random.Random(1)
    words = ["prod", "dmz", *(f"t{number}" for number in range(RULES))]
    rows = [
        {"device": device, "tag": tag}
        for (device,) in Device.select(Device.id).tuples()
        for tag in chance.sample(words, 2)
    ]
    for part in chunked(rows, 2):
        DeviceTag.insert_many(part).execute()


def _measured(work: Callable[[], Any]) -> tuple[str, str]:
    """Queries and median milliseconds of one call."""
    with queries() as sent:
        work()
    walls = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        walls.append((time.perf_counter() - started) * 1e3)
    return str(len(sent)), f"{median(walls):.0f}"


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
