# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The supervised process tree and the command line, as an operator starts them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchherd.deployments import processes
from tests.running import ADMIN_PASSWORD, PATCHHERD, Server, command_line, is_alive, wait_for


def children(server: Server, mark: str) -> list[int]:
    """Processes of the tree by a part of their command line, parents first."""
    return [pid for pid in server.processes()[1:] if mark in command_line(pid)]


def modes(data: Path) -> dict[str, int]:
    """Permission bits of everything below the data directory."""
    return {str(path.relative_to(data)): path.stat().st_mode & 0o777 for path in data.rglob("*")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A started server for what changes nothing about its start."""
    with Server(tmp_path_factory.mktemp("serve") / "data") as running:
        running.log_in()
        yield running


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_only_api_process_stays_on_one_cpu(tmp_path: Path, processes: str) -> None:
    with Server(tmp_path / "data", PATCHHERD_PROCESSES=processes) as running:
        running.log_in()  # bcrypt leaves it, and comes back
        (master, *found) = children(running, "gunicorn")
        assert len(found) == int(processes)
        allowed = {len(os.sched_getaffinity(int(task.name))) for task in Path(f"/proc/{found[0]}/task").iterdir()}
        assert allowed == {1 if processes == "1" else len(os.sched_getaffinity(master))}


# -- start and end ---------------------------------------------------------------------------------------------------


def test_start_stop_and_start_again(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    begun = time.monotonic()
    server.start()
    assert time.monotonic() - begun < 20
    server.log_in()
    token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": "kept"}, 201)["token"]
    tree = server.processes()
    assert len(tree) >= 4, "supervisor, API master, API process, worker"
    assert server.stop() == 0
    wait_for("the whole tree is gone", lambda: not any(is_alive(pid) for pid in tree), 20)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((server.host, server.port), 1).close()
    with server:
        kept = server.get("/api/v1/auto-enrollment/tokens")
        assert token["token_key"] in str(kept), "the log-in and the token outlive a restart"
    assert "first start" not in server.log.read_text(), "a given password is not printed"


def test_a_killed_supervisor_takes_its_tree_along(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    tree = server.processes()
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    wait_for("the whole tree is gone", lambda: not any(is_alive(pid) for pid in tree), 20)


def test_killed_processes_are_replaced(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        api, worker = children(server, "gunicorn"), children(server, " worker --data")
        assert len(api) == 2
        assert len(worker) == 1
        for pid in (api[-1], *worker):
            os.kill(pid, signal.SIGKILL)

        def repaired() -> bool:
            new = children(server, "gunicorn"), children(server, " worker --data")
            return len(new[0]) == 2 and len(new[1]) == 1 and not {api[-1], *worker} & {*new[0], *new[1]}

        wait_for("both run again", repaired, 20)
        wait_for("the API answers", server._is_up, 20)
        assert "worker ended with -9; starting it again" in server.log.read_text()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    with socket.create_server((server.host, server.port)):
        done = subprocess.run(
            [PATCHHERD, "serve", "--data", server.data, "--port", str(server.port)],
            capture_output=True,
            text=True,
            env=server.environment,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {server.port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"PATCHHERD_ADMIN_PASSWORD": "password"}, "admin_password"),
        ({"PATCHHERD_SECRET_KEY": "changeme"}, "secret_key"),
        ({"PATCHHERD_PORT": "ssh"}, "port"),
        ({"PATCHHERD_DATABASE_URL": "mysql://root:hunter2hunter2@db/x"}, "database_url"),
        ({"PATCHHERD_DATABASE_URL": "postgresql://me:hunter2hunter2@127.0.0.1:1/none"}, "database"),
        ({"PATCHHERD_TRUSTED_PROXIES": "proxy"}, "trusted_proxies"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(tmp_path: Path, environment: dict[str, str], complaint: str) -> None:
    server = Server(tmp_path / "data", **environment)
    done = server.command("serve", check=False)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    for secret in ("changeme", "hunter2hunter2"):
        assert secret not in done.stdout + done.stderr


def test_a_generated_password_is_printed_once_and_works(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    del server.environment["PATCHHERD_ADMIN_PASSWORD"]
    with server:
        found = re.findall(r"user admin, password (\S+) ", server.log.read_text())
        assert len(found) == 1
        answer = server.session.post(
            f"{server.url}/api/v1/auth/login", json={"username": "admin", "password": found[0]}, timeout=30
        )
        assert answer.status_code == 200
    with server:
        assert server.log.read_text().count("password") == 1, "the second start does not repeat it"


def test_everything_in_the_data_directory_is_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with Server(data) as server:
        server.log_in()
        server.command("devices")
        loose = {name: oct(mode) for name, mode in modes(data).items() if mode & 0o077 and not name.endswith(".pub")}
    assert not loose, "the directory may be older than the server, its files are not"
    assert modes(data)["secret.key"] == 0o600
    fresh = tmp_path / "fresh"
    assert Server(fresh).command("db", "migrate").returncode == 0
    assert fresh.stat().st_mode & 0o777 == 0o700


def test_no_secret_is_in_the_log(tmp_path: Path) -> None:
    with Server(tmp_path / "data", PATCHHERD_LOG_LEVEL="debug") as server:
        server.log_in()
        token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": "t"}, 201)["token"]
        headers = {"X-Auto-Enrollment-Key": token["token_key"], "X-Auto-Enrollment-Secret": token["token_secret"]}
        host = server.post("/api/v1/auto-enrollment/enroll", {"friendly_name": "h"}, 201, headers=headers)["host"]
        credentials = {"X-API-ID": host["api_id"], "X-API-KEY": host["api_key"]}
        server.post("/api/v1/hosts/update", {"packages": None, "hostname": "h"}, headers=credentials)
        query = f"type=direct-host&token_key={token['token_key']}&token_secret={token['token_secret']}"
        assert server.session.get(f"{server.url}/api/v1/auto-enrollment/script?{query}", timeout=30).ok
        api_token = server.command("api-token", "create", "ci").stdout.strip()
        server.get("/api/v1/devices", headers={"Authorization": f"Bearer {api_token}"})
        server.post("/api/v1/auth/login", {"username": "admin", "password": "wrong-password-1"}, 401)
        bearer = str(server.session.headers["Authorization"]).split()[1]
    log = server.log.read_text()
    assert '"path":' in log.replace('": ', '":'), "requests are logged at this level"
    secrets = [token["token_secret"], host["api_key"], api_token, bearer, ADMIN_PASSWORD, "wrong-password-1"]
    assert [secret for secret in secrets if secret in log] == []
    assert (server.data / "secret.key").read_text().strip() not in log
    arguments = [command_line(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))]
    assert not any(ADMIN_PASSWORD in line for line in arguments)


def test_forwarded_headers_of_a_local_client_are_not_believed(server: Server) -> None:
    token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": "scheme"}, 201)["token"]
    query = f"type=direct-host&token_key={token['token_key']}&token_secret={token['token_secret']}"
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.66", "X-Forwarded-Host": "evil.example"}
    script = server.session.get(f"{server.url}/api/v1/auto-enrollment/script?{query}", headers=forged, timeout=30).text
    assert server.url in script
    assert "evil.example" not in script
    assert "https://127" not in script


def test_two_servers_do_not_touch_each_others_jobs(server: Server, tmp_path: Path) -> None:
    """A job of the first one, whose process carries its mark, is nothing to the second one's reaper."""
    mark = processes.deployment_mark(server.data, 1)
    environment = {**os.environ, processes.JOB_MARK: mark}
    job = subprocess.Popen(["sleep", "300"], env=environment)
    try:
        with Server(tmp_path / "data") as other:
            assert processes.deployment_mark(other.data, 1) != mark
            assert processes.end_marked(processes.deployment_mark(other.data, 1)) == 0
            other.log_in()
            assert other.get("/api/v1/deployments") == []
        assert job.poll() is None
        assert processes.end_marked(mark) == 1
        assert job.wait(10) == -signal.SIGKILL
    finally:
        job.kill()
        job.wait()


# -- commands --------------------------------------------------------------------------------------------------------


def test_tokens_users_and_devices_by_command(server: Server) -> None:
    made = server.command("token", "create", "my servers", "--max-hosts-per-day", "3").stdout
    key, secret = re.findall(r"token key +(\S+)\ntoken secret +(\S+) ", made)[0]
    line = next(text for text in made.splitlines() if "curl -fsS" in text)
    assert f"{server.url}/api/v1/auto-enrollment/script?type=direct-host&token_key={key}&token_secret={secret}" in line
    assert "sh -s -- --with-ssh" in line
    assert key in server.command("token", "list").stdout
    assert secret not in server.command("token", "list").stdout
    headers = {"X-Auto-Enrollment-Key": key, "X-Auto-Enrollment-Secret": secret}
    host = server.post("/api/v1/auto-enrollment/enroll", {"friendly_name": "cmd1"}, 201, headers=headers)["host"]
    listed = server.command("devices").stdout
    assert re.search(r"\bcmd1\b.*pending.*unknown: no report yet", listed)
    credentials = {"X-API-ID": host["api_id"], "X-API-KEY": host["api_key"]}
    packages = [{"name": "bash", "currentVersion": "1", "availableVersion": "2", "needsUpdate": True}]
    report = {"packages": packages, "hostname": "[bold]cmd1", "ip": "10.0.0.1", "osType": "Debian GNU/Linux"}
    server.post("/api/v1/hosts/update", report, headers=credentials)
    listed = server.command("devices").stdout
    assert "[bold]cmd1" in listed, "names are no markup"
    assert "1 (0 security)" in listed
    assert "bash" in server.command("patches", host["id"]).stdout

    process = subprocess.run(
        [PATCHHERD, "user", "create", "ann", "--role", "operator", "--password-stdin", "--data", server.data],
        input="a long password\n",
        capture_output=True,
        text=True,
        env=server.environment,
        timeout=60,
        check=True,
    )
    assert process.stdout == "created operator ann\n"
    body = {"username": "ann", "password": "a long password"}
    answer = server.session.post(f"{server.url}/api/v1/auth/login", json=body, timeout=30)
    assert answer.status_code == 200
    assert re.search(r"\bann +operator", server.command("user", "list").stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("patches", "nobody"),
        ("deploy", "nobody"),
        ("watch", "4711"),
        ("cancel", "4711"),
        ("token", "create", "x", "--group", "nobody"),
        ("token", "create", "x", "--allow", "not-an-address"),
        ("token", "create", "x", "--expires-at", "tomorrow"),
        ("deploy",),
    ],
)
def test_commands_fail_in_one_line(server: Server, arguments: tuple[str, ...]) -> None:
    done = server.command(*arguments, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_migrations_by_command(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    assert "pending  0001_initial" in server.command("db", "status").stdout
    refused = server.command("devices", check=False)
    assert refused.returncode == 1
    assert "run patchherd db migrate" in refused.stderr
    applied = server.command("db", "migrate").stdout.splitlines()
    assert applied[0] == "applied 0001_initial"
    assert server.command("db", "migrate").stdout == "up to date\n"
    assert "pending" not in server.command("db", "status").stdout
    assert server.command("devices").returncode == 0
    for name in reversed(applied):
        assert server.command("db", "rollback", "--yes").stdout == name.replace("applied", "took back") + "\n"
    assert server.command("db", "rollback", "--yes").stdout == "nothing to take back\n"
    assert server.command("db", "migrate").stdout.splitlines() == applied


def test_commands_make_no_server_where_none_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "documents"
    elsewhere.mkdir()
    for data in (elsewhere, tmp_path / "missing"):
        done = Server(data).command("devices", check=False)
        assert (done.returncode, "no server has been started" in done.stderr) == (1, True)
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "missing").exists()
