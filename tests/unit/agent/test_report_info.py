# SPDX-License-Identifier: Apache-2.0
"""The module patchherd.fleet.report_info, run by Ansible on this machine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from .conftest import AGENT_FILE, ROOT

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None and shutil.which("dnf") is None,
                                reason="the module knows neither package manager of this machine")


def run_module(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [Path(sys.executable).with_name("ansible"), "localhost", "-i", "localhost,", "-c", "local", "-m",
               "patchherd.fleet.report_info", "-e", f"ansible_python_interpreter={sys.executable}", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    _status, arrow, text = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    result: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return done.returncode, result


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_returns_the_agent_s_report_encoded(mode: list[str]) -> None:
    code, result = run_module("-a", "phase=after refresh=never", *mode)
    assert code == 0, result
    assert result["changed"] is False
    assert result["phase"] == "after"
    report = json.loads(zlib.decompress(base64.b64decode(result["report_encoded"])))
    command = [sys.executable, str(AGENT_FILE), "--dry-run", "--refresh", "never"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(report) == set(said)
    for key in ("packages", "repositories", "problems", "hostname", "bootId", "needsReboot", "metadataUpdated"):
        assert report[key] == said[key]


def test_an_unknown_phase_is_refused() -> None:
    code, result = run_module("-a", "phase=during")
    assert code != 0
    assert "value of phase must be one of: before, after" in result["msg"]
