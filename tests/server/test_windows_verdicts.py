# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Windows hosts: what their own search says, held against builds, hotfixes, supersedence, views and the past."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask

from patchherd import database
from patchherd.database import now
from patchherd.deployments.upkeep import tidy
from patchherd.devices.registry import find_device
from patchherd.packages.applicability import background, windows_loops, windows_reports
from patchherd.packages.applicability.models import UpdateReturn
from patchherd.packages.applicability.windows_explain import explain
from patchherd.packages.applicability.windows_reports import rejudge
from patchherd.packages.models import EvaluationDue, Verdict
from patchherd.packages.reports import receive_report
from patchherd.packages.views import importer, registry
from patchherd.packages.views.models import ContentView
from patchherd.packages.windows import windows_report
from patchherd.settings import Settings
from tests.server.advisories import SAMPLES, taken
from tests.server.api import Api
from tests.server.interposing import after_next, before_next
from tests.server.queries import queries

SERVER_2022 = {
    "osType": "Microsoft Windows Server 2022 Standard", "osId": "windows", "osCodename": "21H2",
    "osVersion": "10.0.20348.2340", "architecture": "AMD64", "packageManager": "windows", "ecosystem": "windows",
    "sections": ["packages"],
}  # fmt: skip
SECURITY = ["Security Updates", "Windows Server 2022"]


def guid(number: int | str) -> str:
    return f"5d1c8a0e-0000-4000-8000-{int(str(number).removeprefix('KB')):012d}"


def offer(kb: str | None, update_id: str | None = None, **more: Any) -> dict[str, Any]:
    """An update that the host's search offers."""
    return {
        "name": f"2026-01 Update for Windows Server 2022 ({kb})", "currentVersion": "", "needsUpdate": True,
        "wuaGuid": update_id or guid(kb or 0), "wuaKb": kb, "wuaCategories": SECURITY, **more,
    }  # fmt: skip


def hotfix(kb: str) -> dict[str, Any]:
    return {"name": kb, "currentVersion": "installed", "needsUpdate": False, "category": "Hotfix"}


def program(name: str = "7-Zip") -> dict[str, Any]:
    return {"name": name, "currentVersion": "23.01", "architecture": "x64", "needsUpdate": False}


def listed(kb: str | None, update_id: str | None = None, **more: Any) -> dict[str, Any]:
    """An update as a list has it."""
    return {
        "id": update_id or guid(kb or 0), "title": f"2026-01 Update for Windows Server 2022 ({kb})",
        "classification": "Security Updates", "products": ["Windows Server 2022"], **({"kb": kb} if kb else {}), **more,
    }  # fmt: skip


class Windows:
    """A Windows host that reports over the API."""

    def __init__(self, api: Api, **about: Any) -> None:
        self.api, self.about = api, {**SERVER_2022, **about}
        self.settings: Settings = api.client.application.config["PATCHHERD"]
        self.host = api.enroll(friendly_name="win")
        self.id = int(api.get(f"/devices/{self.host['id']}").json["id"])

    def report(self, *packages: dict[str, Any], **more: Any) -> dict[str, int]:
        body = {"metadataUpdated": now().isoformat(), **self.about, "packages": list(packages), **more}
        answer = self.api.host("POST", "/hosts/update", self.host, body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json)

    def ansible(self, *updates: str) -> None:
        """What a search by Ansible found."""
        found = {guid(kb): {"title": kb, "kb": [kb], "categories": SECURITY} for kb in updates}
        with database.connection():
            receive_report(self.id, windows_report({"updates": found}), source="ansible")

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["kb"] or row["update_id"]: row for row in self.shown()["patches"]}

    def shown(self) -> dict[str, Any]:
        return dict(self.api.get(f"/devices/{self.id}/patches").json)

    def verdicts(self) -> dict[str, tuple[str, str | None]]:
        return {kb: (row["verdict"], row["reason"]) for kb, row in self.rows().items()}

    def missing(self) -> set[str]:
        found = {kb for kb, (verdict, _) in self.verdicts().items() if verdict == "missing"}
        assert self.shown()["counts"]["total"] == len(found)
        return found

    def events(self) -> list[dict[str, Any]]:
        return list(self.api.get(f"/devices/{self.id}/history?type=update_loop").json["events"])


@pytest.fixture
def win(api: Api) -> Windows:
    return Windows(api)


@pytest.fixture
def advised(api: Api) -> Api:
    """MSRC: KB5060001 (build 2800) replaces KB5050001 (2700), which replaces KB5040000, on Windows Server 2022."""
    taken("msrc", "msrc-2026-jan.json")
    taken("msrc", "msrc-2026-feb.json")
    return api


class Views:
    """Content views made of lists."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings, self.directory = settings, directory

    def give(self, device: int, *updates: dict[str, Any], name: str = "view") -> None:
        """Import this list as the newest state of a view, assign it, and have it count."""
        file = self.directory / f"{name}.json"
        told = {"format": "patchherd-windows-updates", "version": 1, "updates": list(updates)}
        file.write_bytes(msgspec.json.encode(told))
        with database.connection():
            view = ContentView.get_or_none(ContentView.name == name)
            if view is None:
                with database.write_transaction():
                    view = registry.create_view(name, "windows")
                    source = {"kind": "windows", "url": str(file), "allow_unsigned": True}
                    registry.add_source(self.settings, view, source, any_path=True)
                    registry.assign(view, [device], [])
            (source_row,) = view.sources
            outcome = importer.import_source(self.settings, source_row.id)
            assert outcome is not None
            assert outcome["state"] == "ok", outcome
            assert background.is_due()
            background.evaluate_due(self.settings)
            assert not background.is_due()


@pytest.fixture
def views(app_settings: Settings, app: Flask, tmp_path: Path) -> Views:
    return Views(app_settings, tmp_path)


# -- supersedence ----------------------------------------------------------------------------------------------------


def test_a_superseded_update_is_not_missing(win: Windows, advised: Api) -> None:
    told = win.report(offer("KB5040000"), offer("KB5050001"), offer("KB5060001"), hotfix("KB1"))
    assert told["updatesAvailable"] == 1
    by = "superseded: by KB5060001, which is missing itself"
    assert win.verdicts() == {
        "KB5060001": ("missing", None), "KB5050001": ("not_installable", by), "KB5040000": ("not_installable", by)
    }  # fmt: skip
    assert win.missing() == {"KB5060001"}
    listed = advised.get("/patches?package=*").json
    assert [row["kb"] for row in listed["patches"]] == ["KB5060001"]


def test_superseded_by_what_is_installed(win: Windows, advised: Api) -> None:
    win.report(offer("KB5040000"), hotfix("KB5060001"), osVersion="10.0.20348")
    assert win.verdicts() == {"KB5040000": ("not_installable", "superseded: by KB5060001, which is installed")}
    shown = win.shown()
    assert (shown["status"], shown["counts"]["total"]) == ("current", 0)
    assert advised.get("/cves/CVE-2026-7002").json["devices"] == []


def test_an_installed_successor_that_waits_for_a_restart(win: Windows, advised: Api) -> None:
    win.report(offer("KB5050001"), hotfix("KB5060001"))
    reason = "superseded: by KB5060001, which is installed, but not effective: "
    assert win.verdicts() == {
        "KB5050001": ("not_installable", reason + "build 10.0.20348.2340 is below 10.0.20348.2800")
    }
    devices = advised.get("/cves/CVE-2026-7002").json["devices"]
    assert [(one["hostname"], one["status"]) for one in devices] == [("win", "exposed")]


def test_what_replaces_it_elsewhere_settles_nothing(api: Api, advised: Api) -> None:
    win = Windows(api, osType="Microsoft Windows Server 2019 Standard", osCodename="")
    win.report(offer("KB5040000"), offer("KB5060001"))
    assert win.missing() == {"KB5040000", "KB5060001"}
    unknown = Windows(api, osType="Windows")
    unknown.report(offer("KB5040000"), offer("KB5060001"))
    assert unknown.missing() == {"KB5040000", "KB5060001"}


def test_a_hidden_successor_settles_nothing(win: Windows, advised: Api) -> None:
    win.report(offer("KB5050001"), offer("KB5060001", held=True), hotfix("KB1"))
    assert win.verdicts() == {"KB5060001": ("not_installable", "hidden"), "KB5050001": ("missing", None)}


def test_circles_across_sources_leave_everything_missing(win: Windows, advised: Api, views: Views) -> None:
    """A list that says the opposite of MSRC: neither is believed."""
    win.report(program())
    views.give(win.id, listed("KB5050001", supersedes=[guid("KB5060001")]), listed("KB5060001"))
    win.report(offer("KB5050001"), offer("KB5060001"), offer("KB5040000"))
    assert win.missing() == {"KB5050001", "KB5060001"}
    assert win.verdicts()["KB5040000"][0] == "not_installable"


def test_definitions_share_a_kb_and_are_told_apart(win: Windows, views: Views) -> None:
    definition = {"classification": "Definition Updates", "products": ["Microsoft Defender Antivirus"]}
    win.report(program())
    views.give(
        win.id,
        listed("KB2267602", guid(1), title="Definition (Version 1)", **definition),
        listed("KB2267602", guid(2), title="Definition (Version 2)", supersedes=[guid(1)], **definition),
    )
    categories = {"wuaCategories": ["Definition Updates"]}
    win.report(offer("KB2267602", guid(1), name="one", **categories), hotfix("KB2267602"))
    assert win.missing() == {"KB2267602"}, "an installed KB2267602 may be any of them"
    win.report(
        offer("KB2267602", guid(1), name="one", **categories), offer("KB2267602", guid(2), name="two", **categories)
    )
    rows = {row["update_id"]: (row["verdict"], row["reason"]) for row in win.shown()["patches"]}
    assert rows == {
        guid(1): ("not_installable", f"superseded: by Definition (Version 2) ({guid(2)}), which is missing itself"),
        guid(2): ("missing", None),
    }
    win.report(offer("KB2267602", guid(3), name="three", **categories), offer("KB2267602", guid(2), name="two"))
    assert win.shown()["counts"]["total"] == 2, "the list does not know the newest one"


def test_five_thousand_superseded_updates(win: Windows, views: Views) -> None:
    ids = [guid(9_000_000 + number) for number in range(5_000)]
    chain = [
        listed(None, one, title=f"Old {number} for Windows Server 2022", supersedes=ids[max(0, number - 20) : number])
        for number, one in enumerate(ids)
    ]
    newest = listed("KB5099999", supersedes=ids)
    win.report(program())
    views.give(win.id, *chain, newest)
    body = [offer(None, one, name=f"Old {number}") for number, one in enumerate(ids)]
    win.report(*body[:10], offer("KB5099999"))  # the view is read
    started = time.monotonic()
    told = win.report(*body, offer("KB5099999"))
    assert time.monotonic() - started < 20
    assert told["updatesAvailable"] == 1
    assert win.missing() == {"KB5099999"}


# -- builds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "missing"),
    [
        ("10.0.20348.2699", {"KB5050001", "KB890830"}),
        ("10.0.20348.2700", {"KB890830"}),
        ("10.0.20348.2900", {"KB890830"}),
        ("10.0.20348", {"KB5050001", "KB890830"}),
        ("10.0.17763.9999", {"KB5050001", "KB890830"}),
        ("10.0.20348.99999999999999999999999", {"KB5050001", "KB890830"}),
        ("99.99.20348.9999", {"KB5050001", "KB890830"}),
        ("-1", {"KB5050001", "KB890830"}),
        (None, {"KB5050001", "KB890830"}),
        (20348, {"KB5050001", "KB890830"}),
    ],
)
def test_the_build_proves_what_a_stale_search_denies(
    api: Api, advised: Api, build: str | int | None, missing: set[str]
) -> None:
    win = Windows(api, osVersion=build)
    win.report(offer("KB5050001"), offer("KB890830"))
    assert win.missing() == missing
    if len(missing) == 1:
        reason = f"build: {build} is at least 10.0.20348.2700, which KB5050001 brings"
        assert win.verdicts()["KB5050001"] == ("current", reason)


def test_the_build_proves_successors(win: Windows, advised: Api) -> None:
    win.report(offer("KB5040000"), osVersion="10.0.20348.2800")
    assert win.verdicts() == {"KB5040000": ("not_installable", "superseded: by KB5050001, which is installed")}


def test_reasons_have_codes(win: Windows, advised: Api) -> None:
    win.report(offer("KB5040000"), offer("KB890830"), hotfix("KB890830"), hotfix("KB5050001"))
    assert win.verdicts()["KB890830"] == (
        "missing", "hotfix: KB890830 is installed, and yet the host's search offers it"
    )  # fmt: skip
    for code, kb in (("superseded", "KB5040000"), ("hotfix", "KB890830")):
        found = advised.get(f"/patches?reason={code}").json["patches"]
        assert [row["kb"] for row in found] == [kb]


def test_a_newer_build_alone_is_judged_anew(win: Windows, advised: Api) -> None:
    win.report(offer("KB5050001"), hotfix("KB1"))
    assert win.missing() == {"KB5050001"}
    win.report(offer("KB5050001"), hotfix("KB1"), osVersion="10.0.20348.2700")
    assert win.missing() == set()


def test_an_old_build_does_not_refute_a_new_search(win: Windows, advised: Api) -> None:
    """What Ansible finds missing may have been rolled back since the agent told the build and the hotfixes."""
    win.report(hotfix("KB5060001"), program(), osVersion="10.0.20348.2800")
    win.ansible("KB5050001", "KB5060001")
    assert win.missing() == {"KB5060001"}


# -- content views ---------------------------------------------------------------------------------------------------


def test_a_view_and_a_search_that_disagree(win: Windows, advised: Api, views: Views) -> None:
    win.report(program())
    views.give(
        win.id, listed("KB5050001", severity="Critical", released="2026-01-13", reboot="always"),
        listed("KB7000001", title="Cumulative Update for Windows Server 2019", products=["Windows Server 2019"]),
        listed("KB7000002", title="Update for .NET Framework 4.8 for Windows Server 2022"),
        listed("KB7000003", title="Contoso driver", classification="Drivers"),
        listed("KB7000004", title="2026-01 Cumulative Update Preview for Windows Server 2022"),
        listed("KB7000005", products=[], title="Something"),
        listed(None, guid(7000006), title="Update for Windows Server 2022 without a KB"),
    )  # fmt: skip
    told = win.report(program())
    assert told["updatesAvailable"] == 0
    row = win.rows()["KB5050001"]
    assert (win.rows().keys(), row["verdict"], row["decided_by"]) == ({"KB5050001"}, "unknown", "view")
    assert row["reason"] == (
        "disagree: content view view offers it, the host's own search does not; "
        "build 10.0.20348.2340 is below 10.0.20348.2700, which it brings"
    )
    assert (row["severity"], row["security"], row["advisories"]) == (
        "Critical", True, ["CVE-2026-7002", "CVE-2026-7001"]
    )  # fmt: skip
    cve = advised.get("/cves/CVE-2026-7002").json["devices"]
    assert [(one["hostname"], one["status"]) for one in cve] == [("win", "exposed")], "its build tells"
    for settling in (
        {"packages": [program(), hotfix("KB5050001")]},
        {"packages": [program(), hotfix("KB5060001")]},
        {"packages": [program()], "osVersion": "10.0.20348.2700"},
    ):
        win.report(**settling)
        assert win.rows() == {}
        win.report(program())
        assert win.rows().keys() == {"KB5050001"}, "an unchanged list is judged anew as long as it is open"


def test_a_view_knows_what_a_search_could_not(win: Windows, views: Views) -> None:
    win.report(program())
    views.give(win.id, listed("KB5050001", released="2026-01-13"))
    yesterday, before = (now() - timedelta(hours=hours) for hours in (2, 24 * 3650))
    win.report(program(), metadataUpdated=before.isoformat())
    assert win.verdicts()["KB5050001"][0] == "missing"
    assert win.verdicts()["KB5050001"][1].startswith("stale: the host last searched at ")  # type: ignore[union-attr]
    win.report(program(), metadataUpdated=None)
    assert win.verdicts()["KB5050001"] == (
        "missing", "stale: content view view offers it, and the host's own search failed"
    )  # fmt: skip
    assert win.shown()["status"] == "unknown"
    win.report(program(), metadataUpdated=yesterday.isoformat())
    assert win.verdicts()["KB5050001"][0] == "unknown"


def test_only_the_newest_of_a_chain_is_asked_for(win: Windows, views: Views) -> None:
    win.report(program())
    views.give(
        win.id, listed("KB1000001"), listed("KB1000002", supersedes=[guid("KB1000001")]),
        listed("KB1000003", supersedes=[guid("KB1000002")]),
    )  # fmt: skip
    win.report(program())
    assert {kb: verdict for kb, (verdict, _) in win.verdicts().items()} == {"KB1000003": "unknown"}
    win.report(program(), offer("KB1000002"))
    assert {kb: verdict for kb, (verdict, _) in win.verdicts().items()} == {
        "KB1000003": "unknown", "KB1000002": "missing"
    }  # fmt: skip
    win.report(program(), offer("KB1000001"), offer("KB1000003"))
    verdicts = win.verdicts()
    assert verdicts["KB1000003"] == ("missing", None)
    assert verdicts["KB1000001"][0] == "not_installable"
    assert win.rows()["KB1000003"]["decided_by"] == "both"


def test_a_view_rates_what_the_host_does_not(win: Windows, views: Views) -> None:
    win.report(program())
    views.give(win.id, listed("KB5050001", severity="Moderate"))
    win.report(offer("KB5050001"))
    row = win.rows()["KB5050001"]
    assert (row["severity"], row["severity_source"], row["categories"]) == ("Moderate", "msrc", SECURITY)


def test_views_count_without_a_report_and_no_longer_than_they_are_assigned(win: Windows, views: Views) -> None:
    win.report(offer("KB5050001"))
    views.give(win.id, listed("KB1000001"), listed("KB1000002", supersedes=[guid("KB5050001")]))
    assert {kb: verdict for kb, (verdict, _) in win.verdicts().items()} == {
        "KB5050001": "missing", "KB1000001": "unknown", "KB1000002": "unknown"
    }  # fmt: skip
    views.give(win.id, listed("KB1000001"), listed("KB1000003", supersedes=[guid("KB5050001")]))
    assert win.rows().keys() == {"KB5050001", "KB1000001", "KB1000003"}
    assert win.api.call("PUT", "/content-views/view/assignments", {"devices": [], "groups": []}).status_code == 200
    with database.connection():
        background.evaluate_due(views.settings)
    assert win.verdicts() == {"KB5050001": ("missing", None)}
    assert win.shown()["status"] == "missing"


# -- when advisories come, change and go -----------------------------------------------------------------------------


def evaluated(win: Windows) -> int:
    """How many devices the worker's command judges; afterwards nothing is left to do."""
    with database.connection():
        done = background.evaluate_due(win.settings)
        if background.is_due():  # asked for within the millisecond in which that began
            background.evaluate_due(win.settings)
        assert not background.is_due()
    return done


def due() -> set[int]:
    with database.connection():
        return {row[0] for row in EvaluationDue.select(EvaluationDue.device).where(EvaluationDue.anew).tuples()}


def months(tmp_path: Path, *changes: tuple[str, str], drop: int | None = None) -> Path:
    """The sample of January with other text in some places, or without one vulnerability."""
    text = (SAMPLES / "msrc-2026-jan.json").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    told = json.loads(text)
    if drop is not None:
        del told["Vulnerability"][drop]
    path = tmp_path / "january.json"
    path.write_text(json.dumps(told))
    return path


def test_new_advisories_count_without_a_report(win: Windows) -> None:
    win.report(offer("KB5040000"), offer("KB5050001"), hotfix("KB1"))
    assert (win.missing(), win.shown()["counts"]["critical"]) == ({"KB5040000", "KB5050001"}, 0)
    with database.connection():
        evaluated_at = find_device(win.host["id"]).evaluated_at
    taken("msrc", "msrc-2026-jan.json")
    assert evaluated(win) == 1
    assert win.verdicts() == {
        "KB5050001": ("missing", None),
        "KB5040000": ("not_installable", "superseded: by KB5050001, which is missing itself"),
    }
    assert win.rows()["KB5050001"]["severity"] == "Critical"
    with database.connection():
        device = find_device(win.host["id"])
        assert (device.missing, device.missing_critical, device.missing_important) == (1, 1, 0)
        assert device.evaluated_at == evaluated_at, "its evidence is as old as before"
    assert evaluated(win) == 0


def test_builds_that_advisories_tell_count_without_a_report(api: Api) -> None:
    win = Windows(api, osVersion="10.0.20348.2700")
    win.report(offer("KB5050001"), hotfix("KB1"))
    assert win.shown()["status"] == "missing"
    taken("msrc", "msrc-2026-jan.json")
    evaluated(win)
    assert win.verdicts()["KB5050001"][0] == "current"
    assert win.shown()["status"] == "current"


def test_an_import_that_changes_nothing_asks_for_nothing(win: Windows, tmp_path: Path) -> None:
    win.report(offer("KB5040000"), hotfix("KB5050001"))
    taken("msrc", "msrc-2026-jan.json", "msrc")
    assert due() == {win.id}
    evaluated(win)
    taken("msrc", "msrc-2026-jan.json", "msrc")
    taken("msrc", months(tmp_path), "msrc")  # other bytes, the same words
    taken("osv", "osv-usn.json")
    taken("kev", "kev.json")
    assert due() == set(), "what others publish replaces no update of Windows"
    assert evaluated(win) == 0


def test_devices_of_other_systems_and_without_updates_are_left_alone(api: Api, win: Windows) -> None:
    win.report(hotfix("KB5050001"))
    linux = api.enroll()
    package = {"name": "a", "currentVersion": "1", "availableVersion": "2", "needsUpdate": True}
    assert api.host("POST", "/hosts/update", linux, {"ecosystem": "deb", "packages": [package]}).status_code == 200
    taken("msrc", "msrc-2026-jan.json")
    assert due() == set()


def test_advisories_that_go_take_along_what_they_said(win: Windows, tmp_path: Path) -> None:
    win.report(offer("KB5040000"), offer("KB5050001"), hotfix("KB1"))
    taken("msrc", "msrc-2026-jan.json", "msrc")
    evaluated(win)
    assert win.missing() == {"KB5050001"}
    taken("msrc", months(tmp_path, ('"Supercedence": "5040000"', '"Supercedence": ""')), "msrc")
    evaluated(win)
    assert win.missing() == {"KB5050001", "KB5040000"}


def test_severities_follow_what_msrc_says_by_now(win: Windows, tmp_path: Path) -> None:
    win.report(offer("KB5050001"), offer("KB5040000", wuaSeverity="Critical"), hotfix("KB1"))

    def severities() -> dict[str, tuple[str, str]]:
        return {kb: (row["severity"], row["severity_source"]) for kb, row in win.rows().items()}

    unrated = {"KB5050001": ("Important", "unrated"), "KB5040000": ("Critical", "msrc")}
    assert severities() == unrated
    for word in ("Critical", "Low", "Moderate"):
        changes = [(f'"Value": "{old}"', f'"Value": "{word}"') for old in ("Critical", "Important")]
        taken("msrc", months(tmp_path, *changes, ('"Supercedence": "5040000"', '"Supercedence": ""')), "msrc")
        evaluated(win)
        assert severities() == unrated | {"KB5050001": (word, "msrc")}
        with database.connection():
            device = find_device(win.host["id"])
            assert device.missing_critical == 1 + (word == "Critical")
            assert device.missing_moderate == (word == "Moderate")


def test_what_the_host_itself_called_critical_is_so_again_with_its_next_report(win: Windows, tmp_path: Path) -> None:
    packages = (offer("KB5050001", wuaSeverity="Critical"), hotfix("KB1"))
    win.report(*packages)
    taken("msrc", "msrc-2026-jan.json", "msrc")
    taken("msrc", months(tmp_path, ('"Value": "Critical"', '"Value": "Low"'), ('"Important"', '"Low"')), "msrc")
    evaluated(win)
    win.report(*packages)
    assert win.rows()["KB5050001"]["severity"] == "Critical"


def test_a_report_during_the_evaluation_wins(win: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    win.report(offer("KB5040000"), offer("KB5050001"), hotfix("KB1"))
    taken("msrc", "msrc-2026-jan.json")
    before_next(monkeypatch, windows_reports, "judge", lambda: win.report(offer("KB5040000"), hotfix("KB1")))
    with database.connection():
        assert background.evaluate_due(win.settings) == 0
    assert win.verdicts() == {"KB5040000": ("missing", None)}
    assert due() == {win.id}
    assert evaluated(win) == 1
    assert win.verdicts() == {"KB5040000": ("missing", None)}


def test_advisories_that_come_during_a_report_are_not_missed(win: Windows, monkeypatch: pytest.MonkeyPatch) -> None:

    def new_advisories() -> None:
        taken("msrc", "msrc-2026-jan.json")
        evaluated(win)

    after_next(monkeypatch, windows_reports, "judge", new_advisories)
    win.report(offer("KB5040000"), offer("KB5050001"), hotfix("KB1"))
    assert win.missing() == {"KB5040000", "KB5050001"}
    assert evaluated(win) == 1
    assert win.missing() == {"KB5050001"}


def test_advisories_that_come_during_the_evaluation_are_not_missed(
    win: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    win.report(offer("KB5040000"), offer("KB5050001"), offer("KB5060001"), hotfix("KB1"))
    taken("msrc", "msrc-2026-jan.json")
    after_next(monkeypatch, windows_reports, "judge", lambda: taken("msrc", "msrc-2026-feb.json"))
    with database.connection():
        background.evaluate_due(win.settings)
    assert win.missing() == {"KB5050001", "KB5060001"}
    assert evaluated(win) == 1
    assert win.missing() == {"KB5060001"}


def test_many_devices_are_judged_anew_by_few_queries(api: Api) -> None:
    hosts = [Windows(api, hostname=f"win{number}") for number in range(8)]
    for number, host in enumerate(hosts):
        host.report(offer("KB5040000"), offer("KB5050001"), hotfix(f"KB{1_000_000 + number}"))
    counts = []
    for month, some in (("jan", hosts[:2]), ("feb", hosts)):
        taken("msrc", f"msrc-2026-{month}.json")
        with database.connection():
            EvaluationDue.delete().where(EvaluationDue.device.not_in([host.id for host in some])).execute()
            Verdict.update(verdict="missing", reason=None).execute()  # so that each has a row to change
            with queries() as seen:
                assert background.evaluate_due(hosts[0].settings) == len(some)
        counts.append(len(seen))
        assert all(host.verdicts()["KB5040000"][0] == "not_installable" for host in some)
    assert counts[1] <= counts[0] + 2


# -- again from what is stored ---------------------------------------------------------------------------------------


def test_judging_again_from_what_is_stored(win: Windows, advised: Api, views: Views) -> None:
    win.report(offer("KB5040000"), offer("KB5050001"), offer("KB890830", held=True), hotfix("KB5060001"))
    first = win.verdicts()
    views.give(win.id, listed("KB1000001"), listed("KB5050001"))
    with database.connection():
        again = {row.kb: row for row in rejudge([win.id])[win.id]}
        without = {row.kb: (row.verdict, row.reason) for row in rejudge([win.id], {win.id: ()})[win.id]}
    assert without == first
    assert (again["KB1000001"].verdict, again["KB5050001"].decided_by) == ("unknown", "both")
    win.report(offer("KB5040000"), offer("KB5050001"), offer("KB890830", held=True), hotfix("KB5060001"), program())
    assert {kb: (row.verdict, row.reason) for kb, row in again.items()} == win.verdicts()
    with database.connection():
        assert {row.kb: (row.verdict, row.reason) for row in rejudge([win.id], {win.id: ()})[win.id]} == first


# -- loops -----------------------------------------------------------------------------------------------------------


def go_round(win: Windows, times: int, kb: str = "KB5050001", *, seen: bool = True) -> None:
    for _ in range(times):
        win.report(program(), *([hotfix(kb)] if seen else []))
        win.report(program(), offer(kb))


def test_a_kb_that_is_rolled_back_again_and_again(win: Windows) -> None:
    win.report(program(), offer("KB5050001"))
    go_round(win, 1)
    assert (win.verdicts()["KB5050001"], win.events()) == (("missing", None), [])
    go_round(win, 1)
    reason = f"loop: installed and rolled back 2 times since {now().date()}"
    assert win.verdicts() == {"KB5050001": ("missing", reason)}
    (event,) = win.events()
    assert (event["detail"]["kb"], event["detail"]["reason"]) == ("KB5050001", reason)
    go_round(win, 1)
    assert win.verdicts()["KB5050001"][1] == reason.replace("2 times", "3 times")
    assert len(win.events()) == 1
    win.report(program(), offer("KB5050001"), offer("KB890830"))
    assert win.missing() == {"KB5050001", "KB890830"}
    assert win.verdicts()["KB890830"] == ("missing", None)


def test_ansible_installs_what_the_host_rolls_back(win: Windows) -> None:
    win.report(program(), offer("KB5050001"))
    for _ in range(2):
        win.ansible()
        win.report(program(), offer("KB5050001"))
    day = now().date()
    assert win.verdicts()["KB5050001"][1] == f"loop: gone and back 2 times since {day}, seen installed 0 times"


def test_a_result_of_ansible_without_a_search_proves_nothing(win: Windows) -> None:
    win.report(program(), offer("KB5050001"))
    with database.connection():
        receive_report(win.id, windows_report({"reboot_required": False}), source="ansible")
    assert win.shown()["status"] == "unknown"
    win.report(program(), offer("KB5050001"))
    with database.connection():
        assert UpdateReturn.select().count() == 0


@pytest.mark.parametrize(
    "empty",
    [
        {"packages": []},
        {"packages": [], "metadataUpdated": None},
        {"packages": [program()], "metadataUpdated": None, "problems": ["Windows Update search failed: 0x80244022"]},
        {"packages": None},
    ],
)
def test_an_emptied_report_installs_nothing(win: Windows, empty: dict[str, Any]) -> None:
    win.report(program(), offer("KB5050001"))
    for _ in range(3):
        win.report(**empty)
        win.report(program(), offer("KB5050001"))
    assert (win.verdicts(), win.events()) == ({"KB5050001": ("missing", None)}, [])


def test_definitions_are_no_loop(win: Windows) -> None:
    definition = offer("KB2267602", wuaCategories=["Definition Updates"])
    for _ in range(4):
        win.report(program(), definition)
        win.report(program())
    with database.connection():
        assert UpdateReturn.select().count() == 0


def test_returns_that_are_long_past_are_no_loop(win: Windows) -> None:
    win.report(program(), offer("KB5050001"), offer("KB890830"))
    go_round(win, 2)
    month = int(timedelta(days=31).total_seconds() * 1000)
    with database.connection():
        for row in UpdateReturn.select():
            spans = [[gone - month, back - month, seen] for gone, back, seen in row.spans]
            UpdateReturn.update(spans=spans).where(UpdateReturn.id == row.id).execute()
    win.report(program("other"), offer("KB5050001"))
    assert win.verdicts()["KB5050001"] == ("missing", None)
    with database.connection():
        assert tidy()["update_returns"] == 0
        UpdateReturn.update(changed_at=now() - timedelta(days=31)).execute()
        assert tidy()["update_returns"] == 2
        assert UpdateReturn.select().count() == 0


def test_made_up_updates_do_not_fill_the_disk(win: Windows) -> None:
    for start in (0, 3000, 6000):
        win.report(program(), *(offer(None, guid(start + number), name=f"x{number}") for number in range(3000)))
    win.report(program())
    with database.connection():
        assert UpdateReturn.select().count() == windows_loops.MAX_ROWS


# -- what it costs, and why ------------------------------------------------------------------------------------------


def test_few_queries_however_many_updates(win: Windows, advised: Api, views: Views) -> None:
    win.report(program())
    views.give(win.id, *(listed(f"KB{5_100_000 + number}") for number in range(50)))

    def count(*packages: dict[str, Any]) -> int:
        with queries() as seen:
            win.report(*packages)
        return len(seen)

    count(program("warm"), offer("KB5050001"))
    few = count(program("few"), offer("KB5050001"), offer("KB5060001"))
    many = count(program("many"), *(offer(f"KB{5_100_000 + number}") for number in range(40)), offer("KB5050001"))
    assert many <= few + 1, "one statement more writes all rows"
    assert few < 30


def test_many_devices_are_judged_by_few_queries(api: Api, advised: Api, views: Views) -> None:
    hosts = [Windows(api, hostname=f"win{number}") for number in range(6)]
    for number, host in enumerate(hosts):
        host.report(offer("KB5050001"), offer("KB5060001"), hotfix(f"KB{1_000_000 + number}"))
    views.give(hosts[0].id, listed("KB1000001"))
    counts = []
    for some in (hosts[:1], hosts):
        with database.connection(), queries() as seen:
            found = rejudge([host.id for host in some])
        assert {len(rows) for rows in found.values()} <= {2, 3}
        counts.append(len(seen))
    assert counts[1] <= counts[0] + 1, "another set of views, not another device"


def test_linux_reports_ask_nothing_about_windows(api: Api, advised: Api) -> None:
    host = api.enroll()
    body = {"ecosystem": "deb", "packages": [{"name": "a", "currentVersion": "1", "needsUpdate": False}]}
    with queries() as seen:
        assert api.host("POST", "/hosts/update", host, body).status_code == 200
    assert not [text for text in seen if "update_return" in text or '"content_view"' in text]


def test_every_witness_is_heard(win: Windows, advised: Api, views: Views) -> None:
    win.report(program())
    views.give(win.id, listed("KB5050001"))
    win.report(offer("KB5050001"), offer("KB5040000"), hotfix("KB5060001"))
    with database.connection():
        steps = {step["step"]: step["says"] for step in explain(win.id, "5050001")}
        by_id = explain(win.id, guid("KB5050001").upper())
        assert explain(999_999, "KB1") == []
        assert explain(win.id, "KB999") == [], "nobody knows it"
        assert explain(win.id, "nonsense") == []
        installed = {step["step"]: step["says"] for step in explain(win.id, "KB5060001")}
    assert steps["search"].endswith("offers '2026-01 Update for Windows Server 2022 (KB5050001)'")
    assert steps["hotfix"] == "KB5050001 is not among the installed hotfixes"
    assert steps["build"] == "the build is 10.0.20348.2340, below 10.0.20348.2700, which KB5050001 brings"
    assert steps["supersedence"] == "KB5050001 < KB5060001, which is installed"
    assert steps["view"] == "lists '2026-01 Update for Windows Server 2022 (KB5050001)', which is for this system"
    assert steps["advisory"] == "fixes CVE-2026-7001, CVE-2026-7002; at worst Critical"
    assert steps["verdict"].startswith(
        "not_installable: superseded: by KB5060001, which is installed, but not effective"
    )
    assert {step["step"]: step["says"] for step in by_id} == steps
    assert installed["search"].endswith("does not offer KB5060001")
    assert installed["hotfix"] == "KB5060001 is among the installed hotfixes"
    assert installed["verdict"] == "current: nothing asks for it"


def test_why_over_the_api(win: Windows, advised: Api, views: Views) -> None:
    win.report(program())
    views.give(win.id, listed("KB5050001"), listed("KB1000001"))
    drivers = [offer(None, guid(number), name="Driver") for number in (1, 2)]
    win.report(offer("KB5050001"), offer("KB5060001"), *drivers, hotfix("KB1"), program())

    def why(package: str) -> list[dict[str, Any]]:
        answer = advised.get(f"/devices/{win.id}/patches/explain", query_string={"package": package})
        assert answer.status_code == 200, answer.text
        return list(answer.json["explanations"])

    (one,) = why("KB5050001")
    said = {step["step"]: step["says"] for step in one["evidence"]}
    assert one["reason"] == "superseded: by KB5060001, which is missing itself"
    assert one["patch"]["kb"] == "KB5050001"
    assert said["supersedence"] == "KB5050001 < KB5060001, which is missing itself"
    assert said["verdict"] == f"not_installable: {one['reason']}"
    assert {"report", "search", "hotfix", "build", "view", "advisory", "severity"} <= said.keys()
    (by_view,) = why("1000001")
    assert (by_view["verdict"], by_view["patch"]["view"]) == ("unknown", "view")
    (installed,) = why("KB1")
    assert (installed["verdict"], installed["patch"]) == ("current", None)
    assert len(why("Driver")) == 2, "one title, two updates"
    (driver,) = why(guid(2))
    assert driver["patch"]["update_id"] == guid(2)
    assert [one["package"] for one in why("7-Zip")] == ["7-Zip"]
    for package in ("KB999", "nothing"):
        answer = advised.get(f"/devices/{win.id}/patches/explain", query_string={"package": package})
        assert answer.status_code == 404


def test_what_if_a_device_had_other_views(win: Windows, advised: Api, views: Views) -> None:
    win.report(offer("KB890830"), program())
    with database.connection():
        before = rejudge([win.id])
    other = Windows(advised, hostname="other")
    other.report(program())
    views.give(other.id, listed("KB1000001", supersedes=[guid("KB890830")], size=5), name="other")
    answer = advised.post("/patches/evaluate", {"views": ["other"], "device": str(win.id)})
    assert answer.status_code == 200, answer.text
    rows = {row["kb"]: (row["verdict"], row["decided_by"], row["size"]) for row in answer.json["patches"]}
    assert rows == {"KB890830": ("missing", "node", None), "KB1000001": ("unknown", "view", 5)}
    assert (answer.json["ecosystem"], answer.json["packages"], answer.json["counts"]["total"]) == ("windows", 1, 1)
    refused = advised.post("/patches/evaluate", {"views": ["other"], "packages": [{"name": "a", "version": "1"}]})
    assert (refused.status_code, refused.json["errors"][0]["param"]) == (400, "packages")
    with database.connection():
        assert rejudge([win.id]) == before, "nothing was stored"


def test_the_sample_report_with_advisories(api: Api, advised: Api) -> None:
    sample = json.loads((Path(__file__).parents[1] / "fixtures" / "windows_report.json").read_text())
    host = api.enroll(friendly_name="sample")
    sample["metadataUpdated"] = now().isoformat()
    assert api.host("POST", "/hosts/update", host, sample).json["updatesAvailable"] == 5
    sample["osVersion"] = "10.0.20348.2700"
    assert api.host("POST", "/hosts/update", host, sample).json["updatesAvailable"] == 4
    with database.connection():
        assert find_device(host["id"]).missing == 4
