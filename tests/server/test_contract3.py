# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The library of the DeployFlow API, row by row: scripts, software, images, profiles, tasks, templates."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from patchherd import database
from patchherd.automation.models import ProfileTask, Script, ScriptVersion
from patchherd.automation.platforms import fits, language_fits, overlap
from tests.server.api import Api
from tests.server.queries import queries

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
TOP = {
    "name": "Get Top Processes",
    "description": "List the top 3 processes by memory usage",
    "language": "powershell",
    "content": "Get-Process | Sort-Object WorkingSet -Descending | Select-Object -First 3",
}
BASELINE = {
    "name": "Windows Baseline",
    "description": "Bootstrap and harden a Windows endpoint",
    "target_os_type": "windows",
}
ZIP = {"name": "7-Zip", "installer_type": "msi", "source_type": "url", "source": "https://example.net/7z.msi"}
SAMPLES: dict[str, dict[str, Any]] = {
    "/scripts": TOP,
    "/software-items": ZIP,
    "/os-images": {"name": "Debian 12", "os_type": "debian"},
    "/profiles": BASELINE,
    "/templates": BASELINE,
}
UNIQUE = {"/software-items": "slug"}
MAX_ID = 2**31 - 1


def make(api: Api, path: str, **body: Any) -> dict[str, Any]:
    answer = api.post(path, {**SAMPLES.get(path, {}), **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def refused(answer: Any, field: str, status: int = 400) -> str:
    """The rule that the answer says `field` broke."""
    assert answer.status_code == status, answer.text
    body = answer.json
    assert body["detail"] == body["message"]
    (row,) = body["errors"]
    assert row["param"] == row["path"] == field
    assert row["type"] == "field"
    return str(row["msg"])


def missing(answer: Any, error: str) -> str:
    assert answer.status_code == 404, answer.text
    assert answer.json["error"] == error
    assert answer.json["detail"] == answer.json["message"]
    return str(answer.json["message"])


# -- what all have in common -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", SAMPLES)
def test_create_read_change_delete(api: Api, path: str, slash: str) -> None:
    created = api.post(path + slash, SAMPLES[path])
    assert created.status_code == 201
    assert created.json.items() >= SAMPLES[path].items()
    number = created.json["id"]
    assert created.headers["Location"] == f"/api/v1{path}/{number}"
    assert TIME.match(created.json["created_at"])
    assert TIME.match(created.json["updated_at"])
    listed = api.get(path + slash)
    assert listed.status_code == 200
    assert isinstance(listed.json, list)
    assert listed.json == [{name: value for name, value in created.json.items() if name != "tasks"}]
    one = f"{path}/{number}{slash}"
    assert api.get(one).json == created.json
    for method in ("PUT", "PATCH"):
        changed = api.call(method, one, {"name": f"by {method}", "created_at": "never", "id": 77})
        assert changed.status_code == 200, changed.text
        kept = {key: value for key, value in created.json.items() if key not in {"name", "updated_at"}}
        assert changed.json.items() >= {**kept, "name": f"by {method}"}.items()
    gone = api.delete(one)
    assert (gone.status_code, gone.data) == (204, b"")
    word = {"/scripts": "Script", "/software-items": "Software", "/os-images": "OS image", "/profiles": "Profile"}
    for method in ("GET", "PUT", "DELETE"):
        missing(api.call(method, one, {} if method == "PUT" else None), f"{word.get(path, 'Template')} not found")


@pytest.mark.parametrize("path", SAMPLES)
@pytest.mark.parametrize("number", [0, MAX_ID, MAX_ID + 1, 10**30])
def test_ids_that_nothing_has(api: Api, path: str, number: int) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert api.call(method, f"{path}/{number}", {} if method == "PUT" else None).status_code == 404


@pytest.mark.parametrize("path", SAMPLES)
@pytest.mark.parametrize("word", ["x", "-1", "1.5", "%00"])
def test_ids_that_are_none(api: Api, path: str, word: str) -> None:
    answer = api.get(f"{path}/{word}")
    assert answer.status_code in {400, 404}
    assert answer.json["detail"]


@pytest.mark.parametrize("path", SAMPLES)
def test_a_taken_name_is_400(api: Api, path: str) -> None:
    first = make(api, path)
    field = UNIQUE.get(path, "name")
    assert refused(api.post(path, SAMPLES[path]), field) == "already taken"
    other = make(api, path, name="other")
    assert refused(api.call("PUT", f"{path}/{other['id']}", {field: first[field]}), field) == "already taken"
    assert api.call("PUT", f"{path}/{first['id']}", {field: first[field]}).status_code == 200


@pytest.mark.parametrize("path", SAMPLES)
def test_one_of_ten_gets_a_name(app: Flask, api: Api, path: str) -> None:
    def post(_: int) -> int:
        return Api(app.test_client(), api.headers["Authorization"].split()[1]).post(path, SAMPLES[path]).status_code

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(post, range(10))) == [201] + [400] * 9
    assert len(api.get(path).json) == 1


@pytest.mark.parametrize("path", SAMPLES)
def test_pages(api: Api, path: str) -> None:
    rows = [make(api, path, name=f"{'even' if number % 2 == 0 else 'odd'} {number}") for number in range(5)]
    seen: list[int] = []
    after = 0
    while after is not None:
        answer = api.get(f"{path}?limit=2&after={after}")
        seen += [row["id"] for row in answer.json]
        page = json.loads(answer.headers["X-Pagination"])
        assert page["limit"] == 2
        after = page["next_after"]
    assert seen == [row["id"] for row in rows]
    assert [row["id"] for row in api.get(f"{path}?search=even").json] == seen[::2]
    assert api.get(f"{path}?search=%25").json == []
    assert len(api.get(f"{path}?skip=3&colour=blue").json) == 5
    for query in ("limit=0", "limit=1001", "limit=x", "after=-1", f"after={MAX_ID + 1}", "search="):
        assert refused(api.get(f"{path}?{query}"), query.partition("=")[0])


@pytest.mark.parametrize("path", SAMPLES)
def test_a_list_costs_one_query(api: Api, path: str) -> None:
    for number in range(3):
        make(api, path, name=f"name {number}")
    api.get(path)
    with queries() as seen:
        api.get(path)
    assert (
        len([text for text in seen if any(table in text for table in ('"script"', "software", "image", "profile"))])
        == 1
    )


BODIES = [
    (b"{", "application/json"),
    (b"", "application/json"),
    (b"[]", "application/json"),
    (b'"text"', "application/json"),
    (b"null", "application/json"),
    (b"name=x", "application/x-www-form-urlencoded"),
]


@pytest.mark.parametrize(("body", "kind"), BODIES)
@pytest.mark.parametrize("path", SAMPLES)
def test_bodies_that_are_no_object(api: Api, path: str, body: bytes, kind: str) -> None:
    answer = api.client.post(f"/api/v1{path}", data=body, content_type=kind, headers=api.headers)
    assert answer.status_code == 400
    assert answer.json["error"]
    assert answer.json["detail"]


@pytest.mark.parametrize("path", SAMPLES)
def test_who_may(api: Api, client: FlaskClient, path: str) -> None:
    row = make(api, path)
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    assert client.get(f"/api/v1{path}").status_code == 401
    assert client.get(f"/api/v1{path}", headers=viewer).status_code == 200
    assert client.get(f"/api/v1{path}/{row['id']}", headers=viewer).status_code == 200
    assert client.post(f"/api/v1{path}", headers=viewer, json=SAMPLES[path]).status_code == 403
    assert client.put(f"/api/v1{path}/{row['id']}", headers=viewer, json={}).status_code == 403
    assert client.delete(f"/api/v1{path}/{row['id']}", headers=viewer).status_code == 403
    operator = {"Authorization": f"Bearer {api.user_token('operator')}"}
    assert client.delete(f"/api/v1{path}/{row['id']}", headers=operator).status_code == 204
    assert client.delete("/api/v1" + path, headers=operator).status_code == 405


NAMES: list[tuple[Any, bool]] = [
    ("x" * 255, True),
    (" a b ", True),
    ("Bäckerei ✓", True),
    ("x" * 256, False),
    ("", False),
    ("  ", False),
    ("a\nb", False),
    ("a\u2028b", False),
    (None, False),
    (5, False),
    (["x"], False),
    ({}, False),
]


@pytest.mark.parametrize(("name", "good"), NAMES)
@pytest.mark.parametrize("path", SAMPLES)
def test_names(api: Api, path: str, name: Any, good: bool) -> None:
    extra = {"slug": "slug"} if path == "/software-items" else {}
    answer = api.post(path, {**SAMPLES[path], **extra, "name": name})
    if good:
        assert answer.status_code == 201
        assert answer.json["name"] == name.strip()
    else:
        assert refused(answer, "name")
        row = make(api, path)
        assert refused(api.call("PUT", f"{path}/{row['id']}", {"name": name}), "name")


BAD_FIELDS: list[tuple[str, str, Any]] = [
    ("/scripts", "language", "python"),
    ("/scripts", "language", None),
    ("/scripts", "language", 1),
    ("/scripts", "target_os_type", "beos"),
    ("/scripts", "target_os_type", ["windows"]),
    ("/scripts", "content", ""),
    ("/scripts", "content", " \n"),
    ("/scripts", "content", None),
    ("/scripts", "content", "x" * 1_000_001),
    ("/scripts", "description", "x" * 10_001),
    ("/software-items", "installer_type", "deb"),
    ("/software-items", "installer_type", None),
    ("/software-items", "source_type", "ftp"),
    ("/software-items", "slug", "Not A Slug"),
    ("/software-items", "slug", "x" * 256),
    ("/software-items", "slug", "-x"),
    ("/software-items", "source", "ftp://example.net/x"),
    ("/software-items", "source", "file.msi"),
    ("/software-items", "source", None),
    ("/software-items", "source", ""),
    ("/software-items", "source", "https://x/" + "x" * 2000),
    ("/software-items", "checksum", "0" * 63),
    ("/software-items", "checksum", "g" * 64),
    ("/software-items", "checksum", "0" * 64 + "\n0"),
    ("/software-items", "version", "1" * 65),
    ("/software-items", "install_args", "x" * 4001),
    ("/software-items", "uninstall_args", 7),
    ("/software-items", "target_os_type", "win"),
    ("/os-images", "os_type", "amiga"),
    ("/os-images", "os_type", None),
    ("/os-images", "checksum", "abc"),
    ("/os-images", "architecture", "x" * 33),
    ("/os-images", "version", "x" * 65),
    ("/os-images", "source", "x" * 2001),
    ("/profiles", "target_os_type", "dos"),
    ("/profiles", "is_template", "perhaps"),
    ("/profiles", "is_template", None),
    ("/profiles", "description", "x" * 10_001),
    ("/templates", "target_os_type", 9),
]


@pytest.mark.parametrize(("path", "field", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:24])
def test_bad_values_name_their_field(api: Api, path: str, field: str, value: Any) -> None:
    assert refused(api.post(path, {**SAMPLES[path], field: value}), field)
    row = make(api, path)
    assert refused(api.call("PUT", f"{path}/{row['id']}", {field: value}), field)
    assert api.get(f"{path}/{row['id']}").json == row


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/scripts", "name"),
        ("/scripts", "content"),
        ("/software-items", "name"),
        ("/software-items", "installer_type"),
        ("/os-images", "name"),
        ("/os-images", "os_type"),
        ("/profiles", "name"),
        ("/templates", "name"),
    ],
)
def test_required_fields(api: Api, path: str, field: str) -> None:
    body = {name: value for name, value in SAMPLES[path].items() if name != field}
    assert refused(api.post(path, body), field) == "Missing data for required field."


OS_TYPES = (
    "windows windows_server ubuntu debian proxmox rhel centos macos other rocky almalinux linux"
).split()  # fmt: skip


@pytest.mark.parametrize("path", ["/scripts", "/software-items", "/profiles", "/templates"])
def test_every_os_type(api: Api, path: str) -> None:
    for kind in OS_TYPES:
        assert make(api, path, name=kind, target_os_type=kind)["target_os_type"] == kind
    assert make(api, path, name="upper", target_os_type="Ubuntu")["target_os_type"] == "ubuntu"
    for nothing in (None, ""):
        assert make(api, path, name=f"any {nothing}", target_os_type=nothing)["target_os_type"] is None


# -- scripts ---------------------------------------------------------------------------------------------------------


def test_a_script_as_documented(api: Api) -> None:
    assert make(api, "/scripts") == {
        **TOP,
        "id": 1,
        "target_os_type": None,
        "version": 1,
        "digest": hashlib.sha256(TOP["content"].encode()).hexdigest(),
        "created_by": "admin",
        "created_at": api.get("/scripts/1").json["created_at"],
        "updated_at": api.get("/scripts/1").json["updated_at"],
    }
    plain = make(api, "/scripts", name="plain", language="bash", description=None)
    assert (plain["language"], plain["description"]) == ("bash", None)
    assert api.post("/scripts", {"name": "short", "content": "x"}).json["language"] == "powershell"
    assert make(api, "/scripts", name="upper", language="PowerShell")["language"] == "powershell"


def test_content_is_kept_to_the_byte(api: Api) -> None:
    content = "\r\n  #!/bin/sh\n\techo 'ä ✓ \u2028'\r\n\n "
    script = make(api, "/scripts", content=content)
    assert api.get(f"/scripts/{script['id']}").json["content"] == content
    assert script["digest"] == hashlib.sha256(content.encode()).hexdigest()


def test_every_edit_of_content_is_a_version(api: Api) -> None:
    script = make(api, "/scripts", content="one")
    path = f"/scripts/{script['id']}"
    assert api.call("PUT", path, {"content": "two", "name": "renamed"}).json["version"] == 2
    assert api.call("PUT", path, {"content": "two"}).json["version"] == 2
    assert api.call("PUT", path, {"description": "only words"}).json["version"] == 2
    olga = Api(api.client, api.user_token("operator", "olga"))
    assert olga.call("PATCH", path, {"content": "one"}).json["version"] == 3
    versions = api.get(f"{path}/versions").json
    assert [(row["version"], row["created_by"]) for row in versions] == [(3, "olga"), (2, "admin"), (1, "admin")]
    assert [row["digest"] for row in versions] == [
        hashlib.sha256(text).hexdigest() for text in (b"one", b"two", b"one")
    ]
    assert all("content" not in row and TIME.match(row["created_at"]) for row in versions)
    assert [api.get(f"{path}/versions/{number}").json["content"] for number in (1, 2, 3)] == ["one", "two", "one"]
    assert api.get(path).json["created_by"] == "admin"
    assert [row["version"] for row in api.get(f"{path}/versions?before=3&limit=1").json] == [2]
    missing(api.get(f"{path}/versions/4"), "Version not found")
    missing(api.get(f"{path}/versions/{10**20}"), "Version not found")
    missing(api.get("/scripts/99/versions"), "Script not found")
    missing(api.get("/scripts/99/versions/1"), "Script not found")
    assert refused(api.get(f"{path}/versions?limit=0"), "limit")
    assert api.delete(path).status_code == 204
    with database.connection():
        assert ScriptVersion.select().count() == 0


def test_parallel_edits_all_become_versions(app: Flask, api: Api) -> None:
    path = f"/scripts/{make(api, '/scripts')['id']}"

    def edit(number: int) -> int:
        own = Api(app.test_client(), api.headers["Authorization"].split()[1])
        return own.call("PUT", path, {"content": f"edit {number}"}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(edit, range(8))) == {200}
    assert [row["version"] for row in api.get(f"{path}/versions").json] == list(range(9, 0, -1))
    contents = {api.get(f"{path}/versions/{number}").json["content"] for number in range(2, 10)}
    assert contents == {f"edit {number}" for number in range(8)}


def test_the_audit_trail_keeps_digests_of_scripts(api: Api) -> None:
    make(api, "/scripts", content="password = 'hunter2'")
    entry = api.get("/audit").json["entries"][0]
    assert entry["action"] == "script.create"
    assert entry["after"]["content"].startswith("sha256:")
    assert "hunter2" not in api.get("/audit").text


# -- software --------------------------------------------------------------------------------------------------------


def test_software_as_documented(api: Api) -> None:
    body = {
        **ZIP,
        "slug": "7zip",
        "version": "23.01",
        "install_args": "/qn",
        "uninstall_args": "/x",
        "target_os_type": "windows",
        "checksum": "A" * 64,
    }
    item = make(api, "/software-items", **body)
    times = {name: item[name] for name in ("created_at", "updated_at")}
    assert item == {**body, "id": 1, "checksum": "a" * 64, **times}


@pytest.mark.parametrize(
    ("name", "slug"), [("7-Zip 23.01 (x64)", "7-zip-23-01-x64"), ("Crème Brûlée", "creme-brulee"), ("--a--", "a")]
)
def test_slugs_are_made_of_names(api: Api, name: str, slug: str) -> None:
    assert make(api, "/software-items", name=name)["slug"] == slug
    assert refused(api.post("/software-items", {**ZIP, "name": name}), "slug") == "already taken"


def test_a_name_that_makes_no_slug(api: Api) -> None:
    assert refused(api.post("/software-items", {**ZIP, "name": "七"}), "slug")
    assert make(api, "/software-items", name="七", slug="seven")["slug"] == "seven"


@pytest.mark.parametrize("installer", ["msi", "exe", "winget", "choco", "script", "custom"])
def test_who_needs_a_source(api: Api, installer: str) -> None:
    body = {"name": installer, "installer_type": installer}
    answer = api.post("/software-items", body)
    if installer in {"winget", "choco"}:
        assert (answer.status_code, answer.json["source"]) == (201, None)
        assert refused(api.call("PUT", f"/software-items/{answer.json['id']}", {"installer_type": "exe"}), "source")
    else:
        assert refused(answer, "source")
        row = make(api, "/software-items", name=installer, installer_type=installer)
        assert refused(api.call("PUT", f"/software-items/{row['id']}", {"source": None}), "source")


@pytest.mark.parametrize(
    ("kind", "source"), [("url", "HTTPS://x/y"), ("file_share", "\\\\nas\\7z.msi"), ("local_path", "C:\\7z.msi")]
)
def test_sources(api: Api, kind: str, source: str) -> None:
    row = make(api, "/software-items", source_type=kind, source=source)
    assert (row["source_type"], row["source"]) == (kind, source)


# -- profiles and tasks ----------------------------------------------------------------------------------------------


def profile(api: Api, **body: Any) -> str:
    return f"/profiles/{make(api, '/profiles', **body)['id']}"


def test_a_profile_as_documented(api: Api) -> None:
    script = make(api, "/scripts")["id"]
    path = profile(api)
    body = {
        "name": "Install agent",
        "order_index": 10,
        "action_type": "powershell_inline",
        "script_id": script,
        "continue_on_error": True,
    }
    for slash in ("", "/"):
        answer = api.post(f"{path}/tasks{slash}", body)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"/api/v1{path}/tasks/{answer.json['id']}"
        assert answer.json.items() >= {**body, "profile_id": int(path[-1]), "software_id": None}.items()
    whole = api.get(path).json
    assert whole.items() >= BASELINE.items()
    assert whole["is_template"] is False
    assert whole["tasks"] == api.get(f"{path}/tasks").json == api.get(f"{path}/tasks/").json
    assert len(whole["tasks"]) == 2
    assert "tasks" not in api.get("/profiles").json[0]
    assert api.get(f"{path}/tasks/{whole['tasks'][0]['id']}").json == whole["tasks"][0]


def test_tasks_are_in_order(api: Api) -> None:
    path = profile(api)
    places = [20, 10, None, 10, 0]
    for number, place in enumerate(places):
        body = {"name": str(number), "payload": "x", **({} if place is None else {"order_index": place})}
        assert api.post(f"{path}/tasks", body).status_code == 201
    assert [row["name"] for row in api.get(f"{path}/tasks").json] == ["4", "1", "3", "0", "2"]
    assert [row["order_index"] for row in api.get(f"{path}/tasks").json] == [0, 10, 10, 20, 30]


def test_defaults_of_a_task(api: Api) -> None:
    row = make(api, profile(api) + "/tasks", name="t", payload="Get-Date")
    assert row["action_type"] == "powershell_inline"
    assert row["continue_on_error"] is True
    assert (row["order_index"], row["timeout_seconds"], row["script_id"]) == (0, None, None)


BAD_TASKS: list[tuple[dict[str, Any], str]] = [
    ({"action_type": "format_disk"}, "action_type"),
    ({"action_type": None}, "action_type"),
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"payload": None}, "script_id"),
    ({"payload": " "}, "payload"),
    ({"payload": "x" * 1_000_001}, "payload"),
    ({"script_id": 1}, "payload"),
    ({"script_id": "one"}, "script_id"),
    ({"script_id": True}, "script_id"),
    ({"script_id": 0}, "script_id"),
    ({"script_id": MAX_ID + 1}, "script_id"),
    ({"script_id": 1.5}, "script_id"),
    ({"software_id": 1}, "software_id"),
    ({"order_index": -1}, "order_index"),
    ({"order_index": "first"}, "order_index"),
    ({"order_index": MAX_ID + 1}, "order_index"),
    ({"timeout_seconds": 0}, "timeout_seconds"),
    ({"timeout_seconds": 86_401}, "timeout_seconds"),
    ({"continue_on_error": "sometimes"}, "continue_on_error"),
    ({"continue_on_error": None}, "continue_on_error"),
    ({"description": "x" * 10_001}, "description"),
    ({"action_type": "install_software", "payload": None}, "software_id"),
    ({"action_type": "install_software", "software_id": 1}, "payload"),
    ({"action_type": "agent_uninstall"}, "payload"),
    ({"action_type": "agent_uninstall", "payload": None, "software_id": 1}, "software_id"),
    ({"action_type": "bash_inline"}, "action_type"),
]


@pytest.mark.parametrize(("change", "field"), BAD_TASKS, ids=str)
def test_bad_tasks(api: Api, change: dict[str, Any], field: str) -> None:
    make(api, "/scripts")
    make(api, "/software-items")
    path = profile(api)
    good = {"name": "t", "payload": "Get-Date"}
    assert refused(api.post(f"{path}/tasks", {**good, **change}), field)
    assert api.get(f"{path}/tasks").json == []
    task = make(api, f"{path}/tasks", **good)
    assert refused(api.call("PUT", f"{path}/tasks/{task['id']}", change), field)
    answer = api.call("PUT", f"{path}/tasks", [good, {**good, **change}])
    assert answer.status_code == 400
    assert answer.json["errors"][0]["path"] == f"tasks[1].{field}"
    assert api.get(f"{path}/tasks").json == [task]


def test_unknown_references_are_404(api: Api) -> None:
    path = profile(api)
    for body, error in (
        ({"name": "t", "script_id": 7}, "Script not found"),
        ({"name": "t", "action_type": "install_software", "software_id": 7}, "Software not found"),
    ):
        assert "7" in missing(api.post(f"{path}/tasks", body), error)
        assert "tasks[0]." in missing(api.call("PUT", f"{path}/tasks", [body]), error)
        missing(api.post("/profiles/99/tasks", body), "Profile not found")
        missing(api.call("PUT", "/profiles/99/tasks", [body]), "Profile not found")
    for method in ("GET", "PUT", "DELETE"):
        missing(api.call(method, f"{path}/tasks/7", {} if method == "PUT" else None), "Task not found")
    missing(api.get("/profiles/99/tasks"), "Profile not found")


def test_a_task_belongs_to_its_profile(api: Api) -> None:
    path, other = profile(api), profile(api, name="other")
    task = make(api, f"{path}/tasks", name="t", payload="x")["id"]
    for method in ("GET", "PUT", "DELETE"):
        missing(api.call(method, f"{other}/tasks/{task}", {} if method == "PUT" else None), "Task not found")
    missing(api.call("PUT", f"{other}/tasks", [{"id": task, "name": "stolen", "payload": "x"}]), "Task not found")


MISFITS = [
    ("powershell_inline", "bash", None, None, "script_id"),
    ("powershell_script", "bash", None, None, "script_id"),
    ("bash_inline", "powershell", None, None, "script_id"),
    ("powershell_inline", "powershell", None, "ubuntu", "action_type"),
    ("powershell_inline", "powershell", None, "macos", "action_type"),
    ("bash_inline", "bash", None, "windows_server", "action_type"),
    ("bash_inline", "bash", "debian", "rhel", "script_id"),
    ("bash_inline", "bash", "macos", "linux", "script_id"),
    ("powershell_inline", "powershell", "ubuntu", "windows", "script_id"),
]


@pytest.mark.parametrize(("kind", "language", "script_target", "profile_target", "field"), MISFITS)
def test_what_cannot_run_is_refused(
    api: Api, kind: str, language: str, script_target: str | None, profile_target: str | None, field: str
) -> None:
    script = make(api, "/scripts", language=language, target_os_type=script_target)["id"]
    path = profile(api, target_os_type=profile_target)
    message = refused(api.post(f"{path}/tasks", {"name": "t", "action_type": kind, "script_id": script}), field)
    assert language in message or str(script_target) in message
    assert (profile_target or kind) in message


def test_later_changes_keep_what_runs(api: Api) -> None:
    script = make(api, "/scripts", target_os_type="windows")["id"]
    item = make(api, "/software-items", target_os_type="windows_server")["id"]
    path = profile(api)
    api.post(f"{path}/tasks", {"name": "a", "script_id": script})
    api.post(f"{path}/tasks", {"name": "b", "action_type": "install_software", "software_id": item})
    assert "task 1 'a'" in refused(api.call("PUT", f"/scripts/{script}", {"language": "bash"}), "language")
    assert "ubuntu" in refused(api.call("PUT", f"/scripts/{script}", {"target_os_type": "ubuntu"}), "target_os_type")
    assert "macos" in refused(api.call("PUT", f"/software-items/{item}", {"target_os_type": "macos"}), "target_os_type")
    assert "task" in refused(api.call("PUT", path, {"target_os_type": "debian"}), "target_os_type")
    assert api.call("PUT", path, {"target_os_type": "windows_server"}).status_code == 200
    assert api.call("PUT", path, {"target_os_type": None}).status_code == 200
    assert api.get(f"/scripts/{script}").json["language"] == "powershell"


def test_what_is_in_use_stays(api: Api) -> None:
    script, item = make(api, "/scripts")["id"], make(api, "/software-items")["id"]
    path = profile(api)
    first = make(api, f"{path}/tasks", name="first", script_id=script)["id"]
    second = make(api, f"{path}/tasks", name="second", action_type="install_software", software_id=item)["id"]
    for used, word, use in (
        (f"/scripts/{script}", "Script", f"task {first} 'first' of profile 1 'Windows Baseline'"),
        (f"/software-items/{item}", "Software", f"task {second} 'second' of profile 1 'Windows Baseline'"),
    ):
        answer = api.delete(used)
        assert answer.status_code == 400
        assert answer.json["error"] == f"{word} is in use"
        assert answer.json["message"] == answer.json["detail"] == f"used by {use}"
        assert [row["msg"] for row in answer.json["errors"]] == [f"used by {use}"]
    assert api.delete(path).status_code == 204
    with database.connection():
        assert ProfileTask.select().count() == 0
    assert api.delete(f"/scripts/{script}").status_code == 204
    assert api.delete(f"/software-items/{item}").status_code == 204


@pytest.mark.parametrize("wrapped", [False, True])
def test_put_replaces_the_list(api: Api, wrapped: bool) -> None:
    path = profile(api)
    old = [make(api, f"{path}/tasks", name=name, payload="x", timeout_seconds=5) for name in ("a", "b")]
    rows = [{"name": "new", "payload": "1"}, {"id": old[0]["id"], "name": "kept", "payload": "2"}]
    answer = api.call("PUT", f"{path}/tasks", {"tasks": rows} if wrapped else rows)
    assert answer.status_code == 200
    new, kept = answer.json
    assert (new["name"], new["order_index"], kept["name"], kept["order_index"]) == ("new", 0, "kept", 10)
    assert (kept["id"], kept["timeout_seconds"], kept["payload"]) == (old[0]["id"], None, "2")
    assert kept["created_at"] == old[0]["created_at"]
    assert api.get(f"{path}/tasks").json == answer.json
    twice = [{"id": kept["id"], "name": "x", "payload": "x"}] * 2
    missing(api.call("PUT", f"{path}/tasks", twice), "Task not found")
    assert api.get(f"{path}/tasks").json == answer.json
    assert api.call("PUT", f"{path}/tasks", []).json == []
    assert api.get(path).json["tasks"] == []


@pytest.mark.parametrize("body", [{"tasks": None}, {"tasks": {}}, {}, {"tasks": ["x"]}, [5], "x", {"tasks": [{}]}])
def test_lists_that_are_none(api: Api, body: Any) -> None:
    path = profile(api)
    answer = api.call("PUT", f"{path}/tasks", body)
    assert answer.status_code == 400
    assert answer.json["detail"]


def test_at_most_so_many_tasks(api: Api) -> None:
    path = profile(api)
    rows = [{"name": str(number), "payload": "x"} for number in range(501)]
    assert refused(api.call("PUT", f"{path}/tasks", rows), "tasks")
    assert len(api.call("PUT", f"{path}/tasks", rows[:500]).json) == 500
    answer = api.post(f"{path}/tasks", rows[500])
    assert (answer.status_code, answer.json["error"]) == (400, "Too many tasks")


def test_a_list_of_tasks_is_checked_at_once(api: Api) -> None:
    scripts = [make(api, "/scripts", name=str(number))["id"] for number in range(20)]
    path = profile(api)
    with queries() as seen:
        rows = [{"name": str(number), "script_id": number} for number in scripts]
        assert api.call("PUT", f"{path}/tasks", rows).status_code == 200
    assert len([text for text in seen if text.startswith("SELECT") and 'FROM "script"' in text]) == 1


def test_a_task_is_changed_alone(api: Api) -> None:
    script = make(api, "/scripts")["id"]
    path = profile(api)
    task = make(api, f"{path}/tasks", name="t", payload="x")
    one = f"{path}/tasks/{task['id']}"
    assert refused(api.call("PUT", one, {"script_id": script}), "payload")
    changed = api.call("PUT", one, {"script_id": script, "payload": None, "order_index": 5}).json
    assert (changed["script_id"], changed["payload"], changed["order_index"]) == (script, None, 5)
    assert api.delete(one).status_code == 204
    missing(api.get(one), "Task not found")


# -- templates -------------------------------------------------------------------------------------------------------


def test_templates_are_profiles_apart(api: Api) -> None:
    template = make(api, "/templates")
    plain = make(api, "/profiles", name="plain")
    flagged = make(api, "/profiles", name="flagged", is_template=True)
    assert (template["is_template"], plain["is_template"], flagged["is_template"]) == (True, False, True)
    assert [row["id"] for row in api.get("/templates").json] == [template["id"], flagged["id"]]
    assert [row["id"] for row in api.get("/profiles").json] == [plain["id"]]
    assert [row["id"] for row in api.get("/profiles?is_template=true").json] == [template["id"], flagged["id"]]
    for method in ("GET", "PUT", "DELETE"):
        missing(api.call(method, f"/templates/{plain['id']}", {} if method == "PUT" else None), "Template not found")
    missing(api.post(f"/templates/{plain['id']}/instantiate", {}), "Template not found")
    assert api.call("PUT", f"/profiles/{plain['id']}", {"is_template": True}).json["is_template"] is True
    assert api.get(f"/templates/{plain['id']}").status_code == 200


def test_instantiate(api: Api) -> None:
    script = make(api, "/scripts")["id"]
    template = make(api, "/templates")
    make(api, f"/profiles/{template['id']}/tasks", name="b", payload="x", order_index=9, timeout_seconds=3)
    make(api, f"/profiles/{template['id']}/tasks", name="a", script_id=script, order_index=1, continue_on_error=False)
    path = f"/templates/{template['id']}/instantiate"
    copy = api.post(f"{path}/", {})
    assert copy.status_code == 201
    assert copy.headers["Location"] == f"/api/v1/profiles/{copy.json['id']}"
    assert copy.json["name"] == "Windows Baseline (copy)"
    assert copy.json["is_template"] is False
    assert (copy.json["description"], copy.json["target_os_type"]) == (BASELINE["description"], "windows")
    own = {"id", "profile_id", "created_at", "updated_at"}
    bare = [
        [
            {key: value for key, value in row.items() if key not in own}
            for row in api.get(f"/profiles/{number}").json["tasks"]
        ]
        for number in (template["id"], copy.json["id"])
    ]
    assert bare[0] == bare[1]
    assert [row["name"] for row in bare[1]] == ["a", "b"]
    assert api.call("PUT", f"/profiles/{copy.json['id']}/tasks", []).json == []
    assert len(api.get(f"/templates/{template['id']}").json["tasks"]) == 2
    assert refused(api.post(path, {}), "name") == "already taken"
    assert refused(api.post(path), "name") == "already taken"
    assert refused(api.post(path, {"name": "Windows Baseline"}), "name") == "already taken"
    named = api.post(path, {"name": "mine", "description": "own words"}).json
    assert (named["name"], named["description"]) == ("mine", "own words")
    assert refused(api.post(path, {"name": "x" * 256}), "name")
    assert refused(api.post(path, {"name": 5}), "name")
    missing(api.post("/templates/99/instantiate", {}), "Template not found")


def test_a_name_too_long_to_copy(api: Api) -> None:
    template = make(api, "/templates", name="x" * 255)
    assert "shorter" in refused(api.post(f"/templates/{template['id']}/instantiate", {}), "name")


# -- what runs where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_tables_keep_what_they_need(app: Flask) -> None:
    """A script in use cannot go behind the back of the functions either."""
    with database.connection():
        assert {key.rel_model for key in ProfileTask._meta.refs} >= {Script}
        assert {key.on_delete for key in ProfileTask._meta.refs} == {"CASCADE", "RESTRICT"}


LINUX = {"ubuntu", "debian", "proxmox", "rhel", "centos", "rocky", "almalinux", "linux"}


@pytest.mark.parametrize("target", OS_TYPES)
def test_what_a_target_means(target: str) -> None:
    meant = {"windows": {"windows", "windows_server"}, "linux": LINUX}.get(target, {target})
    assert {kind for kind in OS_TYPES if fits(target, kind)} == meant
    assert fits(target, None)
    assert fits(None, target)
    assert overlap(target, target)


def test_what_a_language_runs_on() -> None:
    assert {kind for kind in OS_TYPES if language_fits("powershell", kind)} == {"windows", "windows_server", "other"}
    assert {kind for kind in OS_TYPES if language_fits("bash", kind)} == {*LINUX, "macos", "other"}
    assert language_fits("bash", None)
    assert language_fits("powershell", None)
