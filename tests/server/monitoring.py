# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Monitoring agents for tests: what they send, and one that is spoken for by a token."""

from __future__ import annotations

import copy
from typing import Any

from werkzeug.test import TestResponse

from tests.server.api import Api

REGISTRATION = {
    "hostname": "LAPTOP-USER-01",
    "os_type": "Windows",
    "os_version": "10.0.19045",
    "agent_version": "1.0.0",
}
CHROME = {
    "software_name": "Google Chrome",
    "version": "120.0.6099.109",
    "vendor": "Google LLC",
    "install_date": "20240115",
    "install_location": "C:\\Program Files\\Google\\Chrome",
}
HARDWARE = {
    "report_date": "2025-11-01T12:00:00",
    "hostname": "LAPTOP-01",
    "operating_system": "Windows",
    "os_version": "10.0.19045",
    "architecture": "AMD64",
    "processor": "Intel(R) Core(TM) i7-10700 CPU @ 2.90GHz",
    "processor_cores": 8,
    "processor_threads": 16,
    "processor_speed": 2.9,
    "total_ram_gb": 16.0,
    "available_ram_gb": 8.5,
    "total_disk_gb": 512.0,
    "available_disk_gb": 256.0,
    "system_info": {"manufacturer": "Dell Inc.", "model": "OptiPlex 7090", "serial_number": "XXXXX123"},
}
DOMAIN = {
    "report_date": "2025-11-01T12:00:00",
    "is_domain_joined": True,
    "domain_name": "EMPRESA.LOCAL",
    "domain_user": "username",
    "workgroup": None,
    "domain_controller": "DC01.EMPRESA.LOCAL",
}


def program(name: str, version: str | None = "1.0", vendor: str | None = "Vendor", **more: Any) -> dict[str, Any]:
    """One entry of a list of software."""
    return {"software_name": name, "version": version, "vendor": vendor, **more}


def software(*programs: dict[str, Any]) -> dict[str, Any]:
    """A software section."""
    return {
        "report_date": "2025-11-01T12:00:00",
        "total_software": len(programs),
        "installed_software": list(programs),
    }


def inventory(*programs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A whole inventory."""
    body = {
        "timestamp": "2025-11-01T12:00:00",
        "hostname": "LAPTOP-USER-01",
        "hardware": HARDWARE,
        "software": software(*(programs or (CHROME,))),
        "domain": DOMAIN,
    }
    return copy.deepcopy({**body, **more})


class Agent:
    """A client with one credential, below `base`."""

    def __init__(self, api: Api, authorization: str | None, base: str = "/api") -> None:
        self.client = api.client.application.test_client()
        self.headers = {"Authorization": authorization} if authorization else {}
        self.base = base
        self.id = 0

    @classmethod
    def with_token(cls, api: Api, base: str = "/api") -> Agent:
        """With a new API token that may report."""
        return cls(api, f"Bearer {api.api_token(permissions=['host:report'])}", base)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        headers = {**self.headers, **options.pop("headers", {})}
        if body is not None:
            options["json"] = body
        return self.client.open(f"{self.base}{path}", method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.call("POST", path, body, **options)

    def register(self, **more: Any) -> int:
        answer = self.post("/agents/register", {**REGISTRATION, **more})
        assert answer.status_code == 200, answer.text
        self.id = int(answer.json["agent_id"])
        return self.id

    def report(self, *programs: dict[str, Any], **more: Any) -> TestResponse:
        answer = self.post("/inventory", {"agent_id": self.id, **inventory(*programs, **more)})
        assert answer.status_code == 200, answer.text
        return answer
