# SPDX-License-Identifier: Apache-2.0
"""The agent replaces itself only by what the server announces, allows and really sends."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import AGENT_FILE, Server

OLD = AGENT_FILE.read_bytes()
DOWNLOAD = "GET /api/v1/hosts/agent/download"


def release(version: str) -> bytes:
    return re.sub(rb'(?m)^VERSION = .*$', f'VERSION = "{version}"'.encode(), OLD)


class Offer:
    """A server that offers `content` as `version`, and an installed agent."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.file = server, directory / "patchherd_agent.py"
        self.file.write_bytes(OLD)
        self.file.chmod(0o640)

    def make(self, version: str, content: bytes | None = None, headers: dict[str, str] | None = None,
             **changes: Any) -> None:
        content = release(version) if content is None else content
        answer = {"latestVersion": version, "hash": hashlib.sha256(content).hexdigest(), "autoUpdate": True, **changes}
        self.server.routes = {"GET /api/v1/hosts/agent/version": (200, answer, {}),
                              DOWNLOAD: (200, content, headers or {})}

    def take(self, agent: ModuleType, base: str | None = None) -> str | None:
        client = agent.Client({"server": self.server.url, "api_id": "a", "api_key": "k"})
        if base:
            client.base = base
        version: str | None = agent.self_update(client, str(self.file))
        return version

    def asked_for_it(self) -> bool:
        return "/api/v1/hosts/agent/download" in self.server.paths()

    def is_untouched(self) -> bool:
        return self.file.read_bytes() == OLD and [path.name for path in self.file.parent.iterdir()] == [self.file.name]


@pytest.fixture
def offer(make_server: Callable[..., Server], tmp_path: Path) -> Offer:
    directory = tmp_path / "lib"
    directory.mkdir()
    return Offer(make_server(), directory)


def test_a_newer_agent_takes_the_place_of_the_old_one(agent: ModuleType, offer: Offer) -> None:
    offer.make("0.1.10")
    assert offer.take(agent) == "0.1.10"
    assert offer.file.read_bytes() == release("0.1.10")
    status = offer.file.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, os.geteuid(), os.getegid())
    assert [path.name for path in offer.file.parent.iterdir()] == [offer.file.name]
    shown = subprocess.run([sys.executable, offer.file, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == "patchherd_agent.py 0.1.10\n"


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "0", "0.1.0.0-evil", "newest", "", None, "9" * 30])
def test_neither_the_same_nor_an_older_one_nor_nonsense(agent: ModuleType, offer: Offer, version: str | None) -> None:
    offer.make("0.2.0", latestVersion=version)
    assert offer.take(agent) is None
    assert offer.is_untouched()
    assert not offer.asked_for_it()


@pytest.mark.parametrize("allowed", [False, None, "true", 1])
def test_nothing_without_the_servers_permission(agent: ModuleType, offer: Offer, allowed: Any) -> None:
    offer.make("0.2.0", autoUpdate=allowed)
    assert offer.take(agent) is None
    assert offer.is_untouched()
    assert not offer.asked_for_it()


@pytest.mark.parametrize(("changes", "message"), [
    ({"hash": "0" * 64}, "not what the server announced"),
    ({"hash": None}, "not what the server announced"),
    ({"content": b"def broken(:\n"}, "does not run on this Python"),
    ({"content": b"print('something else')\n"}, "not version 0.2.0"),
    ({"content": release("0.3.0")}, "not version 0.2.0"),
    ({"content": b"#" * (2 * 1024 * 1024 + 1)}, "more than 2097152 bytes"),
])
def test_something_else_is_refused(agent: ModuleType, offer: Offer, changes: dict[str, Any], message: str) -> None:
    offer.make("0.2.0", **changes)
    with pytest.raises(agent.AgentError, match=message):
        offer.take(agent)
    assert offer.is_untouched()


def test_a_download_that_breaks_off_is_refused(agent: ModuleType, offer: Offer) -> None:
    """Cut where the rest would still be a program, and with the digest of what arrives: the length tells."""
    content = release("0.2.0")[:-1]
    offer.make("0.2.0", content, {"Content-Length": str(len(content) + 1), "Connection": "close"})
    with pytest.raises(agent.AgentError, match=r"cut short|cannot reach"):
        offer.take(agent)
    assert offer.is_untouched()


def test_only_over_a_connection_that_is_verified(agent: ModuleType, offer: Offer) -> None:
    offer.make("0.2.0")
    with pytest.raises(agent.AgentError, match="only taken over https"):
        # 127.1 is the same machine under a name that does not say so
        offer.take(agent, offer.server.url.replace("127.0.0.1", "127.1") + "/api/v1")
    assert offer.is_untouched()
    assert not offer.asked_for_it()


def test_a_file_that_cannot_be_replaced_is_told(agent: ModuleType, offer: Offer) -> None:
    offer.make("0.2.0")
    (offer.file.parent / "patchherd_agent.py.new").mkdir()
    with pytest.raises(agent.AgentError, match="cannot replace"):
        offer.take(agent)
    assert offer.file.read_bytes() == OLD
