# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The commands of docs/enrol.md, run as they stand there; the word behind `sh` says where."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import tree_sitter
import tree_sitter_powershell

from tests.lab.product import Product

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/enrol.md").read_text()
BLOCKS = re.findall(r"(?ms)^```(\w+) ?([\w.]*)\n(.*?)^```$", TEXT)
ORDER = "server host host proxmox controller host anywhere host".split()
PCT = "#!/bin/sh\n[ \"$1\" = list ] && echo 'VMID       Status     Lock         Name'\n"


def commands(where: str) -> list[str]:
    return [text for language, place, text in BLOCKS if (language, place) == ("sh", where)]


def test_every_block_says_where_it_runs() -> None:
    assert [place for language, place, _ in BLOCKS if language == "sh"] == ORDER
    assert {language for language, _, _ in BLOCKS} == {"sh", "yaml", "powershell"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_the_powershell_parses() -> None:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    for language, _, text in BLOCKS:
        if language == "powershell":
            assert not parser.parse(text.encode()).root_node.has_error, text


def test_the_commands_do_what_they_say(product: Product, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    values = {
        "SERVER": product.server.url,
        "DATA": str(product.server.data),
        "KEY": product.token["token_key"],
        "SECRET": product.token["token_secret"],
    }
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **{name: value for name, value in product.server.environment.items() if not name.startswith("ANSIBLE_")},
        **values,
        "PATH": f"{work}/bin:{programs}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
    }

    def here(text: str) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=work, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def on(name: str, text: str) -> str:
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items() if key != "DATA")
        return product.lab[name].ssh(f"set -e\n{exports}{text}", timeout=240).stdout

    def reported() -> set[str]:
        return {row["friendly_name"] for row in product.server.get("/api/v1/devices") if row["last_report"]}

    line, with_ssh, api, afterwards = commands("host")

    (server,) = commands("server")
    assert "token secret" in here(server)

    assert "Successfully Enrolled:  1" in on("deb1", line)
    assert "Successfully Enrolled:  0" in on("deb1", line), "a second run changes nothing"
    assert "The server may log in as root by SSH" in on("deb2", with_ssh)
    assert "The agent reports to" in on("rpm1", api)
    assert reported() == {"deb1", "deb2", "database"}

    (work / "inventory.ini").write_text(Path(product.lab.inventory).read_text())
    (work / "enrol.yml").write_text(next(text for _, place, text in BLOCKS if place == "enrol.yml"))
    (controller,) = commands("controller")
    here(controller.replace("ansible-playbook ", "ansible-playbook --limit rpm2 "))
    assert reported() == {"deb1", "deb2", "database", "rpm2"}

    (anywhere,) = commands("anywhere")
    here(anywhere)
    enrolled = json.loads((work / "enrolled.json").read_text())
    assert enrolled["message"] == "Bulk enrollment completed: 2 succeeded, 0 failed, 0 skipped"

    (work / "bin").mkdir()
    (work / "bin/pct").write_text(PCT)
    (work / "bin/pct").chmod(0o755)
    (proxmox,) = commands("proxmox")
    assert here(proxmox).count("Total Containers Found: 0") == 2

    on("deb1", afterwards)
    assert json.loads(product.lab["deb1"].ssh("cat report.json").stdout)["hostname"] == "deb1"
    gone = product.lab["deb1"].ssh("ls /usr/local/lib/patchherd /etc/patchherd 2>&1", check=False)
    assert gone.stdout.count("No such file") == 2
