# SPDX-License-Identifier: Apache-2.0
"""Shortcuts over the HTTP API for tests of every room."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from patchherd import database, schema

ADMIN = "admin"
PASSWORD = "correct horse battery"


def create_schema() -> None:
    """Create all tables in the configured database."""
    with database.connection(), database.write_transaction():
        database.db.create_tables(schema.all_models())


class Api:
    """Calls as administrator; every shortcut asserts that it worked."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    @classmethod
    def with_admin(cls, app: Flask) -> Api:
        client = app.test_client()
        answer = client.post("/api/v1/auth/setup-admin", json={"username": ADMIN, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return cls(client, answer.json["token"])

    def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> TestResponse:
        """Any request below /api/v1, or to a path that starts with /api/."""
        url = path if path.startswith("/api/") else f"/api/v1{path}"
        headers = {**self.headers, **kwargs.pop("headers", {})}
        if body is not None:
            kwargs["json"] = body
        return self.client.open(url, method=method, headers=headers, **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> TestResponse:
        return self.call("POST", path, body, **kwargs)

    def patch(self, path: str, body: Any, **kwargs: Any) -> TestResponse:
        return self.call("PATCH", path, body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self.call("DELETE", path, **kwargs)

    def user_token(self, role: str = "viewer", username: str | None = None) -> str:
        """The access token of a new user with this role."""
        name = username or role
        answer = self.post("/users", {"username": name, "password": PASSWORD, "role": role})
        assert answer.status_code == 201, answer.text
        answer = self.client.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return str(answer.json["token"])

    def api_token(self, **body: Any) -> str:
        """The text of a new API token."""
        answer = self.post("/api-tokens", {"name": "test", **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json["token"])

    def enrollment_token(self, **body: Any) -> dict[str, Any]:
        """A new enrolment token as the server shows it, its secret included."""
        answer = self.post("/auto-enrollment/tokens", {"token_name": "test token", **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json["token"])

    def enroll(self, token: dict[str, Any] | None = None, **host: Any) -> dict[str, Any]:
        """A new host as the server shows it, its api_key included; `friendly_name` defaults to web1."""
        token = token or self.enrollment_token()
        answer = self.client.post(
            "/api/v1/auto-enrollment/enroll",
            json={"friendly_name": "web1", **host},
            headers=token_headers(token),
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json["host"])

    def host(self, method: str, path: str, host: dict[str, Any], body: Any = None, **kwargs: Any) -> TestResponse:
        """A request below /api/v1 with the credentials of an enrolled host."""
        if body is not None:
            kwargs["json"] = body
        return self.client.open(f"/api/v1{path}", method=method, headers=host_headers(host), **kwargs)


def token_headers(token: dict[str, Any]) -> dict[str, str]:
    """What enrolment authenticates with."""
    return {"X-Auto-Enrollment-Key": token["token_key"], "X-Auto-Enrollment-Secret": token["token_secret"]}


def host_headers(host: dict[str, Any]) -> dict[str, str]:
    """What an enrolled host authenticates with."""
    return {"X-API-ID": host["api_id"], "X-API-KEY": host["api_key"]}
