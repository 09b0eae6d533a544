# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What a report means: a table of cases that patch tools get wrong, then how rows live on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from patchherd import database
from patchherd.database import now
from patchherd.devices.evidence import is_known
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device, find_device
from patchherd.packages.models import DevicePackages, Verdict
from patchherd.packages.patches import fleet_counts, patch_state, patches_of
from patchherd.packages.reports import receive_report
from patchherd.packages.windows import windows_report
from patchherd.settings import Settings
from tests.server.queries import queries

DEBIAN_SECURITY = {
    "origin": "Debian",
    "label": "Debian-Security",
    "suite": "stable-security",
    "codename": "bookworm-security",
    "component": "main",
}
DEBIAN = {"origin": "Debian", "label": "Debian", "suite": "stable", "codename": "bookworm", "component": "main"}
UBUNTU_SECURITY = {
    "origin": "Ubuntu",
    "label": "Ubuntu",
    "suite": "jammy-security",
    "codename": "jammy",
    "component": "main",
}
FOREIGN = {
    "origin": "security.example",
    "label": "Security",
    "suite": "best-security",
    "codename": "x",
    "component": "y",
}


@pytest.fixture(autouse=True)
def connected(app: Flask) -> Iterator[None]:
    with database.connection():
        yield


@pytest.fixture
def device(connected: None) -> Device:
    return create_device("host")


def item(name: str, installed: str, candidate: str | None = None, **more: Any) -> dict[str, Any]:
    offered = {} if candidate is None else {"availableVersion": candidate}
    return {"name": name, "currentVersion": installed, "needsUpdate": candidate is not None, **offered, **more}


def report(*packages: dict[str, Any], ecosystem: str = "deb", **more: Any) -> dict[str, Any]:
    return {"ecosystem": ecosystem, "metadataUpdated": now().isoformat(), "packages": list(packages), **more}


def send(device: Device, body: dict[str, Any], **kwargs: Any) -> list[dict[str, Any]]:
    receive_report(device.id, body, **kwargs)
    return patches_of([device.id])[device.id]


def advisory(name: str, severity: str | None, kind: str = "security", *cves: str) -> dict[str, Any]:
    return {"id": name, "type": kind, "severity": severity, "cves": list(cves)}


CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "nothing to do": (report(item("a", "1.0")), []),
    "ordinary update": (
        report(item("a", "1.0", "1.1", origins=[DEBIAN], sourceRepository="bookworm/main")),
        [
            {
                "verdict": "missing",
                "severity": "Optional",
                "severity_source": "none",
                "security": False,
                "origin": "bookworm/main",
            }
        ],
    ),
    "debian security archive": (
        report(item("a", "1.0", "1.1", origins=[DEBIAN, DEBIAN_SECURITY])),
        [{"security": True, "severity": "Important", "severity_source": "unrated", "origin": "bookworm/main"}],
    ),
    "ubuntu security pocket": (report(item("a", "1.0", "1.1", origins=[UBUNTU_SECURITY])), [{"security": True}]),
    "a foreign repository called security proves nothing": (
        report(item("a", "1.0", "1.1", origins=[FOREIGN])),
        [{"security": False, "severity": "Optional"}],
    ),
    "third-party agent: contract fields only": (
        {
            "packages": [
                item("nginx", "1.18.0", "1.20.0", isSecurityUpdate=True),
                item("b", "1", isSecurityUpdate=False),
            ],
            "osType": "ubuntu",
        },
        [
            {
                "package": "nginx",
                "architecture": None,
                "installed": "1.18.0",
                "candidate": "1.20.0",
                "severity": "Important",
                "severity_source": "unrated",
                "security": True,
            }
        ],
    ),
    "third-party agent names no version": (
        {"packages": [item("a", "1", needsUpdate=True)], "osType": "ubuntu"},
        [{"verdict": "missing", "candidate": None, "reason": "the agent reports an update without naming its version"}],
    ),
    "epoch beats a greater number": (report(item("a", "9.9-1", "1:0.1-1")), [{"verdict": "missing"}]),
    "epoch lost is a downgrade": (
        report(item("a", "1:0.1-1", "9.9-1")),
        [
            {
                "verdict": "current",
                "severity": "Optional",
                "reason": "the agent asks for 9.9-1, which is not newer than 1:0.1-1",
            }
        ],
    ),
    "downgrade that nobody asks for": (report(item("a", "2", "1", needsUpdate=False)), []),
    "newer, though the agent does not say so": (
        report(item("a", "1", "2", needsUpdate=False)),
        [{"verdict": "missing", "reason": "the agent does not ask for 2, which is newer"}],
    ),
    "tilde is older": (report(item("a", "1.0", "1.0~rc1")), [{"verdict": "current"}]),
    "equal by the rules": (report(item("a", "0:1.0-1", "1.00-01")), [{"verdict": "current"}]),
    "held": (
        report(item("a", "1", "2", held=True, origins=[DEBIAN_SECURITY])),
        [{"verdict": "not_installable", "reason": "held", "security": True, "severity": "Important"}],
    ),
    "held, as the agent says now": (
        report(item("a", "1", "2", needsUpdate=False, held=True, blocked="held", blockedDetail="held by dpkg")),
        [{"verdict": "not_installable", "reason": "held: held by dpkg", "candidate": "2"}],
    ),
    "pinned": (
        report(item("a", "1", "2", needsUpdate=False, blocked="pinned", blockedDetail="2 has priority -1",
                    isSecurityUpdate=True, origins=[DEBIAN_SECURITY])),
        [{"verdict": "not_installable", "reason": "pinned: 2 has priority -1", "security": True,
          "severity": "Important", "origin": "bookworm-security/main"}],
    ),
    "in a module stream, with an advisory": (
        report(item("a", "1", "2", needsUpdate=False, blocked="module", blockedDetail="nodejs:20 is not enabled",
                    advisories=[advisory("RLSA-1", "Critical", "security", "CVE-2026-1")]), ecosystem="rpm"),
        [{"verdict": "not_installable", "reason": "module: nodejs:20 is not enabled", "severity": "Critical",
          "advisories": ["RLSA-1"], "cves": ["CVE-2026-1"]}],
    ),
    "blocked without a word": (
        report(item("a", "1", "2", needsUpdate=False, blocked="esm")),
        [{"verdict": "not_installable", "reason": "esm"}],
    ),
    "blocked for a reason of the future": (
        report(item("a", "1", "2", needsUpdate=False, blocked="moon\nphase", blockedDetail="it is\n waning")),
        [{"verdict": "not_installable", "reason": "blocked: moon phase it is waning"}],
    ),
    "blocked in many words": (
        report(item("a", "1", "2", needsUpdate=False, blocked="dependency", blockedDetail="x" * 1000)),
        [{"verdict": "not_installable", "reason": "dependency: " + "x" * 300}],
    ),
    "blocked wins over asked for": (
        report(item("a", "1", "2", blocked="dependency", blockedDetail="Depends: b")),
        [{"verdict": "not_installable", "reason": "dependency: Depends: b"}],
    ),
    "blocked, and not newer": (report(item("a", "2", "2", needsUpdate=False, blocked="pinned")), []),
    "phased, and apt lets this machine have it": (
        report(item("a", "1", "2", phased=20)),
        [{"verdict": "missing", "reason": "phased: offered to 20 % of machines"}],
    ),
    "installed incompletely and blocked": (
        report(item("a", "1", "2", needsUpdate=False, broken="unpacked", blocked="dependency", blockedDetail="b")),
        [{"verdict": "missing", "reason": "unpacked: installed incompletely", "candidate": "1"}],
    ),
    "held and current": (report(item("a", "1", held=True)), []),
    "installed incompletely": (
        report(item("a", "1", broken="half-configured"), item("b", "1")),
        [
            {
                "verdict": "missing",
                "reason": "half-configured: installed incompletely",
                "installed": "1",
                "candidate": "1",
                "security": False,
            }
        ],
    ),
    "installed incompletely, and a newer version is offered": (
        report(item("a", "1", "2", broken="unpacked", origins=[DEBIAN_SECURITY])),
        [
            {
                "verdict": "missing",
                "reason": "unpacked: installed incompletely",
                "installed": "1",
                "candidate": "2",
                "security": True,
            }
        ],
    ),
    "installed incompletely and held: completing it changes no version": (
        report(item("a", "1", "2", broken="half-installed", held=True)),
        [{"verdict": "missing", "reason": "half-installed: installed incompletely", "candidate": "1"}],
    ),
    "installed incompletely, an older version is offered": (
        report(item("a", "2", "1", needsUpdate=False, broken="half-configured")),
        [{"verdict": "missing", "reason": "half-configured: installed incompletely", "candidate": "2"}],
    ),
    "a flag instead of dpkg's word": (
        report(item("a", "1", broken=True), item("b", "1", broken=False), item("c", "1", broken=None)),
        [{"package": "a", "verdict": "missing", "reason": "broken: installed incompletely"}],
    ),
    "phased away": (
        report(item("a", "1", "2", needsUpdate=False, phased=20)),
        [{"verdict": "not_installable", "reason": "phased: offered to 20 % of machines"}],
    ),
    "two architectures are two patches": (
        report(item("libc6", "1", "2", architecture="amd64"), item("libc6", "1", "2", architecture="i386")),
        [{"architecture": "amd64"}, {"architecture": "i386"}],
    ),
    "one architecture lags": (
        report(item("libc6", "2", architecture="amd64"), item("libc6", "1", "2", architecture="i386")),
        [{"architecture": "i386", "installed": "1"}],
    ),
    "several kernels, the newest is current": (
        report(
            item("kernel-core", "5.14.0-362.el9", "5.14.0-427.el9", architecture="x86_64"),
            item("kernel-core", "5.14.0-427.el9", architecture="x86_64"),
            ecosystem="rpm",
        ),
        [{"verdict": "current", "installed": "5.14.0-427.el9"}],
    ),
    "several kernels, a newer one exists": (
        report(
            item("kernel-core", "5.14.0-427.9.1.el9", architecture="x86_64"),
            item("kernel-core", "5.14.0-427.13.1.el9", "5.14.0-503.el9", architecture="x86_64"),
            item("kernel-core", "5.14.0-362.el9", architecture="x86_64"),
            ecosystem="rpm",
        ),
        [
            {
                "verdict": "missing",
                "installed": "5.14.0-427.13.1.el9",
                "candidate": "5.14.0-503.el9",
                "reboot_suggested": True,
            }
        ],
    ),
    "rocky advisories": (
        report(
            item(
                "openssl",
                "1:3.0.7-24.el9",
                "1:3.0.7-27.el9",
                advisories=[
                    advisory("RLBA-2024:1", None, "bugfix"),
                    advisory("RLSA-2024:2447", "Low", "security", "CVE-2023-2975"),
                    advisory("RLSA-2024:9333", "Moderate", "security", "CVE-2024-5535", "CVE-2023-2975"),
                ],
            ),
            ecosystem="rpm",
        ),
        [
            {
                "severity": "Moderate",
                "severity_source": "advisory",
                "security": True,
                "cves": ["CVE-2023-2975", "CVE-2024-5535"],
                "advisories": ["RLBA-2024:1", "RLSA-2024:2447", "RLSA-2024:9333"],
            }
        ],
    ),
    "other vendors' words": (
        report(
            item("a", "1-1", "1-2", advisories=[advisory("FEDORA-2024-1", "High"), advisory("X", "medium")]),
            ecosystem="rpm",
        ),
        [{"severity": "Important", "severity_source": "advisory", "severity_word": "High"}],
    ),
    "a word that rates nothing": (
        report(item("a", "1-1", "1-2", advisories=[advisory("FEDORA-2024-1", "None")]), ecosystem="rpm"),
        [{"severity": "Important", "severity_source": "unrated", "severity_word": "None"}],
    ),
    "security advisory without severity": (
        report(item("a", "1-1", "1-2", advisories=[advisory("ALSA-1", None)]), ecosystem="rpm"),
        [{"severity": "Important", "severity_source": "unrated", "severity_word": None, "security": True}],
    ),
    "bugfix advisory with severity": (
        report(item("a", "1-1", "1-2", advisories=[advisory("RHBA-1", "Critical", "bugfix")]), ecosystem="rpm"),
        [{"severity": "Optional", "severity_word": None, "security": False}],
    ),
    "windows, as agents report it": (
        {
            "osType": "Windows 11",
            "packages": [
                item(
                    "2025-01 Cumulative Update (KB5050001)",
                    "",
                    needsUpdate=True,
                    wuaGuid="g1",
                    wuaKb="5050001",
                    wuaSeverity="Critical",
                    wuaCategories=["Security Updates"],
                ),
                item(
                    "Defender definitions",
                    "",
                    needsUpdate=True,
                    wuaGuid="g2",
                    wuaKb=["KB2267602"],
                    wuaCategories="Definition Updates, Microsoft Defender",
                ),
                item(
                    "Security without rating",
                    "",
                    needsUpdate=True,
                    wuaGuid="g3",
                    wuaSeverity="Unspecified",
                    wuaCategories=["Security Updates"],
                ),
                item("7-Zip", "23.01"),
                item("Firefox", "128.0", "130.0"),
            ],
        },
        [
            {
                "kb": "KB5050001",
                "severity": "Critical",
                "severity_source": "msrc",
                "severity_word": "Critical",
                "title": "2025-01 Cumulative Update (KB5050001)",
                "installed": None,
            },
            {"kb": None, "severity": "Important", "severity_source": "unrated", "security": True},
            {
                "kb": "KB2267602",
                "severity": "Optional",
                "categories": ["Definition Updates", "Microsoft Defender"],
                "reboot_suggested": False,
            },
            {"package": "Firefox", "kb": None, "installed": "128.0", "candidate": "130.0"},
        ],
    ),
    "an unknown system is taken at its agent's word": (
        {"osType": "Alpine Linux", "packages": [item("a", "r2", "r1"), item("b", "1", "1")]},
        [{"package": "a", "verdict": "missing"}, {"package": "b", "verdict": "current"}],
    ),
    "duplicates": (report(item("a", "1", "2"), item("a", "1", "2"), item("a", "1", "2")), [{"package": "a"}]),
}


@pytest.mark.parametrize("name", CASES)
def test_case(device: Device, app_settings: Settings, name: str) -> None:
    body, expected = CASES[name]
    rows = send(device, body)
    found = [{key: row[key] for key in wanted} for row, wanted in zip(rows, expected, strict=False)]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert len(rows) == len(expected)
    missing = [row for row in rows if row["verdict"] == "missing"]
    state = find_device(device.id)
    assert (state.missing, state.missing_security) == (len(missing), sum(row["security"] for row in missing))
    assert patch_state(state, app_settings) == ("missing" if missing else "current", None)
    before = rows
    assert send(device, body) == before, "the same report again changes nothing"


def test_broken_packages_are_among_the_facts_until_they_are_repaired(device: Device) -> None:
    broken = report(*(item(f"p{number:03}", "1", broken="unpacked") for number in range(120)))
    send(device, broken)
    named = find_device(device.id).facts["brokenPackages"]
    assert (len(named), named[0]) == (100, "p000 (unpacked)")
    send(device, broken)
    send(device, {"packages": None})
    assert find_device(device.id).facts["brokenPackages"] == named
    send(device, report(item("p000", "1")))
    assert find_device(device.id).facts["brokenPackages"] == []


# -- when nothing is known -------------------------------------------------------------------------------------------


def judged(device: Device, settings: Settings, hours: float = 0) -> tuple[str, str | None]:
    """The state `hours` from now, asked both ways: in Python and in SQL."""
    moment = now() + timedelta(hours=hours)
    state = patch_state(find_device(device.id), settings, moment)
    known = Device.select().where((Device.id == device.id) & is_known(settings, moment)).exists()
    assert known == (state[0] != "unknown")
    return state


def test_unreported_host_is_unknown(device: Device, app_settings: Settings) -> None:
    assert judged(device, app_settings) == ("unknown", "no report yet")
    receive_report(device.id, {"hostname": "x", "packages": None})
    assert judged(device, app_settings) == ("unknown", "no report of packages yet")


def test_emptied_report_is_unknown_not_clean(device: Device, app_settings: Settings) -> None:
    send(device, report(item("a", "1", "2")))
    assert send(device, report(sections=["packages"])) == []
    assert judged(device, app_settings) == ("unknown", "the last report names no packages")
    assert find_device(device.id).missing is None
    send(device, report(item("a", "1", "2")))
    assert judged(device, app_settings) == ("missing", None)


def test_packages_without_metadata_are_unknown(device: Device, app_settings: Settings) -> None:
    send(device, {**report(item("a", "1")), "metadataUpdated": None})
    assert judged(device, app_settings) == ("unknown", "the host never refreshed its package metadata")


def test_old_metadata_is_unknown_even_in_a_fresh_and_identical_report(device: Device, app_settings: Settings) -> None:
    body = report(item("a", "1"))
    send(device, body)
    assert judged(device, app_settings) == ("current", None)
    send(device, {**body, "metadataUpdated": (now() - timedelta(hours=30)).isoformat()})
    assert judged(device, app_settings) == ("unknown", "the host's package metadata is older than 26 h")
    send(device, {**body, "metadataUpdated": now().isoformat()})
    assert judged(device, app_settings) == ("current", None)


def test_reports_grow_old_without_anybody_writing(device: Device, app_settings: Settings) -> None:
    send(device, {"packages": [item("a", "1", "2")]})
    assert judged(device, app_settings, hours=25)[0] == "missing"
    assert judged(device, app_settings, hours=27) == ("unknown", "the last report of packages is older than 26 h")
    assert fleet_counts(app_settings)["patches"]["total"] == 1
    later = fleet_counts(app_settings, now() + timedelta(hours=27))
    assert later["patches"]["total"] == 0
    assert later["status"] == {"missing": 0, "current": 0, "unknown": 1}


def test_a_clock_that_runs_ahead_does_not_keep_metadata_fresh(device: Device, app_settings: Settings) -> None:
    send(device, {**report(item("a", "1")), "metadataUpdated": (now() + timedelta(days=400)).isoformat()})
    assert judged(device, app_settings)[0] == "current"
    assert judged(device, app_settings, hours=27)[0] == "unknown"


# -- how rows live on ------------------------------------------------------------------------------------------------


def age(device: Device, days: int) -> None:
    Verdict.update(first_seen=now() - timedelta(days=days)).where(Verdict.device == device.id).execute()


def days_open(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["package"]: (now() - row["first_seen"]).days for row in rows}


def test_first_seen_survives_until_the_patch_is_in(device: Device) -> None:
    send(device, report(item("a", "1", "2"), item("b", "1", "2"), item("c", "1", "2")))
    age(device, 9)
    rows = send(device, report(item("a", "1", "3"), item("b", "2", "3"), item("c", "2"), item("d", "1", "2")))
    assert days_open(rows) == {"a": 9, "b": 0, "d": 0}, "a still open, b was fixed and misses another, c fixed, d new"


def test_an_identical_report_writes_no_rows(device: Device) -> None:
    body = report(*[item(f"p{number}", "1", "2") for number in range(300)])
    send(device, body)
    fresh = find_device(device.id)
    with queries() as seen:
        receive_report(fresh.id, {**body, "metadataUpdated": now().isoformat(), "systemUptime": "5 days"})
    writes = [sql for sql in seen if sql.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert [sql.split()[1].strip('"') for sql in writes] == ["device"]
    assert find_device(device.id).facts["systemUptime"] == "5 days"


def test_few_changes_write_few_rows(device: Device) -> None:
    send(device, report(*[item(f"p{number:03}", "1", "2") for number in range(300)]))
    ids = {row.package: row.id for row in Verdict.select()}
    changed = [
        item("p000", "2"),
        item("p001", "1", "3"),
        *[item(f"p{number:03}", "1", "2") for number in range(2, 301)],
    ]
    before = database.db.connection().total_changes if database.is_sqlite() else 0
    with queries() as seen:
        send(device, report(*changed))
    if database.is_sqlite():
        assert database.db.connection().total_changes - before < 20
    else:
        touched = [sql for sql in seen if '"verdict"' in sql and sql.startswith(("INSERT", "UPDATE", "DELETE"))]
        assert sorted(sql.split()[0] for sql in touched) == ["DELETE", "INSERT", "UPDATE"]
    after = {row.package: row.id for row in Verdict.select()}
    assert {name for name in ids if after.get(name) != ids[name]} == {"p000"}
    assert set(after) - set(ids) == {"p300"}


def test_query_count_does_not_grow_with_devices(app_settings: Settings) -> None:
    devices = [create_device(f"h{number}") for number in range(20)]
    for one in devices:
        send(one, report(item("a", "1", "2")))
    with queries() as seen:
        rows = patches_of([one.id for one in devices])
        fleet_counts(app_settings)
    assert len(seen) == 3
    assert all(len(found) == 1 for found in rows.values())


def test_a_deleted_row_takes_its_rows_along(device: Device) -> None:
    send(device, report(item("a", "1", "2")))
    Device.delete().where(Device.id == device.id).execute()
    assert Verdict.select().count() == DevicePackages.select().count() == 0


# -- windows by ansible ----------------------------------------------------------------------------------------------

SEARCH = {
    "found_update_count": 2,
    "reboot_required": True,
    "updates": {
        "guid-1": {
            "title": "Cumulative Update (KB5050001)",
            "kb": ["5050001"],
            "categories": ["Security Updates"],
            "installed": False,
        },
        "guid-2": {"title": "Done", "kb": ["1"], "categories": [], "installed": True},
    },
    "filtered_updates": {
        "guid-3": {
            "title": "Hidden driver",
            "kb": [],
            "categories": ["Drivers"],
            "installed": False,
            "filtered_reasons": ["hidden"],
        },
    },
}


def test_windows_search_becomes_patches(device: Device, app_settings: Settings) -> None:
    rows = send(device, windows_report(SEARCH), source="ansible")
    assert [(row["package"], row["kb"], row["verdict"], row["severity"]) for row in rows] == [
        ("Cumulative Update (KB5050001)", "KB5050001", "missing", "Important"),
        ("Hidden driver", None, "not_installable", "Optional"),
    ]
    state = find_device(device.id)
    assert (state.reboot_required, state.missing) == (True, 1)
    assert send(device, windows_report({"updates": {}, "reboot_required": False}), source="ansible") == []
    assert judged(device, app_settings) == ("current", None)
    assert find_device(device.id).reboot_required is False


def test_windows_search_leaves_the_agents_package_list_alone(device: Device) -> None:
    send(device, {"osType": "Windows Server 2022", "packages": [item("7-Zip", "23.01")]})
    before = DevicePackages.get().package_set_id
    send(device, windows_report(SEARCH), source="ansible")
    assert DevicePackages.get().package_set_id == before


# -- updates of one title --------------------------------------------------------------------------------------------


def driver(**more: Any) -> dict[str, Any]:
    return {"name": "Vendor - Net - 1.2.3", "currentVersion": "", "needsUpdate": True, "wuaGuid": None, **more}


def test_windows_updates_of_one_title_are_told_apart(device: Device) -> None:
    offered = [driver(wuaGuid="A-1"), driver(wuaGuid="a-2", held=True), driver(wuaKb="KB7"), driver(wuaKb=["KB8", "6"])]
    rows = send(device, report(*offered, ecosystem="windows"))
    assert {(row["update_id"], row["kb"], row["verdict"]) for row in rows} == {
        ("a-1", None, "missing"), ("a-2", None, "not_installable"),
        ("KB7", "KB7", "missing"), ("6,KB8", "KB8", "missing"),
    }  # fmt: skip
    assert {(row["package"], row["title"]) for row in rows} == {("Vendor - Net - 1.2.3",) * 2}
    assert find_device(device.id).missing == 3
    first = {row.update_id: (row.id, row.first_seen) for row in Verdict.select()}

    rows = send(device, report(*reversed(offered[1:]), ecosystem="windows"))
    assert {row["update_id"] for row in rows} == {"a-2", "KB7", "6,KB8"}
    assert {row.update_id: (row.id, row.first_seen) for row in Verdict.select()} == {
        name: first[name] for name in ("a-2", "KB7", "6,KB8")
    }, "one of them is installed; the others are what they were"


def test_one_windows_update_is_one_however_it_is_written(device: Device) -> None:
    same = [driver(wuaGuid="{ABC-1}"), driver(wuaGuid="abc-1"), driver(wuaGuid=" Abc-1 ", wuaKb="KB1")]
    (row,) = send(device, report(*same, ecosystem="windows"))
    assert (row["update_id"], row["kb"]) == ("abc-1", "KB1")
    long = send(device, report(driver(wuaGuid="x" * 5000), ecosystem="windows"))
    assert [row["update_id"] for row in long] == ["x" * 64]


def test_agent_and_ansible_mean_the_same_update(device: Device) -> None:
    send(device, report(driver(wuaGuid="AB-1"), driver(wuaGuid="AB-2"), ecosystem="windows"))
    before = {row.update_id: row.id for row in Verdict.select()}
    title = driver()["name"]
    search = {"updates": {name: {"title": title, "kb": [], "categories": ["Drivers"]} for name in ("ab-1", "ab-2")}}
    assert len(send(device, windows_report(search), source="ansible")) == 2
    assert {row.update_id: row.id for row in Verdict.select()} == before


def test_an_update_that_had_no_identifier_keeps_its_age(device: Device) -> None:
    send(device, report(driver(wuaGuid="a-1"), ecosystem="windows"))
    old = now() - timedelta(days=9)
    Verdict.update(update_id="", first_seen=old).execute()
    send(device, report(driver(wuaGuid="a-1"), driver(wuaGuid="a-2"), ecosystem="windows"))
    seen = {row.update_id: row.first_seen for row in Verdict.select()}
    assert seen["a-1"].date() == old.date()
    assert seen["a-2"] > old
