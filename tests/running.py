# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A really started server for tests: `patchherd serve` on a folder of its own, spoken to over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.services import free_port

ADMIN_PASSWORD = "correct-horse-battery"
PATCHHERD = Path(sys.executable).parent / "patchherd"
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T], seconds: float = 30.0, pause: float = 0.1) -> T:
    """The first truthy answer of `probe`; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Server:
    """`patchherd serve --data DATA`; `environment` adds settings."""

    def __init__(self, data: Path, host: str = "127.0.0.1", **environment: str) -> None:
        self.data, self.host, self.port = data, host, free_port()
        tls = "PATCHHERD_TLS" in environment or "PATCHHERD_TLS_CERTIFICATE" in environment
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PATCHHERD_")},
            "PATCHHERD_ADMIN_PASSWORD": ADMIN_PASSWORD,
            **environment,
        }
        self.log = data.parent / f"{data.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()
        self.session.trust_env = False
        if tls:
            self.session.verify = environment.get("PATCHHERD_CA_CERTIFICATE", str(data / "tls/ca.crt"))

    def start(self) -> Server:
        command = [str(PATCHHERD), "serve", "--data", str(self.data), "--host", self.host, "--port", str(self.port)]
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment, start_new_session=True
            )
        wait_for(f"{self.url} answers; log: {self.log}", self._is_up, 30, 0.05)
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            return self.session.get(f"{self.url}/healthz", timeout=2).ok
        except OSError:  # requests' own errors, and an authority that is not made yet
            return False

    def stop(self, seconds: float = 30.0) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            assert self.process is not None
            os.killpg(self.process.pid, signal.SIGKILL)
            raise

    def log_in(self) -> None:
        """Use the administrator's token from now on."""
        body = {"username": "admin", "password": ADMIN_PASSWORD}
        answer = self.session.post(f"{self.url}/api/v1/auth/login", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        self.session.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def call(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        """An API call; the decoded JSON answer (None when empty)."""
        answer = self.session.request(method, self.url + path, timeout=60, **options)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, expect: int = 200, **options: Any) -> Any:
        return self.call("POST", path, expect, json=body, **options)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `patchherd ARGUMENTS --data …`."""
        return subprocess.run(
            [str(PATCHHERD), *arguments, "--data", str(self.data)],
            capture_output=True, text=True, check=check, env=self.environment, timeout=300,
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Process ids of the whole tree, the supervisor first."""
        assert self.process is not None
        return [self.process.pid, *descendants(self.process.pid)]


def descendants(pid: int) -> Iterator[int]:
    """All processes below `pid`."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return
    for child in children:
        yield child
        yield from descendants(child)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
