# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""`patchherd patches`, `patchherd explain` and `patchherd view evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from patchherd import database
from patchherd.cli import main
from patchherd.database import now
from patchherd.devices.registry import create_device, find_device
from patchherd.packages.reports import receive_report
from patchherd.packages.views import registry
from tests.repositories import apt_repository, stanza
from tests.server.views import new_source

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def data(tmp_path: Path, app: Flask, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    """The data directory of a server with two devices, one of which reported."""
    monkeypatch.setenv("PATCHHERD_DATABASE_URL", database_url)
    packages = [
        {"name": name, "currentVersion": "1", "architecture": "amd64", "needsUpdate": newer, **more}
        for name, newer, more in (
            ("web", True, {"availableVersion": "2", "isSecurityUpdate": True}),
            ("doc", True, {"availableVersion": "3"}),
            ("kept", False, {"availableVersion": "2", "held": True}),
            ("dpkg", False, {}),
        )
    ]
    with database.connection():
        create_device("silent")
        device = create_device("web1")
        body = {"ecosystem": "deb", "metadataUpdated": now().isoformat(), "hostname": "web1", "packages": packages}
        receive_report(device.id, body)
    return tmp_path


def command(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data)], catch_exceptions=False)


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.stdout.splitlines()]


def test_who_rates_a_patch_in_which_words(data: Path) -> None:
    advisory = {"id": "RHSA-1", "type": "security", "severity": "High", "cves": []}
    newer = {"availableVersion": "2", "needsUpdate": True, "advisories": [advisory]}
    packages = [{"name": "a", "currentVersion": "1", "architecture": "x86_64", **newer}]
    with database.connection():
        receive_report(find_device("silent").id, {"ecosystem": "rpm", "packages": packages})
    (row,) = rows(command(data, "patches", "silent"))[1:]
    assert (row[0], row[-2:]) == ("Important", ["advisory:", "High"])
    (told,) = json.loads(command(data, "patches", "silent", "--json").stdout)["patches"]
    assert (told["severity"], told["severity_source"], told["severity_word"]) == ("Important", "advisory", "High")


def test_what_a_device_misses(data: Path) -> None:
    listed = rows(command(data, "patches", "web1"))
    assert [row[:4] for row in listed[1:]] == [
        ["Important", "web", "1", "2"], ["Optional", "doc", "1", "3"], ["Optional", "kept", "1", "2"],
    ]  # fmt: skip
    assert listed[1][-1] == "unrated"
    assert listed[3][5:7] == ["not_installable", "held"]
    assert [row[1] for row in rows(command(data, "patches", "web1", "--security"))[1:]] == ["web"]
    told = json.loads(command(data, "patches", "web1", "--package", "d*", "--json").stdout)
    assert [patch["package"] for patch in told["patches"]] == ["doc"]
    silent = command(data, "patches", "silent").stdout
    assert silent.startswith("unknown: no report yet")


def test_what_all_miss(data: Path) -> None:
    listed = rows(command(data, "patches"))
    assert [row[:4] for row in listed[1:3]] == [["Important", "web", "-", "1"], ["Optional", "doc", "-", "1"]]
    assert listed[3] == "in all 2, 1 of them security updates".split()
    assert listed[4] == "of 1 devices nobody knows what they miss".split()
    assert [row[1] for row in rows(command(data, "patches", "--verdict", "not_installable"))[1:2]] == ["kept"]
    assert json.loads(command(data, "patches", "--kb", "5000001", "--json").stdout)["patches"] == []


def test_why(data: Path) -> None:
    told = command(data, "explain", "web1", "web")
    assert told.stdout.splitlines()[0] == "web amd64 on web1: missing"
    assert ["host", "package", "manager", "offers", "2"] in rows(told)
    (found,) = json.loads(command(data, "explain", "web1", "dpkg", "--json").stdout)["explanations"]
    assert found["verdict"] == "current"
    missing = CliRunner().invoke(main, ["explain", "web1", "nothing", "--data", str(data)])
    assert missing.exit_code == 1
    assert "has not reported nothing" in missing.output


def test_views_are_evaluated(data: Path, tmp_path: Path, app: Flask) -> None:
    root = tmp_path / "repository"
    apt_repository(root, None, [stanza("web", "4")], suite="bookworm", told={"Label": "Debian", "Suite": "stable"})
    with database.connection():
        new_source(app.config["PATCHHERD"], root, None, suite="bookworm")
        with database.write_transaction():
            registry.assign(registry.find_view("view"), ["web1"], [])
    assert command(data, "view", "import").exit_code == 0
    assert command(data, "view", "evaluate").stdout == "1 devices evaluated\n"
    assert [row[:4] for row in rows(command(data, "patches", "web1"))[1:2]] == [["Important", "web", "1", "4"]]
    assert command(data, "view", "evaluate").stdout == "0 devices evaluated\n"
