# SPDX-License-Identifier: Apache-2.0
"""The agent as a module, the rendered scripts, and a real HTTP server that plays the Patchherd server."""

from __future__ import annotations

import gzip
import http.server
import importlib.util
import json
import shlex
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest

ROOT = Path(__file__).parents[3]
AGENT_FILE = ROOT / "plugins/module_utils/_agent.py"
TEMPLATES = ROOT / "server/patchherd/enrollment/templates"


@pytest.fixture
def agent() -> ModuleType:
    """A fresh import of the agent, so that a test may change its constants."""
    spec = importlib.util.spec_from_file_location("patchherd_agent", AGENT_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server:
    """Records requests and answers what `routes` says: "METHOD /path" -> (status, body, headers) or a list of them."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.routes: dict[str, Any] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                path = self.path.split("?")[0]
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append({"method": self.command, "path": path, "headers": headers,
                                       "body": json.loads(data) if data else None})
                route = outer.routes.get(f"{self.command} {path}", (404, {"error": "Not found"}, {}))
                if isinstance(route, list):
                    route = route.pop(0) if len(route) > 1 else route[0]
                status, body, headers = route
                content = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer

            def log_message(self, *_args: Any) -> None:
                """Keep the test output readable."""

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *_args: Any) -> None:
                """A client that refuses the certificate breaks the connection; that is the test."""

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.httpd.socket = tls.wrap_socket(self.httpd.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.httpd.server_address[1]}"
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def paths(self) -> list[str]:
        return [request["path"] for request in self.requests]

    def close(self) -> None:
        self.httpd.shutdown()
        self.thread.join()
        self.httpd.server_close()


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(tls))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def render() -> Callable[..., str]:
    """Render a script template as the server does."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
                                     keep_trailing_newline=True, autoescape=False)  # noqa: S701  # shell, not HTML
    environment.filters["shq"] = shlex.quote

    def make(template: str, **values: Any) -> str:
        defaults = {"server_url": "http://127.0.0.1:1", "force": False, "ca_certificate": "", "api_version": "v1"}
        return environment.get_template(template).render(defaults | values)

    return make
