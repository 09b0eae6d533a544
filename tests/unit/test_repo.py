# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for the files of the repository as a whole."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

REQUIRED = [
    ".ci/run",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "LICENSES/GPL-3.0-or-later.txt",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "ansible.cfg",
    "docs/architecture.md",
    "galaxy.yml",
    "meta/runtime.yml",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
]

# The bracketed letters keep these patterns from finding themselves.
FORBIDDEN = {
    "a package index or mirror; every client uses the one it is configured with": (
        r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|deb[.]debian[.]org"
    ),
    "a path of one machine": r"/[w]ork/(main|shared|notes|[.]library)\b|/opt/[w]heels|/opt/[p]ypi|/[.]pyenv/",
    "how the file came to be": (
        r"\bthe [l]ead\b(?! time)|\b[h]elper session|\b[s]hared/(design|stack|style|lab|contracts)|\bissue #?\d{1,2}\b"
    ),
}

APACHE = "# SPDX-License-Identifier: Apache-2.0"
GPL = "# SPDX-License-Identifier: GPL-3.0-or-later"


def _tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    # A file deleted in the work tree is still listed until that is committed.
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _text(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode()


def _locked(name: str) -> dict[str, str]:
    pins = re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE)
    assert pins
    return dict(pins)


@pytest.mark.parametrize("name", REQUIRED)
def test_required_file(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in _tracked()
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if (match := pattern.search(line))
    ]
    assert not found, f"these lines name {what}"


def test_python_files_name_their_licence() -> None:
    wrong = []
    for path in _tracked():
        if path.suffix != ".py" or path.stat().st_size == 0:
            continue
        expected = GPL if path.relative_to(ROOT).parts[0] == "plugins" else APACHE
        if expected not in path.read_text().splitlines()[:10]:
            wrong.append(f"{path.relative_to(ROOT)}: {expected!r}")
    assert not wrong


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    unhashed = [line for line in text.splitlines() if "==" in line and not line.endswith("\\")]
    assert not unhashed


def test_locks_satisfy_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [*project["project"]["dependencies"], *project["dependency-groups"]["build"]]
    dev = [*runtime, *project["project"]["optional-dependencies"]["dev"]]
    for name, wanted in {"requirements.txt": runtime, "requirements-dev.txt": dev}.items():
        pins = _locked(name)
        for requirement in map(Requirement, wanted):
            pin = pins.get(re.sub(r"[-_.]+", "-", requirement.name).lower())
            kept = pin is not None and requirement.specifier.contains(pin)
            assert kept, f"{name} has {requirement.name} {pin}, pyproject.toml wants {requirement}: run make lock"


def test_dev_lock_has_the_runtime_versions() -> None:
    assert _locked("requirements.txt").items() <= _locked("requirements-dev.txt").items()
