# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What the playbooks install: only what is wanted and offered, only in a form that means nothing else."""

from __future__ import annotations

import base64
import importlib
import json
import re
import zlib
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader

from tests.collection.conftest import ROOT

init_plugin_loader([str(ROOT / "collection")])  # imports of the collection's own modules work as in Ansible


def load(name: str) -> Any:
    module = importlib.import_module(f"ansible_collections.patchherd.fleet.plugins.filter.{name}")
    return getattr(module, name)


select_patches = load("select_patches")
select_updates = load("select_updates")


def package(name: str, current: str, available: str | None = None, arch: str = "amd64", **more: Any) -> dict[str, Any]:
    entry = {
        "name": name,
        "currentVersion": current,
        "architecture": arch,
        "needsUpdate": available is not None,
        **more,
    }
    return {**entry, "availableVersion": available} if available else entry


def report(*packages: dict[str, Any], manager: str = "apt", **more: Any) -> str:
    body = {
        "packageManager": manager, "packages": list(packages), "problems": [],
        "metadataUpdated": "2026-01-01T00:00:00Z",
        "needsReboot": False, "rebootReason": None, "architecture": "x86_64", **more,
    }  # fmt: skip
    return base64.b64encode(zlib.compress(json.dumps(body).encode())).decode()


DPKG = package("dpkg", "1.21", arch="amd64")


def wanted(name: str, candidate: str, architecture: str | None = "amd64") -> dict[str, Any]:
    return {"package": name, "architecture": architecture, "installed": None, "candidate": candidate, "kb": None}


def test_plan_selects_exact_versions_and_names_what_is_gone() -> None:
    encoded = report(
        DPKG,
        package("openssl", "1.0", "2.0"),
        package("bash", "5.0", "5.2"),
        package("curl", "7.2"),
        package("zlib1g", "1.3"),
        package("libc6", "2.36-1", "2.36-2", arch="i386"),
        package("libc6", "2.36-1", "2.36-2"),
    )
    plan = [
        wanted("openssl", "2.0"),
        wanted("bash", "5.1"),
        wanted("curl", "7.2"),
        wanted("zlib1g", "1.4"),
        wanted("gone", "1"),
        wanted("libc6", "2.36-2", "i386"),
    ]
    selected = select_patches(encoded, plan=plan)
    assert selected["install"] == ["openssl=2.0", "libc6:i386=2.36-2"]
    assert selected["names"] == ["openssl", "libc6:i386"]
    assert {item["package"]: item["reason"] for item in selected["left_out"]} == {
        "bash": "5.2 is offered now",
        "zlib1g": "no longer offered",
        "gone": "not installed",
    }
    assert selected["blocked"] == ""


def test_an_empty_plan_installs_nothing() -> None:
    assert select_patches(report(package("openssl", "1.0", "2.0")), plan=[])["install"] == []


@pytest.mark.parametrize(
    ("only", "packages", "expected"),
    [
        ("all", [], ["openssl=2.0", "php8.2-cli=8.2.1", "php8.2=8.2.1"]),
        ("security", [], ["openssl=2.0"]),
        ("all", ["php*"], ["php8.2-cli=8.2.1", "php8.2=8.2.1"]),
        ("security", ["php*"], []),
    ],
)
def test_without_plan_the_offer_is_filtered(only: str, packages: list[str], expected: list[str]) -> None:
    encoded = report(
        DPKG,
        package("openssl", "1.0", "2.0", isSecurityUpdate=True),
        package("php8.2-cli", "8.2.0", "8.2.1", isSecurityUpdate=False),
        package("php8.2", "8.2.0", "8.2.1", arch="all", isSecurityUpdate=False),
    )
    assert select_patches(encoded, only=only, packages=packages)["install"] == expected


def test_an_update_for_another_architecture_is_asked_for_by_that() -> None:
    moved = package("moved", "1-1", "2-1", arch="i686", availableArchitecture="noarch")
    assert select_patches(report(moved, manager="dnf"))["install"] == ["moved-2-1"]
    plan = [wanted("moved", "2-1", "i686")]
    assert select_patches(report(moved, manager="dnf"), plan=plan)["install"] == ["moved-2-1"]


def by(name: str, version: str, architecture: str | None = "x86_64") -> dict[str, Any]:
    return {"name": name, "version": version, "architecture": architecture}


def replaced(name: str, *new: dict[str, Any], **more: Any) -> dict[str, Any]:
    return package(name, "1-1", new[0]["version"], arch="x86_64", replacedBy=list(new), **more)


def test_what_replaces_a_package_is_installed_by_its_own_name() -> None:
    encoded = report(
        replaced("old", by("fresh", "1:2-1")), replaced("whole", by("part-a", "1-1", "noarch"), by("part-b", "3-1")),
        replaced("also-old", by("fresh", "1:2-1")), package("bash", "5-1", "6-1", arch="x86_64"), manager="dnf",
    )  # fmt: skip
    names = ["fresh", "part-a", "part-b", "bash"]
    everything = ["fresh-1:2-1.x86_64", "part-a-1-1.noarch", "part-b-3-1.x86_64", "bash-6-1"]
    selected = select_patches(encoded)
    assert (selected["install"], selected["names"], selected["left_out"]) == (everything, names, [])
    for pattern in ("whole", "part-b"):
        assert select_patches(encoded, packages=[pattern])["install"] == everything[1:3], "all parts, or files get lost"
    assert select_patches(encoded, only="security")["install"] == []


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ([by("fresh", "1-1")], None),  # the version of the old one
        ([by("fresh", "2-1")], "fresh 1-1 is offered now"),
        ([by("other", "1-1")], "fresh 1-1 is offered now"),
        ([by("fresh", "1-1"), by("part", "1-1")], "fresh 1-1 is offered now"),
        (None, "fresh 1-1 is offered now"),
    ],
)
def test_a_planned_replacement_is_exactly_what_is_offered(new: list[dict[str, Any]] | None, reason: str | None) -> None:
    encoded = report(replaced("old", by("fresh", "1-1")), manager="dnf")
    candidate = new[0]["version"] if new else "2-1"
    selected = select_patches(encoded, plan=[wanted("old", candidate, "x86_64") | {"replaced_by": new}])
    assert selected["install"] == ([] if reason else ["fresh-1-1.x86_64"])
    assert [item["reason"] for item in selected["left_out"]] == ([reason] if reason else [])


def test_a_planned_replacement_that_took_place_is_left_alone() -> None:
    plan = [wanted("old", "1-1", "x86_64") | {"replaced_by": [by("fresh", "1-1"), by("part", "2-1")]}]
    there = [package("fresh", "1-1", arch="x86_64"), package("part", "2-1", arch="x86_64")]
    assert select_patches(report(*there, manager="dnf"), plan=plan)["left_out"] == []
    (lacking,) = select_patches(report(there[0], manager="dnf"), plan=plan)["left_out"]
    assert lacking["reason"] == "not installed"
    blocked = replaced("old", *plan[0]["replaced_by"], needsUpdate=False, blocked="held", blockedDetail="locked")
    (kept,) = select_patches(report(blocked, manager="dnf"), plan=plan)["left_out"]
    assert kept["reason"] == "held: locked"


@pytest.mark.parametrize("bad", [by("-x", "1-1"), by("a b", "1-1"), by("a", "1 --x"), by("a", "1-1", "*"), by("*", "1")])
def test_a_replacement_with_a_name_that_means_something_else_is_refused_as_a_whole(bad: dict[str, Any]) -> None:
    selected = select_patches(report(replaced("old", by("fresh", "2-1"), bad), manager="dnf"))
    assert selected["install"] == []
    assert [item["reason"] for item in selected["left_out"]] == ["its name or version is malformed"]


def test_what_the_package_manager_would_not_install_stays() -> None:
    blocked = {"needsUpdate": False, "blocked": "phased", "blockedDetail": "offered to 30 % of machines"}
    encoded = report(
        package("a", "1", "2", held=True), package("b", "1", "2", phased=30, **blocked),
        package("c", "1", "2", phased=30),  # apt lets this machine have it
        package("d", "1", "2", needsUpdate=False, blocked="pinned", blockedDetail="2 has priority -1"),
    )  # fmt: skip
    selected = select_patches(encoded)
    assert selected["install"] == ["c:amd64=2"]  # without dpkg in the report nothing is known to be native
    assert {item["package"]: item["reason"] for item in selected["left_out"]} == {
        "a": "held on the host", "b": "phased: offered to 30 % of machines", "d": "pinned: 2 has priority -1",
    }  # fmt: skip
    planned = select_patches(encoded, plan=[{"package": "d", "candidate": "2"}, {"package": "b", "candidate": "3"}])
    assert planned["install"] == []
    assert [item["reason"] for item in planned["left_out"]] == ["pinned: 2 has priority -1", "no longer offered"]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("openssl-", "2.0"), ("*", "2.0"), ("/tmp/x.deb", "2.0"), ("-o", "2.0"), ("a b", "2.0"), ("a\n", "2.0"),
        ("a", "2.0-"),
        ("a", "2.0 b"), ("a", "*"), ("a", "{{ 1 }}"), ("{{ lookup('pipe', 'id') }}", "2.0"), ("a", "2.0\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("manager", ["apt", "dnf"])
def test_names_that_mean_something_else_are_refused(name: str, version: str, manager: str) -> None:
    encoded = report(package(name, "1.0", version), manager=manager)
    for selected in (select_patches(encoded), select_patches(encoded, plan=[wanted(name, version, None)])):
        assert selected["install"] == []
        assert "malformed" in selected["left_out"][0]["reason"]


def test_dnf_gets_names_epochs_versions_and_architectures() -> None:
    encoded = report(
        package("bind", "32:9.1-1.el9", "32:9.2-1.el9", arch="x86_64"),
        package("tzdata", "2025a-1.el9", "2026a-1.el9", arch="noarch"),
        package("glibc", "2.34-1.el9", "2.34-2.el9", arch="x86_64"),
        package("glibc", "2.34-1.el9", "2.34-2.el9", arch="i686"),
        package("wine", "9-1.el9", "10-1.el9", arch="i686"),
        package("kernel", "5.14.0-1.el9", arch="x86_64"),
        package("kernel", "5.14.0-2.el9", "5.14.0-3.el9", arch="x86_64"),
        manager="dnf",
    )
    assert select_patches(encoded)["install"] == [
        "bind-32:9.2-1.el9", "tzdata-2026a-1.el9", "glibc-2.34-2.el9.x86_64", "glibc-2.34-2.el9.i686",
        "wine-10-1.el9.i686", "kernel-5.14.0-3.el9",
    ]  # fmt: skip


def test_an_unknown_state_is_never_nothing_to_do() -> None:
    assert "unknown" in select_patches(report(metadataUpdated=None))["blocked"]
    failed = report(package("a", "1"), problems=["apt-get update failed: x"])
    assert "apt-get update failed: x" in select_patches(failed)["blocked"]
    assert "apt-get update failed: x" in select_patches(failed, plan=[wanted("a", "2")])["blocked"]
    assert select_patches(failed, plan=[wanted("a", "1")])["blocked"] == ""
    assert select_patches(report(package("a", "1", "2"), problems=["x"]))["blocked"] == ""
    left = "not completely installed: a (half-configured)"
    assert select_patches(report(package("a", "1"), problems=[left]))["blocked"] == "", "dpkg can complete it"
    blocked = select_patches(report(package("a", "1"), problems=[left, "apt-get update failed: x"]))["blocked"]
    assert blocked.endswith("not complete: apt-get update failed: x")


def test_a_broken_report_is_an_error() -> None:
    for text in ("", "e30=", base64.b64encode(zlib.compress(b"[]")).decode()):
        with pytest.raises(Exception, match="not a report"):
            select_patches(text)


def update(title: str, kb: list[str], categories: list[str]) -> dict[str, Any]:
    return {"id": title, "title": title, "kb": kb, "categories": categories}


UPDATES = {
    item["id"]: item
    for item in (
        update("2026-10 Cumulative Update (x64) [C++] (KB5050002)", ["5050002"], ["Security Updates"]),
        update("2026-10 .NET Framework (KB5050003)", ["5050003"], ["Update Rollups"]),
        update("Defender definitions (Version 1.2)", ["2267602"], ["Definition Updates"]),
        update("Windows 11, version 25H2", ["1"], ["Upgrades"]),
        update("A driver", [], ["Drivers"]),
    )
}


def accepted(selected: dict[str, Any]) -> set[str]:
    return {t for t in UPDATES for pattern in selected["accept_list"] if re.search(pattern, t, re.IGNORECASE)}


def test_windows_plan_matches_title_and_number() -> None:
    title = "2026-10 Cumulative Update (x64) [C++] (KB5050002)"
    plan = [
        {"package": title, "kb": "KB5050002"},
        {"package": "Defender definitions (Version 1.1)", "kb": "KB2267602"},
        {"package": "2026-10 .NET Framework (KB5050003)", "kb": "KB1"},
        {"package": "A driver", "kb": None},
    ]
    selected = select_updates(UPDATES, plan=plan)
    assert accepted(selected) == {title, "A driver"}
    assert [item["package"] for item in selected["left_out"]] == [plan[1]["package"], plan[2]["package"]]


def test_windows_without_plan_leaves_drivers_and_upgrades() -> None:
    assert len(accepted(select_updates(UPDATES))) == 3
    assert len(accepted(select_updates(UPDATES, only="security"))) == 2
    assert accepted(select_updates(UPDATES, packages=["KB505*3"])) == {"2026-10 .NET Framework (KB5050003)"}
    assert select_updates(UPDATES, plan=[])["accept_list"] == []
