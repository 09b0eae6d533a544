# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""An agent and an operator of the DeployFlow API, written from its documents alone: what they say, and no more."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

BASE = "/api/v1"


class Operator:
    """Queues actions and looks at them."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client, self.headers = client, {"Authorization": f"Bearer {token}"}

    def post(self, path: str, body: Any) -> TestResponse:
        return self.client.post(BASE + path, json=body, headers=self.headers)

    def get(self, path: str) -> TestResponse:
        return self.client.get(BASE + path, headers=self.headers)

    def queue(self, device_id: int, **action: Any) -> dict[str, Any]:
        answer = self.post(f"/devices/{device_id}/actions", action)
        assert answer.status_code == 201, answer.text
        return dict(answer.json)

    def actions(self, device_id: int) -> list[dict[str, Any]]:
        answer = self.get(f"/devices/{device_id}/actions")
        assert answer.status_code == 200, answer.text
        return list(answer.json)


class Agent:
    """Registers, asks for work by heartbeat, reports results. `api_id` and `api_key` come with the registration."""

    def __init__(self, client: FlaskClient, enrollment_token: str, hostname: str, **said: Any) -> None:
        self.client, self.credentials = client, {}
        body = {"enrollment_token": enrollment_token, "hostname": hostname, "os_type": "windows", **said}
        answer = client.post(f"{BASE}/agent/register", json=body)
        assert answer.status_code == 200, answer.text
        self.device_id = answer.json["device_id"]
        assert answer.json["poll_interval_seconds"] == 30
        if "api_id" in answer.json:
            self.credentials = {"X-API-ID": answer.json["api_id"], "X-API-KEY": answer.json["api_key"]}

    def heartbeat(self, headers: dict[str, str] | None = None, **said: Any) -> TestResponse:
        body = {"device_id": self.device_id, **said}
        headers = self.credentials if headers is None else headers
        return self.client.post(f"{BASE}/agent/heartbeat", json=body, headers=headers)

    def fetch(self, **said: Any) -> list[dict[str, Any]]:
        answer = self.heartbeat(**said)
        assert answer.status_code == 200, answer.text
        assert set(answer.json) == {"actions"}
        return list(answer.json["actions"])

    def result(self, action_id: int, headers: dict[str, str] | None = None, **told: Any) -> TestResponse:
        headers = self.credentials if headers is None else headers
        return self.client.post(f"{BASE}/agent/actions/{action_id}/result", json=told, headers=headers)
