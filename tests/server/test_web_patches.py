# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The pages of patches and of the evidence behind them, without a browser."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.packages.applicability import background
from patchherd.packages.models import Verdict
from patchherd.packages.patches import VERDICTS
from patchherd.packages.reasons import REASONS
from patchherd.packages.reports import receive_report
from patchherd.settings import Settings
from patchherd.web import words
from tests.repositories import stanza
from tests.server.api import ADMIN, PASSWORD, Api
from tests.server.queries import queries
from tests.server.test_applicability import DPKG, assign, item, offer, send

HTMX = {"HX-Request": "true"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def page(app: Flask, api: Api) -> FlaskClient:
    """A browser of the administrator."""
    client = app.test_client()
    assert client.post("/login", data={"username": ADMIN, "password": PASSWORD}).status_code == 303
    return client


def report(name: str, *packages: dict[str, Any], **more: Any) -> Device:
    with database.connection():
        device = create_device(name)
        send(device, *packages, hostname=name, **more)
        return Device.get_by_id(device.id)


def packages(text: str) -> dict[str, str]:
    """Package -> devices, as the fleet's table says."""
    pattern = r'aria-label="([^"]+) with ([^"]+)">'
    return {html.unescape(name): devices for devices, name in re.findall(pattern, text)}


def devices(text: str) -> list[str]:
    """Names of the devices in the flat list."""
    return re.findall(r'<th scope="row" class="host"><a href="/devices/\d+">([^<]+)</a>', text)


def figures(text: str) -> dict[str, str]:
    return dict(re.findall(r'id="count-(\w+)">([^<]+)<', text))


def plain(text: str) -> str:
    """Words of a page or part without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def part(text: str, element: str) -> str:
    """The words of one section of the device page."""
    found = re.search(rf'<section class="card" id="{element}".*?</section>', text, re.S)
    return plain(found[0]) if found else ""


@pytest.fixture
def disputed(app_settings: Settings, page: FlaskClient, root: Path) -> Device:
    """A device whose own search says nothing of what its view offers: `curl`; `held` it keeps back."""
    device = report("web", item("curl", "1"), item("bash", "1", "2"), item("held", "1", "2", held=True))
    with database.connection():
        offer(app_settings, root, *(stanza(name, "2") for name in ("curl", "bash", "held")))
        assign(device)
        background.evaluate_due(app_settings)
    return device


def test_what_is_unknown_has_its_own_place(page: FlaskClient, disputed: Device) -> None:
    with database.connection():
        long_ago = now() - timedelta(days=3, hours=1)
        Verdict.update(first_seen=long_ago).where(Verdict.package == "curl").execute()
    text = page.get("/devices/web").text
    shown = part(text, "undecided")
    for one in ("Unknown whether missing", "1 patch", "curl", "Host and content view disagree", "content view view",
                "content view view offers 2", "3 days", "Why?"):  # fmt: skip
        assert one in shown, one
    assert "disagree:" not in shown
    assert "bash" not in shown
    others = plain(text.split('<details id="others">')[1].split("</details>")[0])
    assert "held" in others
    assert "On hold on the host" in others
    assert "curl" not in others
    missing = plain(text.split('id="missing-heading"')[1].split("</section>")[0])
    assert "bash" in missing
    assert "curl" not in missing


def test_no_place_for_what_is_not_there(page: FlaskClient) -> None:
    report("web", item("bash", "1", "2"))
    assert 'id="undecided"' not in page.get("/devices/web").text


def test_exploited_is_marked(page: FlaskClient) -> None:
    report("web", item("bash", "1", "2", isSecurityUpdate=True), item("curl", "1", "2", isSecurityUpdate=True))
    told = [{"id": "A-1", "type": "security", "severity": "Low", "cves": ["CVE-2026-1"], "exploited": True}]
    with database.connection():
        Verdict.update(advisories=told).where(Verdict.package == "bash").execute()
    for path in ("/devices/web", "/patches/devices?package=bash", "/devices/web/why?package=bash"):
        assert page.get(path).text.count('class="badge bad exploited"') == 1, path
    assert "exploited</span>" not in page.get("/patches/devices?package=curl").text
    assert packages(page.get("/patches?kind=exploited").text) == {"bash": "1 device"}


def test_evidence_as_page_and_as_part(page: FlaskClient, disputed: Device) -> None:
    link = re.search(r'<a class="why" id="why-\d+" href="([^"]+)" hx-get="([^"]+)"[^>]*aria-label="Why curl\?"',
                     page.get("/devices/web").text)  # fmt: skip
    assert link
    assert link[1] == link[2]
    path = html.unescape(link[1])
    whole, fragment = page.get(path).text, page.get(path, headers=HTMX).text
    assert whole.startswith("<!doctype html>") or "<!doctype html>" in whole[:200]
    assert "<html" not in fragment
    assert (whole.count("<h1"), fragment.count("<h1")) == (1, 0)
    for text in (plain(whole), plain(fragment)):
        for one in ("Why: curl on web", "Unknown", "amd64", "1 → 2", "Host and content view disagree:", "Last report",
                    "Installed 1", "The host says offers nothing newer", "this is the one"):  # fmt: skip
            assert one in text, one
    assert "Current" in plain(page.get(f"/devices/{disputed.id}/why?package=dpkg").text)


def test_evidence_of_a_windows_update(page: FlaskClient, api: Api) -> None:
    update = {
        "name": "2026-01 Update (KB5050001)", "currentVersion": "", "needsUpdate": True, "wuaKb": "KB5050001",
        "wuaGuid": "5d1c8a0e-0000-4000-8000-000005050001", "wuaCategories": ["Security Updates"],
    }  # fmt: skip
    with database.connection():
        device = create_device("win")
        told = {"osType": "Windows Server 2022", "osId": "windows", "ecosystem": "windows", "hostname": "win"}
        receive_report(device.id, {**told, "metadataUpdated": now().isoformat(), "packages": [update]})
    text = page.get("/devices/win").text
    link = re.search(r'<a class="why"[^>]*href="([^"]+)"', text)
    assert link
    for path in (html.unescape(link[1]), "/devices/win/why?package=KB5050001", "/devices/win/why?package=5050001"):
        answer = page.get(path)
        assert answer.status_code == 200, path
        assert "2026-01 Update (KB5050001)" in answer.text
        assert "The host's search" in plain(answer.text)
    row = page.get("/patches?q=kb5050001&system=windows").text
    assert packages(row) == {"2026-01 Update (KB5050001)": "1 device"}
    assert "Why?" in page.get("/patches/devices", query_string={"package": "2026-01 Update (KB5050001)"}).text


def test_what_replaces_a_package_is_named(page: FlaskClient) -> None:
    by = [{"name": "<fresh>", "version": "0.5"}, {"name": "part", "version": "2"}]
    device = report("web1", item("old", "1", "0.5", replacedBy=by), ecosystem="rpm")
    report("web2", item("old", "1", "2"))
    listed, behind = page.get(f"/devices/{device.id}").text, page.get("/patches/devices?package=old&ecosystem=rpm").text
    why = page.get(f"/devices/{device.id}/why?package=old").text
    for text in (listed, behind, why):
        assert "&lt;fresh&gt; 0.5, part 2" in text
        assert "Replaced under another name" in text
        assert "<fresh>" not in text
    assert "part 2" not in page.get("/patches/devices?package=old&ecosystem=deb").text


def test_the_fleet_by_package(page: FlaskClient, api: Api) -> None:
    for name, missing in (("a", 3), ("b", 2), ("c", 0)):
        told = [
            item(f"package{number}", "1", "2" if number < missing else None, isSecurityUpdate=number == 0 < missing)
            for number in range(3)
        ]
        report(name, *told)
    report("silent", item("package0", "1", "2"), metadata=None)
    text = page.get("/patches").text
    assert packages(text) == {"package0": "3 devices", "package1": "2 devices", "package2": "1 device"}
    expected = {"total": "5", "critical": "0", "important": "2", "moderate": "0", "low": "0", "optional": "3"}
    assert figures(text) == expected
    assert "1 device is unknown and not in these numbers; the list below has 1 row of it" in plain(text)
    for query, names in {
        "kind=security": {"package0"}, "kind=other": {"package0", "package1", "package2"}, "severity=Critical": set(),
        "severity=Important": {"package0"}, "q=AGE2": {"package2"}, "q=nothing": set(), "verdict=unknown": set(),
        "system=windows": set(), "system=debian": {"package0", "package1", "package2"},
        "q=cve-2026-0001": set(), "q=KB5050001": set(),
    }.items():  # fmt: skip
        assert set(packages(page.get(f"/patches?{query}").text)) == names, query
    assert "No patch matches." in page.get("/patches?q=nothing").text
    api.post("/host-groups", {"name": "Only b", "rule": 'hostname == "b"'})
    text = page.get("/patches?group=Only+b").text
    assert packages(text) == {"package0": "1 device", "package1": "1 device"}
    assert re.search(r'<option value="[^"]+" selected>Only b</option>', text)


def test_the_devices_behind_a_row(page: FlaskClient) -> None:
    report("a", item("curl", "1", "2"))
    report("b", item("curl", "1", "3"), item("curl-doc", "1", "2"))
    silent = report("silent", item("curl", "1", "2"), metadata=None)
    text = page.get("/patches").text
    link = re.search(r'<a href="([^"]+)" aria-label="3 devices with curl"', text)
    assert link
    text = page.get(html.unescape(link[1])).text
    assert devices(text) == ["a", "b", "silent"]
    assert "as of" in text.split(f'/devices/{silent.id}"')[1].split("</tr>")[0]
    assert text.count("as of") == 1
    assert "1 row from devices whose state is unknown by now" in plain(text)
    assert devices(page.get("/patches/devices?package=curl&ecosystem=rpm").text) == []
    assert "No device is known to have this." in page.get("/patches/devices?package=nothing").text


def test_pages_follow_each_other(page: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchherd.web.patch_views.PAGE", 2)
    names = [f"package{number}" for number in range(5)]
    for host in ("a", "b", "c"):
        report(host, *(item(name, "1", "2") for name in names))

    def walk(path: str, read: Any) -> list[str]:
        found: list[str] = []
        while path:
            text = page.get(path).text
            found += read(text)
            following = re.search(r'id="next" href="([^"]+)"', text)
            path = html.unescape(following[1]) if following else ""
        return found

    assert walk("/patches?severity=Optional&q=package", packages) == names
    assert walk("/patches/devices?package=package3", devices) == ["a", "b", "c"]


def test_odd_questions_get_calm_answers(page: FlaskClient) -> None:
    report("web", item("curl", "1", "2"))
    every = packages(page.get("/patches").text)
    for name in ("severity", "kind", "verdict", "system"):
        for value in ("x", "'", HOSTILE, "missing;--"):
            answer = page.get("/patches", query_string={name: value})
            assert (answer.status_code, packages(answer.text)) == (200, every), (name, value)
            assert HOSTILE not in answer.text
    for text in ("[", "]", "?", "*", "**", "\\", "%", "_", "'\"", HOSTILE, "x" * 5000, "CVE-", "KB"):
        answer = page.get("/patches", query_string={"q": text})
        assert answer.status_code == 200, text
        assert HOSTILE not in answer.text
    for path, query, status in (
        ("/patches", {"after": "x"}, 400), ("/patches", {"after": "a:" + "x" * 5000}, 200),
        ("/patches", {"group": "nobody"}, 404), ("/patches/devices", {}, 400),
        ("/patches/devices", {"package": "curl", "after": "x"}, 400), ("/patches/devices", {"package": HOSTILE}, 200),
        ("/devices/web/why", {}, 400), ("/devices/web/why", {"package": "unheard-of"}, 404),
        ("/devices/web/why", {"package": HOSTILE + "x" * 5000}, 404), ("/devices/nobody/why", {"package": "curl"}, 404),
        ("/devices/web/why", {"package": "curl", "architecture": "mips"}, 404),
    ):  # fmt: skip
        answer = page.get(path, query_string=query)
        assert (answer.status_code, answer.mimetype) == (status, "text/html"), (path, query)
        assert HOSTILE not in answer.text
        assert "Traceback" not in answer.text


def test_a_changed_filter_changes_the_address(page: FlaskClient) -> None:
    answer = page.get("/patches?q=curl&severity=x&kind=security&verdict=&after=", headers=HTMX)
    assert answer.headers["HX-Replace-Url"] == "/patches?q=curl&kind=security"
    assert "HX-Replace-Url" not in page.get("/patches").headers


def test_nothing_missing_is_said_only_where_it_is_known(page: FlaskClient) -> None:
    assert "No device is known to miss anything." in plain(page.get("/patches").text)
    with database.connection():
        create_device("new")
    text = page.get("/patches").text
    assert "but not every device is known" in plain(text)
    assert not any(number.isdigit() for number in figures(text).values())
    report("web", item("curl", "1"))
    assert set(figures(page.get("/patches").text).values()) == {"0"}
    assert set(figures(page.get("/patches?system=debian").text).values()) == {"0"}
    assert set(figures(page.get("/patches?severity=Low").text).values()) == {"0"}


def test_who_may_see_it(app: Flask, api: Api, client: FlaskClient) -> None:
    report("web", item("curl", "1", "2"))
    paths = ("/patches", "/patches/devices?package=curl", "/devices/web/why?package=curl")
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/login?next=")
    api.user_token("viewer")
    assert client.post("/login", data={"username": "viewer", "password": PASSWORD}).status_code == 303
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_queries_do_not_grow(page: FlaskClient) -> None:
    def count(path: str) -> int:
        with queries() as seen:
            assert page.get(path).status_code == 200
        return len(seen)

    paths = ("/patches", "/patches/devices?package=curl", "/devices/web0")
    report("web0", item("curl", "1", "2"))
    few = [count(path) for path in paths]
    for number in range(1, 8):
        report(f"web{number}", item("curl", "1", "2"), item("bash", "1", "2"), item(f"more{number}", "1", "2"))
    assert [count(path) for path in paths] == few


def test_every_code_has_its_words() -> None:
    assert set(words.REASONS) == set(REASONS)
    assert set(words.VERDICTS) == set(words.VERDICT_CLASSES) == set(VERDICTS)
    assert words.reason_words("pinned: priority 100: too low") == (
        "Pinned away by a preference",
        "priority 100: too low",
    )
    assert words.reason_words("hidden") == ("Hidden on the host", "")
    assert words.reason_words("replaced by curl2: new") == ("", "replaced by curl2: new")
    assert words.reason_words(None) == ("", "")
    assert words.step_words("some_thing_new") == "Some thing new"


def test_packages_named_like_markup(page: FlaskClient) -> None:
    report("web", DPKG, item(HOSTILE, "1", "2"), item("a&b=c#d e", "1", "2"))
    for path in ("/patches", "/devices/web"):
        assert HOSTILE not in page.get(path).text
    assert packages(page.get("/patches").text) == {HOSTILE: "1 device", "a&b=c#d e": "1 device"}
    for link in re.findall(r'href="(/patches/devices[^"]+)" aria', page.get("/patches").text):
        text = page.get(html.unescape(link)).text
        assert devices(text) == ["web"]
        (why,) = re.findall(r'class="why"[^>]*href="([^"]+)"', text)
        assert page.get(html.unescape(why)).status_code == 200
