# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Servers to measure and to compare with: Patchherd, and other WSGI applications under the same gunicorn."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
from flask import Flask

from patchherd import database, serve, wsgi
from patchherd.identity import credentials
from patchherd.settings import Settings
from tests.running import Server, wait_for
from tests.services import PostgresServer, find_postgres, free_port

ROOT = Path(__file__).resolve().parents[2]
WITH_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""A server as operators run it: compiled once, whatever the environment of this process says."""


def bare_parser() -> Callable[..., Iterable[bytes]]:
    """WSGI application: parses each body as JSON into plain objects and says that it did."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if body:
            msgspec.json.decode(body)
        answer = b'{"success":true}'
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]

    return application


def forgetful(data: str) -> Flask:
    """The product without its memory of verified keys: every request with host credentials pays for bcrypt."""
    credentials.verified.check = credentials.check_secret  # type: ignore[method-assign]
    return wsgi.create(data)


@contextlib.contextmanager
def gunicorn(application: str, data: Path, processes: int = 1, **environment: str) -> Iterator[str]:
    """Serve `module:call` of this module by the command line of the product's API; gives the URL."""
    port = free_port()
    command = serve.api_command(data, "127.0.0.1", port, Settings(data=data).threads, processes)
    command[-1] = f"tests.benchmarks.servers:{application}"
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **WITH_BYTECODE, **environment})
    try:
        wait_for(f"{application} answers", lambda: _answers(url, process), 30, 0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    import requests

    assert process.poll() is None, f"gunicorn ended with {process.returncode}"
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False


@contextlib.contextmanager
def empty_databases() -> Iterator[list[tuple[str, dict[str, str]]]]:
    """(kind, environment of a server) of an empty database of each kind that this machine has."""
    bin_dir = find_postgres()
    if bin_dir is None:
        yield [("SQLite", {})]
        return
    postgres = PostgresServer(bin_dir)
    try:
        postgres.start()
        url = postgres.url(postgres.create_database())
        yield [("SQLite", {}), ("PostgreSQL", {"PATCHHERD_DATABASE_URL": url})]
    finally:
        database.close_all()
        postgres.stop()


@contextlib.contextmanager
def product(**environment: str) -> Iterator[Server]:
    """A started, empty server in a folder of its own, administrator logged in, its database open in this process."""
    with (
        tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory,
        Server(Path(directory) / "data", **WITH_BYTECODE, **environment) as server,
    ):
        server.log_in()
        database.configure(environment.get("PATCHHERD_DATABASE_URL") or f"sqlite:///{server.data / 'patchherd.db'}")
        try:
            with database.connection():
                yield server
        finally:
            database.close_all()


def api_processes(server: Server) -> list[psutil.Process]:
    """The processes of a server that answer requests."""
    found = [psutil.Process(pid) for pid in server.processes()]
    return [process for process in found if "gunicorn" in process.cmdline() and not process.children()]


def python_program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).parent / name)
