# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agent releases: published, offered by semantic version, downloaded, withdrawn."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from werkzeug.test import TestResponse

from patchherd.app import create_app
from patchherd.monitoring import releases
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.monitoring import Agent

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CONTENT = b"PK\x03\x04 an agent" * 1000


def publish(api: Api, version: str, content: bytes = CONTENT, name: str = "agent.zip", **form: str) -> TestResponse:
    data = {"version": version, **form, "file": (io.BytesIO(content), name)}
    return api.client.post("/api/v1/agent-releases", data=data, headers=api.headers)


@pytest.fixture
def agent(api: Api) -> Agent:
    """A Windows agent that has registered."""
    found = Agent.with_token(api)
    found.register()
    return found


def offered(agent: Agent, running: str | None, **headers: str) -> Any:
    version = {"X-Agent-Version": running} if running is not None else {}
    return agent.get("/updates/check", headers={"X-Agent-ID": str(agent.id), **version, **headers}).json


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_publish_offer_download_withdraw(api: Api, agent: Agent, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    created = publish(api, "1.1.0", name="agent-1.1.0.zip", changelog="- Nueva funcionalidad\n- Correcciones")
    assert created.status_code == 201, created.text
    assert (created.json["sha256"], created.json["size"]) == (digest, len(CONTENT))
    assert created.json["published_by"] == "admin"
    answer = offered(agent, "1.0.0")
    assert (answer["update_available"], answer["latest_version"]) == (True, "1.1.0")
    assert answer["changelog"] == "- Nueva funcionalidad\n- Correcciones"
    assert answer["sha256"] == digest
    assert answer["download_url"].startswith("http://localhost/api/v1/agent-releases/")
    assert urlsplit(answer["download_url"]).path.endswith("/agent-1.1.0.zip")
    assert agent.get("/agents/updates?current_version=1.0.0").json["latest_version"] == "1.1.0"
    # agents fetch the address without any header
    got = api.client.application.test_client().get(path_of(answer["download_url"]))
    assert (got.status_code, got.data) == (200, CONTENT)
    assert got.headers["X-Checksum-SHA256"] == digest
    assert got.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"
    assert "agent-1.1.0.zip" in got.headers["Content-Disposition"]
    part = api.client.get(path_of(answer["download_url"]), headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.data) == (206, CONTENT[:10])
    assert api.delete(f"/agent-releases/{created.json['id']}").status_code == 204
    assert offered(agent, "1.0.0") == {"update_available": False}
    assert api.client.get(path_of(answer["download_url"])).status_code == 404
    assert list((tmp_path / "agent-releases").iterdir()) == [], "the file is gone"
    assert api.get("/agent-releases").json == []
    (kept,) = api.get("/agent-releases?withdrawn=true").json
    assert kept["withdrawn_at"]
    assert publish(api, "1.1.0").status_code == 201, "it may come again"


def test_the_newest_by_precedence_is_offered(api: Api, agent: Agent) -> None:
    for version in ("1.9.0", "1.10.0", "1.10.1-rc.1", "1.2.0"):
        assert publish(api, version).status_code == 201
    assert [row["version"] for row in api.get("/agent-releases").json] == ["1.10.1-rc.1", "1.10.0", "1.9.0", "1.2.0"]
    assert offered(agent, "1.9.0")["latest_version"] == "1.10.1-rc.1"
    assert offered(agent, "1.10.1-rc.1") == {"update_available": False, "latest_version": "1.10.1-rc.1"}
    assert offered(agent, "1.10.1")["update_available"] is False
    assert offered(agent, "2.0.0")["update_available"] is False
    for garbage in ("unknown", "", "1.x", "²"):
        assert agent.get("/agents/updates", query_string={"current_version": garbage}).json["update_available"], garbage


def test_without_version_the_recorded_one_counts(api: Api, agent: Agent) -> None:
    publish(api, "1.0.0")
    assert offered(agent, None)["update_available"] is False, "it registered as 1.0.0"
    publish(api, "1.0.1")
    assert offered(agent, None)["update_available"] is True


def test_platforms(api: Api, agent: Agent) -> None:
    assert publish(api, "3.0.0", platform="linux").status_code == 201
    assert offered(agent, "1.0.0") == {"update_available": False}, "this one is for another system"
    assert publish(api, "2.0.0", b"any").status_code == 201
    assert publish(api, "2.0.0", b"windows", platform="windows").status_code == 201
    assert offered(agent, "1.0.0")["sha256"] == hashlib.sha256(b"windows").hexdigest()
    agent.register(hostname="tux", os_type="Ubuntu", os_version="24.04")
    assert offered(agent, "1.0.0")["latest_version"] == "3.0.0"
    assert agent.get("/agents/updates?current_version=1.0.0").json["sha256"] == hashlib.sha256(b"any").hexdigest()


def test_the_public_address_is_used(app_settings: Settings) -> None:
    public = msgspec.structs.replace(app_settings, public_url="https://patch.example.com/")
    api = Api.with_admin(create_app(public))
    agent = Agent.with_token(api)
    agent.register()
    publish(api, "2.0.0")
    assert offered(agent, "1.0.0")["download_url"].startswith("https://patch.example.com/api/v1/agent-releases/")


BAD: list[tuple[dict[str, str], str, bytes, int]] = [
    ({"version": "1"}, "a.zip", b"x", 400),
    ({"version": "v1.0.0"}, "a.zip", b"x", 400),
    ({"version": "../../1.0.0"}, "a.zip", b"x", 400),
    ({"version": "1.0.0", "platform": "beos"}, "a.zip", b"x", 400),
    ({}, "a.zip", b"x", 400),
    ({"version": "1.0.0"}, "a.zip", b"", 400),
    ({"version": "1.0.0"}, "", b"x", 400),
    ({"version": "1.0.0"}, "..", b"x", 400),
    ({"version": "1.0.0"}, "a b.zip", b"x", 400),
    ({"version": "1.0.0"}, "a\nb.zip", b"x", 400),
    ({"version": "1.0.0"}, "x" * 250, b"x", 400),
    ({"version": "1.0.0"}, "a;b.zip", b"x", 400),
]


@SQLITE
def test_bad_uploads(api: Api, tmp_path: Path) -> None:
    for form, name, content, status in BAD:
        answer = api.client.post(
            "/api/v1/agent-releases", data={**form, "file": (io.BytesIO(content), name)}, headers=api.headers
        )
        assert (answer.status_code, "error" in answer.json) == (status, True), (form, name, answer.text)
    assert api.client.post("/api/v1/agent-releases", data={"version": "1.0.0"}, headers=api.headers).status_code == 400
    assert api.post("/agent-releases", {"version": "1.0.0"}).status_code == 400
    folder = tmp_path / "agent-releases"
    assert not folder.exists() or list(folder.iterdir()) == [], "nothing is left behind"
    assert publish(api, "1.0.0").status_code == 201
    assert publish(api, "1.0.0").status_code == 409
    assert publish(api, "1.0.0", platform="windows").status_code == 201
    (stored,) = folder.iterdir()
    assert stored.name == hashlib.sha256(CONTENT).hexdigest(), "equal content once, and no name of an upload"
    for path in ("../../etc/passwd", "..\\..\\windows\\agent.zip", "/etc/agent.zip"):
        answer = publish(api, f"9.0.{len(path)}", name=path)
        assert answer.status_code in {201, 400}
        assert {file.name for file in folder.iterdir()} == {stored.name}
        if answer.status_code == 201:
            assert answer.json["file_name"] in {"passwd", "agent.zip"}


@SQLITE
def test_uploads_are_bounded(app_settings: Settings, tmp_path: Path) -> None:
    small = msgspec.structs.replace(app_settings, max_body_bytes=100_000, agent_release_bytes=200_000)
    api = Api.with_admin(create_app(small))
    assert publish(api, "1.0.0", b"x" * 150_000).status_code == 201, "more than other bodies may have"
    answer = publish(api, "1.0.1", b"x" * 200_001)
    assert (answer.status_code, "error" in answer.json) == (413, True)
    assert publish(api, "1.0.2", b"x" * 2_000_000).status_code == 413
    assert len(list((tmp_path / "agent-releases").iterdir())) == 1
    assert api.post("/users", {"username": "x" * 150_000}).status_code == 413, "only for releases"


@SQLITE
def test_who_may(api: Api, agent: Agent) -> None:
    first, second = publish(api, "1.1.0").json, publish(api, "1.2.0", b"other").json
    viewer = {"Authorization": f"Bearer {api.user_token('operator')}"}
    for method, path in (("POST", "/api/v1/agent-releases"), ("DELETE", f"/api/v1/agent-releases/{first['id']}")):
        assert api.client.open(path, method=method, headers=viewer).status_code == 403
        assert api.client.open(path, method=method).status_code == 401
        assert agent.client.open(path, method=method, headers=agent.headers).status_code == 403
    assert agent.call("GET", "/v1/agent-releases").status_code == 403
    path = f"/api/v1/agent-releases/{first['id']}/files/agent.zip"
    assert api.client.get(path).status_code == 401
    assert api.client.get(path, headers=viewer).status_code == 200
    assert api.client.get(path, headers=agent.headers).status_code == 200
    link = path_of(offered(agent, "1.0.0")["download_url"])
    signature = link.partition("signature=")[2]
    assert api.client.get(link).status_code == 200
    assert api.client.get(f"{path}?signature={signature}").status_code == 401, "the signature is of another release"
    assert api.client.get(f"{path}?signature={signature[:-1]}x").status_code == 401
    assert api.client.get(f"{path}?signature=").status_code == 401
    assert api.client.get(f"/api/v1/agent-releases?signature={signature}").status_code == 401
    assert api.client.get(f"/api/v1/agent-releases/{second['id']}/files/other.zip", headers=viewer).status_code == 404
    assert api.client.get("/api/v1/agent-releases/4711/files/agent.zip", headers=viewer).status_code == 404


@SQLITE
def test_a_link_ends(api: Api, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(api, "1.1.0")
    link = path_of(offered(agent, "1.0.0")["download_url"])
    monkeypatch.setattr(releases, "LINK_SECONDS", -1)
    answer = api.client.get(link)
    assert (answer.status_code, answer.json["message"]) == (401, "ask for updates again")
