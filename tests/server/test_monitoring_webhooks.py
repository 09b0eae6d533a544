# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Webhooks: signed, to the agent's own address only, bounded in time and size, recorded."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from patchherd import database
from patchherd.app import create_app
from patchherd.monitoring import webhooks
from patchherd.monitoring.models import MonitoringAgent
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.monitoring import Agent
from tests.services import free_port

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Listener:
    """An agent's little HTTP server; `answer` writes the response."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None] | None = None) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.received.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if answer:
                    answer(self)
                else:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b'{"success":true}')

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Listener:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as found:
        yield found


def world(settings: Settings, port: int, **changes: Any) -> tuple[Api, Agent]:
    """A server that calls agents on `port`, this machine included, and one agent."""
    changes = {"agent_webhook_loopback": True, **changes}
    api = Api.with_admin(create_app(msgspec.structs.replace(settings, agent_webhook_port=port, **changes)))
    agent = Agent.with_token(api)
    agent.register()
    return api, agent


@pytest.mark.parametrize("kind", ["update", "collect"])
def test_a_signed_call(app_settings: Settings, listener: Listener, kind: str) -> None:
    api, agent = world(app_settings, listener.port)
    config = agent.get(f"/agents/{agent.id}/config").json["config"]["webhook"]
    answer = api.post(f"/devices/{agent.id}/webhooks", {"type": kind})
    assert answer.status_code == 201, answer.text
    assert (answer.json["status"], answer.json["error"]) == (200, None)
    assert answer.json["duration_ms"] >= 0
    assert answer.json["requested_by"] == "admin"
    ((path, headers, body),) = listener.received
    assert path == f"/api/webhook/{kind}" == config["paths"][kind]
    stamp = headers[config["timestamp_header"].lower()]
    expected = hmac.new(config["secret"].encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers[config["signature_header"].lower()] == f"sha256={expected}"
    assert abs(int(stamp) - time.time()) < 60
    assert "authorization" not in headers
    told = msgspec.json.decode(body)
    assert (told["type"], told["agent_id"], told["delivery"]) == (kind, agent.id, answer.json["id"])
    page = api.get(f"/devices/{agent.id}/webhooks").json
    assert (page["deliveries"], page["next"]) == ([answer.json], None)
    entry = api.get("/audit").json["entries"][0]
    assert (entry["action"], entry["after"]) == ("device.webhook", {"type": kind, "address": "127.0.0.1"})


def test_each_device_has_its_own_secret(app_settings: Settings) -> None:
    _, agent = world(app_settings, 5000)
    first = agent.get(f"/agents/{agent.id}/config").json["config"]["webhook"]["secret"]
    agent.register(hostname="SECOND")
    assert agent.get(f"/agents/{agent.id}/config").json["config"]["webhook"]["secret"] != first


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.end_headers()


def refuse(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(500)


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b"x" * 100_000)


@SQLITE
@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [(redirect, 302, "the agent answered 302"), (refuse, 500, "the agent answered 500"), (flood, 200, None)],
)
def test_answers(app_settings: Settings, answer: Any, status: int, error: str | None) -> None:
    with Listener(answer) as listener:
        api, agent = world(app_settings, listener.port)
        started = time.monotonic()
        sent = api.post(f"/devices/{agent.id}/webhooks", {"type": "collect"}).json
        assert (sent["status"], sent["error"]) == (status, error)
        assert time.monotonic() - started < webhooks.TIMEOUT_SECONDS
        assert len(listener.received) == 1, "no redirect is followed"


@SQLITE
def test_nobody_listens(app_settings: Settings) -> None:
    api, agent = world(app_settings, free_port())
    sent = api.post(f"/devices/{agent.id}/webhooks", {"type": "collect"})
    assert (sent.status_code, sent.json["status"]) == (201, None)
    assert "refused" in sent.json["error"].lower()


@SQLITE
def test_proxies_of_the_environment_are_not_asked(
    app_settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    api, agent = world(app_settings, listener.port)
    assert api.post(f"/devices/{agent.id}/webhooks", {"type": "update"}).json["status"] == 200


def test_an_agent_that_drips_is_cut_off() -> None:
    """One byte after the other resets the time-out of a socket; the whole call still ends in time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Drip: " + b"d" * 1000:
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        break
                    if done.wait(0.1):
                        break

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        outcome = webhooks.call("127.0.0.1", server.getsockname()[1], "/", b"{}", "secret", seconds=1.0)
        took = time.monotonic() - started
        done.set()
        thread.join()
    assert outcome == (None, "no answer within 1 s")
    assert took < 3


@pytest.mark.parametrize(
    ("address", "loopback", "refused"),
    [
        ("10.1.2.3", False, False), ("192.168.1.4", False, False), ("203.0.113.5", False, False),
        ("2001:db8::1", False, False), ("127.0.0.1", False, True), ("127.0.0.1", True, False), ("::1", False, True),
        ("::ffff:127.0.0.1", False, True), ("127.9.9.9", False, True), ("169.254.169.254", True, True),
        ("::ffff:169.254.169.254", True, True), ("fe80::1", True, True), ("224.0.0.1", True, True),
        ("ff02::1", True, True), ("0.0.0.0", True, True), ("::", True, True), ("240.0.0.1", True, True),
        ("255.255.255.255", True, True), ("fd00:ec2::254", True, True), ("100.100.100.200", True, True),
        ("localhost", True, True), ("", True, True), ("10.0.0.1:80", True, True),
    ],
)  # fmt: skip
def test_addresses(address: str, loopback: bool, refused: bool) -> None:
    assert (webhooks.refusal(address, loopback=loopback) is not None) is refused


@SQLITE
def test_the_address_is_where_the_agent_was_seen(app_settings: Settings, listener: Listener) -> None:
    api, agent = world(app_settings, listener.port, agent_webhook_loopback=False)
    refused = api.post(f"/devices/{agent.id}/webhooks", {"type": "collect"})
    assert refused.status_code == 409
    assert "agent_webhook_loopback" in refused.json["message"]
    api, agent = world_again(api, app_settings, listener.port)
    lying = {"network": {"ip_address": "10.0.0.1"}, "ip_address": "10.0.0.1", "hardware": {}, "ip": "10.0.0.1"}
    assert agent.post(f"/agents/{agent.id}/inventory", lying).status_code == 200
    assert api.post(f"/devices/{agent.id}/webhooks", {"type": "collect"}).json["address"] == "127.0.0.1"
    moved = {"REMOTE_ADDR": "169.254.169.254"}
    assert agent.post(f"/agents/{agent.id}/heartbeat", {}, environ_base=moved).status_code == 200
    assert api.post(f"/devices/{agent.id}/webhooks", {"type": "collect"}).status_code == 409
    assert len(listener.received) == 1
    with database.connection():
        MonitoringAgent.update(sealed_secret="garbage", address="127.0.0.1").execute()
    answer = api.post(f"/devices/{agent.id}/webhooks", {"type": "collect"})
    assert (answer.status_code, "secret key" in answer.json["message"]) == (409, True)


def world_again(api: Api, settings: Settings, port: int) -> tuple[Api, Agent]:
    """The same server with loopback allowed."""
    changed = msgspec.structs.replace(settings, agent_webhook_port=port, agent_webhook_loopback=True)
    second = Api(create_app(changed).test_client(), "")
    second.headers = api.headers
    agent = Agent.with_token(second)
    agent.register(hostname="SECOND")
    return second, agent


@SQLITE
def test_what_is_refused(app_settings: Settings) -> None:
    api, agent = world(app_settings, 5000)
    for body in ({}, {"type": "reboot"}, {"type": None}, {"type": "update", "url": "http://x"}, []):
        assert api.post(f"/devices/{agent.id}/webhooks", body).status_code == 400, body
    assert api.post("/devices/4711/webhooks", {"type": "update"}).status_code == 404
    plain = api.enroll()
    assert api.post(f"/devices/{plain['id']}/webhooks", {"type": "update"}).status_code == 409
    viewer = {"Authorization": f"Bearer {api.user_token('viewer')}"}
    path = f"/api/v1/devices/{agent.id}/webhooks"
    assert api.client.post(path, json={"type": "update"}, headers=viewer).status_code == 403
    assert api.client.get(path, headers=viewer).json == {"deliveries": [], "next": None}
    assert api.client.get(path).status_code == 401
    assert agent.call("GET", f"/v1/devices/{agent.id}/webhooks").status_code == 403


@SQLITE
def test_slow_agents_do_not_take_all_threads(app_settings: Settings) -> None:
    release = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        release.wait(4)
        handler.send_response(204)
        handler.end_headers()

    with Listener(wait) as listener:
        api, agent = world(app_settings, listener.port)
        answers: list[Any] = []

        def post() -> None:
            client = api.client.application.test_client()
            path = f"/api/v1/devices/{agent.id}/webhooks"
            answers.append(client.post(path, json={"type": "collect"}, headers=api.headers))

        threads = [threading.Thread(target=post) for _ in range(6)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 3
        while len(answers) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        early = [answer.status_code for answer in answers]
        assert agent.post(f"/agents/{agent.id}/heartbeat", {}).status_code == 200, "others are served meanwhile"
        release.set()
        for thread in threads:
            thread.join()
    assert early == [503, 503]
    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [503] * 2
    assert all(answer.headers.get("Retry-After") for answer in answers if answer.status_code == 503)
