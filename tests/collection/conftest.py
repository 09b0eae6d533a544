# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Ansible environments, and the collection as a user would get it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"


@dataclass
class Ansible:
    """The commands of one ansible-core, run with a home folder and an environment of their own."""

    version: str
    bin: Path
    home: Path

    def run(
        self, *command: str, cwd: Path, check: bool = True, timeout: int = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment; standard error is kept apart."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PATCHHERD_", "PYTEST_"))}
        kept.update(
            HOME=str(self.home), PATH=f"{self.bin}:{kept['PATH']}", NO_COLOR="1", LC_ALL="C.UTF-8", **environment
        )
        result = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd, env=kept, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and result.returncode:
            raise AssertionError(
                f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
            )
        return result


def environment_of(version: str) -> Path:
    """Return the bin folder of a virtual environment with the newest ansible-core of a series, made once and kept."""
    folder = CACHE / f"ansible-core-{version}"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"ansible-core-{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = folder / ".complete"
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"ansible-core=={version}.*"]
            subprocess.run(pip, check=True)
            marker.touch()
    return folder / "bin"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def ansible(home: Path) -> Ansible:
    """The ansible-core that the server runs."""
    return Ansible("2.19", Path(sys.executable).parent, home)


@pytest.fixture(scope="session", params=["2.18", "2.19"])
def each_ansible(request: pytest.FixtureRequest, home: Path) -> Ansible:
    """Every series of ansible-core that the collection supports."""
    if request.param == "2.19":
        return Ansible("2.19", Path(sys.executable).parent, home)
    return Ansible(request.param, environment_of(request.param), home)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this working tree, uncommitted changes included."""
    clone = tmp_path_factory.mktemp("checkout") / "patchherd"
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    listed = subprocess.run([*git, "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, clone / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    commit(clone)
    return clone


def commit(folder: Path) -> None:
    """Make a folder a git repository with one commit."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "add", "--all", "--force"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=all"], check=True)


@pytest.fixture(scope="session")
def artifact(checkout: Path, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built collection, a tar file."""
    folder = tmp_path_factory.mktemp("artifact")
    ansible.run("ansible-galaxy", "collection", "build", "--output-path", str(folder), cwd=checkout)
    return next(folder.glob("patchherd-fleet-*.tar.gz"))


@pytest.fixture(scope="session")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collections path that holds the content of the artifact."""
    path = tmp_path_factory.mktemp("collections")
    target = path / "ansible_collections" / "patchherd" / "fleet"
    target.mkdir(parents=True)
    with tarfile.open(artifact) as archive:
        archive.extractall(target, filter="data")
    return path
