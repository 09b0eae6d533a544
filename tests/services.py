# SPDX-License-Identifier: Apache-2.0
"""Services that tests need, started by the test run itself and gone with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest


def unavailable(reason: str) -> NoReturn:
    """End the test because the machine lacks something: a skip at a desk, a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must provide this: {reason}", pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def find_postgres() -> Path | None:
    """The directory with initdb and postgres (the newest release where Debian keeps several), or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _unprivileged() -> list[str]:
    """Command prefix under which PostgreSQL agrees to run, ended when the test run is, however that ends.

    SIGQUIT makes PostgreSQL stop at once, its children included.
    """
    command = ["setpriv", "--pdeathsig", "SIGQUIT"]
    if os.geteuid() == 0:
        account = _service_account()
        command += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    return [*command, "--"]


def _service_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


class PostgresServer:
    """A private PostgreSQL in a temporary directory, on loopback and a Unix socket, without durability."""

    user = "patchherd"

    def __init__(self, bin_dir: Path) -> None:
        self.bin_dir = bin_dir
        self.port = 0
        # Not pytest's tmp_path: a socket path may have 107 characters, and the server's account must get there.
        self.directory = Path(tempfile.mkdtemp(prefix="patchherd-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when it does not run."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Initialise and start; RuntimeError with PostgreSQL's own words when it does not come up in 60 s."""
        if os.geteuid() == 0:
            account = _service_account()
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                *_unprivileged(),
                self.bin_dir / "initdb",
                *("--pgdata", self.directory / "data", "--username", self.user),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            ],
            check=True,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(3):
            # Another process may take the port between the question and the start: then ask again.
            self.port = free_port()
            self._spawn()
            if self._wait_until_up():
                return
        raise RuntimeError(f"PostgreSQL does not start:\n{self.log}")

    def _spawn(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "max_connections": 60,
            "timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_unprivileged(), self.bin_dir / "postgres", "-D", self.directory / "data", *options],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_until_up(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        self._end()
        return False

    def stop(self) -> None:
        """Stop the server and remove everything it wrote."""
        self._end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # PostgreSQL's fast shutdown; it drops the connections that a failed test left open.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def url(self, name: str) -> str:
        """The `postgresql://` URL of database `name`."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"

    def connect(self) -> psycopg.Connection:
        """An autocommit connection to the maintenance database.

        By the socket, which nobody else can own: a port may turn out to be another server's.
        """
        return psycopg.connect(
            host=str(self.directory), port=self.port, user=self.user, dbname="postgres", autocommit=True
        )

    def create_database(self, template: str = "template0") -> str:
        """Create a database as a copy of `template` (empty unless told otherwise) and return its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the connections that are still open."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
