# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What Ansible itself demands of a collection: `ansible-test sanity` on the built artifact, and ansible-lint.

ansible-test runs locally: every test but `pslint`, which needs PowerShell; tests/unit/agent/test_windows_agent.py has
rules of its own for the only PowerShell here. What needs
containers (units and integration in the images of ansible-test), and the checks of the galaxy importer that need a
Galaxy server, are not run.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collection.conftest import CACHE, ROOT, Ansible, commit, environment_of

# ansible-test makes its own environments without pip and fetches a script that puts it in. Given here, so that nothing
# but the package index has to be reachable.
GET_PIP = """\
import ensurepip, os, subprocess, sys
environment = dict(os.environ)
ensurepip.bootstrap()
wanted = [argument for argument in sys.argv[1:] if not argument.startswith("--no-")]
subprocess.check_call([sys.executable, "-m", "pip", "install", *wanted], env=environment)
"""


def home_with_pip() -> Path:
    """Return a home folder, kept between runs, in which ansible-test finds pip and the settings of pip here."""
    home = CACHE / "ansible-test-home"
    script = home / ".ansible" / "test" / "cache" / "get_pip_24_2.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP)
    # The environment does not reach the pip of ansible-test, a configuration file does.
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    lines = [line.removeprefix(":env:.") for line in settings.splitlines() if line.startswith(":env:.")]
    config = home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[global]\n" + "".join(line.replace("='", " = ").removesuffix("'") + "\n" for line in lines))
    return home


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["2.18", "2.19"])
def test_sanity(version: str, installed: Path, tmp_path: Path) -> None:
    root = tmp_path / "ansible_collections" / "patchherd" / "fleet"
    shutil.copytree(installed / "ansible_collections" / "patchherd" / "fleet", root)
    (root / "MANIFEST.json").unlink()
    (root / "FILES.json").unlink()
    shutil.copy2(ROOT / "galaxy.yml", root)
    commit(root)
    ansible = Ansible(version, environment_of(version), home_with_pip())
    series = f"{sys.version_info.major}.{sys.version_info.minor}"
    with open(CACHE / "ansible-test.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ansible.run("ansible-test", "sanity", "--python", series, "--color", "no", cwd=root, timeout=850)


def test_ansible_lint_production_profile(ansible: Ansible, checkout: Path) -> None:
    ansible.run("ansible-lint", "--offline", "--strict", cwd=checkout)


def test_yamllint(ansible: Ansible, checkout: Path) -> None:
    ansible.run("yamllint", "--strict", "galaxy.yml", "meta", "playbooks", "roles", cwd=checkout)
