# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A monitoring agent's whole life against a started server, several processes where the database allows."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.running import Server
from tests.server.document2_client import MonitoringAgent, Refused, WebhookListener
from tests.services import free_port

SOFTWARE = [
    {"software_name": "Google Chrome", "version": "120.0.6099.109", "vendor": "Google LLC", "install_date": "20240115"},
    {"software_name": "7-Zip", "version": "9.20", "vendor": "Igor Pavlov"},
]


@pytest.fixture
def port() -> int:
    """Where the agents listen."""
    return free_port()


@pytest.fixture
def server(tmp_path: Path, database_url: str, port: int) -> Iterator[Server]:
    with Server(
        tmp_path / "data",
        PATCHHERD_DATABASE_URL=database_url,
        PATCHHERD_PROCESSES="1" if database_url.startswith("sqlite") else "3",
        PATCHHERD_PASSWORD_COST="4",
        PATCHHERD_AGENT_WEBHOOK_PORT=str(port),
        PATCHHERD_AGENT_WEBHOOK_LOOPBACK="true",
    ) as started:
        started.log_in()
        yield started


@pytest.fixture
def key(server: Server) -> str:
    """What an operator puts into the agents' configuration."""
    return server.command("api-token", "create", "laptops", "--role", "agent").stdout.strip()


@pytest.mark.parametrize("scheme", ["Bearer", "JWT"])
def test_a_whole_life(server: Server, key: str, port: int, tmp_path: Path, scheme: str) -> None:
    agent = MonitoringAgent(f"{server.url}/api", key, "LAPTOP-USER-01", scheme)
    assert agent.server_time().endswith("Z")
    number = agent.register()
    assert agent.register() == number
    answer = agent.send_inventory(SOFTWARE)
    assert (answer["success"], answer["message"]) == (True, "Inventory received")
    assert 240 <= agent.next_report_in <= 300
    agent.send_inventory(SOFTWARE)
    assert agent.heartbeat()["success"] is True
    agent.send_log("started")
    agent.send_error("something went wrong")
    assert agent.check_updates() == {"update_available": False}

    package = tmp_path / "agent-1.1.0.zip"
    package.write_bytes(b"PK new agent" * 50_000)
    published = server.command("agent-release", "add", str(package), "--version", "1.1.0", "--changelog", "- faster")
    assert "published 1.1.0 for any" in published.stdout
    assert re.search(r"1\.1\.0 +any +agent-1\.1\.0\.zip", server.command("agent-release", "list").stdout)
    fetched = agent.update(tmp_path / "data")
    assert fetched is not None
    assert (fetched.name, fetched.read_bytes()) == ("agent-1.1.0.zip", package.read_bytes())
    assert agent.update(tmp_path / "data") is None, "it runs that version now"
    agent.heartbeat()

    with WebhookListener(agent.config()["webhook"], port) as listener:
        for kind in ("update", "collect"):
            sent = server.post(f"/api/v1/devices/{number}/webhooks", {"type": kind}, expect=201)
            assert (sent["status"], sent["error"]) == (200, None)
        forged = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/webhook/update", b"{}", {"X-Patchherd-Timestamp": "1"}, method="POST"
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(forged, timeout=5)
    assert listener.accepted == ["/api/webhook/update", "/api/webhook/collect"]
    assert listener.refused == ["/api/webhook/update"]

    assert agent.health()["status"] == "ok"
    shown = server.get(f"/api/v1/devices/{number}")
    assert (shown["status"], shown["state"], shown["agent_version"]) == ("online", "active", "1.1.0")
    found = server.get("/api/v1/software?name=7-zip&version_below=19.00")["software"]
    assert [row["device"]["id"] for row in found] == [number]
    assert len(server.get(f"/api/v1/devices/{number}/snapshots")["snapshots"]) == 1
    assert len(server.get(f"/api/v1/devices/{number}/messages")["messages"]) == 2

    assert agent.unregister()["success"] is True
    with pytest.raises(Refused) as refused:
        agent.health()
    assert refused.value.status == 410
    with pytest.raises(Refused) as refused:
        agent.send_inventory(SOFTWARE)
    assert (refused.value.status, refused.value.body["error"]) == (401, "Invalid agent")
    assert server.command("agent-release", "withdraw", "1.1.0").stdout == "withdrew 1.1.0 for any\n"


def test_no_credential_no_service(server: Server) -> None:
    agent = MonitoringAgent(f"{server.url}/api", "your-secret-api-key-here", "LAPTOP-USER-01")
    with pytest.raises(Refused) as refused:
        agent.register()
    assert refused.value.status == 401
    assert refused.value.body["error"]


def test_one_host_name_at_once_is_one_device(server: Server, key: str) -> None:
    """From twenty agents at a server of several processes."""
    agents = [MonitoringAgent(f"{server.url}/api", key, "LAPTOP-USER-01") for _ in range(20)]
    with ThreadPoolExecutor(len(agents)) as pool:
        numbers = set(pool.map(MonitoringAgent.register, agents))
    assert len(numbers) == 1
    assert server.get("/api/devices")["count"] == 1


@pytest.mark.parametrize("arguments", [("withdraw", "9.9.9"), ("add", "/proc/self/cmdline", "--version", "new")])
def test_commands_that_fail(server: Server, arguments: tuple[str, ...]) -> None:
    failed = server.command("agent-release", *arguments, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ")
    assert failed.stderr.count("\n") == 1
