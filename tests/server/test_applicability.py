# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Content views and reports together: one verdict from two witnesses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.devices import group_changes
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device, find_device
from patchherd.errors import BadRequest, NotFound
from patchherd.packages.applicability import background, evaluation, explain, whatif
from patchherd.packages.applicability.phasing import share
from patchherd.packages.models import DevicePackages, EvaluationDue, Verdict
from patchherd.packages.patches import patch_state, patches_of
from patchherd.packages.reports import receive_report
from patchherd.packages.views import registry
from patchherd.packages.views.models import ViewSource
from patchherd.settings import Settings
from tests.repositories import NOW, apt_repository, primary_package, primary_xml, rpm_repository, stanza
from tests.server.interposing import after_next, before_next
from tests.server.queries import queries
from tests.server.views import new_source, run

DEBIAN = {
    "osType": "Debian GNU/Linux", "osId": "debian", "osVersionId": "12", "osCodename": "bookworm", "machineId": "m1",
}  # fmt: skip
MAIN = {"Label": "Debian", "Suite": "stable"}


def item(name: str, installed: str, candidate: str | None = None, **more: Any) -> dict[str, Any]:
    offered = {} if candidate is None else {"availableVersion": candidate}
    told = {"name": name, "currentVersion": installed, "architecture": "amd64", "needsUpdate": candidate is not None}
    return {**told, **offered, **more}


DPKG = item("dpkg", "1.21.22")


def send(device: Device, *packages: dict[str, Any], **more: Any) -> None:
    moment = more.pop("metadata", now())
    body = {**DEBIAN, "ecosystem": "deb", "metadataUpdated": moment and moment.isoformat(), **more}
    receive_report(device.id, {**body, "packages": [DPKG, *packages]})


def verdicts(device: Device) -> dict[str, tuple[Any, ...]]:
    """package -> (verdict, candidate, code of the reason, decided_by)"""
    return {
        row["package"]: (row["verdict"], row["candidate"], (row["reason"] or "").partition(":")[0], row["decided_by"])
        for row in patches_of([device.id])[device.id]
    }


def offer(settings: Settings, root: Path, *packages: str, hours: int = 0, **more: Any) -> int:
    """Publish and import; the source."""
    suite = more.pop("suite", "bookworm")
    told = {**MAIN, **more.pop("told", {})}
    apt_repository(root, None, list(packages), date=NOW + timedelta(hours=hours), suite=suite, told=told)
    known = ViewSource.get_or_none(ViewSource.suite == suite)
    source = known.id if known else new_source(settings, root, None, suite=suite, **more)
    assert run(settings, source)["state"] == "ok"
    return int(source)


def assign(*devices: Device, view: str = "view") -> None:
    with database.write_transaction():
        registry.assign(registry.find_view(view), [device.id for device in devices], [])


@pytest.fixture
def device(opened: Settings) -> Device:
    return create_device("host")


def test_sizes_come_from_whoever_offers_the_version(opened: Settings, root: Path, device: Device) -> None:
    def sizes() -> dict[str, int | None]:
        return {row["package"]: row["size"] for row in patches_of([device.id])[device.id]}

    send(device, item("a", "1", "2", size=7), item("b", "1"), item("d", "1", "2", size=9), item("e", "1", "2"))
    own = {"a": 7, "d": 9, "e": None}
    assert sizes() == own
    offer(opened, root, stanza("a", "2"), stanza("b", "2"))
    assign(device)
    background.evaluate_due(opened)
    assert sizes() == {"a": 1000, "b": 1000, "d": 9, "e": None}
    with database.write_transaction():
        registry.assign(registry.find_view("view"), [], [])
    background.evaluate_due(opened)
    assert sizes() == own, "what the host said is known"


def test_what_a_view_offers_becomes_a_verdict(opened: Settings, root: Path, device: Device) -> None:
    send(device, item("a", "1", "2"), item("b", "1"), item("c", "1", "3"), item("d", "1", "2"), item("e", "2"))
    offer(opened, root, stanza("a", "2"), stanza("b", "2"), stanza("c", "2"), stanza("e", "1"), stanza("f", "1"))
    assign(device)
    assert background.is_due()
    assert background.evaluate_due(opened) == 1
    assert not background.is_due()
    assert verdicts(device) == {
        "a": ("missing", "2", "", "both"),
        "b": ("unknown", "2", "disagree", "view"),
        "c": ("missing", "2", "disagree", "view"),
        "d": ("not_installable", "2", "not_in_view", "node"),
    }
    state = find_device(device.id)
    assert (state.missing, state.missing_security, patch_state(state, opened)[0]) == (2, 0, "missing")


def test_a_report_is_judged_when_it_arrives(opened: Settings, root: Path, device: Device) -> None:
    send(device, item("a", "1"))
    offer(opened, root, stanza("a", "2"), stanza("b", "2"))
    assign(device)
    background.evaluate_due(opened)
    send(device, item("a", "2"), item("b", "1", "2"))
    assert verdicts(device) == {"b": ("missing", "2", "", "both")}
    assert patch_state(find_device(device.id), opened) == ("missing", None)
    send(device, item("a", "2"), item("b", "2"))
    assert verdicts(device) == {}
    assert patch_state(find_device(device.id), opened) == ("current", None)


def test_doubt_is_not_current(opened: Settings, root: Path, device: Device) -> None:
    send(device, item("a", "1"))
    offer(opened, root, stanza("a", "2"))
    assign(device)
    assert patch_state(find_device(device.id), opened)[0] == "current"
    background.evaluate_due(opened)
    assert patch_state(find_device(device.id), opened) == ("unknown", "1 of its packages may lack an update")
    # The same packages once more: an open question is asked again by each report.
    offer(opened, root, stanza("a", "1"), hours=1)
    send(device, item("a", "1"))
    assert patch_state(find_device(device.id), opened)[0] == "current"


@pytest.mark.parametrize("metadata", [None, NOW - timedelta(days=3)], ids=["never", "before"])
def test_a_host_that_cannot_know_yet_misses_it(opened: Settings, root: Path, device: Device, metadata: Any) -> None:
    offer(opened, root, stanza("a", "2"))
    send(device, item("a", "1"), metadata=metadata)
    assign(device)
    background.evaluate_due(opened)
    assert verdicts(device) == {"a": ("missing", "2", "stale", "view")}
    assert patch_state(find_device(device.id), opened)[0] == "unknown", "old metadata prove nothing else"


def test_reported_sources_choose_the_view(opened: Settings, root: Path, device: Device) -> None:
    send(device, item("a", "1"), item("other", "1", "2"))
    offer(opened, root, stanza("a", "2"), aliases=["http://deb.example.org/debian/"])
    assert background.evaluate_due(opened) == 0
    source = {"url": "https://deb.example.org/debian", "distribution": "bookworm", "repoType": "deb", "isEnabled": True}
    send(device, item("a", "1", "2"), item("other", "1", "2"), repositories=[source])
    assert background.is_due()
    assert background.evaluate_due(opened) == 1
    # Its other repositories are its own business.
    assert verdicts(device) == {"a": ("missing", "2", "", "both"), "other": ("missing", "2", "", "node")}
    assert DevicePackages.get().views == "reported:1"
    send(device, item("a", "1", "3"), item("other", "1", "2"), repositories=[source])
    assert verdicts(device)["a"] == ("missing", "3", "disagree", "node"), "it looked later than the server"


def test_groups_bring_views_and_take_them_along(opened: Settings, root: Path, device: Device) -> None:
    send(device, item("a", "1", "1.5"))
    offer(opened, root, stanza("a", "2"))
    group = group_changes.create_group({"name": "web"})
    with database.write_transaction():
        registry.assign(registry.find_view("view"), [], [group.uuid])
    background.evaluate_due(opened)
    assert verdicts(device)["a"][1] == "1.5"
    first = Verdict.get().first_seen
    group_changes.add_members(group, [device])
    assert background.is_due()
    background.evaluate_due(opened)
    assert verdicts(device) == {"a": ("missing", "2", "disagree", "view")}
    assert Verdict.get().first_seen == first, "it has been missing all along"
    group_changes.remove_member(group, device)
    background.evaluate_due(opened)
    assert verdicts(device) == {"a": ("missing", "1.5", "", "node")}
    assert (Verdict.get().evidence, DevicePackages.get().views) == (None, "")


def test_a_view_that_goes_leaves_what_the_host_says(opened: Settings, root: Path, device: Device) -> None:
    send(device, item("a", "1"), item("b", "1", "2"))
    offer(opened, root, stanza("a", "2"))
    assign(device)
    background.evaluate_due(opened)
    assert verdicts(device) == {
        "a": ("unknown", "2", "disagree", "view"), "b": ("not_installable", "2", "not_in_view", "node"),
    }  # fmt: skip
    with database.write_transaction():
        registry.delete_view(opened, registry.find_view("view"))
    assert background.is_due()
    background.evaluate_due(opened)
    assert verdicts(device) == {"b": ("missing", "2", "", "node")}
    assert not background.is_due()


def test_only_what_changed_is_evaluated(opened: Settings, root: Path) -> None:
    one, two = create_device("one"), create_device("two")
    other = root.parent / "other"
    other.mkdir()
    for device in (one, two):
        send(device, item("a", "1", "2"))
    offer(opened, root, stanza("a", "2"))
    apt_repository(other, None, [stanza("a", "2")], suite="second")
    run(opened, new_source(opened, other, None, view="second", suite="second"))
    assign(one)
    assign(two, view="second")
    assert background.evaluate_due(opened) == 2
    offer(opened, root, stanza("a", "2"), stanza("z", "1"), hours=1)
    before = {row.id for row in Verdict.select()}
    assert background.evaluate_due(opened) == 1
    assert {row.id for row in Verdict.select()} == before, "the same verdicts stay the rows that they are"
    assert background.evaluate_due(opened) == 0


def test_a_report_in_between_wins(opened: Settings, root: Path, device: Device, monkeypatch: Any) -> None:
    send(device, item("a", "1", "2"))
    offer(opened, root, stanza("a", "2"))
    assign(device)
    before_next(monkeypatch, background, "merge", lambda: send(device, item("a", "2"), item("b", "1", "2")))
    assert background.evaluate_due(opened) == 0
    assert verdicts(device) == {"b": ("missing", "2", "", "node")}
    assert EvaluationDue.select().count() == 1
    assert background.evaluate_due(opened) == 1
    assert verdicts(device) == {"b": ("not_installable", "2", "not_in_view", "node")}


def test_a_report_does_not_hide_what_a_view_got_meanwhile(
    opened: Settings, root: Path, device: Device, monkeypatch: Any
) -> None:
    send(device, item("a", "1"))
    offer(opened, root, stanza("a", "1"))
    assign(device)
    background.evaluate_due(opened)

    def new_content() -> None:
        offer(opened, root, stanza("a", "2"), hours=1)
        background.evaluate_due(opened)

    after_next(monkeypatch, evaluation, "at_report", new_content)
    send(device, item("a", "1"), item("b", "1"), metadata=NOW)
    assert verdicts(device) == {}
    assert background.is_due()
    background.evaluate_due(opened)
    assert verdicts(device) == {"a": ("missing", "2", "stale", "view")}


def test_what_is_asked_in_between_is_not_forgotten(
    opened: Settings, root: Path, device: Device, monkeypatch: Any
) -> None:
    other = create_device("other")
    for one in (device, other):
        send(one, item("a", "1", "2"))
    offer(opened, root, stanza("a", "2"))
    assign(device)

    def ask() -> None:
        assign(device, other)
        send(other, item("a", "1", "2"), repositories=[{"url": "http://new.example.org", "repoType": "deb"}])

    before_next(monkeypatch, background, "merge", ask)
    assert background.evaluate_due(opened) == 1
    assert background.is_due()
    assert EvaluationDue.select().count() == 1
    assert background.evaluate_due(opened) == 2
    assert verdicts(other) == {"a": ("missing", "2", "", "both")}
    assert not background.is_due()


def test_two_evaluations_at_once_agree(opened: Settings, root: Path, device: Device, monkeypatch: Any) -> None:
    send(device, item("a", "1"), item("b", "1", "2"))
    offer(opened, root, stanza("a", "2"), stanza("b", "2"))
    assign(device)
    counts: list[int] = []
    before_next(monkeypatch, background, "merge", lambda: counts.append(background.evaluate_due(opened)))
    assert background.evaluate_due(opened) == 0
    assert counts == [1]
    assert background.evaluate_due(opened) == 1
    assert verdicts(device) == {"a": ("unknown", "2", "disagree", "view"), "b": ("missing", "2", "", "both")}


def test_queries_do_not_grow_with_devices(opened: Settings, root: Path) -> None:
    devices = [create_device(f"h{number}") for number in range(30)]
    for number, device in enumerate(devices):
        send(device, item("a", "1", "2"), item("b", f"1.{number}"))
    offer(opened, root, stanza("a", "2"), stanza("b", "2"))
    assign(*devices[:5])
    with queries() as few:
        assert background.evaluate_due(opened) == 5
    assign(*devices)
    with queries() as many:
        assert background.evaluate_due(opened) == 30
    assert len(many) <= len(few) + 2


# -- which version ---------------------------------------------------------------------------------------------------


def what_if(*packages: tuple[str, ...], views: tuple[str, ...] = ("view",), **more: Any) -> Any:
    names = ("name", "version", "architecture")
    listed = [dict(zip(names, (*one, "amd64")[:3], strict=True)) for one in packages]
    return whatif.evaluate({"views": list(views), "packages": listed, **more})


def answers(*packages: tuple[str, ...], **more: Any) -> dict[str, tuple[str, str, str]]:
    """package -> (verdict, candidate, code of the reason)"""
    return {
        row["package"]: (row["verdict"], row["candidate"], (row["reason"] or "").partition(":")[0])
        for row in what_if(("dpkg", "1"), *packages, **more)["patches"]
    }


def test_what_if_stores_nothing(opened: Settings, root: Path) -> None:
    offer(opened, root, stanza("a", "2"), stanza("b", "1"))
    with queries() as sent:
        answer = what_if(("dpkg", "1"), ("a", "1"), ("b", "1"), ("strange", "1"))
    assert not [text for text in sent if text.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert [(row["package"], row["verdict"], row["candidate"]) for row in answer["patches"]] == [("a", "missing", "2")]
    assert (answer["packages"], answer["not_offered"], answer["counts"]["total"]) == (4, 2, 1)
    (row,) = answer["patches"]
    assert (row["view"], row["size"], row["origin"], row["decided_by"]) == ("view", 1000, "bookworm/main", "view")


def test_what_if_refuses_what_makes_no_sense(opened: Settings, root: Path, device: Device) -> None:
    offer(opened, root, stanza("a", "2"))
    with database.write_transaction():
        registry.create_view("red", "rpm")
        registry.create_view("windows", "windows")
    for views, part in ((("view", "red"), "one ecosystem"), (("windows",), "for a device that has reported")):
        with pytest.raises(BadRequest) as refused:
            what_if(views=views)
        assert part in str(refused.value.errors[0]["msg"])
    with pytest.raises(NotFound):
        what_if(views=("nothing",))
    with pytest.raises(BadRequest) as refused:
        whatif.evaluate({"views": ["view"], "device": device.uuid})
    assert "not reported" in refused.value.errors[0]["msg"]
    send(device, item("a", "1"))
    assert whatif.evaluate({"views": ["view"], "device": device.uuid})["counts"]["total"] == 1
    with pytest.raises(BadRequest) as refused:
        whatif.evaluate({"views": ["red"], "device": device.uuid})
    assert "no rpm packages" in refused.value.errors[0]["msg"]


def test_of_several_installed_versions_the_newest_counts(opened: Settings, root: Path) -> None:
    offer(opened, root, stanza("kernel", "6"))
    assert answers(("kernel", "5"), ("kernel", "4")) == {"kernel": ("missing", "6", "")}
    assert answers(("kernel", "5"), ("kernel", "6")) == {}
    assert answers(("kernel", "7"), ("kernel", "5")) == {}


def test_architectures_are_kept_apart(opened: Settings, root: Path) -> None:
    offer(
        opened, root, stanza("lib", "2"), stanza("lib", "3", Architecture="i386"),
        stanza("docs", "2", Architecture="all"), stanza("tool", "2"),
    )  # fmt: skip
    rows = what_if(
        ("dpkg", "1"), ("lib", "1"), ("lib", "1", "i386"), ("docs", "1", "amd64"), ("docs", "1", "i386"),
        ("tool", "1", "all"), ("tool", "1", "i386"),
    )["patches"]  # fmt: skip
    assert {(row["package"], row["architecture"], row["candidate"]) for row in rows} == {
        ("lib", "amd64", "2"), ("lib", "i386", "3"), ("docs", "amd64", "2"), ("tool", "all", "2"),
    }  # fmt: skip
    # An agent that tells no architecture.
    assert answers(("lib", "1", ""), ("docs", "1", "")) == {
        "lib": ("missing", "2", ""), "docs": ("missing", "2", ""),
    }  # fmt: skip


def test_security_is_what_an_update_goes_past(opened: Settings, root: Path) -> None:
    offer(opened, root, stanza("a", "3"), stanza("b", "2"))
    security = {"Label": "Debian-Security", "Suite": "stable-security"}
    offer(opened, root, stanza("a", "2"), stanza("b", "1"), suite="bookworm-security", told=security)
    rows = {row["package"]: row for row in what_if(("a", "1"), ("b", "1"))["patches"]}
    assert (rows["a"]["candidate"], rows["a"]["security"], rows["a"]["severity"]) == ("3", True, "Important")
    assert (rows["b"]["candidate"], rows["b"]["security"], rows["b"]["severity"]) == ("2", False, "Optional")
    assert what_if(("a", "2"))["patches"][0]["security"] is False


def test_backports_and_experimental_are_no_updates(opened: Settings, root: Path) -> None:
    offer(opened, root, stanza("a", "1.1"), stanza("b", "1"))
    later = {"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes", "Suite": "stable-backports"}
    backports = [stanza("a", "2"), stanza("b", "2"), stanza("c", "2.1")]
    offer(opened, root, *backports, suite="bookworm-backports", told=later)
    offer(opened, root, stanza("c", "9"), stanza("b", "9"), suite="rc-buggy", told={"NotAutomatic": "yes"})
    assert answers(("a", "1"), ("b", "1"), ("c", "2")) == {"a": ("missing", "1.1", ""), "c": ("missing", "2.1", "")}
    assert answers(("a", "1.5~bpo")) == {"a": ("missing", "2", "")}, "installed from nowhere else"


def test_a_release_for_another_system_is_not_for_this_one(opened: Settings, root: Path, device: Device) -> None:
    offer(opened, root, stanza("a", "1.1"))
    offer(opened, root, stanza("a", "2"), stanza("b", "2"), suite="trixie", told={"Suite": "testing"})
    send(device, item("a", "1", "1.1"), item("b", "1"), item("c", "1"))
    assign(device)
    background.evaluate_due(opened)
    assert verdicts(device) == {
        "a": ("missing", "1.1", "", "both"), "b": ("not_installable", "2", "wrong_release", "view"),
    }  # fmt: skip


def test_ubuntu_pro_is_needed_where_it_is(opened: Settings, root: Path) -> None:
    esm = {"Origin": "UbuntuESM", "Suite": "jammy-infra-security", "Codename": "jammy"}
    offer(opened, root, stanza("a", "2"), suite="jammy-infra-security", told=esm)
    assert answers(("a", "1")) == {"a": ("not_installable", "2", "esm")}
    assert answers(("a", "1"), esm=True) == {"a": ("missing", "2", "")}


def test_a_phased_update_comes_to_its_share_of_machines(opened: Settings, root: Path) -> None:
    phased = stanza("a", "2", Phased_Update_Percentage="50", Source="src")
    offer(opened, root, phased)
    told = {}
    for number in range(40):
        machine = f"{number:032x}"
        ((verdict, _, code),) = answers(("a", "1"), machine_id=machine).values()
        told[verdict, code] = told.get((verdict, code), 0) + 1
        assert (verdict == "missing") == (share("src", "2", machine) <= 50)
    assert set(told) == {("missing", ""), ("not_installable", "phased")}
    reasons = [row["reason"] for row in what_if(("a", "1"))["patches"]]
    assert reasons == ["phased: offered to 50 % of machines, and this device's machine id is unknown"]
    # Waiting for one version is no reason not to take the one before it.
    offer(opened, root, phased, stanza("a", "1.5"), hours=1)
    waits = next(f"{number:032x}" for number in range(40) if share("src", "2", f"{number:032x}") > 50)
    assert answers(("a", "1"), machine_id=waits) == {"a": ("missing", "1.5", "")}


# -- rpm -------------------------------------------------------------------------------------------------------------

MODULES = b"""---
document: modulemd
version: 2
data:
  name: nodejs
  stream: 18
  artifacts:
    rpms: ["node-0:18-1.el9.x86_64"]
---
document: modulemd
version: 2
data:
  name: nodejs
  stream: 20
  artifacts:
    rpms: ["node-0:20-1.el9.x86_64"]
"""


def rpm_answers(*packages: tuple[str, ...], **more: Any) -> dict[tuple[str, str], tuple[str, str, str]]:
    rows = what_if(("rpm", "4", "x86_64"), *packages, **more)["patches"]
    return {
        (row["package"], row["architecture"]): (row["verdict"], row["candidate"], row["reason"] or "") for row in rows
    }


def offer_rpms(settings: Settings, root: Path, *packages: str) -> None:
    rpm_repository(root, None, {"primary": primary_xml(list(packages)), "modules": MODULES})
    assert run(settings, new_source(settings, root, None, "rpm"))["state"] == "ok"


def test_rpm_architectures_obsoletes_and_epochs(opened: Settings, root: Path) -> None:
    noarch = primary_package("script", "2").replace("<arch>x86_64</arch>", "<arch>noarch</arch>")
    old = primary_package("lib", "3").replace("<arch>x86_64</arch>", "<arch>i686</arch>")
    offer_rpms(
        opened, root, noarch, old, primary_package("lib", "2"), primary_package("up", "1", epoch=1),
        primary_package("new", "5", obsoletes="former"), primary_package("kernel-core", "6"),
    )  # fmt: skip
    x = "x86_64"
    assert rpm_answers(
        ("script", "1-1", x), ("lib", "1-1", x), ("lib", "1-1", "i686"), ("up", "9-1", x), ("former", "1.9-7", x),
        ("kernel-core", "5-1", x), ("kernel-core", "4-1", x),
    ) == {
        ("script", x): ("missing", "2-1.el9", ""), ("lib", x): ("missing", "2-1.el9", ""),
        ("lib", "i686"): ("missing", "3-1.el9", ""), ("up", x): ("missing", "1:1-1.el9", ""),
        ("former", x): ("missing", "5-1.el9", "replaced: by new 5-1.el9"),
        ("kernel-core", x): ("missing", "6-1.el9", ""),
    }  # fmt: skip
    assert rpm_answers(("former", "2.0-1", x), ("script", "2-1.el9", "noarch")) == {}
    assert rpm_answers(("former", "1-1", x), ("new", "5-1.el9", x)) == {}, "the replacement is there"


def test_only_enabled_module_streams_count(opened: Settings, root: Path) -> None:
    offer_rpms(opened, root, *(primary_package("node", version) for version in ("16", "18", "20")))
    node = ("node", "10-1.el9", "x86_64")
    assert rpm_answers(node, modules=["nodejs:18"]) == {("node", "x86_64"): ("missing", "18-1.el9", "")}
    assert rpm_answers(node, modules=[]) == {("node", "x86_64"): ("missing", "16-1.el9", "")}
    ((verdict, candidate, reason),) = rpm_answers(("node", "18-1.el9", "x86_64"), modules=["nodejs:18"]).values()
    assert (verdict, candidate) == ("not_installable", "20-1.el9")
    assert reason == "module: of nodejs:20, which is not enabled"


# -- explain ---------------------------------------------------------------------------------------------------------


def told(settings: Settings, device: Device, package: str) -> tuple[str, list[tuple[str, str, str]]]:
    (found,) = explain.explain(settings, find_device(device.id), package)["explanations"]
    return found["verdict"], [(step["step"], step["source"], step["says"]) for step in found["evidence"]]


def test_the_evidence_chain(opened: Settings, root: Path, device: Device) -> None:
    offer(opened, root, stanza("a", "1.1"), stanza("a", "2"), stanza("b", "1"))
    offer(opened, root, stanza("a", "3"), suite="trixie", told={"Suite": "testing"})
    send(device, item("a", "1", "1.1", sourceRepository="bookworm/main"), item("b", "1"), problems=["a mirror is away"])
    assign(device)
    assert explain.explain(opened, find_device(device.id), "a")["pending"]
    background.evaluate_due(opened)
    whole = explain.explain(opened, find_device(device.id), "a")
    assert (whole["pending"], whole["status"]) == (False, "missing")
    assert whole["explanations"][0]["patch"]["candidate"] == "2"
    verdict, steps = told(opened, device, "a")
    assert verdict == "missing"
    assert steps[1:4] == [
        ("problem", "agent", "a mirror is away"),
        ("installed", "host", "1"),
        ("host", "package manager", "offers 1.1 from bookworm/main"),
    ]
    assert [says for step, _, says in steps if step == "offer"] == [
        "a 3 amd64 from trixie/main: wrong_release: for trixie, this device runs bookworm",
        "a 2 amd64 from bookworm/main: this is the one",
        "a 1.1 amd64 from bookworm/main: newer than installed, and older than the one",
    ]
    assert steps[-1] == (
        "verdict", "content view", "missing: disagree: the host offers 1.1, content view view 2"
    )  # fmt: skip
    assert told(opened, device, "b")[0] == "current"
    with pytest.raises(NotFound):
        explain.explain(opened, device, "nothing")


def test_nothing_is_current_without_fresh_evidence(opened: Settings, device: Device) -> None:
    with pytest.raises(NotFound):
        explain.explain(opened, device, "a")
    send(device, item("a", "1"), metadata=None)
    verdict, steps = told(opened, device, "a")
    assert (verdict, steps[-1]) == (
        "unknown", ("verdict", "server", "unknown: the host never refreshed its package metadata")
    )  # fmt: skip
