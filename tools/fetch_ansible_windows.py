# SPDX-License-Identifier: Apache-2.0
"""Put the ansible.windows collection into this Python environment, without Ansible Galaxy.

The `ansible` wheel on PyPI bundles the collection. It is fetched at a pinned version and digest, and only the one
collection (a few of its 50 MB) is unpacked, into site-packages, where ansible-core looks for collections by itself.
Where Galaxy can be reached, `ansible-galaxy collection install ansible.windows` is as good.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

WHEEL_VERSION = "14.5.0"
WHEEL_SHA256 = "245623ccc2d31d0f6f4bdb63168d550cad305fb032cc43d96e8f61ce8ab0ba84"
# What that wheel holds; it supports ansible-core 2.16 and newer.
COLLECTION_VERSION = "3.8.0"

PREFIX = "ansible_collections/ansible/windows/"


def installed_version(target: Path) -> str | None:
    """Return the version of the collection in folder `target`, None when it is absent or incomplete."""
    try:
        return str(json.loads((target / "MANIFEST.json").read_text())["collection_info"]["version"])
    except (OSError, ValueError, KeyError):
        return None


def download(folder: Path) -> Path:
    """Download the pinned wheel into `folder` and return its path; pip refuses any other digest."""
    pinned = folder / "requirements.txt"
    pinned.write_text(f"ansible=={WHEEL_VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    # The wheel asks for a newer Python than the collection does, hence --python-version.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version=3.13", "--require-hashes", "-r", str(pinned)]
    subprocess.run([*command, "--dest", str(folder)], check=True)
    return next(folder.glob("ansible-*.whl"))


def unpack(wheel: Path, target: Path) -> None:
    """Unpack the collection from `wheel` and swap it in at `target` when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".windows-") as folder:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(PREFIX)]
            archive.extractall(folder, names)
        fresh = Path(folder) / PREFIX
        if installed_version(fresh) != COLLECTION_VERSION:
            raise SystemExit(f"{wheel.name} holds ansible.windows {installed_version(fresh)}, not {COLLECTION_VERSION}")
        if target.exists():
            shutil.rmtree(target)
        os.rename(fresh, target)


def main() -> None:
    """Install the pinned collection unless it is there already."""
    target = Path(sysconfig.get_paths()["purelib"]) / PREFIX
    if installed_version(target) != COLLECTION_VERSION:
        with tempfile.TemporaryDirectory() as folder:
            unpack(download(Path(folder)), target)
    print(f"ansible.windows {COLLECTION_VERSION}: {target}")


if __name__ == "__main__":
    main()
