# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""`patchherd serve`: API and worker as one supervised process tree.

The supervisor imports almost nothing, so it stays small; it restarts what dies and takes all of it along when it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")
STOP_SECONDS = 15
DAY_SECONDS = 86400.0
MIN_LIFE_SECONDS = 5.0
"""What dies sooner than this waits before it is started again."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; 1.3 has its own. None of these exists in an older version, so that no system default can allow one."""


class Child:
    """One supervised process."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name, self.command = name, command
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen([*DIE_WITH_PARENT, *self.command], stdin=subprocess.DEVNULL)

    def is_dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None


def supervise(
    children: list[Child],
    announce: Callable[[str], None],
    on_start: Callable[[], None] | None = None,
    daily: Callable[[], None] | None = None,
) -> int:
    """Run the children until SIGTERM or SIGINT (0), restarting any that dies; 1 when one cannot stay up at all."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to end the sleep below
    for child in children:
        child.start()
    if on_start and not stopping:
        on_start()
    early_deaths = 0
    next_daily = time.monotonic() + DAY_SECONDS
    while not stopping:
        if daily and time.monotonic() > next_daily:
            next_daily += DAY_SECONDS
            daily()
        for child in children:
            if child.is_dead() and not stopping:
                assert child.process is not None  # noqa: S101 - is_dead says so
                announce(f"{child.name} ended with {child.process.returncode}; starting it again")
                if time.monotonic() - child.started < MIN_LIFE_SECONDS:
                    early_deaths += 1
                    if early_deaths > 5:
                        announce(f"{child.name} does not stay up; giving up")
                        _stop(children)
                        return 1
                    time.sleep(1.0)
                else:
                    early_deaths = 0
                child.start()
        time.sleep(0.5)
    _stop(children)
    return 0


def _stop(children: list[Child]) -> None:
    """TERM, then KILL what is still there after STOP_SECONDS."""
    alive = [child.process for child in children if child.process and child.process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in alive:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def api_command(
    data: Path, host: str, port: int, threads: int, processes: int, certificate: tuple[str, str] | None = None
) -> list[str]:
    """The gunicorn command line of the API; `certificate`: PEM files of certificate and key."""
    tls = ["--certfile", certificate[0], "--keyfile", certificate[1], "--ciphers", CIPHERS] if certificate else []
    return [
        sys.executable, "-m", "gunicorn", "--bind", f"{'[' + host + ']' if ':' in host else host}:{port}",
        "--config", "python:patchherd.cpus",
        "--worker-class", "gthread", "--workers", str(processes), "--threads", str(threads),
        "--timeout", "120", "--graceful-timeout", "5", "--keep-alive", "15", "--worker-tmp-dir", _memory_directory(),
        "--log-level", "warning", "--no-control-socket", "--name", "patchherd-api",
        "--forwarded-allow-ips", "",  # the application itself decides whom it believes (trusted_proxies)
        *(["--preload"] if processes > 1 else []),  # several processes share what they import
        *tls, f"patchherd.wsgi:create({str(data)!r})",
    ]  # fmt: skip


def worker_command(data: Path) -> list[str]:
    return [sys.executable, "-m", "patchherd", "worker", "--data", str(data)]


def _memory_directory() -> str:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"  # noqa: S108 - gunicorn's heartbeat file


def main() -> None:
    """`python -m patchherd.serve DATA HOST PORT THREADS PROCESSES CERTIFICATE KEY [COMMAND …]`.

    CERTIFICATE and KEY are empty for plain HTTP; COMMAND is run once at the start.
    """
    data, host, port, threads, processes, certificate, key, *then = sys.argv[1:]
    path = Path(data)
    files = (certificate, key) if certificate else None

    def announce(text: str) -> None:
        print(f"patchherd: {text}", file=sys.stderr, flush=True)

    def run(command: list[str]) -> None:
        subprocess.Popen([*DIE_WITH_PARENT, *command], stdin=subprocess.DEVNULL)

    watch = [sys.executable, "-m", "patchherd", "certificate", "--data", data, "--host", host]
    children = [
        Child("api", api_command(path, host, int(port), int(threads), int(processes), files)),
        Child("worker", worker_command(path)),
    ]
    on_start, daily = (lambda: run(then)) if then else None, (lambda: run(watch)) if files else None
    sys.exit(supervise(children, announce, on_start, daily))


if __name__ == "__main__":
    main()
