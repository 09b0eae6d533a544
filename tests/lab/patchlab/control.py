# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The process that keeps a lab up between two commands, and how the commands talk to it: JSON on a unix socket."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .lab import Lab, lab_lock, sweep
from .system import HOME, LabBusy, LabError


def _socket(name: str) -> Path:
    return HOME / "labs" / f".{name}.sock"


def call(name: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """Let the keeper of a lab do something; LabError when it fails or when the lab is not up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        try:
            connection.connect(str(_socket(name)))
        except (FileNotFoundError, ConnectionRefusedError):
            raise LabError(f"lab {name} is not up") from None
        connection.sendall(json.dumps({"operation": operation, **arguments}).encode() + b"\n")
        answer = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


def is_up(name: str) -> bool:
    try:
        call(name, "status")
    except (LabError, OSError, ValueError):
        return False
    return True


def up(name: str, shape: dict[str, int]) -> None:
    """Start a keeper for the lab, or find it up with the same shape."""
    if is_up(name):
        present = call(name, "status")["shape"]
        if present != shape:
            raise LabError(f"lab {name} is up as {present}; take it down first")
        return
    logfile = HOME / "labs" / f".{name}.log"
    logfile.parent.mkdir(parents=True, exist_ok=True)
    package = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    with logfile.open("wb") as output:
        keeper = subprocess.Popen([sys.executable, "-m", package.name, "--lab", name, "keep",
                                   *(f"--{family}={count}" for family, count in shape.items())],
                                  env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                  start_new_session=True)
    while not is_up(name):
        if keeper.poll() is not None:
            raise LabError(f"the lab did not come up:\n{logfile.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def down(name: str) -> None:
    """Take the lab down, and sweep up after a killed keeper."""
    with contextlib.suppress(LabError, OSError):
        call(name, "down")
    deadline = time.monotonic() + 60
    while True:
        try:
            with lab_lock(name):
                sweep(name)
                _socket(name).unlink(missing_ok=True)
                return
        except LabBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def keep(name: str, shape: dict[str, int]) -> None:
    """Hold a lab up until `down` or a signal."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    with Lab(name, **shape) as lab:
        path = _socket(name)
        path.unlink(missing_ok=True)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    answer = _answer(lab, ended, json.loads(self.rfile.readline()))
                except Exception as error:  # told to the caller
                    answer = {"error": f"{type(error).__name__}: {error}"}
                self.wfile.write(json.dumps(answer).encode())

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        with Server(str(path), Handler) as server:
            path.chmod(0o600)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            # wait() without a time-out would not let Python run the signal handlers on every platform
            while not ended.wait(1):
                pass
            path.unlink(missing_ok=True)
            server.shutdown()


def _answer(lab: Lab, ended: threading.Event, request: dict[str, Any]) -> dict[str, Any]:
    match request["operation"]:
        case "status":
            return lab.status()
        case "publish":
            lab.publish(request["stage"])
        case "power":
            lab.power(request["action"], *request["hosts"])
        case "ssh":
            return {"command": ["ssh", *lab.ssh_options(), f"root@{lab[request['host']].ip}"]}
        case "down":
            ended.set()
        case other:
            raise LabError(f"no operation {other}")
    return {}
