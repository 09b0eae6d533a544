# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Advisories of every format, taken from files as their publishers write them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard
from flask import Flask

from patchherd import database
from patchherd.packages.advisories import feeds, importing
from patchherd.packages.advisories.models import Advisory, AdvisoryFragment
from tests.server.advisories import SAMPLES, feed, stored, taken
from tests.server.queries import queries

pytestmark = pytest.mark.usefixtures("app")

FILES = [
    ("updateinfo", "rocky-baseos.xml"), ("updateinfo", "rocky-appstream.xml"), ("updateinfo", "alma.xml"),
    ("updateinfo", "fedora.xml"), ("osv", "osv-dsa.json"), ("osv", "osv-usn.json"), ("usn", "usn.json"),
    ("csaf", "csaf-rhsa.json"), ("csaf", "csaf-vex.json"), ("msrc", "msrc-2026-jan.json"),
    ("msrc", "msrc-2026-feb.json"), ("kev", "kev.json"),
]  # fmt: skip
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def fixed(row: dict[str, Any]) -> set[tuple[str, str, str | None]]:
    """(distribution, package, fixed version) of an advisory."""
    return {(fix[0], fix[1], fix[5]) for fix in row["fixes"]}


@pytest.mark.parametrize(
    ("kind", "file", "name", "wanted", "cves", "fixes"),
    [
        (
            "updateinfo", "rocky-baseos.xml", "updateinfo RLSA-2026:0101",
            {"type": "security", "severity": "Important", "severity_word": "Important",
             "title": "Important: openssl security update", "published": utc(2026, 1, 12),
             "modified": utc(2026, 1, 13, 8, 30), "url": "https://errata.example.org/RLSA-2026:0101",
             "reboot_suggested": False},
            {"CVE-2026-1001"},
            {("rocky:9", "openssl", "1:3.0.7-28.el9_4"), ("rocky:9", "openssl-libs", "1:3.0.7-28.el9_4")},
        ),
        (
            "updateinfo", "rocky-baseos.xml", "updateinfo RLSA-2026:0102", {"reboot_suggested": True},
            {"CVE-2026-1002"}, {("rocky:9", "kernel-core", "5.14.0-427.20.1.el9_4")},
        ),
        (
            "updateinfo", "rocky-baseos.xml", "updateinfo RLBA-2026:0103", {"type": "bugfix", "severity": None}, set(),
            {("rocky:9", "tzdata", "2026a-1.el9")},
        ),
        (
            "updateinfo", "alma.xml", "updateinfo ALSA-2026:0201", {"severity": "Low"}, {"CVE-2026-2001"},
            {("almalinux:9", "sudo", "1.9.5p2-10.el9_3")},
        ),
        (
            "updateinfo", "fedora.xml", "updateinfo FEDORA-2026-0a1b2c3d4e",
            {"severity": "Important", "severity_word": "High", "modified": utc(2026, 4, 5, 1, 2, 3)}, set(),
            {("fedora:40", "curl", "8.6.0-9.fc40")},
        ),
        (
            "updateinfo", "fedora.xml", "updateinfo FEDORA-EPEL-2026-1f2e3d4c5b",
            {"type": "newpackage", "severity": None, "severity_word": "None"}, set(),
            {("fedora:40", "hello", "2.12-1.fc40")},
        ),
        (
            "osv", "osv-dsa.json", "osv DSA-9001-1",
            {"type": "security", "severity": None, "severity_word": "not yet assigned", "published": utc(2026, 5, 1),
             "modified": datetime(2026, 5, 2, 12, 0, 0, 123000, UTC), "url": "https://security.example.org/DSA-9001-1"},
            {"CVE-2026-1001", "CVE-2026-1009"},
            {("debian:12", "openssl", "3.0.14-1~deb12u2"), ("debian:13", "openssl", None)},
        ),
        (
            "osv", "osv-usn.json", "osv USN-9002-1", {"severity": "Moderate", "severity_word": "medium"},
            {"CVE-2026-4001"},
            {("ubuntu:22.04", "gcc-defaults", "1.193ubuntu2"), ("ubuntu:22.04", "gcc", "4:11.2.0-1ubuntu2")},
        ),
        (
            "usn", "usn.json", "usn USN-9003-1",
            {"title": "nginx vulnerabilities", "published": datetime.fromtimestamp(1780000000.5, UTC),
             "summary": 'Somebody found that "nginx" {sometimes} crashed.', "reboot_suggested": False},
            {"CVE-2026-5001"}, {("ubuntu:22.04", "nginx", "1.18.0-6ubuntu14.5")},
        ),
        (
            "usn", "usn.json", "usn USN-9004-1", {"reboot_suggested": True}, {"CVE-2026-5002"},
            {("ubuntu:24.04", name, "6.8.0-60.63") for name in ("linux", "linux-meta", "linux-image-generic")},
        ),
        (
            "csaf", "csaf-rhsa.json", "csaf RHSA-2026:0301",
            {"severity": "Important", "title": "RHSA: bind security update", "modified": utc(2026, 6, 2, 10),
             "url": "https://errata.example.org/RHSA-2026:0301", "summary": "An update for bind is available."},
            {"CVE-2026-6001"}, {("rhel:9", "bind", "32:9.16.23-18.el9_4.1")},
        ),
        (
            "csaf", "csaf-vex.json", "csaf RHSA-2026:0301", {"severity": "Important", "published": utc(2026, 6, 1, 9)},
            {"CVE-2026-6001"}, {("rhel:9", "bind", "32:9.16.23-18.el9_4.1")},
        ),
        (
            "csaf", "csaf-vex.json", "csaf CVE-2026-6001", {"severity": "Important"}, {"CVE-2026-6001"},
            {("rhel:9", "unbound", None)},
        ),
        (
            "msrc", "msrc-2026-jan.json", "msrc CVE-2026-7002",
            {"severity": "Critical", "cvss": pytest.approx(9.8), "reboot_suggested": True,
             "summary": "Print Spooler Remote Code Execution.", "published": utc(2026, 1, 13, 8)},
            {"CVE-2026-7002"}, {("windows", "Windows Server 2022", "10.0.20348.2700")},
        ),
    ],
)  # fmt: skip
def test_what_is_read(
    kind: str, file: str, name: str, wanted: dict[str, Any], cves: set[str], fixes: set[tuple[str, str, str | None]]
) -> None:
    taken(kind, file)
    row = stored()[name]
    assert {field: row[field] for field in wanted} == wanted
    assert {cve[0] for cve in row["cves"]} == cves
    assert fixed(row) == fixes
    assert row["withdrawn"] is False


def test_a_split_advisory_is_the_sum_of_its_parts() -> None:
    taken("updateinfo", "rocky-baseos.xml")
    taken("updateinfo", "rocky-appstream.xml")
    everything = stored()
    openssl = everything["updateinfo RLSA-2026:0101"]
    assert {fix[1] for fix in openssl["fixes"]} == {"openssl", "openssl-libs", "openssl-devel"}
    assert {fix[7] for fix in openssl["fixes"]} == {"rocky-9-baseos", "rocky-9-appstream"}
    nodejs = everything["updateinfo RLSA-2026:0104"]  # twice in one file
    assert {fix[6] for fix in nodejs["fixes"]} == {"nodejs:18", "nodejs:20"}
    assert {cve[0] for cve in nodejs["cves"]} == {"CVE-2026-1004", "CVE-2026-1005"}
    assert nodejs["summary"] == "The 20 stream.", "the newest part speaks"


def test_exploited_cves_come_first() -> None:
    for kind, file in FILES:
        taken(kind, file)
    everything = stored()
    hit = {name for name, row in everything.items() if isinstance(row, dict) and row["exploited"]}
    assert hit == {"updateinfo RLSA-2026:0101", "osv DSA-9001-1", "msrc CVE-2026-7002"}
    assert everything["exploited"] == [
        ("CVE-2026-1001", utc(2026, 6, 1), True), ("CVE-2026-7002", utc(2026, 6, 2), None)
    ]  # fmt: skip
    ranks = sorted((row["rank"], row["exploited"]) for row in everything.values() if isinstance(row, dict))
    assert [exploited for _rank, exploited in ranks] == [False] * (len(ranks) - 3) + [True] * 3


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_imports_does_not_matter(seed: int, app: Flask) -> None:
    shuffled = FILES.copy()
    random.Random(seed).shuffle(shuffled)
    for kind, file in shuffled:
        # Monthly documents and single CSAF files are imported into one feed each.
        taken(kind, file, {"csaf": "csaf", "msrc": "msrc"}.get(kind))
    found = stored()
    with database.connection(), database.write_transaction():
        for model in reversed(importing_models()):
            model.delete().execute()
    for kind, file in FILES:
        taken(kind, file, {"csaf": "csaf", "msrc": "msrc"}.get(kind))
    assert found == stored()


def importing_models() -> list[Any]:
    from patchherd.packages.advisories.models import MODELS

    return MODELS


@pytest.mark.parametrize(("kind", "file"), FILES)
def test_the_same_file_again_writes_nothing(kind: str, file: str, tmp_path: Path) -> None:
    taken(kind, file, "it")
    before, last = stored(), feed("it")
    again = taken(kind, file, "it")
    assert (again.unchanged, again.changed, again.taken) == (True, 0, last.taken)
    packed = tmp_path / file
    packed.write_bytes(gzip.compress((SAMPLES / file).read_bytes()))
    with queries() as seen:
        again = taken(kind, packed, "it")
    assert (again.unchanged, again.changed) == (False, 0), "another file with the same entries"
    tables = ("advisory_fix", "advisory_cve", '"advisory"', "advisory_fragment", "known_exploited")
    written = [
        text for text in seen if text.startswith(("INSERT", "UPDATE", "DELETE")) and any(t in text for t in tables)
    ]
    assert not written
    assert stored() == before
    assert feed("it").changes == last.changes


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress,
    "two gz": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
}  # fmt: skip


@SQLITE
@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize(("kind", "file"), [("updateinfo", "rocky-baseos.xml"), ("usn", "usn.json")])
def test_compressed_files(packer: str, kind: str, file: str, tmp_path: Path) -> None:
    packed = tmp_path / "without-suffix"
    packed.write_bytes(PACKERS[packer]((SAMPLES / file).read_bytes()))
    taken(kind, packed)
    found = stored()
    taken(kind, file)
    assert found == stored()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in members.items():
                out.writestr(name, data)
        return path
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(zstandard.compress(buffer.getvalue()))
    return path


@SQLITE
@pytest.mark.parametrize("suffix", [".zip", ".tar.zst"])
def test_archives(suffix: str, tmp_path: Path) -> None:
    members = {f"2026/{file}": (SAMPLES / file).read_bytes() for file in ("csaf-rhsa.json", "csaf-vex.json")}
    path = archive(tmp_path / f"all{suffix}", {"README.txt": b"hello", **members})
    assert taken("csaf", path).taken == 3
    assert set(stored()) == {"csaf RHSA-2026:0301", "csaf CVE-2026-6001", "exploited", "sources"}


# -- changes ---------------------------------------------------------------------------------------------------------


def edited(file: str, tmp_path: Path, *changes: tuple[str, str], name: str = "edited") -> Path:
    """A copy of a sample with other text in some places."""
    text = (SAMPLES / file).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_changed_advisory_replaces_what_it_said(tmp_path: Path) -> None:
    taken("updateinfo", "rocky-baseos.xml", "it")
    changes = [
        ("28.el9_4", "29.el9_4"),
        ('type="cve" title="CVE-2026-1001"', 'type="other"'),
        ("2026-01-13", "2026-01-20"),
    ]
    assert taken("updateinfo", edited("rocky-baseos.xml", tmp_path, *changes), "it").changed == 1
    row = stored()["updateinfo RLSA-2026:0101"]
    assert {fix[5] for fix in row["fixes"]} == {"1:3.0.7-29.el9_4"}
    assert (row["cves"], row["modified"]) == ([], utc(2026, 1, 20, 8, 30))


def test_an_advisory_that_is_listed_no_more_is_withdrawn_until_it_returns(tmp_path: Path) -> None:
    taken("updateinfo", "rocky-baseos.xml", "it")
    before = stored()
    text = (SAMPLES / "rocky-baseos.xml").read_text()
    first = text.index("  <update "), text.index("  <update ", text.index("</update>"))
    shorter = tmp_path / "shorter.xml"
    shorter.write_text(text[: first[0]] + text[first[1] :])
    assert taken("updateinfo", shorter, "it").changed == 1
    gone = stored()["updateinfo RLSA-2026:0101"]
    assert (gone["withdrawn"], gone["fixes"]) == (True, [])
    assert not stored()["updateinfo RLSA-2026:0102"]["withdrawn"]
    taken("updateinfo", "rocky-baseos.xml", "it")
    assert stored() == before


def test_a_part_that_goes_leaves_the_others() -> None:
    taken("updateinfo", "rocky-baseos.xml")
    taken("updateinfo", "rocky-appstream.xml")
    taken("updateinfo", "alma.xml", "rocky-appstream")  # the repository lists something else now
    row = stored()["updateinfo RLSA-2026:0101"]
    assert not row["withdrawn"]
    assert {fix[1] for fix in row["fixes"]} == {"openssl", "openssl-libs"}


def test_withdrawn_by_its_publisher(tmp_path: Path) -> None:
    taken("osv", "osv-dsa.json", "osv")
    withdrawn = edited("osv-dsa.json", tmp_path, ('"published"', '"withdrawn": "2026-05-05T00:00:00Z", "published"'))
    taken("osv", withdrawn, "osv")
    taken("csaf", "csaf-rhsa.json", "csaf")
    taken("csaf", edited("csaf-rhsa.json", tmp_path, ("csaf_security_advisory", "csaf_withdrawn"), name="c"), "csaf")
    taken("updateinfo", edited("fedora.xml", tmp_path, ('"stable"', '"retracted"'), name="f"))
    assert {name for name, row in stored().items() if isinstance(row, dict) and not row["withdrawn"]} == set()
    with database.connection():
        assert Advisory.get(Advisory.name == "DSA-9001-1").withdrawn_at == utc(2026, 5, 5)


def test_single_files_of_one_feed_add_up() -> None:
    taken("osv", "osv-dsa.json", "osv")
    taken("osv", "osv-usn.json", "osv")
    assert not any(row["withdrawn"] for row in stored().values() if isinstance(row, dict))
    assert set(feed("osv").distributions) == {"debian:12", "debian:13", "ubuntu:22.04"}


def test_an_archive_lists_all_that_counts(tmp_path: Path) -> None:
    members = {file: (SAMPLES / file).read_bytes() for file in ("osv-dsa.json", "osv-usn.json")}
    taken("osv", archive(tmp_path / "all.zip", members), "osv")
    taken("osv", archive(tmp_path / "fewer.zip", dict(list(members.items())[1:])), "osv")
    assert {name: row["withdrawn"] for name, row in stored().items() if isinstance(row, dict)} == {
        "osv DSA-9001-1": True, "osv USN-9002-1": False
    }  # fmt: skip


def test_what_a_document_said_before_counts_no_more(tmp_path: Path) -> None:
    taken("csaf", "csaf-vex.json", "csaf")
    changed = edited(
        "csaf-vex.json", tmp_path, ("errata.example.org/RHSA-2026:0301", "errata.example.org/RHSA-2026:0399")
    )
    taken("csaf", changed, "csaf")
    assert {name: row["withdrawn"] for name, row in stored().items() if isinstance(row, dict)} == {
        "csaf CVE-2026-6001": False, "csaf RHSA-2026:0301": True, "csaf RHSA-2026:0399": False
    }  # fmt: skip
    taken("msrc", "msrc-2026-jan.json", "msrc")
    months = json.loads((SAMPLES / "msrc-2026-jan.json").read_text())
    del months["Vulnerability"][0]
    (tmp_path / "jan.json").write_text(json.dumps(months))
    taken("msrc", tmp_path / "jan.json", "msrc")
    everything = stored()
    assert (everything["msrc CVE-2026-7001"]["withdrawn"], everything["msrc CVE-2026-7002"]["withdrawn"]) == (
        True,
        False,
    )


def test_a_cve_that_is_listed_no_more_is_not_exploited(tmp_path: Path) -> None:
    taken("updateinfo", "rocky-baseos.xml")
    taken("kev", "kev.json")
    catalogue = json.loads((SAMPLES / "kev.json").read_text())
    del catalogue["vulnerabilities"][0]
    (tmp_path / "kev.json").write_text(json.dumps(catalogue))
    assert taken("kev", tmp_path / "kev.json", "kev").changed == 1
    assert not stored()["updateinfo RLSA-2026:0101"]["exploited"]


# -- interruptions ---------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notice = json.loads((SAMPLES / "usn.json").read_text())["9003-1"]
    path = tmp_path / "usn.json"
    path.write_text(json.dumps({f"{number}-1": notice for number in range(50)}))
    monkeypatch.setattr(importing, "BATCH", 10)

    def stop(what: str, done: int, total: int) -> None:
        if what == "store" and done == 30:
            raise Interrupted

    with database.connection(), pytest.raises(Interrupted):
        importing.import_feed(importing.define_feed("usn", "usn", str(path)), stop)
    assert (feed("usn").cursor, feed("usn").state) == (30, "running")
    assert len(stored()) - 2 == 30
    places = []
    with database.connection(), queries() as seen:
        outcome = importing.import_feed(
            feeds.find_feed("usn"), lambda what, done, total: places.append(done) if what == "store" else None
        )
    assert places == [40, 50]
    assert (outcome.taken, outcome.changed, outcome.error) == (50, 20, None)
    assert len([text for text in seen if text.startswith('INSERT INTO "advisory" ')]) == 20
    assert len(stored()) - 2 == 50
    assert feed("usn").state == "ok"
    with database.connection():
        assert AdvisoryFragment.select().where(AdvisoryFragment.gone_at.is_null(False)).count() == 0


def test_two_imports_of_a_feed_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    other = edited("usn.json", tmp_path, ("nginx could", "nginx might"))

    def interfere(what: str, done: int, total: int) -> None:
        if what == "store" and done == 1:
            monkeypatch.undo()
            taken("usn", other, "usn")

    with database.connection():
        outcome = importing.import_feed(importing.define_feed("usn", "usn", str(SAMPLES / "usn.json")), interfere)
    assert "another import" in (outcome.error or "")
    assert (feed("usn").state, feed("usn").error) == ("ok", None)
