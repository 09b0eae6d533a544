# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Packages that others replace under another name: reported, judged with content views, explained, deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from patchherd import database
from patchherd.database import now
from patchherd.deployments import orders
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import Deployment, DeploymentHost
from patchherd.deployments.plan import make_plan, plan_digest
from patchherd.deployments.results import note_report
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device
from patchherd.packages.applicability import background, explain
from patchherd.packages.models import Verdict
from patchherd.packages.patches import patch_state, patches_of
from patchherd.packages.reports import receive_report
from patchherd.packages.views import registry
from patchherd.settings import Settings
from tests.repositories import primary_package, primary_xml, rpm_repository
from tests.server.advisories import taken
from tests.server.fleet import add_host, package, rpm_report
from tests.server.views import new_source, run

RPM = package("rpm", "4-1")


def new(name: str, version: str, architecture: str | None = "x86_64") -> dict[str, Any]:
    return {"name": name, "version": version, "architecture": architecture}


def replaced(name: str, *by: dict[str, Any], installed: str = "1-1", **more: Any) -> dict[str, Any]:
    """A package of a report that others replace."""
    return package(name, installed, by[0]["version"], replacedBy=list(by), **more)


@pytest.fixture
def settings(app: Flask, app_settings: Settings) -> Settings:
    return app_settings


def rows(device: Device) -> dict[str, dict[str, Any]]:
    with database.connection():
        return {row["package"]: row for row in patches_of([device.id])[device.id]}


def send(device: Device, *packages: dict[str, Any], **more: Any) -> None:
    with database.connection():
        receive_report(device.id, rpm_report("web", RPM, *packages, **more))


# -- what the host says ----------------------------------------------------------------------------------------------


def test_a_host_that_lacks_a_replacement_is_not_current(settings: Settings) -> None:
    fix = {"id": "RLSA-1", "type": "security", "severity": "Moderate", "cves": ["CVE-2026-1"]}
    device = add_host("web", RPM, replaced("old", new("fresh", "0.5-1"), advisories=[fix], sourceRepository="base"))
    (row,) = rows(device).values()
    assert row["replaced_by"] == [new("fresh", "0.5-1")]
    assert (row["package"], row["installed"], row["candidate"], row["origin"]) == ("old", "1-1", "0.5-1", "base")
    assert (row["verdict"], row["reason"], row["decided_by"]) == ("missing", "replaced: by fresh 0.5-1", "node")
    assert (row["security"], row["severity"], row["advisories"]) == (True, "Moderate", ["RLSA-1"])
    with database.connection():
        assert patch_state(find_device(device.id), settings) == ("missing", None)


@pytest.mark.parametrize(
    ("item", "verdict", "reason"),
    [
        (replaced("old", new("fresh", "1-1")), "missing", "replaced: by fresh 1-1"),  # the same version
        (replaced("old", new("a", "2-1"), new("b", "3-1", None)), "missing", "replaced: by a 2-1 and b 3-1"),
        (
            replaced("old", new("fresh", "2-1"), needsUpdate=False, blocked="dependency", blockedDetail="needs x"),
            "not_installable",
            "dependency: needs x",
        ),
        (replaced("old", new("fresh", "2-1"), held=True), "not_installable", "held"),
    ],
)
def test_what_becomes_of_it(settings: Settings, item: dict[str, Any], verdict: str, reason: str) -> None:
    (row,) = rows(add_host("web", RPM, item)).values()
    assert (row["verdict"], row["reason"], row["replaced_by"]) == (verdict, reason, item["replacedBy"])


def test_an_empty_list_replaces_nothing(settings: Settings) -> None:
    found = rows(add_host("web", RPM, package("old", "1-1", "2-1", replacedBy=[])))
    assert (found["old"]["reason"], found["old"]["replaced_by"]) == (None, [])


def test_a_replacement_of_a_kernel_suggests_a_reboot(settings: Settings) -> None:
    (row,) = rows(add_host("web", RPM, replaced("old", new("fresh", "2-1"), new("systemd", "2-1")))).values()
    assert row["reboot_suggested"] is True


def test_it_is_missing_for_as_long_as_the_old_package_is_there(settings: Settings) -> None:
    device = add_host("web", RPM, replaced("old", new("fresh", "0.5-1")))
    with database.connection():
        Verdict.update(first_seen=now().replace(year=2020)).execute()
    send(device, replaced("old", new("fresh", "0.6-1"), installed="1.5-1"))
    assert rows(device)["old"]["first_seen"].year == 2020, "a newer old one is no replacement"
    send(device, package("fresh", "0.6-1"))
    assert rows(device) == {}


UPDATEINFO = """<?xml version="1.0"?>
<updates><update from="x@example.org" status="final" type="security" version="1">
 <id>RLSA-7</id><title>fresh</title><issued date="2026-06-01 00:00:00"/><severity>Moderate</severity>
 <references><reference href="https://example.org/" id="CVE-2026-7" type="cve" title="CVE-2026-7"/></references>
 <pkglist><collection short="base"><name>base</name>
  <package name="fresh" version="0.9" release="1" epoch="0" arch="x86_64" src="fresh-0.9-1.src.rpm"/>
 </collection></pkglist>
</update></updates>
"""


def test_advisories_that_were_imported_count_by_the_new_name(settings: Settings, tmp_path: Path) -> None:
    device = add_host("web", RPM, replaced("old", new("fresh", "2-1")), osVersionId="9.4")
    assert rows(device)["old"]["severity"] == "Optional"
    file = tmp_path / "updateinfo.xml"
    file.write_text(UPDATEINFO)
    taken("updateinfo", str(file), "rocky", "rocky:9")
    anew = rows(device)["old"]
    assert (anew["security"], anew["severity"], anew["advisories"]) == (True, "Moderate", ["RLSA-7"])
    send(device, replaced("old", new("fresh", "2-1")), package("more"), osVersionId="9.4")
    reported = rows(device)["old"]
    assert {**reported, "age_days": 0} == {**anew, "age_days": 0}, "a report says the same"


# -- with content views ----------------------------------------------------------------------------------------------


def offer(settings: Settings, root: Path, device: Device, *packages: str) -> None:
    rpm_repository(root, None, {"primary": primary_xml(list(packages))})
    assert run(settings, new_source(settings, root, None, "rpm"))["state"] == "ok"
    with database.write_transaction():
        registry.assign(registry.find_view("view"), [device.id], [])
    with database.connection():
        background.evaluate_due(settings)


FRESH = primary_package("fresh", "5", "1", obsoletes="old")


@pytest.mark.parametrize(
    ("said", "verdict", "reason", "decided_by"),
    [
        (replaced("old", new("fresh", "5-1")), "missing", "replaced: by fresh 5-1", "both"),
        (
            replaced("old", new("fresh", "4-1")),
            "missing",
            "disagree: the host offers fresh 4-1, content view view fresh 5-1",
            "view",
        ),
        (
            replaced("old", new("other", "5-1")),
            "missing",
            "disagree: the host offers other 5-1, content view view fresh 5-1",
            "view",
        ),
        (
            package("old", "1-1", "1.5-1"),
            "missing",
            "disagree: the host offers 1.5-1, content view view fresh 5-1",
            "view",
        ),
        (
            replaced("old", new("fresh", "5-1"), needsUpdate=False, blocked="dependency", blockedDetail="needs x"),
            "not_installable",
            "dependency: needs x",
            "both",
        ),
    ],
)
def test_host_and_view(
    settings: Settings, tmp_path: Path, said: dict[str, Any], verdict: str, reason: str, decided_by: str
) -> None:
    device = add_host("web", RPM, said)
    offer(settings, tmp_path / "repo", device, FRESH, primary_package("old", "1.5", "1"))
    for how in ("evaluated in the background", "judged by a report"):
        (row,) = rows(device).values()
        assert (row["verdict"], row["reason"], row["decided_by"]) == (verdict, reason, decided_by), how
        assert (row["candidate"], row["replaced_by"]) == ("5-1", [new("fresh", "5-1")]), how
        send(device, said, package("more"))


def test_a_view_alone_is_doubt(settings: Settings, tmp_path: Path) -> None:
    device = add_host("web", RPM, package("old"))
    offer(settings, tmp_path / "repo", device, FRESH)
    (row,) = rows(device).values()
    assert (row["verdict"], row["replaced_by"]) == ("unknown", [new("fresh", "5-1")])
    assert row["reason"].startswith("disagree: content view view offers fresh 5-1, the host's package manager (")
    send(device, package("old"), metadataUpdated=None)
    (row,) = rows(device).values()
    assert (row["verdict"], row["reason"]) == ("missing", "stale: the host has never refreshed its package metadata")


def test_a_host_alone_is_told_by_name(settings: Settings, tmp_path: Path) -> None:
    device = add_host("web", RPM, replaced("old", new("fresh", "5-1")))
    offer(settings, tmp_path / "repo", device, primary_package("unrelated", "1"))
    (row,) = rows(device).values()
    assert (row["verdict"], row["replaced_by"]) == ("not_installable", [new("fresh", "5-1")])
    assert row["reason"] == "not_in_view: the host's repositories offer fresh 5-1, its content views do not"
    with database.write_transaction():
        registry.assign(registry.find_view("view"), [], [])
    with database.connection():
        background.evaluate_due(settings)
    (row,) = rows(device).values()
    assert (row["verdict"], row["reason"]) == ("missing", "replaced: by fresh 5-1"), "what the host said is kept"
    assert row["replaced_by"] == [new("fresh", "5-1")]


def test_parts_of_a_package_are_all_named_and_foreign_ones_are_not(settings: Settings, tmp_path: Path) -> None:
    device = add_host("web", RPM, replaced("old", new("part-a", "3-1"), new("part-b", "2-1")))
    parts = [primary_package("part-a", version, "1", obsoletes="old") for version in ("2", "3")]
    foreign = primary_package("part-a", "9", "1", obsoletes="old").replace("<arch>x86_64<", "<arch>i686<")
    offer(settings, tmp_path / "repo", device, primary_package("part-b", "2", "1", obsoletes="old"), *parts, foreign)
    (row,) = rows(device).values()
    assert row["replaced_by"] == [new("part-a", "3-1"), new("part-b", "2-1")]
    assert (row["verdict"], row["decided_by"]) == ("missing", "both")


def test_the_evidence_tells_who_replaces_what(settings: Settings, tmp_path: Path) -> None:
    device = add_host("web", RPM, replaced("old", new("fresh", "5-1"), sourceRepository="base"))
    offer(settings, tmp_path / "repo", device, FRESH)
    with database.connection():
        (told,) = explain.explain(settings, find_device(device.id), "old")["explanations"]
    says = [(step["step"], step["source"], step["says"]) for step in told["evidence"]]
    assert ("host", "package manager", "has it replaced: by fresh 5-1 from base") in says
    assert ("offer", "content views", "have no version of it") in says
    (offered,) = [says for step, _, says in says if step == "offer" and "replaces it" in says]
    assert offered.startswith("fresh 5-1 x86_64 from ")
    assert says[-1] == ("verdict", "host and content view", "missing: replaced: by fresh 5-1")
    assert told["patch"]["replaced_by"] == [new("fresh", "5-1")]


# -- deployments -----------------------------------------------------------------------------------------------------

WANTED = replaced("old", new("fresh", "0.5-1"), new("part", "2-1", "noarch"))


class Placed:
    """A deployment on a host that lacks a replacement, and the reports of its playbook."""

    def __init__(self, settings: Settings, **order: Any) -> None:
        self.device = add_host("web", RPM, WANTED, package("bash", "1-1", "2-1"))
        with database.connection():
            values = {"created_by": "me", "devices": [self.device.id], "groups": [], **order}
            self.deployment = orders.place(settings, lambda _: None, **values)
            self.host = DeploymentHost.get()

    def plan(self) -> list[dict[str, Any]]:
        with database.connection():
            (found,) = kind_of(self.deployment).host_variables(DeploymentHost.id == self.host.id).values()
        return list(found["patchherd_plan"])

    def report(self, phase: str, *packages: dict[str, Any]) -> dict[str, Any]:
        """The host after such a report."""
        with database.connection():
            note_report(self.deployment, self.host.id, phase, rpm_report("web", RPM, *packages))
            (host,) = orders.details(Deployment.get_by_id(self.deployment.id))["hosts"]
        return dict(host)


def results(host: dict[str, Any]) -> dict[str, str]:
    return {change["package"]: change["result"] for change in host["changes"]}


@pytest.mark.parametrize("pattern", ["old", "fresh", "part"])
def test_a_plan_says_what_to_install_in_its_place(settings: Settings, pattern: str) -> None:
    placed = Placed(settings, filter_="packages", packages=[pattern])
    by = [new("fresh", "0.5-1"), new("part", "2-1", "noarch")]
    assert placed.plan() == [
        {"package": "old", "architecture": "x86_64", "installed": "1-1", "candidate": "0.5-1", "kb": None,
         "replaced_by": by},
    ]  # fmt: skip
    with database.connection():
        (host,) = orders.details(placed.deployment)["hosts"]
    assert [(change["to"], change["replaced_by"]) for change in host["changes"]] == [("0.5-1", by)]


def test_another_name_is_another_plan(settings: Settings) -> None:
    digests = set()
    for name in ("fresh", "other"):
        device = add_host("web", RPM, replaced("old", new(name, "2-1")))
        with database.connection():
            device.uuid = "same"
            digests.add(plan_digest(make_plan(settings, [device], "all", [])))
    assert len(digests) == 2


def test_patched_means_that_the_new_ones_are_there_and_the_old_one_is_not(settings: Settings) -> None:
    placed = Placed(settings)
    bash = package("bash", "2-1")
    assert set(results(placed.report("before", WANTED, package("bash", "1-1", "2-1"))).values()) == {"planned"}
    after = [package("fresh", "0.5-1"), package("part", "2-1", architecture="noarch"), bash, package("needed", "1-1")]
    host = placed.report("after", *after)
    assert (host["state"], host["message"]) == ("patched", "")
    assert results(host) == {"old": "installed", "bash": "installed", "needed": "installed"}, "the new ones are planned"
    assert rows(placed.device) == {}


@pytest.mark.parametrize(
    "after",
    [
        [WANTED],
        [package("fresh", "0.5-1")],  # the other part lacks
        [package("fresh", "0.4-1"), package("part", "2-1", architecture="noarch")],
        [package("old", "1-1"), package("fresh", "0.5-1"), package("part", "2-1", architecture="noarch")],
        [package("old", "0.5-1")],  # the version, under the old name
    ],
)
def test_less_than_that_has_failed(settings: Settings, after: list[dict[str, Any]]) -> None:
    placed = Placed(settings, filter_="packages", packages=["old"])
    placed.report("before", WANTED)
    host = placed.report("after", *after)
    assert (host["state"], results(host)["old"]) == ("failed", "failed")
    assert host["message"] == "not installed: old"


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (replaced("old", new("fresh", "0.5-1")), "the repositories now offer fresh 0.5-1"),
        (package("old", "1-1", "0.5-1"), "the repositories now offer 0.5-1"),
        (package("old"), "no longer offered: already installed, held, or withdrawn since the plan was made"),
        (WANTED | {"needsUpdate": False, "blocked": "held", "blockedDetail": "x"}, "not installable: held: x"),
    ],
)
def test_what_is_offered_otherwise_by_now_is_left_out(settings: Settings, before: dict[str, Any], message: str) -> None:
    placed = Placed(settings, filter_="packages", packages=["old"])
    for phase in ("before", "after"):
        host = placed.report(phase, before)
    (change,) = host["changes"]
    assert (host["state"], change["result"], change["message"]) == ("incomplete", "superseded", message)
