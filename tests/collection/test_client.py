# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The client of the collection: one error type a kind of failure, no write in check mode, no token in a message."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.collection.conftest import ROOT
from tests.collection.fake_server import FakeServer, Handler, running, send

spec = importlib.util.spec_from_file_location("patchherd_client", ROOT / "plugins" / "module_utils" / "_client.py")
assert spec
assert spec.loader
client: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)

TOKEN = "top-secret-token"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with running() as server:
        yield server


def connect(fake: FakeServer, **options: Any) -> Any:
    return client.Client(fake.url, TOKEN, **{"timeout": 5, **options})


def test_request_sends_token_query_and_body(fake: FakeServer) -> None:
    fake.answer = lambda handler: send(handler, 200, {"a": 1}, ETag='"x"')
    answer = connect(fake).request("POST", "/api/v1/things", query={"q": ["a", "b&c"]}, body={"n": 1})
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, {"a": 1}, '"x"')
    asked = fake.asked[0]
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["content-type"] == "application/json"
    assert asked.query == {"q": ["a", "b&c"]}


def test_check_mode_sends_no_write(fake: FakeServer) -> None:
    fake.answer = lambda handler: send(handler, 200, {})
    careful = connect(fake, safe_calls_only=True)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(client.UnsafeCall):
            careful.request(method, "/api/v1/things")
    assert fake.asked == []
    careful.request("GET", "/api/v1/things")
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, "Denied"),
        (403, "Denied"),
        (404, "NotFound"),
        (409, "Conflict"),
        (422, "ClientError"),
        (500, "ClientError"),
    ],
)
def test_status_becomes_a_typed_error_with_the_reason(fake: FakeServer, status: int, error: str) -> None:
    fake.answer = lambda handler: send(
        handler, status, {"error": "x", "message": f"because\nof {TOKEN}", "detail": "y"}
    )
    with pytest.raises(client.ClientError) as caught:
        connect(fake).request("GET", "/api/v1/things")
    assert type(caught.value).__name__ == error
    assert caught.value.status == status
    assert "because of ********" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_redirect_is_not_followed(fake: FakeServer) -> None:
    fake.answer = lambda handler: send(handler, 302, None, Location=f"{fake.url}/elsewhere?{TOKEN}")
    with pytest.raises(client.BadAnswer, match="redirects") as caught:
        connect(fake).request("GET", "/api/v1/things")
    assert [asked.path for asked in fake.asked] == ["/api/v1/things"]
    assert TOKEN not in str(caught.value)


def hang_up(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"a": 1}')
    handler.close_connection = True


def test_answers_that_are_none(fake: FakeServer) -> None:
    fake.answer = lambda handler: send(handler, 200, b"<html>")
    with pytest.raises(client.BadAnswer):
        connect(fake).request("GET", "/")
    fake.answer = hang_up
    with pytest.raises(client.Unreachable):
        connect(fake).request("GET", "/")
    fake.answer = lambda handler: fake.over.wait(60) and None
    with pytest.raises(client.Unreachable, match="timed out"):
        connect(fake, timeout=1).request("GET", "/")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(client.Unreachable, match="refused"):
        client.Client(f"http://127.0.0.1:{port}", TOKEN).request("GET", "/")


@pytest.mark.parametrize(
    "url",
    ["", "patchherd", "ftp://h", "http://user:pw@h", "http://h?x=1", "https://", "http://h#x", "file:///etc/passwd"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(client.BadSetting) as caught:
        client.Client(url, TOKEN)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\nX-Header: 1", "tök"])
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(client.BadSetting) as caught:
        client.Client("http://h", token)
    assert not token or token not in str(caught.value)
