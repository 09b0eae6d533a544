# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The playbook of actions on this machine, with every supported Ansible: texts stay texts, one way and back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.collection.conftest import Ansible

HARD = ["{{ 7 * 7 }}", "[1, 2]", '{"a": 1}', "True", "None", "{% if x %}", "'\"`$HOME\\n", "ünï ☃", "---\nkey: value"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def literal(value: Any) -> Any:
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    return [literal(item) for item in value] if isinstance(value, list) else value


class Local:
    """Runs actions on this machine; `results` are the facts that the server reads, in order."""

    def __init__(self, ansible: Ansible, checkout: Path, tmp_path: Path) -> None:
        self.ansible, self.checkout, self.tmp = ansible, checkout, tmp_path

    def run(self, *actions: dict[str, Any], expect: int = 0, **extra: str) -> list[dict[str, Any]]:
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "patchherd_actions": literal(list(actions)),
        }
        inventory = self.tmp / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"here": variables}}}))
        options = [word for name, value in extra.items() for word in ("-e", f"{name}={value}")]
        done = self.ansible.run(
            "ansible-playbook", "-v", "-i", str(inventory), *options, "patchherd.fleet.run_action",
            cwd=self.checkout, check=False, ANSIBLE_CALLBACK_RESULT_FORMAT="json",
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        assert "[WARNING]" not in done.stderr, done.stderr
        self.output = done.stdout
        return [found for found in facts(done.stdout) if found]


def facts(text: str) -> list[dict[str, Any]]:
    """The decoded `actions_result` facts of a playbook's output."""
    found, decoder = [], json.JSONDecoder()
    for start in (place for place in range(len(text)) if text.startswith("=> {", place)):
        try:
            value = decoder.raw_decode(text[start + 3 :])[0]
        except ValueError:
            continue
        result = value.get("ansible_facts", {}).get("actions_result")
        if result:
            told = json.loads(base64.b64decode(result["encoded"]))
            found.append({"id": int(result["id"]), "code": int(result["exit_code"]), **told})
    return found


@pytest.fixture
def local(each_ansible: Ansible, checkout: Path, tmp_path: Path) -> Local:
    return Local(each_ansible, checkout, tmp_path)


def script(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "run": "script", "script_encoded": encoded(text), "timeout": 20, **more}


def test_texts_stay_texts(local: Local) -> None:
    told = local.run(*(script(n, f"cat <<'END'\n{text}\nEND\n") for n, text in enumerate(HARD, 1)))
    assert [one["stdout"] for one in told] == [f"{text}\n" for text in HARD]
    assert [one["id"] for one in told] == list(range(1, len(HARD) + 1))
    assert "7 * 7" not in local.output


def test_failures_and_what_is_behind_them(local: Local, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    told = local.run(
        script(1, f"echo 1 >> {steps}; exit 3"),
        script(2, "true", continue_on_error=False),
        script(3, f"echo 3 >> {steps}; kill -9 $$", continue_on_error=False),
        script(4, f"echo 4 >> {steps}"),
        expect=2,
    )
    assert [(one["id"], one["exit_code"], one["code"]) for one in told] == [(1, 3, 3), (2, 0, 0), (3, 137, 137)]
    assert steps.read_text().split() == ["1", "3"]
    assert "failed: 1, 3" in local.output


def test_what_is_called_off_is_left_out(local: Local, tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    (control / "2").touch()
    told = local.run(*(script(n, f"echo {n}") for n in (1, 2, 3)), patchherd_control=str(control))
    assert [one["id"] for one in told] == [1, 3]


def test_a_timeout_and_a_script_that_cannot_start(local: Local) -> None:
    told = local.run(script(1, "sleep 60", timeout=1), {**script(2, ""), "script_encoded": "%"}, expect=2)
    assert told[0]["timed_out"] is True
    assert told[0]["exit_code"] is None
    assert "no Base64" in told[1]["problem"]


def test_one_script_by_hand(each_ansible: Ansible, checkout: Path) -> None:
    done = each_ansible.run(
        "ansible-playbook", "-v", "-i", "localhost,", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3",
        "-e", '{"patchherd_script": "echo by hand"}', "patchherd.fleet.run_action",
        cwd=checkout, ANSIBLE_CALLBACK_RESULT_FORMAT="json",
    )  # fmt: skip
    (told,) = facts(done.stdout)
    assert told["stdout"] == "by hand\n"
