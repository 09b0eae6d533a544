# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The roles enroll and agent on real hosts: enrolled once, nothing changed the second time, removed again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.product import Product
from tests.running import Server

ROOT = Path(__file__).parents[2]
HOSTS = ("deb1", "rpm1")
AGENT = "/usr/local/lib/patchherd/patchherd_agent.py"
Play = Callable[..., tuple[int, str, dict[str, dict[str, int]]]]


@pytest.fixture
def play(product: Product, tmp_path: Path) -> Play:
    """play(playbook, *arguments, **variables): exit code, output and the recap {host: {"ok": …, "changed": …}}."""

    def run(playbook: str, *arguments: str, **variables: Any) -> tuple[int, str, dict[str, dict[str, int]]]:
        given = {
            "enroll_server": product.server.url,
            "enroll_token_key": product.token["token_key"],
            "enroll_token_secret": product.token["token_secret"],
            "patchherd_hosts": "deb1,rpm1",
            **variables,
        }
        file = tmp_path / "variables.json"
        file.write_text(json.dumps(given))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "--diff", "-i"]
        done = subprocess.run(
            [*command, str(product.lab.inventory), playbook, "-e", f"@{file}", *arguments],
            capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert product.token["token_secret"] not in said
        recap = {
            name: {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", rest)}
            for name, rest in re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout.rpartition("PLAY RECAP")[2], re.M)
        }
        return done.returncode, said, recap

    return run


def devices(product: Product) -> dict[str, dict[str, Any]]:
    return {row["friendly_name"]: row for row in product.server.get("/api/v1/devices")}


def test_enrol_twice_then_remove(product: Product, play: Play) -> None:
    product.lab.publish("v2")
    code, said, recap = play("patchherd.fleet.enroll", "--check")
    assert code == 0, said
    assert all(recap[name]["changed"] for name in HOSTS), "a check shows what would be done"
    assert devices(product) == {}
    for name in HOSTS:
        assert product.lab[name].ssh("test -e /etc/patchherd -o -e /usr/local/lib/patchherd", check=False).returncode

    code, said, recap = play("patchherd.fleet.enroll", enroll_with_ssh=True)
    assert code == 0, said
    assert all(recap[name]["changed"] for name in HOSTS)
    shown = devices(product)
    assert set(shown) == set(HOSTS)
    public = (product.server.data / "ssh/id_ed25519.pub").read_text().strip()
    for name in HOSTS:
        host = product.lab[name]
        assert product.patches(name)["status"] == "missing", "the first report has arrived"
        key = (host.directory / "keys/ssh_host_ed25519_key.pub").read_text().split()[1]
        assert any(key in pinned for pinned in product.device(name)["ssh_host_keys"]), product.device(name)
        machine_id = host.ssh("cat /etc/machine-id", check=False).stdout.strip()
        assert product.device(name)["machine_id"] == (machine_id or None)
        stat = host.ssh(f"stat -c '%a %U' /etc/patchherd/agent.json {AGENT}").stdout.split("\n")
        assert stat[:2] == ["600 root", "644 root"]
        assert host.ssh("cat /root/.ssh/authorized_keys").stdout.count(public) == 1
        api_key = json.loads(host.ssh("cat /etc/patchherd/agent.json").stdout)["api_key"]
        assert api_key not in said, "the host's credentials stay out of Ansible's output"

    code, said, recap = play("patchherd.fleet.enroll", enroll_with_ssh=True)
    assert code == 0, said
    assert {name: recap[name]["changed"] for name in HOSTS} == dict.fromkeys(HOSTS, 0), said
    code, said, recap = play("patchherd.fleet.enroll", "--check", enroll_with_ssh=True)
    assert (code, {name: recap[name]["changed"] for name in HOSTS}) == (0, dict.fromkeys(HOSTS, 0)), said
    assert devices(product).keys() == set(HOSTS)

    code, said, _ = play("patchherd.fleet.enroll", enroll_force=True, patchherd_hosts="deb1")
    assert code == 0, said
    assert {row["id"] for row in devices(product).values()} == {row["id"] for row in shown.values()}, "same devices"

    code, said, _ = play("patchherd.fleet.enroll", enroll_server="http://patchherd.lab:1", patchherd_hosts="deb1")
    assert code != 0
    assert f"deb1 is enrolled at {product.server.url}" in said


def test_a_refusal_names_its_reason_and_no_secret(product: Product, play: Play) -> None:
    wrong = "0" * 64
    code, said, _ = play("patchherd.fleet.enroll", enroll_token_secret=wrong, patchherd_hosts="deb1")
    assert code != 0
    assert "does not enrol deb1 (HTTP 401): Invalid token secret" in said
    assert wrong not in said
    code, said, _ = play("patchherd.fleet.enroll", enroll_server="http://127.0.0.1:1", patchherd_hosts="deb1")
    assert code != 0
    assert "does not enrol deb1 (HTTP -1)" in said
    assert product.lab["deb1"].ssh("test -e /etc/patchherd/agent.json", check=False).returncode


def test_the_role_hands_out_the_authority_of_the_server(product: Product, play: Play, tmp_path: Path) -> None:
    lab = product.lab
    with Server(tmp_path / "https", lab.gateway, PATCHHERD_TLS="true") as server:
        server.log_in()
        authority = server.data / "tls/ca.crt"
        secure = Product(server, lab)
        given = {
            "enroll_server": server.url,
            "enroll_token_key": secure.token["token_key"],
            "enroll_token_secret": secure.token["token_secret"],
            "patchherd_hosts": "deb1",
        }
        code, said, _ = play("patchherd.fleet.enroll", **given)
        assert code != 0
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert secure.token["token_secret"] not in said
        code, said, _ = play("patchherd.fleet.enroll", **given, enroll_ca_file=str(authority))
        assert code == 0, said
        assert secure.token["token_secret"] not in said
        assert lab["deb1"].ssh("cat /etc/patchherd/ca.pem").stdout == authority.read_text()
        assert secure.device("deb1")["last_report"]
        code, said, recap = play("patchherd.fleet.enroll", **given, enroll_ca_file=str(authority))
        assert (code, recap["deb1"]["changed"]) == (0, 0), said


def test_update_and_removal_of_the_agent(product: Product, play: Play, tmp_path: Path) -> None:
    playbook = tmp_path / "agent.yml"
    playbook.write_text(
        "- hosts: '{{ patchherd_hosts }}'\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.include_role:\n        name: patchherd.fleet.agent\n"
    )
    code, said, _ = play(str(playbook), patchherd_hosts="deb1")
    assert code != 0
    assert "deb1 is not enrolled" in said

    product.enrol(*HOSTS)
    code, said, recap = play(str(playbook))
    assert code == 0, said
    assert {name: recap[name]["changed"] for name in HOSTS} == dict.fromkeys(HOSTS, 0), "the script's agent is the same"

    product.lab["deb1"].ssh(f"sed -i 's/^VERSION = .*/VERSION = \"0.0.1\"/' {AGENT}")
    product.lab["rpm1"].ssh(f"sed -i 's/^VERSION = .*/VERSION = \"99.0\"/' {AGENT}")
    code, said, recap = play(str(playbook))
    assert code == 0, said
    assert recap["deb1"]["changed"], "an older agent is updated"
    assert product.lab["deb1"].ssh(f"python3 {AGENT} --version").stdout != "patchherd_agent.py 0.0.1\n"
    assert recap["rpm1"]["changed"] == 0, "a newer one stays"
    assert product.lab["rpm1"].ssh(f"python3 {AGENT} --version").stdout == "patchherd_agent.py 99.0\n"

    code, said, recap = play(str(playbook), "--check", agent_state="absent")
    assert code == 0, said
    assert product.lab["deb1"].ssh(f"test -f {AGENT}").returncode == 0
    code, said, recap = play(str(playbook), agent_state="absent")
    assert code == 0, said
    for name in HOSTS:
        assert recap[name]["changed"]
        left = product.lab[name].ssh("ls -d /etc/patchherd /usr/local/lib/patchherd /var/lib/patchherd", check=False)
        assert left.stdout == ""
    code, said, recap = play(str(playbook), agent_state="absent")
    assert (code, recap["deb1"]["changed"], recap["rpm1"]["changed"]) == (0, 0, 0), said
    assert set(devices(product)) == set(HOSTS), "the server keeps the devices"
