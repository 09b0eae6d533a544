# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.services import PostgresServer, unavailable

ROOT = Path(__file__).parents[2]

# A test run that starts a server, says where it is and then waits to be killed.
RUN_AND_WAIT = """
import sys
from tests.services import PostgresServer, find_postgres
server = PostgresServer(find_postgres())
server.start()
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


def _create_and_count(url: str) -> int:
    """Create a table that must not exist yet; the number of rows after one insert."""
    if url.startswith("sqlite:///"):
        connection: sqlite3.Connection | psycopg.Connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(url)
    try:
        connection.execute("CREATE TABLE fact (id INTEGER)")
        connection.execute("INSERT INTO fact VALUES (1)")
        connection.commit()
        row = connection.execute("SELECT count(*) FROM fact").fetchone()
        assert row is not None
        return int(row[0])
    finally:
        connection.close()


@pytest.mark.parametrize("turn", [1, 2])
def test_database_is_fresh(database_url: str, turn: int) -> None:
    assert _create_and_count(database_url) == 1


def test_database_url_forms(database_url: str) -> None:
    assert re.fullmatch(r"sqlite:////.+/test\.db|postgresql://patchherd@127\.0\.0\.1:\d+/test_\d+", database_url)


def test_server_is_unprivileged_and_speaks_utf8(postgres_server: PostgresServer) -> None:
    assert Path(f"/proc/{postgres_server.pid}").stat().st_uid != 0
    with postgres_server.connect() as connection:
        row = connection.execute("SELECT lower('ÄÖÜ'), current_setting('TimeZone')").fetchone()
    assert row == ("äöü", "UTC")


def test_copy_of_a_template(postgres_server: PostgresServer) -> None:
    template = postgres_server.create_database()
    _create_and_count(postgres_server.url(template))
    copy = postgres_server.create_database(template)
    with psycopg.connect(postgres_server.url(copy)) as connection:
        assert connection.execute("SELECT id FROM fact").fetchall() == [(1,)]
    for name in (copy, template):
        postgres_server.drop_database(name)


def test_drop_ends_open_connections(postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    connection = psycopg.connect(postgres_server.url(name))
    postgres_server.drop_database(name)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_stop_removes_everything(postgres_server: PostgresServer) -> None:
    server = PostgresServer(postgres_server.bin_dir)
    server.start()
    pid, directory = server.pid, server.directory
    server.stop()
    assert server.pid is None
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_start_tells_why_it_failed(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.services.free_port", lambda: postgres_server.port)
    server = PostgresServer(postgres_server.bin_dir)
    try:
        with pytest.raises(RuntimeError, match="Address already in use"):
            server.start()
    finally:
        server.stop()


def test_server_dies_with_a_killed_test_run(postgres_server: PostgresServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN_AND_WAIT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        pid, directory = run.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)
    subprocess.run(["rm", "-rf", directory], check=True)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_service(ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no such thing"):
        unavailable("no such thing")
