# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""An HTTP server in this process that gives scripted answers and remembers what was asked."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Handler = http.server.BaseHTTPRequestHandler


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class FakeServer:
    """`answer` is called with the handler of each request and has to send the response."""

    url: str = ""
    answer: Callable[[Handler], None] = lambda handler: None
    asked: list[Asked] = field(default_factory=list)
    # Set when the test ends, for answers that hang until then.
    over: threading.Event = field(default_factory=threading.Event)


def send(handler: Handler, status: int, body: Any = None, **headers: str) -> None:
    """Send a response; `body` is bytes, or whatever JSON can hold."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def running(address: str = "127.0.0.1") -> Iterator[FakeServer]:
    """Serve on a free port of a loopback address until the block ends."""
    fake = FakeServer()

    class Request(Handler):
        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.asked.append(Asked(self.command, parts.path, parse_qs(parts.query), headers))
            fake.answer(self)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Request)
    fake.url = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield fake
    finally:
        fake.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
