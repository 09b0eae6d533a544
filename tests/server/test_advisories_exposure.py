# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who is exposed, what fixes it, and how missing patches are rated: through the API."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.packages import reports
from patchherd.packages.advisories import feeds, importing
from patchherd.packages.advisories.models import AdvisoryFeed, AdvisoryFix
from patchherd.packages.applicability import background
from patchherd.packages.models import PackageSet
from patchherd.packages.sets import drop_unused_sets
from patchherd.settings import Settings
from tests.server.advisories import SAMPLES, taken
from tests.server.api import Api
from tests.server.fleet import add_host, package
from tests.server.interposing import after_next
from tests.server.queries import queries

DEBIAN = {"osId": "debian", "osType": "Debian GNU/Linux", "osVersionId": "12", "ecosystem": "deb"}
UBUNTU = {"osId": "ubuntu", "osType": "Ubuntu", "osVersionId": "22.04", "ecosystem": "deb"}
NOBLE = {**UBUNTU, "osVersionId": "24.04"}
ROCKY = {"osId": "rocky", "osVersionId": "9.4"}
WINDOWS = {"osId": "windows", "osType": "Microsoft Windows Server 2022", "ecosystem": "windows"}


def libssl(version: str, candidate: str | None = None, **more: Any) -> dict[str, Any]:
    return package("libssl3", version, candidate, sourceName="openssl", **{"architecture": "amd64", **more})


def update(kb: str, **more: Any) -> dict[str, Any]:
    return {"name": f"Update ({kb})", "currentVersion": "", "needsUpdate": True, "wuaKb": kb, "wuaGuid": kb, **more}


@pytest.fixture
def known(api: Api) -> Api:
    """A server that has taken every sample."""
    for kind, file in (
        ("updateinfo", "rocky-baseos.xml"), ("updateinfo", "rocky-appstream.xml"), ("osv", "osv-dsa.json"),
        ("osv", "osv-usn.json"), ("usn", "usn.json"), ("csaf", "csaf-rhsa.json"), ("msrc", "msrc-2026-jan.json"),
        ("msrc", "msrc-2026-feb.json"), ("kev", "kev.json"),
    ):  # fmt: skip
        taken(kind, file)
    return api


def states(answer: dict[str, Any]) -> dict[str, str]:
    return {device["hostname"]: device["status"] for device in answer["devices"]}


def test_a_cve_across_distributions(known: Api) -> None:
    add_host("deb-old", libssl("3.0.13-1~deb12u1"), **DEBIAN)
    add_host("deb-new", libssl("3.0.14-1~deb12u2"), **DEBIAN)
    add_host("deb-without", package("bash", sourceName="bash"), **DEBIAN)
    add_host("rocky-old", package("openssl-libs", "1:3.0.7-27.el9"), **ROCKY)
    add_host("rocky-new", package("openssl-libs", "1:3.0.7-28.el9_4"), **ROCKY)
    add_host("trixie", libssl("3.5.0-1"), **{**DEBIAN, "osVersionId": "13"})
    add_host("ubuntu", libssl("3.0.2-0ubuntu1"), **UBUNTU)
    answer = known.get("/cves/CVE-2026-1001").json
    assert states(answer) == {"deb-old": "exposed", "rocky-old": "exposed", "trixie": "exposed"}
    assert (answer["exposed_devices"], answer["unknown_devices"], answer["next"]) == (3, 0, None)
    assert (answer["exploited"], answer["ransomware"], answer["severity"]) == (True, True, None)
    assert answer["exploited_since"].startswith("2026-06-01")
    assert {advisory["id"] for advisory in answer["advisories"]} == {"DSA-9001-1", "RLSA-2026:0101"}
    fixes = {(fix["distribution"], fix["package"]): fix["fixed"] for fix in answer["fixes"]}
    assert fixes["debian:12", "openssl"] == "3.0.14-1~deb12u2"
    assert fixes["debian:13", "openssl"] is None
    first = answer["devices"][0]
    assert first["packages"] == [
        {
            "package": "libssl3",
            "architecture": "amd64",
            "installed": "3.0.13-1~deb12u1",
            "fixed": "3.0.14-1~deb12u2",
            "advisories": ["DSA-9001-1"],
        }
    ]
    assert first["since"].startswith("2026-05-01")


def test_an_advisory_and_its_devices(known: Api) -> None:
    for number in range(3):
        add_host(f"host{number}", package("openssl", "1:3.0.7-27.el9"), **ROCKY)
    page = known.get("/advisories/RLSA-2026:0101?limit=2").json
    assert (page["severity"], page["cves"], page["exposed_devices"]) == ("Important", ["CVE-2026-1001"], 3)
    assert list(states(page)) == ["host0", "host1"]
    assert list(states(known.get(f"/advisories/RLSA-2026:0101?limit=2&after={page['next']}").json)) == ["host2"]
    assert known.get("/advisories/RLSA-2026:0101?status=unknown").json["devices"] == []
    assert known.get("/advisories/RLSA-2026:0101?source=osv").status_code == 404
    assert known.get("/advisories/RLSA-0000:1").status_code == 404
    assert known.get("/cves/CVE-1999-1").status_code == 404


def test_who_reports_nothing_is_unknown(known: Api) -> None:
    stale = add_host("stale", libssl("3.0.13-1~deb12u1"), **DEBIAN)
    patched = add_host("stale-patched", libssl("3.0.14-1~deb12u2"), **DEBIAN)
    add_host("other", package("zlib", "1"), osId="suse", osVersionId="15.5")
    add_host("nameless", libssl("3.0.13-1~deb12u1"), ecosystem="deb", osId=None, osType=None)
    with database.connection():
        old = now() - timedelta(hours=27)
        Device.update(evaluated_at=old).where(Device.id.in_([stale.id, patched.id])).execute()
    known.enroll(friendly_name="silent")
    answer = known.get("/cves/CVE-2026-1001").json
    devices = {device["hostname"]: device for device in answer["devices"]}
    assert {name: device["status"] for name, device in devices.items()} == dict.fromkeys(
        ["stale", "stale-patched", "other", "nameless", "silent"], "unknown"
    )
    assert devices["silent"]["reason"] == "it has reported no packages"
    assert devices["other"]["reason"] == "no advisories for suse:15 are known"
    assert "older than 26 h" in devices["stale"]["reason"]
    assert devices["stale"]["packages"][0]["installed"] == "3.0.13-1~deb12u1"
    assert devices["stale"]["as_of"] is not None
    assert devices["stale-patched"]["packages"] == []
    assert (answer["exposed_devices"], answer["unknown_devices"]) == (0, 5)


@pytest.mark.parametrize(
    ("installed", "exposed"),
    [
        ("1:18.19.0-1.module+el9", True), ("1:18.20.4-1.module+el9.4.0+1", False), ("1:20.15.0-1.module+el9", True),
        ("1:20.16.0-1.module+el9.4.0+2", False), ("1:18.20.5-1.module+el9", False),
    ],
)  # fmt: skip
def test_each_module_stream_has_its_own_fix(known: Api, installed: str, exposed: bool) -> None:
    add_host("node", package("nodejs", installed), **ROCKY)
    answer = known.get("/advisories/RLSA-2026:0104").json
    assert answer["exposed_devices"] == int(exposed)


@pytest.mark.parametrize(
    ("versions", "running", "reason"),
    [
        (["5.14.0-400.el9"], "5.14.0-400.el9", None),
        (["5.14.0-400.el9", "5.14.0-427.20.1.el9_4"], "5.14.0-427.20.1.el9_4", "safe"),
        (["5.14.0-400.el9", "5.14.0-427.20.1.el9_4"], "5.14.0-400.el9", "the fixed kernel is installed, but not known"),
    ],
)
def test_an_old_kernel_beside_the_fixed_one(known: Api, versions: list[str], running: str, reason: str | None) -> None:
    kernels = [package("kernel-core", version) for version in versions]
    add_host("host", *kernels, **ROCKY, kernelVersion=running, installedKernelVersion=versions[-1])
    answer = known.get("/cves/CVE-2026-1002").json
    if reason == "safe":
        assert answer["devices"] == []
        return
    assert states(answer) == {"host": "exposed"}
    assert (answer["devices"][0]["reason"] or "").startswith(reason or "")


def test_ubuntu_kernels_have_their_version_in_their_name(known: Api) -> None:
    old = package("linux-modules-6.8.0-50-generic", "6.8.0-50.51", sourceName="linux")
    new = package("linux-modules-6.8.0-60-generic", "6.8.0-60.63", sourceName="linux")
    add_host("old", old, **NOBLE)
    kernel = {"kernelVersion": "6.8.0-60-generic", "installedKernelVersion": "6.8.0-60-generic"}
    add_host("new", old, new, **NOBLE, **kernel)
    assert states(known.get("/cves/CVE-2026-5002").json) == {"old": "exposed"}


def test_a_binary_with_a_version_of_its_own(known: Api) -> None:
    add_host("fixed", package("gcc", "4:11.2.0-1ubuntu2", sourceName="gcc-defaults"), **UBUNTU)
    add_host("open", package("gcc", "4:11.2.0-1ubuntu1", sourceName="gcc-defaults"), **UBUNTU)
    add_host("doc", package("gcc-doc", "1.193ubuntu1"), **UBUNTU)  # the advisory itself tells the source
    assert states(known.get("/cves/CVE-2026-4001").json) == {"open": "exposed", "doc": "exposed"}


def test_windows(known: Api) -> None:
    add_host("lacks", update("KB5050001"), **WINDOWS)
    add_host("lacks-next", update("5060001"), **WINDOWS)
    add_host("current", update("KB1111111"), **WINDOWS)
    add_host("built", update("KB5060001"), **WINDOWS, osVersion="10.0.20348.2700")
    add_host("old-build", **WINDOWS, osVersion="10.0.20348.2600", sections=["packages"])
    answer = known.get("/cves/CVE-2026-7002").json
    devices = {device["hostname"]: device for device in answer["devices"]}
    assert states(answer) == {"lacks": "exposed", "lacks-next": "unknown", "old-build": "exposed"}
    assert devices["lacks"]["kbs"] == ["KB5050001"]
    assert "KB5060001, which replaces the fix" in devices["lacks-next"]["reason"]
    assert (answer["severity"], answer["cvss"], answer["exploited"]) == ("Critical", pytest.approx(9.8), True)


def test_sets_that_come_and_go(known: Api) -> None:
    add_host("one", libssl("3.0.13-1~deb12u1"), **DEBIAN)
    device = add_host("two", libssl("3.0.13-1~deb12u1"), package("bash"), **DEBIAN)
    assert set(states(known.get("/cves/CVE-2026-1001").json)) == {"one", "two"}
    with database.connection():
        Device.delete().where(Device.id == device.id).execute()
        PackageSet.update(released_at=now() - timedelta(days=90)).execute()
        assert drop_unused_sets() == 1
    add_host("three", libssl("3.0.14-1~deb12u2"), **DEBIAN)
    add_host("four", libssl("3.0.12-1"), **DEBIAN)
    assert set(states(known.get("/cves/CVE-2026-1001").json)) == {"one", "four"}


def test_an_answer_takes_few_queries(known: Api) -> None:
    def count() -> int:
        with queries() as seen:
            assert known.get("/cves/CVE-2026-1001").status_code == 200
        return len(seen)

    add_host("host", libssl("3.0.13-1~deb12u1"), **DEBIAN)
    count()
    first = count()
    for number in range(20):
        add_host(f"host{number}", libssl("3.0.13-1~deb12u1"), package(f"other{number}"), **DEBIAN)
    count()
    assert count() == first


# -- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["DSA-9001-1", "CVE-2026-7002", "RLSA-2026:0101"]),
        ("exploited=true", ["DSA-9001-1", "CVE-2026-7002", "RLSA-2026:0101"]),
        ("exploited=false&severity=critical", ["RLSA-2026:0104"]),
        ("source=usn", ["USN-9004-1", "USN-9003-1"]),
        ("source=osv,usn&package=nginx,gcc-defaults", ["USN-9003-1", "USN-9002-1"]),
        ("type=bugfix", ["RLBA-2026:0103"]),
        ("cve=CVE-2026-1001", ["DSA-9001-1", "RLSA-2026:0101"]),
        ("id=RLSA-2026:0101", ["RLSA-2026:0101"]),
        ("since=2026-05-29T00:00:00Z", ["RHSA-2026:0301"]),
        ("since=2026-05-29T00:00:00Z&withdrawn=true", []),
        ("package=none", []),
    ],
)
def test_lists(known: Api, query: str, names: list[str]) -> None:
    answer = known.get(f"/advisories?{query}").json
    found = [advisory["id"] for advisory in answer["advisories"]]
    assert found[: len(names)] == names
    assert query == "" or len(found) == len(names)


def test_pages(known: Api) -> None:
    everything = [row["id"] for row in known.get("/advisories").json["advisories"]]
    found, after = [], ""
    while after is not None:
        page = known.get(f"/advisories?limit=3{after and '&after='}{after}").json
        found += [row["id"] for row in page["advisories"]]
        after = page["next"]
    assert found == everything
    assert len(found) == len(set(found)) == 12


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/advisories?after=x", "after"), ("/advisories?severity=bad", "severity"), ("/advisories?limit=0", "limit"),
        ("/advisories?after=9999999999999999999999-1", "after"), ("/advisories?since=soon", "since"),
        ("/advisories?exploted=true", "exploted"), ("/cves/CVE-2026-1001?status=safe", "status"),
        ("/cves/CVE-2026-1001?after=-1", "after"),
    ],
)  # fmt: skip
def test_wrong_questions(known: Api, path: str, field: str) -> None:
    answer = known.get(path)
    assert answer.status_code == 400
    assert answer.json["errors"][0]["path"] == field


# -- feeds -----------------------------------------------------------------------------------------------------------


def test_feeds(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "usn.json"
    path.write_bytes((SAMPLES / "usn.json").read_bytes())
    taken("usn", path, "usn")
    [row] = api.get("/feeds").json["feeds"]
    assert (row["name"], row["state"], row["taken"], row["refused"]) == ("usn", "ok", 2, 0)
    assert row["distributions"] == ["ubuntu:22.04", "ubuntu:24.04"]
    with database.connection():
        assert not feeds.is_any_due()
    answer = api.post("/feeds/usn/refresh")
    assert (answer.status_code, answer.json["requested_at"] is not None) == (202, True)
    path.write_bytes(path.read_bytes().replace(b"14.5", b"14.6"))
    with database.connection():
        assert feeds.is_any_due()
        [outcome] = importing.import_due()
        assert outcome.changed == 1
        assert not feeds.is_any_due()
    assert api.get("/advisories/USN-9003-1").json["fixes"][0]["fixed"] == "1.18.0-6ubuntu14.6"
    assert api.post("/feeds/none/refresh").status_code == 404
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    assert api.client.post("/api/v1/feeds/usn/refresh", headers=viewer).status_code == 403
    assert api.client.get("/api/v1/feeds", headers=viewer).status_code == 200


def test_remote_feeds_are_due_daily(api: Api) -> None:
    with database.connection():
        feed = importing.define_feed("remote", "kev", "https://user:secret@feeds.example.org/kev.json")
        for state, age, wanted in (
            ("ok", timedelta(hours=23), False), ("ok", timedelta(hours=25), True),
            ("failed", timedelta(minutes=50), False), ("failed", timedelta(minutes=70), True),
            ("running", timedelta(minutes=70), True),
        ):  # fmt: skip
            AdvisoryFeed.update(state=state, last_checked=now() - age).where(AdvisoryFeed.id == feed.id).execute()
            assert bool(feeds.due_feeds()) is wanted, (state, age)
    assert api.get("/feeds").json["feeds"][0]["location"] == "https://…@feeds.example.org/kev.json"


# -- ratings ---------------------------------------------------------------------------------------------------------


def patch(api: Api, device: Device) -> dict[str, Any]:
    [row] = api.get(f"/devices/{device.id}/patches").json["patches"]
    return {field: row[field] for field in ("severity", "severity_source", "security", "advisories", "exploited")}


USN_RATED = {
    "severity": "Moderate", "severity_source": "osv", "security": True, "advisories": ["USN-9002-1"],
    "exploited": False,
}  # fmt: skip
UNRATED = {
    "severity": "Important", "severity_source": "unrated", "security": True, "advisories": ["DSA-9001-1"],
    "exploited": True,
}  # fmt: skip
OPTIONAL = {
    "severity": "Optional", "severity_source": "none", "security": False, "advisories": [], "exploited": False,
}  # fmt: skip


@pytest.mark.parametrize("advisories_first", [True, False])
def test_patches_are_rated_by_advisories(api: Api, advisories_first: bool) -> None:
    def advisories() -> None:
        for kind, file in (("osv", "osv-dsa.json"), ("osv", "osv-usn.json"), ("kev", "kev.json")):
            taken(kind, file)

    if advisories_first:
        advisories()
    gcc = package("gcc", "4:11.2.0-1ubuntu1", "4:11.2.0-1ubuntu2", sourceName="gcc-defaults")
    ubuntu = add_host("ubuntu", gcc, **UBUNTU)
    debian = add_host("debian", libssl("3.0.13-1~deb12u1", "3.0.14-1~deb12u2"), **DEBIAN)
    before = add_host("before", libssl("3.0.13-1~deb12u1", "3.0.13-2"), **DEBIAN)
    beyond = add_host("beyond", libssl("3.0.14-1~deb12u2", "3.0.15-1"), **DEBIAN)
    elsewhere = add_host("elsewhere", libssl("3.0.2-0ubuntu1", "3.1-1"), **UBUNTU)
    if not advisories_first:
        assert patch(api, ubuntu) == OPTIONAL
        advisories()
    assert patch(api, ubuntu) == USN_RATED
    assert patch(api, debian) == UNRATED
    assert [patch(api, host) for host in (before, beyond, elsewhere)] == [OPTIONAL] * 3
    with database.connection():
        assert [Device.get_by_id(host.id).missing_security for host in (ubuntu, debian, before)] == [1, 1, 0]


def test_advisories_that_come_during_a_report_are_not_missed(
    api: Api, app_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_next(monkeypatch, reports, "enrich", lambda: taken("osv", "osv-usn.json"))
    gcc = package("gcc", "4:11.2.0-1ubuntu1", "4:11.2.0-1ubuntu2", sourceName="gcc-defaults")
    device = add_host("ubuntu", gcc, **UBUNTU)
    assert patch(api, device) == OPTIONAL
    with database.connection():
        assert background.is_due()
        assert background.evaluate_due(app_settings) == 1
        assert Device.get_by_id(device.id).missing_security == 1
    assert patch(api, device) == USN_RATED


def urgent(tmp_path: Path, *words: str) -> Path:
    """The notice of Debian with these urgencies, one a release."""
    told = json.loads((SAMPLES / "osv-dsa.json").read_text())
    for part, word in zip(told["affected"], words, strict=False):
        part["ecosystem_specific"] = {"urgency": word}
    path = tmp_path / "osv-dsa.json"
    path.write_text(json.dumps(told))
    return path


def test_patches_keep_the_words_of_those_who_rate_them(api: Api, tmp_path: Path) -> None:
    gcc = package("gcc", "4:11.2.0-1ubuntu1", "4:11.2.0-1ubuntu2", sourceName="gcc-defaults")
    ubuntu = add_host("ubuntu", gcc, **UBUNTU)
    debian = add_host("debian", libssl("3.0.13-1~deb12u1", "3.0.14-1~deb12u2"), **DEBIAN)

    def told(device: Device) -> tuple[str, str, str | None]:
        [row] = api.get(f"/patches?hostname={device.hostname}").json["patches"]
        [same] = api.get(f"/devices/{device.id}/patches").json["patches"]
        name = row["package"]
        [explained] = api.get(f"/devices/{device.id}/patches/explain?package={name}").json["explanations"]
        rating = {one: row[one] for one in ("severity", "severity_source", "severity_word")}
        assert rating.items() <= same.items()
        assert rating.items() <= explained["patch"].items()
        (step,) = [step["says"] for step in explained["evidence"] if step["step"] == "severity"]
        if row["severity_word"]:
            assert f"({row['severity_word']!r})" in step
        return row["severity"], row["severity_source"], row["severity_word"]

    assert told(ubuntu) == told(debian) == ("Optional", "none", None)
    taken("osv", "osv-usn.json")
    taken("osv", "osv-dsa.json", "debian")
    assert told(ubuntu) == ("Moderate", "osv", "medium")
    assert told(debian) == ("Important", "unrated", "not yet assigned")
    taken("osv", urgent(tmp_path, "low", "high"), "debian")
    assert told(debian) == ("Important", "osv", "high")
    taken("osv", urgent(tmp_path, "unimportant", "low"), "debian")
    assert told(debian) == ("Low", "osv", "low")


@pytest.mark.parametrize("urgency", [None, 3, ["high"], {"high": 1}, ""])
def test_an_urgency_that_is_no_word_rates_nothing(api: Api, tmp_path: Path, urgency: Any) -> None:
    debian = add_host("debian", libssl("3.0.13-1~deb12u1", "3.0.14-1~deb12u2"), **DEBIAN)
    taken("osv", urgent(tmp_path, urgency, urgency))
    assert patch(api, debian)["severity_source"] == "unrated"


def test_what_a_report_names_itself_stays(api: Api) -> None:
    taken("updateinfo", "rocky-baseos.xml")
    named = {"id": "RLSA-own", "type": "security", "severity": "Critical", "cves": ["CVE-2026-1001"]}
    offer = ("openssl", "1:3.0.7-27.el9", "1:3.0.7-28.el9_4")
    device = add_host("host", package(*offer, advisories=[named]), **ROCKY)
    own = {
        "severity": "Critical", "severity_source": "advisory", "security": True, "advisories": ["RLSA-own"],
        "exploited": False,
    }  # fmt: skip
    assert patch(api, device) == own
    taken("kev", "kev.json")
    assert patch(api, device) == {**own, "exploited": True}
    silent = add_host("silent", package(*offer), **ROCKY)
    assert patch(api, silent) == {
        **own, "severity": "Important", "severity_source": "updateinfo", "advisories": ["RLSA-2026:0101"],
        "exploited": True,
    }  # fmt: skip


def test_a_withdrawn_advisory_rates_nothing(api: Api, tmp_path: Path) -> None:
    taken("osv", "osv-usn.json", "osv")
    gcc = package("gcc", "4:11.2.0-1ubuntu1", "4:11.2.0-1ubuntu2", sourceName="gcc-defaults")
    device = add_host("ubuntu", gcc, **UBUNTU)
    assert patch(api, device) == USN_RATED
    text = (SAMPLES / "osv-usn.json").read_text()
    path = tmp_path / "withdrawn.json"
    path.write_text(text.replace('"published"', '"withdrawn": "2026-05-05T00:00:00Z", "published"'))
    taken("osv", path, "osv")
    expected = {"severity": "Important", "severity_source": "unrated", "advisories": []}
    assert patch(api, device).items() >= expected.items(), "no less than before, until the next report tells"
    with database.connection():
        from patchherd.packages.reports import receive_report
        from tests.server.fleet import rpm_report

        receive_report(device.id, rpm_report("ubuntu", gcc, **UBUNTU))
    assert patch(api, device) == OPTIONAL


def test_windows_patches_are_rated_by_kb(api: Api) -> None:
    device = add_host("host", update("KB5050001"), **WINDOWS)
    taken("msrc", "msrc-2026-jan.json")
    taken("kev", "kev.json")
    assert patch(api, device) == {
        "severity": "Critical", "severity_source": "msrc", "security": True,
        "advisories": ["CVE-2026-7002", "CVE-2026-7001"], "exploited": True,
    }  # fmt: skip


def test_a_known_report_asks_nothing_about_advisories(known: Api) -> None:
    from patchherd.packages.reports import receive_report
    from tests.server.fleet import rpm_report

    device = add_host("host", libssl("3.0.13-1~deb12u1", "3.0.14-1~deb12u2"), **DEBIAN)
    report = rpm_report("host", libssl("3.0.13-1~deb12u1", "3.0.14-1~deb12u2"), **DEBIAN)
    with database.connection(), queries() as seen:
        receive_report(device.id, report)
    # How far advisories have come is read together with the host.
    others = [text for text in seen if 'FROM "device"' not in text]
    assert not [text for text in others if "advisory" in text or "package_source" in text]
    with database.connection():
        assert AdvisoryFix.select().count() > 10
