# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Content views: imported from signed repositories, incremental, all or nothing, and matched to devices."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from patchherd import database
from patchherd.app import create_app
from patchherd.packages import fetch
from patchherd.packages.models import PackageVersion
from patchherd.packages.refusal import Refused
from patchherd.packages.views import catalog, importer, matching
from patchherd.packages.views.models import Candidate, ContentView, ViewSource
from patchherd.settings import Settings
from tests.repositories import (
    NOW,
    SUITE,
    Signer,
    apt_repository,
    primary_package,
    primary_xml,
    rpm_repository,
    stanza,
    web_server,
    write_release,
)  # fmt: skip
from tests.server.api import Api
from tests.server.queries import queries
from tests.server.views import APT, new_source, run

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def stranger() -> Iterator[Signer]:
    made = Signer("stranger")
    yield made
    made.close()


def offered(view: int = 1) -> set[tuple[str, str, str]]:
    query = Candidate.select(PackageVersion.name, PackageVersion.architecture, PackageVersion.version)
    return set(query.join(PackageVersion).tuples())


def index_report(report: dict[str, Any]) -> dict[str, int]:
    (index,) = report["indexes"]
    return {key: index[key] for key in ("taken", "refused", "new", "gone", "changed") if index[key]}


# -- apt -------------------------------------------------------------------------------------------------------------


def test_an_import_takes_what_differs(opened: Settings, root: Path, signer: Signer) -> None:
    apt_repository(root, signer, [stanza("a", "1"), stanza("b", "1", Source="src (2)"), stanza("c", "1")])
    source = new_source(opened, root, signer)
    first = run(opened, source)
    assert (first["state"], index_report(first)) == ("ok", {"taken": 3, "new": 3})
    assert offered() == {("a", "amd64", "1"), ("b", "amd64", "1"), ("c", "amd64", "1")}
    kept = {row.version_id: row.id for row in Candidate.select()}
    apt_repository(
        root, signer, [stanza("a", "2"), stanza("b", "1", Source="src (3)"), stanza("c", "1")],
        date=NOW + timedelta(hours=1),
    )  # fmt: skip
    second = run(opened, source)
    assert index_report(second) == {"taken": 3, "new": 1, "gone": 1, "changed": 1}
    assert offered() == {("a", "amd64", "2"), ("b", "amd64", "1"), ("c", "amd64", "1")}
    same = PackageVersion.get(PackageVersion.name == "c")
    assert Candidate.get(Candidate.version == same.id).id == kept[same.id]
    assert ContentView.get().generation == 2
    row = ViewSource.get_by_id(source)
    assert (row.release["codename"], row.release["label"]) == (SUITE, "Debian-Security")
    assert len(row.release["signed_by"]) == 40


@SQLITE
def test_a_mirror_that_keeps_one_form_of_an_index(opened: Settings, root: Path, signer: Signer) -> None:
    text = stanza("a", "1").encode()
    apt_repository(root, signer, text)
    packed = root / f"dists/{SUITE}/main/binary-amd64/Packages.gz"
    packed.unlink()
    packed.with_suffix("").write_bytes(text)
    assert run(opened, new_source(opened, root, signer))["state"] == "ok"
    assert offered() == {("a", "amd64", "1")}


@pytest.mark.parametrize("by_hash", [False, True])
@SQLITE
def test_what_is_unchanged_is_neither_fetched_nor_read(
    opened: Settings, root: Path, signer: Signer, by_hash: bool
) -> None:
    apt_repository(root, signer, [stanza("a", "1")], by_hash=by_hash)
    with web_server(root) as (url, seen):
        source = new_source(opened, url, signer)
        assert run(opened, source)["changed"]
        expected = {f"/dists/{SUITE}/InRelease"}
        assert {path for status, path in seen if status == 200 and "main" not in path} == expected
        del seen[:]
        with queries() as sent:
            again = run(opened, source)
        assert seen == [(304, f"/dists/{SUITE}/InRelease")]
        assert (again["changed"], again["indexes"][0]["unchanged"]) == (False, True)
        assert len(sent) < 15
        assert not any("candidate" in text for text in sent)
        # A new Release over the same index: the index is not fetched.
        apt_repository(root, signer, [stanza("a", "1")], by_hash=by_hash, date=NOW + timedelta(hours=1))
        del seen[:]
        third = run(opened, source)
        assert [path for _, path in seen] == [f"/dists/{SUITE}/InRelease"]
        assert (third["changed"], third["indexes"][0]["unchanged"]) == (False, True)
    assert ContentView.get().generation == 1


@SQLITE
def test_a_detached_signature_counts(opened: Settings, root: Path, signer: Signer) -> None:
    apt_repository(root, signer, [stanza("a", "1")], detached=True)
    assert run(opened, new_source(opened, root, signer))["state"] == "ok"


def spoil_nothing(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, signer, [stanza("b", "1")], date=NOW + timedelta(days=1))


def wrong_key(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, stranger, [stanza("b", "1")], date=NOW + timedelta(days=1))


def changed_text(root: Path, signer: Signer, stranger: Signer) -> None:
    file = root / "dists" / SUITE / "InRelease"
    file.write_bytes(file.read_bytes().replace(b"Label: Debian", b"Label: Fedora"))


def text_behind(root: Path, signer: Signer, stranger: Signer) -> None:
    with (root / "dists" / SUITE / "InRelease").open("ab") as file:
        file.write(b"SHA256:\n")


def unsigned(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, None, [stanza("b", "1")], date=NOW + timedelta(days=1))


def no_text(root: Path, signer: Signer, stranger: Signer) -> None:
    (root / "dists" / SUITE / "InRelease").write_bytes(b"<html>Please log in</html>")


def wrong_digest(root: Path, signer: Signer, stranger: Signer) -> None:
    other = gzip.compress(stanza("c", "1").encode(), mtime=0)
    apt_repository(root, signer, [stanza("b", "1")], date=NOW + timedelta(days=1))
    file = root / "dists" / SUITE / "main" / "binary-amd64" / "Packages.gz"
    file.write_bytes(other[:20] + b"\x7f" + other[21:] if len(other) == file.stat().st_size else other)


def same_size(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, signer, [stanza("b", "1")], date=NOW + timedelta(days=1))
    file = root / "dists" / SUITE / "main" / "binary-amd64" / "Packages.gz"
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))


def cut_off(root: Path, signer: Signer, stranger: Signer) -> None:
    packed = gzip.compress(stanza("b", "1").encode() * 50, mtime=0)[:-20]
    apt_repository(root, signer, [], packed=packed, date=NOW + timedelta(days=1))


def bomb(root: Path, signer: Signer, stranger: Signer) -> None:
    packed = gzip.compress(b"\n" * (200 << 20), mtime=0)
    apt_repository(root, signer, [], packed=packed, date=NOW + timedelta(days=1))


def latin1(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, signer, stanza("b", "1").encode("latin-1"), date=NOW + timedelta(days=1))


def huge_field(root: Path, signer: Signer, stranger: Signer) -> None:
    content = stanza("b", "1", Depends="x" * 10_000_000)
    apt_repository(root, signer, [content], date=NOW + timedelta(days=1))


def nonsense(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, signer, [stanza("b", "no version at all")], date=NOW + timedelta(days=1))


def backwards(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, signer, [stanza("b", "1")], date=NOW - timedelta(days=1))


def expired(root: Path, signer: Signer, stranger: Signer) -> None:
    apt_repository(root, signer, [stanza("b", "1")], date=NOW + timedelta(days=1), valid_days=1)


def no_such_index(root: Path, signer: Signer, stranger: Signer) -> None:
    base = root / "dists" / SUITE
    listed = f"Date: Tue, 02 Jun 2026 12:00:00 UTC\nSHA256:\n {'0' * 64} 5 other/binary-amd64/Packages\n"
    write_release(base, listed.encode(), signer)


def gone(root: Path, signer: Signer, stranger: Signer) -> None:
    (root / "dists" / SUITE / "InRelease").unlink()


BAD = {
    wrong_key: "signed by a key that is not in the keyring",
    changed_text: "the signature does not fit the file",
    text_behind: "goes on behind its signature",
    unsigned: "is not signed",
    no_text: "is no clearsigned file",
    wrong_digest: "the index says",
    same_size: "sha256 is",
    cut_off: "cut off",
    bomb: "packed ones",
    latin1: "0xeb is no UTF-8",
    huge_field: "an entry of more than",
    nonsense: "make no sense",
    backwards: "older than the one of",
    expired: "expired",
    no_such_index: "names no Packages of component main for amd64",
    gone: "is not there",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_what_is_refused_leaves_the_last_good_state(
    opened: Settings, root: Path, signer: Signer, stranger: Signer, spoil: Any
) -> None:
    apt_repository(root, signer, [stanza("a", "1")])
    source = new_source(opened, root, signer)
    assert run(opened, source)["state"] == "ok"
    imported = ViewSource.get_by_id(source).imported_at
    spoil(root, signer, stranger)
    report = run(opened, source)
    assert report["state"] == "failed"
    assert BAD[spoil] in report["reason"]
    assert "dists/" in report["file"]
    row = ViewSource.get_by_id(source)
    assert (row.state, row.error, row.imported_at) == ("failed", report["error"], imported)
    assert row.started_at is None
    assert offered() == {("a", "amd64", "1")}
    assert ContentView.get().generation == 1
    assert not [path for path in opened.data.iterdir() if path.name.startswith("import-")]
    spoil_nothing(root, signer, stranger)
    assert run(opened, source)["state"] == "ok"
    assert offered() == {("b", "amd64", "1")}


@SQLITE
def test_what_was_good_expires_although_nothing_has_changed(opened: Settings, root: Path, signer: Signer) -> None:
    apt_repository(root, signer, [stanza("a", "1")], date=database.now() - timedelta(days=3), valid_days=1)
    source = new_source(opened, root, signer, allow_expired=True)
    assert run(opened, source)["state"] == "ok"
    ViewSource.update(allow_expired=False).where(ViewSource.id == source).execute()
    assert "expired" in run(opened, source)["error"]
    assert offered()


def test_entries_that_make_no_sense_are_named(opened: Settings, api: Api, root: Path, signer: Signer) -> None:
    apt_repository(root, signer, [stanza("a", "1"), stanza("b", "; DROP"), stanza("c", "1")])
    source = new_source(opened, root, signer)
    assert index_report(run(opened, source)) == {"taken": 2, "refused": 1, "new": 2}
    (refusal,) = api.get(f"/content-views/view/sources/{source}").json["refusals"]
    assert refusal["file"].endswith("binary-amd64/Packages.gz")
    assert (refusal["position"], "no version" in refusal["reason"]) == ("entry 2", True)


def test_one_import_at_a_time(opened: Settings, root: Path, signer: Signer) -> None:
    apt_repository(root, signer, [stanza("a", "1")])
    source = new_source(opened, root, signer)
    moment = database.now()
    ViewSource.update(started_at=moment).execute()
    assert importer.import_source(opened, source) is None
    assert importer.due_sources(opened) == []
    ViewSource.update(started_at=moment - 2 * importer.LOST_AFTER).execute()  # its process died
    assert importer.due_sources(opened) == [source]
    assert run(opened, source)["state"] == "ok"
    assert importer.due_sources(opened) == []
    ViewSource.update(checked_at=moment - timedelta(hours=7)).execute()
    assert importer.due_sources(opened) == [source]
    assert importer.due_sources(msgspec.structs.replace(opened, content_refresh_hours=0)) == []


# -- rpm and Windows -------------------------------------------------------------------------------------------------

UPDATEINFO = b"""<?xml version="1.0" encoding="UTF-8"?>
<updates><update from="x" status="final" type="security" version="1"><id>RLSA-2026:1</id><title>t</title>
<issued date="2026-06-01 00:00:00"/><severity>Critical</severity><references>
<reference href="https://example.org/CVE-2026-1" id="CVE-2026-1" type="cve" title="CVE-2026-1"/></references>
<pkglist><collection short="x"><name>x</name><module name="nodejs" stream="18" version="1" context="c" arch="x86_64"/>
<package name="node" version="2" release="1.el9" epoch="1" arch="x86_64" src="s"><filename>f</filename>
<reboot_suggested>True</reboot_suggested></package></collection></pkglist></update></updates>
"""
MODULES = b"""---
document: modulemd
version: 2
data: {name: nodejs, stream: "18", artifacts: {rpms: ["node-1:2-1.el9.x86_64"]}}
"""


def test_an_rpm_repository(opened: Settings, root: Path, signer: Signer) -> None:
    node = primary_package("node", "2", epoch=1, obsoletes="old-node")
    files = {"primary": primary_xml([node, primary_package("bash", "5")]), "modules": MODULES, "updateinfo": UPDATEINFO}
    rpm_repository(root, signer, files)
    source = new_source(opened, root, signer, "rpm")
    report = run(opened, source)
    assert report["state"] == "ok", report
    found = catalog.catalog(ViewSource.get_by_id(source).view_id)
    ((_, _, number),) = found.offers["node", "x86_64"]
    assert found.modules == {number: ("nodejs:18",)}
    assert found.obsoletes == {"old-node": ((number, "node", "old-node < 2.0", "x86_64"),)}
    assert catalog.details([number])[number].version == "1:2-1.el9"
    assert "which distribution it is for" in report["advisories"]["error"]
    again = run(opened, source)
    assert all(index["unchanged"] for index in again["indexes"])
    rpm_repository(root, signer, {**files, "modules": MODULES.replace(b'"18"', b'"20"')}, revision=1_780_000_001)
    third = {index["name"]: index for index in run(opened, source)["indexes"]}
    assert (third["primary"]["changed"], third["updateinfo"]["unchanged"]) == (1, True)
    fresh = catalog.catalog(found.view_id)
    assert list(fresh.modules.values()) == [("nodejs:20",)]
    assert fresh.generation == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signer": "stranger"}, "not in the keyring"),
        ({"signer": None}, "is not signed"),
        ({"revision": 1_770_000_000}, "older than the one of"),
        ({"head": '<!DOCTYPE x [<!ENTITY a "b">]>'}, "DOCTYPE"),
        ({"files": {"updateinfo": UPDATEINFO}}, "names no primary"),
        ({"files": {"primary": primary_xml([primary_package("a", "1")])[:-30]}}, "rror"),
        ({"files": {"primary": primary_xml([primary_package("a", "1")]), "modules": b"a: ["}}, "expected node"),
    ],
)
def test_rpm_metadata_that_is_refused(
    opened: Settings, root: Path, signer: Signer, stranger: Signer, change: dict[str, Any], reason: str
) -> None:
    good = {"primary": primary_xml([primary_package("bash", "5")])}
    rpm_repository(root, signer, good)
    source = new_source(opened, root, signer, "rpm")
    assert run(opened, source)["state"] == "ok"
    signers = {"stranger": stranger, None: None, "signer": signer}
    told = {"revision": 1_780_000_002, "files": {"primary": primary_xml([])}, "signer": "signer", **change}
    rpm_repository(root, signers[told["signer"]], told["files"], revision=told["revision"], head=told.get("head", ""))
    report = run(opened, source)
    assert report["state"] == "failed"
    assert reason in report["reason"]
    assert offered() == {("bash", "x86_64", "5-1.el9")}


def test_a_windows_list(opened: Settings, root: Path, signer: Signer) -> None:
    update = {
        "id": "AAAAAAAA-0000-4000-8000-000000000001", "title": "Cumulative Update (KB5000001)", "kb": "KB5000001",
        "severity": "Critical", "products": ["Windows Server 2022"],
        "supersedes": ["aaaaaaaa-0000-4000-8000-000000000000"],
    }  # fmt: skip
    file = root / "updates.json"
    file.write_bytes(msgspec.json.encode({"format": "patchherd-windows-updates", "version": 1, "updates": [update]}))
    source = new_source(opened, file, signer, "windows")
    assert "updates.json.asc is missing" in run(opened, source)["error"]
    (root / "updates.json.asc").write_bytes(signer.detach(file.read_bytes()))
    assert run(opened, source)["state"] == "ok"
    ((_, _, number),) = catalog.of_name(ViewSource.get_by_id(source).view_id, update["id"].lower())
    told = catalog.details([number])[number].details
    assert told is not None
    assert (told["kb"], told["severity"], told["supersedes"]) == ("KB5000001", "Critical", update["supersedes"])


# -- where files come from -------------------------------------------------------------------------------------------


def test_redirects_stay_with_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    redirects = {"/ok": "/file", "/out": "file:///etc/passwd", "/round": "/round"}
    with web_server(tmp_path, redirects) as (url, _), fetch.Place(url) as place:
        assert place.fetch("ok", tmp_path / "got", limit=10).changed
        with pytest.raises(Refused, match="another protocol"):
            place.fetch("out", tmp_path / "got", limit=10)
        with pytest.raises(Refused, match="redirects"):
            place.fetch("round", tmp_path / "got", limit=10)
    with fetch.Place(url) as place, pytest.raises(Refused, match="refused"):
        place.fetch("file", tmp_path / "got", limit=10)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a//b", "a\nb", "http://x"])
def test_names_stay_inside_the_repository(tmp_path: Path, name: str) -> None:
    with fetch.Place(str(tmp_path)) as place, pytest.raises(Refused, match="no path inside"):
        place.fetch(name, tmp_path / "got", limit=10)


def test_files_are_as_large_and_as_they_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    digest = hashlib.sha512(b"12345").hexdigest()
    with fetch.Place(str(tmp_path)) as place:
        assert place.fetch("file", tmp_path / "got", limit=5, expected=fetch.Expected("sha512", digest, 5)).changed
        for limit, expected, reason in (
            (4, None, "more than 4"),
            (5, fetch.Expected("sha512", digest, 4), "the index says 4"),
            (5, fetch.Expected("sha512", digest[::-1], 5), "sha512 is"),
        ):
            with pytest.raises(Refused, match=reason):
                place.fetch("file", tmp_path / "got", limit=limit, expected=expected)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(Refused, match="no regular file"):
            place.fetch("pipe", tmp_path / "got", limit=5)


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "relative", "http://user:pass@host/x", "http://x/?q", "http://x/ y", "gopher://x", ""]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"needed|must not|not possible"):
        fetch.check_url(url)


# -- devices ---------------------------------------------------------------------------------------------------------

REPOSITORIES = [
    {"name": "x", "url": "https://Repo.example.org/debian/", "distribution": SUITE, "components": "main",
     "repoType": "deb", "isEnabled": True},
]  # fmt: skip


def report(**values: Any) -> dict[str, Any]:
    package = {"name": "a", "currentVersion": "1", "needsUpdate": False}
    return {"hostname": "web1", "ip": "192.0.2.1", "osType": "Debian GNU/Linux", "packages": [package], **values}


def test_views_of_a_device(api: Api) -> None:
    host = api.enroll()
    for name in ("reported", "by group", "by device"):
        assert api.post("/content-views", {"name": name, "ecosystem": "deb"}).status_code == 201
    source = {**APT, "url": "http://repo.example.org/debian", "allow_unsigned": True}
    assert api.post("/content-views/reported/sources", source).status_code == 201
    path = f"/devices/{host['id']}/content-views"
    assert api.get(path).json["by"] == "none"

    def decided() -> tuple[str, list[str]]:
        told = api.get(path).json
        return told["by"], [view["name"] for view in told["views"]]

    off = [{**REPOSITORIES[0], "isEnabled": False}]
    for repositories, expected in ((off, ("none", [])), (REPOSITORIES, ("reported", ["reported"]))):
        assert api.host("POST", "/hosts/update", host, report(repositories=repositories)).status_code == 200
        assert decided() == expected
    group = api.post("/host-groups", {"name": "web"}).json["id"]
    api.call("PUT", f"/host-groups/{group}/hosts", {"host_ids": [host["id"]]})
    answer = api.call("PUT", "/content-views/by group/assignments", {"groups": ["web"]})
    assert answer.json["assignments"] == [{"group": group, "name": "web"}]
    assert decided() == ("group", ["by group"])
    assert api.call("PUT", "/content-views/by device/assignments", {"devices": [host["id"]]}).status_code == 200
    assert decided() == ("device", ["by device"])
    assert api.call("PUT", "/content-views/by device/assignments", {}).status_code == 200
    assert decided() == ("group", ["by group"])


def test_repositories_that_match() -> None:
    known: matching.Known = {
        ("apt", "deb.example.org/debian", "bookworm"): {1},
        ("rpm", "mirror.example.org/baseos", ""): {2},
    }
    deb = {"url": "http://DEB.example.org/debian/", "distribution": "bookworm", "repoType": "deb"}
    rpm = {"url": "https://a.example.org/x, https://mirror.example.org/baseos/", "repoType": "rpm", "distribution": "B"}
    assert matching.match_repositories(known, [deb, rpm]) == (1, 2)
    assert matching.match_repositories(known, [{**deb, "distribution": "trixie"}]) == ()
    assert (
        matching.match_repositories(known, [None, 7, {}, {"url": 7, "repoType": "deb"}, {**rpm, "isEnabled": False}])
        == ()
    )


def test_matching_asks_little(opened: Settings, api: Api) -> None:
    ids = [api.get(f"/devices/{api.enroll(friendly_name=f'h{n}')['id']}").json["id"] for n in range(5)]
    with queries() as few:
        matching.views_of(opened, ids[:1])
    with queries() as many:
        assert set(matching.views_of(opened, ids).values()) == {matching.NONE}
    assert len(many) == len(few) <= 4


# -- API -------------------------------------------------------------------------------------------------------------


def test_views_over_the_api(api: Api, app_settings: Settings, root: Path, signer: Signer) -> None:
    made = api.post("/content-views", {"name": "debian", "ecosystem": "deb", "description": "d"})
    assert (made.status_code, made.json["generation"], made.json["sources"]) == (201, 0, [])
    assert api.post("/content-views", {"name": "debian", "ecosystem": "deb"}).status_code == 409
    assert api.patch("/content-views/debian", {"name": "stable"}).json["name"] == "stable"
    assert api.get(f"/content-views/{made.json['id']}").json["name"] == "stable"
    apt_repository(root, signer, [stanza("a", "1"), stanza("a", "2"), stanza("b", "1")])
    with web_server(root) as (url, _):
        source = api.post("/content-views/stable/sources", {**APT, "url": url, "keyring": signer.text})
        assert (source.status_code, source.json["state"], source.json["signed"]) == (201, "new", True)
        assert "keyring" not in source.json
        assert (
            api.post("/content-views/stable/sources", {**APT, "url": url + "/", "keyring": signer.text}).status_code
            == 409
        )
        queued = api.post("/content-views/stable/import")
        assert (queued.status_code, queued.json["sources"]) == (202, [source.json["id"]])
        with database.connection():
            assert importer.due_sources(msgspec.structs.replace(app_settings, content_refresh_hours=0)) == [
                source.json["id"]
            ]
            run(app_settings, source.json["id"])
    (view,) = api.get("/content-views").json
    assert (view["candidates"], view["sources"][0]["state"]) == (3, "ok")
    assert view["sources"][0]["requested_at"] is None
    page = api.get("/content-views/stable/candidates?limit=2").json
    assert (page["count"], len(page["candidates"])) == (2, 2)
    rest = api.get(f"/content-views/stable/candidates?limit=2&after={page['next']}").json
    assert (rest["count"], rest["next"]) == (1, None)
    named = api.get("/content-views/stable/candidates?name=a").json["candidates"]
    assert {row["version"] for row in named} == {"1", "2"}
    assert named[0]["origin"]["component"] == "main"
    assert api.get("/content-views/stable/candidates?nmae=a").status_code == 400
    path = f"/content-views/stable/sources/{source.json['id']}"
    assert api.patch(path, {"aliases": ["http://mirror.example.org/debian"]}).json["aliases"]
    assert api.delete(path).status_code == 200
    assert api.get("/content-views/stable").json["generation"] == 2
    assert api.delete("/content-views/stable").status_code == 200
    assert api.get("/content-views").json == []
    assert api.get("/content-views/stable").status_code == 404


@SQLITE
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://user:secret@example.org"}, "url"),
        ({"url": "/etc"}, "url"),
        ({"suite": ""}, "suite"),
        ({"suite": "a/../../b;"}, "suite"),
        ({"architectures": []}, "architectures"),
        ({"architectures": ["../x"]}, "architectures[0]"),
        ({"components": ["a b"]}, "components[0]"),
        ({"aliases": ["nonsense"]}, "aliases[0]"),
        ({"keyring": "nonsense", "allow_unsigned": False}, "keyring"),
        ({"allow_unsigned": False}, "keyring"),
        ({"kind": "rpm"}, "kind"),
        ({"kind": "zip"}, "kind"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_sources_that_are_refused(api: Api, change: dict[str, Any], field: str) -> None:
    api.post("/content-views", {"name": "v", "ecosystem": "deb"})
    good = {**APT, "url": "http://repo.example.org", "allow_unsigned": True}
    answer = api.post("/content-views/v/sources", {**good, **change})
    assert (answer.status_code, answer.json["errors"][0]["path"]) == (400, field)
    assert "secret@" not in answer.json["detail"]


@SQLITE
def test_paths_over_the_api_stay_in_their_directory(app_settings: Settings, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "mirror").mkdir(parents=True)
    (allowed / "out").symlink_to("/etc")
    app = create_app(msgspec.structs.replace(app_settings, content_directory=str(allowed)))
    api = Api.with_admin(app)
    api.post("/content-views", {"name": "v", "ecosystem": "rpm"})
    for path, status in (("mirror", 201), ("../x", 400), ("out", 400), ("", 201)):
        body = {"kind": "rpm", "url": f"{allowed}/{path}", "allow_unsigned": True}
        assert api.post("/content-views/v/sources", body).status_code == status, path
    database.close_all()


@SQLITE
def test_only_administrators_change_views(api: Api) -> None:
    for role in ("viewer", "operator"):
        headers = {"Authorization": f"Bearer {api.user_token(role)}"}
        assert api.client.get("/api/v1/content-views", headers=headers).status_code == 200
        answer = api.client.post("/api/v1/content-views", json={"name": "v", "ecosystem": "deb"}, headers=headers)
        assert answer.status_code == 403


@SQLITE
def test_listing_asks_the_same_for_few_and_many(api: Api) -> None:
    def asked() -> int:
        with queries() as sent:
            assert api.get("/content-views").status_code == 200
        return len(sent)

    counts = []
    for number in range(4):
        api.post("/content-views", {"name": f"v{number}", "ecosystem": "rpm"})
        source = {"kind": "rpm", "url": f"http://r{number}.example.org", "allow_unsigned": True}
        api.post(f"/content-views/v{number}/sources", source)
        counts.append(asked())
    assert len(set(counts)) == 1


def test_a_catalogue_is_read_once_a_generation(opened: Settings, root: Path, signer: Signer) -> None:
    apt_repository(
        root, signer, [stanza("a", "1"), stanza("a", "1:0.1"), stanza("a", "1~rc1", Phased_Update_Percentage="20")]
    )
    source = new_source(opened, root, signer)
    run(opened, source)
    view = ViewSource.get_by_id(source).view_id
    first = catalog.catalog(view)
    numbers = [number for _, _, number in first.offers["a", "amd64"]]
    told = catalog.details(numbers)
    assert [(told[number].version, told[number].phased) for number in numbers] == [
        ("1:0.1", None), ("1", None), ("1~rc1", 20)
    ]  # fmt: skip
    with queries() as sent:
        assert catalog.catalog(view) is first
    assert len(sent) == 1
    apt_repository(root, signer, [stanza("a", "3")], date=NOW + timedelta(hours=1))
    run(opened, source)
    assert len(catalog.of_name(view, "a")) == 1
