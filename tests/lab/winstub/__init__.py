# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""A test double of the ansible.windows collection, for hosts without Windows.

The action plugins, which run on the controller, stay the real ones; so do the documentation and argument names. The
PowerShell modules, which run on the target, give way to Python doubles of the few that patching needs. All other
modules are taken out, so that a test which calls one fails instead of pretending.
"""
from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

DOUBLES = Path(__file__).parent / "modules"
FUTURE = "from __future__ import annotations\n"


def make_winstub(real_ansible_windows_dir: Path, dest: Path) -> Path:
    """Write the double below dest/ansible_collections and return `dest`, to be put first in ANSIBLE_COLLECTIONS_PATH.

    `real_ansible_windows_dir` is .../ansible_collections/ansible/windows of an installed collection.
    """
    collection = Path(dest) / "ansible_collections" / "ansible" / "windows"
    shutil.rmtree(collection, ignore_errors=True)
    shutil.copytree(real_ansible_windows_dir, collection)
    modules = collection / "plugins" / "modules"
    # Ansible would rather take a .ps1 than the .py of the same name
    for powershell in modules.glob("*.ps1"):
        powershell.unlink()
    for double in sorted(DOUBLES.glob("*.py")):
        real = modules / double.name
        head, body = double.read_text().split(FUTURE, 1)
        real.write_text(head + FUTURE + (_documentation(real) if real.exists() else "") + body)
    manifest = collection / "MANIFEST.json"
    data = json.loads(manifest.read_text())
    data["collection_info"]["description"] = "TEST DOUBLE of ansible.windows, useless against Windows"
    manifest.write_text(json.dumps(data, indent=1))
    return Path(dest)


def _documentation(module: Path) -> str:
    """The documentation constants of a module's source, which ansible-doc and the argument checks read."""
    blocks = []
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) \
                and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            blocks.append(f"\n{node.targets[0].id} = {ast.literal_eval(node.value)!r}\n")
    return "".join(blocks)
