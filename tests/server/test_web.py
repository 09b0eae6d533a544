# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The dashboard without a browser: who may see what, headers, errors, numbers of queries, filters."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.database import now
from patchherd.deployments.models import Deployment, DeploymentChange, DeploymentHost, Job, JobEvent
from patchherd.devices.ansible import note_contact
from patchherd.devices.history import TYPES
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.packages.reports import receive_report
from patchherd.web import assets
from patchherd.web.events import sentence
from patchherd.web.room import local_path
from tests.server.api import ADMIN, PASSWORD, Api
from tests.server.queries import queries
from tests.ssh_keys import ed25519

HTML = {"Accept": "text/html"}


@pytest.fixture
def page(app: Flask, api: Api) -> FlaskClient:
    """A browser of the administrator."""
    client = app.test_client()
    answer = client.post("/login", data={"username": ADMIN, "password": PASSWORD})
    assert answer.status_code == 303
    return client


def report(name: str, missing: int = 0, security: bool = False, **more: Any) -> Device:
    packages = [
        {
            "name": f"package{number}", "currentVersion": "1", "availableVersion": "2" if number < missing else None,
            "needsUpdate": number < missing, "isSecurityUpdate": security and number < missing, "architecture": "amd64",
        }
        for number in range(5)
    ]  # fmt: skip
    body = {"hostname": name, "osType": "Debian GNU/Linux", "osId": "debian", "packages": packages}
    with database.connection():
        device = create_device(name)
        receive_report(device.id, body | {"metadataUpdated": now().isoformat(), **more})
        return Device.get_by_id(device.id)


def rows(text: str) -> dict[str, str]:
    """Host name -> patch status as the table says."""
    pattern = r'<tr data-device="\d+" data-status="(\w+)">.*?<a href="/devices/\d+"[^>]*>([^<]+)</a>'
    found = re.findall(pattern, text, re.S)
    return {name: status for status, name in found}


def figure(text: str, name: str) -> str:
    """What a tile shows."""
    found = re.search(rf'id="count-{name}">([^<]+)<', text)
    assert found
    return found[1]


def token_of(text: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', text)
    assert found
    return found[1]


def test_pages_ask_for_a_login(client: FlaskClient) -> None:
    for path in ("/", "/devices/1", "/deployments", "/deployments/1", "/enrol"):
        answer = client.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["Location"].startswith("/login")
    answer = client.get("/devices/7?x=1")
    assert answer.headers["Location"] == "/login?next=%2Fdevices%2F7%3Fx%3D1"
    answer = client.get("/live/devices", headers={"HX-Request": "true", "HX-Current-URL": "http://localhost/?q=web"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login?next=%2F%3Fq%3Dweb")


@pytest.mark.parametrize(
    "text",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:1",
        "/a b",
        "/\x01",
        "/login",
        "",
        "/\t/e",
    ],
)
def test_only_local_paths_are_followed(text: str) -> None:
    assert local_path(text) == ""


def test_local_path_is_kept() -> None:
    assert local_path("/devices/7?x=1&y=//z") == "/devices/7?x=1&y=//z"


def test_login_refusals(client: FlaskClient, api: Api) -> None:
    answer = client.post("/login", data={"username": ADMIN, "password": "wrong"})
    assert answer.status_code == 401
    assert "Invalid username or password" in answer.text
    assert "WWW-Authenticate" not in answer.headers
    for _ in range(9):
        client.post("/login", data={"username": ADMIN, "password": "wrong"})
    answer = client.post("/login", data={"username": ADMIN, "password": PASSWORD})
    assert answer.status_code == 429
    assert "Too many failed log-ins" in answer.text
    assert int(answer.headers["Retry-After"]) > 0


def test_login_from_another_site_is_refused(client: FlaskClient, api: Api) -> None:
    data = {"username": ADMIN, "password": PASSWORD}
    answer = client.post("/login", data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_forms_need_their_token(page: FlaskClient) -> None:
    for path in ("/deployments", "/enrol", "/logout", "/devices/1/approve", "/deployments/1/cancel"):
        answer = page.post(path, data={"token_name": "x"})
        assert answer.status_code == 403, path
        assert "Cross-site request refused" in answer.text
    assert page.get("/").status_code == 200


def test_logging_out_ends_the_session(page: FlaskClient) -> None:
    cookie = page.get_cookie("patchherd_session")
    assert cookie is not None
    token = token_of(page.get("/").text)
    assert page.post("/logout", data={"csrf_token": token}).status_code == 303
    page.set_cookie("patchherd_session", cookie.value)
    assert page.get("/").status_code == 303


def test_pages_forbid_foreign_and_inline_code(page: FlaskClient, client: FlaskClient) -> None:
    report("web")
    for path in ("/", "/devices/web", "/deployments", "/enrol", "/docs", "/login", "/nothing", "/live/summary"):
        answer = page.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"


def test_static_files_are_kept_for_good(client: FlaskClient) -> None:
    for name in sorted(assets.names()):
        answer = client.get(assets.url(name))
        assert answer.status_code == 200, name
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.mimetype in set(assets.TYPES.values())
        assert "Set-Cookie" not in answer.headers
    assert client.get(f"/static/0000000000000000/{'app.css'}").status_code == 404
    for name in ("../room.py", "vendor/manifest.json", "..%2froom.py"):
        assert client.get(f"/static/{assets.version()}/{name}").status_code == 404


def test_errors_suit_who_asks(page: FlaskClient, api: Api) -> None:
    answer = page.get("/devices/4711")
    assert answer.status_code == 404
    assert "Device not found" in answer.text
    answer = page.get("/no/such/page")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    answer = page.get("/logout")
    assert (answer.status_code, answer.mimetype) == (405, "text/html")
    for path in ("/api/v1/nothing", "/api", "/api/v1/devices/4711"):
        answer = page.get(path, headers=HTML)
        assert (answer.status_code, answer.mimetype) == (404, "application/json"), path
        assert answer.json["error"]
    answer = page.delete("/api/v1/devices", headers=HTML)
    assert (answer.status_code, answer.mimetype) == (405, "application/json")


def test_a_fault_shows_no_details(page: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("patchherd.web.fleet_views.fleet_counts", fail)
    answer = page.get("/")
    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    assert "secret" not in answer.text


def test_unknown_is_never_a_number(page: FlaskClient, app: Flask) -> None:
    old = report("old", 0)
    report("fine", 0)
    report("lacking", 3, security=True)
    report("never-refreshed", 2, metadataUpdated=None)
    with database.connection():
        create_device("new")
        long_ago = now() - timedelta(days=3)
        Device.update(evaluated_at=long_ago, last_report=long_ago).where(Device.id == old.id).execute()
    text = page.get("/").text
    unknown = dict.fromkeys(("old", "never-refreshed", "new"), "unknown")
    assert rows(text) == {"lacking": "missing", "fine": "current", **unknown}
    figures = {name: figure(text, name) for name in ("missing", "current", "unknown", "security")}
    assert figures == {"missing": "1", "current": "1", "unknown": "3", "security": "3"}
    expected = {"unknown": set(unknown), "current": {"fine"}, "missing": {"lacking"}, "security": {"lacking"}}
    for status, names in {**expected, "reboot": set()}.items():
        assert set(rows(page.get(f"/?patches={status}").text)) == names, status
    text = page.get("/devices/never-refreshed").text
    assert "It is unknown what this device misses:" in text
    assert "Nothing is missing" not in text
    assert 'id="deploy"' not in text


def test_nothing_known_is_not_zero(page: FlaskClient) -> None:
    with database.connection():
        create_device("new")
    text = page.get("/").text
    for name in ("security", "missing"):
        assert not figure(text, name).isdigit()


def test_agent_states_add_up(page: FlaskClient) -> None:
    report("here")
    gone = report("gone")
    waiting = report("waiting")
    with database.connection():
        create_device("new")
        Device.update(last_heartbeat=now() - timedelta(hours=1)).where(Device.id == gone.id).execute()
        Device.update(approved=False).where(Device.id == waiting.id).execute()
    text = page.get("/").text
    counts = {name: figure(text, name) for name in ("online", "offline", "pending")}
    assert counts == {"online": "1", "offline": "1", "pending": "2"}
    for state, names in {"online": {"here"}, "offline": {"gone"}, "pending": {"waiting", "new"}}.items():
        assert set(rows(page.get(f"/?agent={state}").text)) == names


def test_filters_take_any_text(page: FlaskClient) -> None:
    report("a%b_c")
    report("abbc")
    assert set(rows(page.get("/", query_string={"q": "a%b"}).text)) == {"a%b_c"}
    assert set(rows(page.get("/", query_string={"q": "b_c"}).text)) == {"a%b_c"}
    odd = [("q", "'\"<x>\\"), ("agent", "x"), ("patches", "'"), ("sort", "x"), ("page", "-1"), ("page", "x")]
    for name, value in odd:
        answer = page.get("/", query_string={name: value})
        assert answer.status_code == 200
        assert "<x>" not in answer.text
    for sort in ("name", "system", "report"):
        assert len(rows(page.get(f"/?sort={sort}").text)) == 2


def test_maintenance_groups_tags_and_history_of_a_device(page: FlaskClient, api: Api) -> None:
    device = report("web", 2)
    api.post("/host-groups", {"name": "<b>Webs", "rule": 'hostname == "web"'})
    api.patch("/devices/web", {"tags": ["prod"]})
    text = page.get("/devices/web").text
    assert "&lt;b&gt;Webs" in text
    assert "hostname == &#34;web&#34;" in text
    for words in ("prod", "First report", "Tags: plus prod", 'id="deploy"'):
        assert words in text, words
    form = {"csrf_token": token_of(text), "on": "1", "reason": "<i>disk\nfull"}
    assert page.post(f"/devices/{device.id}/maintenance", data=form).status_code == 303
    text = page.get("/devices/web").text
    assert "Put into maintenance: &lt;i&gt;disk full" in text
    assert 'id="in-maintenance"' in text
    assert 'id="deploy"' not in text
    assert "maintenance</span>" in page.get("/").text
    assert page.post(f"/devices/{device.id}/maintenance", data={**form, "on": ""}).status_code == 303
    text = page.get("/devices/web").text
    assert "Maintenance ended" in text
    assert 'id="in-maintenance"' not in text
    assert page.post("/devices/999/maintenance", data=form).status_code in (303, 404)


@pytest.mark.parametrize("kind", TYPES)
def test_every_event_has_its_sentence(kind: str) -> None:
    details: dict[str, dict[str, Any]] = {
        "merged": {"from": [{"id": 1, "name": "web"}]},
        "groups_changed": {"added": ["A"], "removed": []},
        "tags_changed": {"added": ["a"], "removed": ["b", "c"]},
        "maintenance": {"on": True, "reason": None},
    }
    text = sentence(kind, details.get(kind, {}))
    assert text
    assert "_" not in text
    assert sentence("tags_changed", details["tags_changed"]) == "Tags: plus a; minus b, c"


def test_live_part_answers_nothing_new(page: FlaskClient) -> None:
    report("web", 1)
    text = page.get("/live/devices").text
    seen = re.search(r'data-digest="(\w+)"', text)
    assert seen
    assert page.get("/live/devices", headers={"X-Seen": seen[1]}).status_code == 204
    report("mail")
    answer = page.get("/live/devices", headers={"X-Seen": seen[1]})
    assert answer.status_code == 200
    assert set(rows(answer.text)) == {"web", "mail"}


def place(devices: list[Device], state: str = "running") -> int:
    """A deployment with one change and one event a host."""
    with database.connection(), database.write_transaction():
        times = {"created_at": now(), "started_at": now()}
        deployment = Deployment.create(uuid=str(uuid.uuid4()), filter="all", created_by="admin", state=state, **times)
        job = Job.create(deployment=deployment, state=state, **times)
        for number, device in enumerate(devices):
            host = DeploymentHost.create(deployment=deployment, device=device, name=device.hostname, state="running")
            DeploymentChange.create(host=host, package="openssl", installed="1", candidate="2", severity="Critical")
            JobEvent.create(
                job=job, deployment_id=deployment.id, counter=number, created_at=now(), event="runner_on_ok",
                host=device.hostname, task="Install",
            )  # fmt: skip
        return int(deployment.id)


@pytest.mark.parametrize("path", ["/", "/live/summary", "/live/devices", "/live/deployments", "/deployments/{}"])
def test_queries_do_not_grow_with_the_fleet(page: FlaskClient, path: str) -> None:
    def count() -> int:
        with queries() as seen:
            assert page.get(path.format(deployment)).status_code == 200
        return len(seen)

    deployment = place([report("web0", 2)], "succeeded")
    few = count()
    deployment = place([report(f"web{number}", 3) for number in range(1, 9)])
    assert count() == few


def test_deployment_page_shows_hosts_changes_and_events(page: FlaskClient) -> None:
    number = place([report("web", 2)])
    text = page.get(f"/deployments/{number}").text
    for part in ("openssl", "Critical", "Install", 'hx-trigger="every 2s"', 'id="cancel"'):
        assert part in text
    with database.connection():
        Deployment.update(state="failed").where(Deployment.id == number).execute()
        DeploymentHost.update(state="failed", message="dpkg said no\nmore words").execute()
    text = page.get(f"/deployments/{number}").text
    assert "hx-get" not in text.split('id="deployment"')[1].split(">")[0], "what has ended asks no more"
    for part in ("dpkg said no\nmore words", 'id="retry"'):
        assert part in text
    assert "dpkg said no" in page.get("/devices/web").text


def test_buttons_do_what_they_say(page: FlaskClient) -> None:
    device = report("web", 2, ip="192.0.2.1", needsReboot=False)
    token = token_of(page.get("/devices/web").text)

    def press(action: str, **form: str) -> Deployment:
        data = {"csrf_token": token, "device": device.id, "action": action, "back": "/devices/web", **form}
        answer = page.post("/deployments", data=data)
        number = int(answer.headers["Location"].removeprefix("/deployments/"))
        assert page.post(f"/deployments/{number}/cancel", data={"csrf_token": token}).status_code == 303
        with database.connection():
            deployment = Deployment.get_by_id(number)
        assert deployment.state == "canceled"
        return deployment

    placed = press("deploy", filter="all", reboot="if_required")
    assert (placed.kind, placed.filter, placed.dry_run, placed.reboot) == ("patch", "all", False, "if_required")
    assert placed.created_by == ADMIN
    placed = press("dry-run", filter="all")
    assert (placed.dry_run, placed.reboot) == (True, "never")
    assert press("scan").kind == "scan"
    assert press("").dry_run is True, "only the button for it installs anything"


def test_refused_order_leads_back_with_its_reason(page: FlaskClient) -> None:
    with database.connection():
        device = create_device("new")
    token = token_of(page.get("/").text)
    data = {"csrf_token": token, "device": device.id, "action": "deploy", "back": "//evil.example"}
    answer = page.post("/deployments", data=data)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "new: has not reported yet" in page.get("/").text


def test_reporting_and_reachable_are_two_facts(page: FlaskClient) -> None:
    device = report("web")
    part = page.get("/devices/web").text
    assert re.search(r'id="ansible-contact"><span class="muted">none yet<', part)
    assert "unreachable for Ansible" not in page.get("/").text
    with database.connection():
        note_contact(device.id, "unreachable: <b>timed out</b>")
    part = page.get("/devices/web").text
    assert re.search(r'id="ansible-contact"><span class="badge bad">.*unreachable: &lt;b&gt;timed out', part, re.S)
    listed = page.get("/").text
    assert re.search(r'class="agent online">Online</span><span class="sub">unreachable for Ansible <time', listed)
    with database.connection():
        note_contact(device.id, None)
    assert re.search(r'id="ansible-contact"><span class="badge good">', page.get("/devices/web").text)
    assert "unreachable for Ansible" not in page.get("/").text


def test_host_keys_are_accepted_by_a_button(page: FlaskClient) -> None:
    device = report("web", sshHostKeys=[ed25519("A")])
    with database.connection():
        receive_report(device.id, {"hostname": "web", "sshHostKeys": [ed25519("B")]})
    text = page.get("/devices/web").text
    assert "SSH host keys changed." in text
    answer = page.post(f"/devices/{device.id}/accept-host-keys", data={"csrf_token": token_of(text)})
    assert answer.status_code == 303
    with database.connection():
        assert Device.get_by_id(device.id).ssh_host_keys == [ed25519("B")]
    assert "SSH host keys changed." not in page.get("/devices/web").text


def test_token_form_names_what_is_wrong(page: FlaskClient) -> None:
    token = token_of(page.get("/enrol").text)
    data = {"csrf_token": token, "token_name": "x", "allowed_ip_ranges": "not-an-address"}
    answer = page.post("/enrol", data=data)
    assert answer.status_code == 400
    assert "an IP address or CIDR range is needed" in answer.text
    answer = page.post("/enrol", data={"csrf_token": token, "token_name": "x"}, headers={"Host": "a'b$(id)"})
    assert answer.status_code == 400
    assert "curl" not in answer.text


def test_roles(app: Flask, api: Api) -> None:
    for role, refused in (("viewer", {"/enrol"}), ("operator", {"/enrol"})):
        api.user_token(role)
        client = app.test_client()
        assert client.post("/login", data={"username": role, "password": PASSWORD}).status_code == 303
        for path in ("/", "/deployments", "/enrol"):
            assert client.get(path).status_code == (403 if path in refused else 200), (role, path)
    client = app.test_client()
    client.post("/login", data={"username": "viewer", "password": PASSWORD})
    token = token_of(client.get("/").text)
    assert client.post("/deployments", data={"csrf_token": token, "device": 1, "action": "deploy"}).status_code == 403
