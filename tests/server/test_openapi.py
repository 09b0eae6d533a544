# SPDX-License-Identifier: Apache-2.0
"""The API's description is complete, and no request that it allows, or nearly allows, makes the server fail."""

from __future__ import annotations

import contextlib
import io
import re
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from patchherd import database
from patchherd.app import create_app
from patchherd.identity.access import PUBLIC_ENDPOINTS, declared_access
from patchherd.settings import Settings
from tests.server.advisories import taken
from tests.server.api import PASSWORD, Api, host_headers, token_headers

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What is checked here does not depend on the database."""
METHODS = {"get", "post", "put", "patch", "delete"}
EXAMPLES = 12
PACKAGE = {"name": "bash", "currentVersion": "5", "needsUpdate": False}


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    return dict(app.test_client().get("/api/openapi.json").json)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """("GET /path", operation) of all."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield f"{method.upper()} {path}", operation


@SQLITE
def test_every_route_of_the_api_is_described(app: Flask, document: dict[str, Any]) -> None:
    described = {name for name, _ in operations(document)}
    missing = []
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/api/") or rule.endpoint in PUBLIC_ENDPOINTS:
            continue
        path = "".join(f"{{{part}}}" if is_dynamic else part for is_dynamic, part in rule._trace).lstrip("|")
        missing += [
            f"{method} {path}"
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if f"{method} {path}" not in described
        ]
    assert not missing


@SQLITE
def test_every_operation_says_what_it_takes_and_gives(document: dict[str, Any]) -> None:
    incomplete = []
    for name, operation in operations(document):
        if not operation.get("summary") or operation["summary"].endswith("."):
            incomplete.append(f"{name}: a summary without full stop")
        if "security" not in operation:
            incomplete.append(f"{name}: security")
        good = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
        if not good:
            incomplete.append(f"{name}: an answer that means success")
        for status, answer in good.items():
            if status != "204" and not all("schema" in media for media in answer.get("content", {"-": {}}).values()):
                incomplete.append(f"{name}: schema of {status}")
        if "default" not in operation["responses"]:
            incomplete.append(f"{name}: the error body")
        for parameter in operation.get("parameters", ()):
            if "$ref" not in parameter and "schema" not in parameter:
                incomplete.append(f"{name}: schema of {parameter['name']}")
    assert not incomplete


@SQLITE
def test_security_is_what_the_views_declare(app: Flask, document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    for name, operation in operations(document):
        for alternative in operation["security"]:
            assert alternative, name
            assert set(alternative) <= set(schemes), name
    one = dict(operations(document))
    assert one["POST /api/v1/auth/login"]["security"] == []
    assert one["POST /api/v1/hosts/update"]["security"][0] == {"hostId": [], "hostKey": []}
    assert one["POST /api/v1/auto-enrollment/enroll"]["security"] == [{"enrollmentKey": [], "enrollmentSecret": []}]
    assert {"bearer": []} in one["GET /api/v1/devices"]["security"]
    assert one["GET /api/v1/devices"]["x-permissions"] == ["devices:read"]
    public = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if declared_access(app.view_functions[rule.endpoint]) == ()
    }
    for name, operation in operations(document):
        assert (operation["security"] == []) == (name.split()[1] in public), name


@SQLITE
def test_schemas_have_one_name_each(app_settings: Settings) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = create_app(app_settings).test_client().get("/api/openapi.json").json
    numbered = [name for name in document["components"]["schemas"] if name[-1].isdigit()]
    assert not numbered


@SQLITE
def test_the_error_body_is_the_described_one(api: Api, document: dict[str, Any]) -> None:
    reference = document["components"]["responses"]["DEFAULT_ERROR"]["content"]["application/json"]["schema"]["$ref"]
    described = document["components"]["schemas"][reference.rpartition("/")[2]]
    answer = api.post("/users", {}).json
    assert set(answer) == set(described["properties"])
    row = document["components"]["schemas"]["FieldErrorView"]["properties"]
    assert set(answer["errors"][0]) <= set(row)


# -- any request -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(app_settings: Settings) -> Iterator[Api]:
    """An administrator on a server that never says "too many"."""
    patient = msgspec.structs.replace(
        app_settings, auth_rate_limit="1000000 per minute", login_attempts=1_000_000, log_level="error"
    )
    app = create_app(patient)
    api = Api.with_admin(app)
    api.user_token("admin", "tester")
    yield api
    database.close_all()


def credentials(api: Api, operation: Any, host: dict[str, Any]) -> dict[str, str]:
    """Headers by which an operation can be called; fresh ones, for the one before may have ended them.

    `host`: whose credentials what hosts call is called with.
    """
    security = operation.definition.raw["security"]
    if "/agent/" in operation.label:  # its own credential is checked against what the body names
        return host_headers(api.enroll())
    if not security:
        return {}
    if "hostId" in security[0]:
        return host_headers(host)
    if "enrollmentKey" in security[0]:
        return token_headers(api.enrollment_token(max_hosts_per_day=1000))
    body = {"username": "tester", "password": PASSWORD}
    answer = api.client.post("/api/v1/auth/login", json=body)
    if answer.status_code == 401:  # the operation before changed the password
        assert api.patch("/users/tester", {"password": PASSWORD}).status_code == 200
        answer = api.client.post("/api/v1/auth/login", json=body)
    return {"Authorization": f"Bearer {answer.json['token']}"}


def objects(api: Api, host: dict[str, Any]) -> dict[str, Any]:
    """Path parameter -> something that exists, made anew for each operation; devices are this host."""
    name = uuid.uuid4().hex
    report = {"hostname": name, "ip": "192.0.2.7", "osType": "Debian GNU/Linux", "packages": [PACKAGE]}
    assert api.host("POST", "/hosts/update", host, report).status_code == 200
    assert api.post(f"/devices/{host['id']}/tags", {"tags": ["prod"]}).status_code == 200
    registered = api.client.post("/api/agents/register", json={"hostname": name}, headers=host_headers(host))
    assert registered.status_code == 200, registered.text
    inventory = {"hardware": {"processor": "x"}, "software": {"installed_software": [{"software_name": "a"}]}}
    agent = registered.json["agent_id"]
    sent = api.client.post(f"/api/agents/{agent}/inventory", json=inventory, headers=host_headers(host))
    assert sent.status_code == 200, sent.text
    (snapshot,) = api.get(f"/devices/{agent}/snapshots").json["snapshots"]
    form = {"version": f"1.0.{agent}", "file": (io.BytesIO(b"x"), "agent.zip")}
    release = api.client.post("/api/v1/agent-releases", data=form, headers=api.headers)
    assert release.status_code == 201, release.text
    api.user_token("viewer", name)
    api.post("/roles", {"name": name, "permissions": ["devices:read"]})
    scan = api.post("/scans", {"devices": [host["id"]]})
    assert scan.status_code == 201, scan.text
    script = api.post("/scripts", {"name": name, "content": "id"}).json["id"]
    template = api.post("/templates", {"name": name}).json["id"]
    task = api.post(f"/profiles/{template}/tasks", {"name": name, "script_id": script}).json["id"]
    software = api.post("/software-items", {"name": name, "installer_type": "winget"}).json["id"]
    profile = api.post("/profiles", {"name": f"{name} 2"}).json["id"]
    step = {"name": name, "action_type": "bash_inline", "payload": "id"}
    assert api.post(f"/profiles/{profile}/tasks", step).status_code == 201
    run = api.post(f"/profiles/{profile}/apply", {"device_ids": [host["id"]]})
    assert run.status_code == 201, run.text
    view = api.post("/content-views", {"name": name, "ecosystem": "rpm"}).json["id"]
    source = {"kind": "rpm", "url": "http://repo.example.org", "allow_unsigned": True}
    taken("osv", "osv-dsa.json", name)
    return {
        "action_id": run.json["actions"][0],
        "run_id": run.json["profile_run_id"],
        "script_id": script,
        "version": 1,
        "template_id": template,
        "profile_id": template,
        "task_id": task,
        "software_id": software,
        "image_id": api.post("/os-images", {"name": name, "os_type": "debian"}).json["id"],
        "view": view,
        "source_id": api.post(f"/content-views/{view}/sources", source).json["id"],
        "reference": host["id"],
        "agent_id": agent,
        "snapshot_id": snapshot["id"],
        "other_id": snapshot["id"],
        "release_id": release.json["id"],
        "file_name": "agent.zip",
        "advisory_id": "DSA-9001-1",
        "cve_id": "CVE-2026-1001",
        "token_id": api.enrollment_token()["id"],
        "group_id": api.post("/host-groups", {"name": name}).json["id"],
        "user_id": name,
        "name": name,
        "session_id": 1,
        "deployment_id": scan.json["id"],
        "tag": "prod",
    }


@pytest.mark.timeout(480)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does-not-fit"])
def test_no_request_makes_the_server_fail(fleet: Api, mode: GenerationMode) -> None:
    """Deterministic, and bounded: EXAMPLES requests an operation."""
    failures: list[str] = []
    statuses: dict[str, Counter[int]] = {}
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", fleet.client.application)
    for result in schema.get_all_operations():
        operation = result.ok()
        host = fleet.enroll(friendly_name=uuid.uuid4().hex)
        by_header = operation.path.endswith("/inventory")
        existing = objects(fleet, host) if "{" in operation.path or by_header else {}
        headers = credentials(fleet, operation, host)
        if by_header:  # or by the body, which generates other numbers
            headers["X-Agent-ID"] = str(existing["agent_id"])
        seen = statuses.setdefault(operation.label, Counter())

        def send(case: Any, headers: Any = headers, existing: Any = existing, seen: Any = seen) -> None:
            if seen.total() % 2 and case.path_parameters:
                case.path_parameters.update(
                    {key: existing.get(key, value) for key, value in case.path_parameters.items()}
                )
            response = case.call(headers=headers)
            seen[response.status_code] += 1
            if response.status_code >= 500:
                failures.append(
                    f"{case.method} {case.formatted_path}: {response.status_code} {case.query} {case.body!r:.500}"
                )

        _send_all(operation.as_strategy(generation_mode=mode), send)
    assert not failures, "\n".join(failures[:20])
    assert sum(seen.total() for seen in statuses.values()) > 400
    if mode is GenerationMode.POSITIVE:  # what does not fit may be the credential
        refused = {label for label, seen in statuses.items() if not set(seen) - {401, 429}}
        assert refused <= GUESSED, "requests that are all refused at the door prove nothing"
        unreached = {label for label, seen in statuses.items() if not any(status < 400 for status in seen)}
        assert len(unreached) < len(statuses) / 3, sorted(unreached)


GUESSED = {
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
    "PUT /api/v1/auth/password",
    "POST /api/v1/hosts/bootstrap/exchange",
    "POST /api/v1/agent/register",
    "GET /api/v1/auto-enrollment/script",
}
"""The credential is in the request itself."""


def _send_all(strategy: Any, send: Callable[[Any], None]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def run(case: Any) -> None:
        send(case)

    with contextlib.suppress(Unsatisfiable):  # an operation without parameters has nothing that does not fit
        run()
