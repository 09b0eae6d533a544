# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The pages of scripts, software and profiles without a browser."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.server.api import ADMIN, PASSWORD, Api
from tests.server.queries import queries
from tests.server.test_contract3 import make

HOSTILE = "</textarea></pre><script>alert(1)</script>"


def log_in(app: Flask, username: str = ADMIN) -> FlaskClient:
    client = app.test_client()
    assert client.post("/login", data={"username": username, "password": PASSWORD}).status_code == 303
    return client


@pytest.fixture
def page(app: Flask, api: Api) -> FlaskClient:
    """A browser of the administrator."""
    return log_in(app)


def save(page: FlaskClient, path: str = "/automation/scripts", **form: Any) -> TestResponse:
    with page.session_transaction() as session:
        token = session["csrf"]
    body = {"name": "s", "language": "bash", "content": "id", "csrf_token": token, **form}
    return page.post(path, data=body)


def test_the_lists(api: Api, page: FlaskClient) -> None:
    empty = page.get("/automation").text
    assert "There is no script yet." in empty
    assert "Templates" not in empty
    make(api, "/scripts", name="Sweep", language="bash", target_os_type="debian")
    make(api, "/software-items", name="Zipper", checksum="0" * 64)
    path = f"/profiles/{make(api, '/profiles', name='Base')['id']}/tasks"
    make(api, path, name="Date", payload="Get-Date", continue_on_error=False)
    make(api, "/templates", name="Mould")
    full = page.get("/automation").text
    for word in ("Sweep", "debian", "Zipper", "SHA-256", "Base", "Mould"):
        assert word in full
    found = page.get("/automation?q=swe").text
    assert "Sweep" in found
    assert "Zipper" not in found
    assert "Nothing here matches “swe”." in found
    profile = page.get("/automation/profiles/1").text
    assert "Get-Date" in profile
    assert "stops the device" in profile
    assert page.get("/automation/profiles/99").status_code == 404
    assert page.get("/automation/scripts/99").status_code == 404


def test_pages_of_lists(api: Api, page: FlaskClient) -> None:
    for number in range(51):
        make(api, "/scripts", name=f"script {number:02}")
    first = page.get("/automation").text
    assert "script 49" in first
    assert "script 50" not in first
    following = re.search(r'href="(/automation\?scripts=\d+)">Next', first)
    assert following
    second = page.get(following[1]).text
    assert "script 50" in second
    assert "script 49" not in second
    assert ">First<" in second
    assert page.get("/automation?scripts=-5&software=x&profiles=99999999999999999999").status_code == 200


def test_lists_read_no_content_and_cost_the_same(api: Api, page: FlaskClient) -> None:
    def count() -> int:
        with queries() as seen:
            assert page.get("/automation").status_code == 200
        assert not [text for text in seen if '"content"' in text]
        return len(seen)

    def fill(number: int) -> None:
        make(api, "/scripts", name=f"s{number}")
        profile = make(api, "/profiles", name=f"p{number}")["id"]
        for _ in range(3):
            make(api, f"/profiles/{profile}/tasks", name="t", script_id=1)

    fill(1)
    few = count()
    for number in range(2, 9):
        fill(number)
    assert count() == few
    with queries() as seen:
        page.get("/automation/profiles/1")
    assert len([text for text in seen if 'FROM "profile_task"' in text]) == 1
    assert not [text for text in seen if text.startswith('SELECT "t1"."id", "t1"."name" FROM "script"')]


def test_write_edit_delete(api: Api, page: FlaskClient) -> None:
    answer = save(page, content="\r\n#!/bin/sh\r\nid\r\n", description="d", target_os_type="")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/automation/scripts/1"
    assert api.get("/scripts/1").json["content"] == "\n#!/bin/sh\nid\n"
    form = page.get("/automation/scripts/1/edit").text
    assert ">\n\n#!/bin/sh\nid\n</textarea>" in form
    assert 'name="version" value="1"' in form
    assert save(page, "/automation/scripts/1", content="two", version="1").status_code == 303
    shown = page.get("/automation/scripts/1").text
    assert "Version 2" in shown
    assert "two</pre>" in shown
    assert "#!/bin/sh" in page.get("/automation/scripts/1?version=1").text
    for number in ("3", "0", "-1", "99999999999999999999"):
        assert page.get(f"/automation/scripts/1?version={number}").status_code == 404
    assert page.get("/automation/scripts/1?version=x").status_code == 200
    assert save(page, "/automation/scripts/1/delete").headers["Location"] == "/automation"
    assert api.get("/scripts/1").status_code == 404


def test_line_ends_stay_what_they_were(api: Api, page: FlaskClient) -> None:
    make(api, "/scripts", content="a\r\nb\r\n")
    assert save(page, "/automation/scripts/1", name="n", language="powershell", content="a\r\nb\r\n").status_code == 303
    assert api.get("/scripts/1").json["content"] == "a\r\nb\r\n"
    assert api.get("/scripts/1").json["version"] == 1


def test_nobody_overwrites_unseen(api: Api, page: FlaskClient) -> None:
    make(api, "/scripts", name="s", language="bash")
    assert api.call("PUT", "/scripts/1", {"content": "by the other"}).status_code == 200
    answer = save(page, "/automation/scripts/1", content="mine & yours", version="1")
    assert answer.status_code == 409
    assert "version 2 was saved after version 1 was opened" in answer.text
    assert "mine &amp; yours</textarea>" in answer.text, "what was written is not lost"
    assert api.get("/scripts/1").json["content"] == "by the other"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"name": " "}, "name: "),
        ({"content": " "}, "content: Must not be blank."),
        ({"language": "perl"}, "language: Must be one of"),
        ({"target_os_type": "dos"}, "target_os_type: Must be one of"),
        ({"name": "taken"}, "name: already taken"),
    ],
)
def test_what_is_wrong_is_said(api: Api, page: FlaskClient, form: dict[str, Any], text: str) -> None:
    make(api, "/scripts", name="taken")
    answer = save(page, **{"content": "echo kept", **form})
    assert answer.status_code == 400
    assert text in answer.text
    if "content" not in form:
        assert "echo kept</textarea>" in answer.text
    assert len(api.get("/scripts").json) == 1


def test_scripts_in_use_stay(api: Api, page: FlaskClient) -> None:
    make(api, "/scripts")
    make(api, f"/profiles/{make(api, '/profiles')['id']}/tasks", name="t", script_id=1)
    answer = save(page, "/automation/scripts/1/delete")
    assert answer.headers["Location"] == "/automation/scripts/1"
    assert "Script is in use" in page.get("/automation/scripts/1").text


def test_hostile_text_is_only_text(api: Api, page: FlaskClient) -> None:
    make(api, "/scripts", name=HOSTILE, description=HOSTILE, content=HOSTILE)
    profile = make(api, "/profiles", name=HOSTILE, description=HOSTILE)["id"]
    make(api, f"/profiles/{profile}/tasks", name=HOSTILE, payload=HOSTILE)
    make(api, "/software-items", name=HOSTILE, source=f"https://x/{HOSTILE}")
    for path in ("", f"/profiles/{profile}", "/scripts/1", "/scripts/1/edit"):
        answer = page.get(f"/automation{path}")
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "style-src 'self'" in answer.headers["Content-Security-Policy"]
        assert " style=" not in answer.text


def test_who_may(app: Flask, api: Api, client: FlaskClient) -> None:
    make(api, "/scripts")
    assert client.get("/automation").status_code == 303
    api.user_token("viewer", "vera")
    vera = log_in(app, "vera")
    shown = vera.get("/automation").text + vera.get("/automation/scripts/1").text
    for word in ("new-script", "edit-script", "delete-script"):
        assert word not in shown
    for path in ("/automation/scripts/new", "/automation/scripts/1/edit"):
        assert vera.get(path).status_code == 403
    for path in ("/automation/scripts", "/automation/scripts/1", "/automation/scripts/1/delete"):
        assert save(vera, path).status_code == 403
    page = log_in(app)
    assert page.post("/automation/scripts", data={"name": "x", "content": "x"}).status_code == 403, "no proof of origin"
    assert len(api.get("/scripts").json) == 1
