# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A monitoring agent as somebody would write it who has the integration guide and nothing of this server's code.

Standard library only. It knows a base URL and an API key, keeps the id that it was given, and listens for webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

AGENT_VERSION = "1.0.0"


class Refused(Exception):
    """The server answered with an error; `status` and `body` as it sent them."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class MonitoringAgent:
    """One machine's agent. `base_url` is `http(s)://server/api`; `scheme` is Bearer (api_key) or JWT (jwt_token)."""

    def __init__(self, base_url: str, api_key: str, hostname: str, scheme: str = "Bearer") -> None:
        self.base_url, self.hostname = base_url.rstrip("/"), hostname
        self.authorization = f"{scheme} {api_key}"
        self.version = AGENT_VERSION
        self.agent_id: int | None = None
        self.next_report_in = 300

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A call of the API; the decoded answer. Raises Refused."""
        headers = {
            "Content-Type": "application/json",
            "Authorization": self.authorization,
            "X-Agent-Version": self.version,
        }
        if self.agent_id is not None:
            headers["X-Agent-ID"] = str(self.agent_id)
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self.base_url + path, data, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(call, timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise Refused(error.code, json.load(error)) from None

    # -- documented --------------------------------------------------------------------------------------------------

    def register(self) -> int:
        """POST /agents/register; the id is in the answer, or in its data."""
        answer = self.request(
            "POST",
            "/agents/register",
            {
                "hostname": self.hostname,
                "os_type": "Windows",
                "os_version": "10.0.19045",
                "agent_version": self.version,
            },
        )
        data = answer.get("data") or {}
        self.agent_id = answer.get("agent_id") or data.get("agent_id") or data.get("asset_id")
        assert isinstance(self.agent_id, int)
        return self.agent_id

    def send_inventory(self, software: list[dict[str, Any]], **sections: Any) -> dict[str, Any]:
        """POST /inventory."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        body = {
            "agent_id": self.agent_id,
            "timestamp": stamp,
            "hostname": self.hostname,
            "hardware": {
                "report_date": stamp,
                "hostname": self.hostname,
                "operating_system": "Windows",
                "os_version": "10.0.19045",
                "processor": "Intel Core i7",
                "total_ram_gb": 16.0,
                "available_ram_gb": 8.5,
                "system_info": {"manufacturer": "Dell Inc.", "model": "OptiPlex 7090", "serial_number": "XXXXX123"},
            },
            "software": {
                "report_date": stamp,
                "total_software": len(software),
                "installed_software": software,
            },
            "domain": {"report_date": stamp, "is_domain_joined": True, "domain_name": "EMPRESA.LOCAL"},
            **sections,
        }
        answer = self.request("POST", "/inventory", body)
        self.next_report_in = int(answer["next_report_in"])
        return answer

    def check_updates(self) -> dict[str, Any]:
        """GET /updates/check."""
        return self.request("GET", "/updates/check")

    def health(self) -> dict[str, Any]:
        """GET /agents/{agent_id}/health."""
        return self.request("GET", f"/agents/{self.agent_id}/health")

    # -- in the field ------------------------------------------------------------------------------------------------

    def heartbeat(self) -> dict[str, Any]:
        return self.request("POST", f"/agents/{self.agent_id}/heartbeat", {"status": "online"})

    def config(self) -> dict[str, Any]:
        return dict(self.request("GET", f"/agents/{self.agent_id}/config")["config"])

    def send_log(self, message: str) -> dict[str, Any]:
        return self.request("POST", f"/agents/{self.agent_id}/logs", {"logs": [{"level": "INFO", "message": message}]})

    def send_error(self, message: str) -> dict[str, Any]:
        return self.request("POST", f"/agents/{self.agent_id}/errors", {"error": message})

    def server_time(self) -> str:
        return str(self.request("GET", "/time")["timestamp"])

    def unregister(self) -> dict[str, Any]:
        return self.request("DELETE", f"/agents/{self.agent_id}")

    def update(self, folder: Path) -> Path | None:
        """Fetch the newest version, if it is another one, and check it; the file. It is not run, of course."""
        offer = self.check_updates()
        if not offer["update_available"]:
            return None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(offer["download_url"], timeout=30) as answer:  # no header of ours: it may be on another host
            content = answer.read()
            assert hashlib.sha256(content).hexdigest() == offer["sha256"] == answer.headers["X-Checksum-SHA256"]
        file = folder / offer["download_url"].partition("?")[0].rpartition("/")[2]
        file.write_bytes(content)
        self.version = offer["latest_version"]
        return file


class WebhookListener:
    """`/api/webhook/update` and `/api/webhook/collect` on the agent's port; what is not signed well is refused."""

    def __init__(self, webhook: dict[str, Any], port: int) -> None:
        self.accepted: list[str] = []
        self.refused: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stamp = self.headers.get(webhook["timestamp_header"], "")
                signed = stamp.encode() + b"." + body
                right = "sha256=" + hmac.new(webhook["secret"].encode(), signed, hashlib.sha256).hexdigest()
                shown = self.headers.get(webhook["signature_header"], "")
                fresh = stamp.isdigit() and abs(time.time() - int(stamp)) < 300
                good = fresh and hmac.compare_digest(right, shown)
                (outer.accepted if good else outer.refused).append(self.path)
                answer = json.dumps({"success": good}).encode()
                self.send_response(200 if good else 401)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> WebhookListener:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
