# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The Linux agent against a started server: what it reports is taken, known afterwards, and it renews itself."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from patchherd.enrollment import scripts
from tests.running import Server
from tests.services import unavailable


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("patchherd_agent", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of the server: the database."""
    if request.param == "sqlite":
        yield {}
        return
    database = request.getfixturevalue("postgres_server")
    name = database.create_database()
    yield {"PATCHHERD_DATABASE_URL": database.url(name), "PATCHHERD_PROCESSES": "2"}
    database.drop_database(name)


def enrolled(server: Server, agent: ModuleType) -> Any:
    """The agent's client with the credentials of a new host."""
    server.log_in()
    token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": "t"}, expect=201)["token"]
    headers = {"X-Auto-Enrollment-Key": token["token_key"], "X-Auto-Enrollment-Secret": token["token_secret"]}
    host = server.post("/api/v1/auto-enrollment/enroll", {"friendly_name": "me"}, expect=201, headers=headers)["host"]
    return agent.Client({"server": server.url, "api_id": host["api_id"], "api_key": host["api_key"]})


def test_what_was_reported_is_known_from_the_first_ping_on(environment: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("apt-get") is None and shutil.which("dnf") is None:
        unavailable("the agent reports for apt and dnf hosts only")
    agent, state = load(scripts.AGENTS["linux"][0]), tmp_path / "state"
    state.mkdir()
    with Server(tmp_path / "data", **environment) as server:
        client = enrolled(server, agent)
        report = agent.collect("never")
        agent.collect = lambda *_arguments: report  # what this machine is busy with meanwhile is not the question
        assert agent.run_once(client, str(state)) == "full"
        known = {name: agent.report_hashes(report)[name] for name in agent.GATED_HASHES}
        assert client.post("/hosts/ping", {"hashes": known})["requestFull"] == []
        assert client.post("/hosts/ping", {"hashes": {**known, "reposHash": "x"}})["requestFull"] == ["repos"]
        assert agent.run_once(client, str(state)) == "ping"
        facts = server.get("/api/v1/devices/1")["facts"]
        assert facts["servicesToRestart"] == report["servicesToRestart"]
        broken = [package["name"] for package in report["packages"] if "broken" in package]
        assert len(facts["brokenPackages"]) == len(broken)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_old_agent_renews_itself_where_the_server_wants_that(tmp_path: Path, allowed: bool) -> None:
    new = scripts.AGENTS["linux"][0].read_bytes()
    old = new.replace(b'VERSION = "', b'VERSION = "0.0.', 1)
    file = tmp_path / "patchherd_agent.py"
    file.write_bytes(old)
    file.chmod(0o755)
    agent = load(file)
    with Server(tmp_path / "data", PATCHHERD_AGENT_SELF_UPDATE=str(allowed).lower()) as server:
        client = enrolled(server, agent)
        done = agent.self_update(client, str(file))
        if allowed:
            assert (done, file.read_bytes()) == (scripts.agent_version()[0], new)
            assert file.stat().st_mode & 0o777 == 0o755
            assert load(file).self_update(client, str(file)) is None, "it is the newest now"
        else:
            assert (done, file.read_bytes()) == (None, old)
