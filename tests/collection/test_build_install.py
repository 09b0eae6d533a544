# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What comes out of every way to get the collection, and that a user finds everything in it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.collection.conftest import ROOT, Ansible

# A new file or folder at the root of the repository is either the collection's, then it is added here, or it belongs
# into build_ignore of galaxy.yml.
TOP_LEVEL = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "LICENSES", "MANIFEST.json", "README.md", "meta", "playbooks", "plugins",
    "roles", "tests",
}  # fmt: skip
DOCUMENTED = {"modules": "module", "inventory": "inventory", "filter": "filter"}


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_artifact_holds_the_collection_and_no_links(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    names = {member.name for member in members}
    assert {name.split("/")[0] for name in names} <= TOP_LEVEL
    assert not any("__pycache__" in name for name in names)
    ignored = {f"tests/sanity/ignore-{version}.txt" for version in ("2.18", "2.19")}
    assert {name for name in names if name.startswith("tests/")} == {"tests/sanity", *ignored}
    for path in ("plugins", "roles", "playbooks", "meta"):
        kept = {p for p in files_below(ROOT / path) if "__pycache__" not in p}
        assert {f"{path}/{name}" for name in kept} <= names


@pytest.mark.parametrize("source", ["tarball", "git", "folder"])
def test_every_way_to_install_gives_the_same(
    source: str, checkout: Path, artifact: Path, ansible: Ansible, tmp_path: Path
) -> None:
    given = {"tarball": str(artifact), "git": f"git+file://{checkout}", "folder": "."}[source]
    # ansible.windows, the only dependency, is in the environment already: no Galaxy is asked.
    ansible.run(
        "ansible-galaxy", "collection", "install", given, "--force", "--collections-path", str(tmp_path), cwd=checkout
    )
    target = tmp_path / "ansible_collections" / "patchherd" / "fleet"
    with tarfile.open(artifact) as archive:
        expected = {member.name for member in archive.getmembers() if member.isfile()}
    assert files_below(target) == expected
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_documentation_of_every_plugin_is_shown(installed: Path, each_ansible: Ansible, tmp_path: Path) -> None:
    root = installed / "ansible_collections" / "patchherd" / "fleet"
    for folder, kind in DOCUMENTED.items():
        for path in (root / "plugins" / folder).glob("[!_]*.py"):
            name = f"patchherd.fleet.{path.stem}"
            result = each_ansible.run(
                "ansible-doc", "--type", kind, "--json", name, cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed)
            )
            doc = json.loads(result.stdout)[name]["doc"]
            assert all(doc[field] for field in ("short_description", "author", "version_added")), name
    for role in (root / "roles").iterdir():
        assert (role / "README.md").is_file()
        name = f"patchherd.fleet.{role.name}"
        result = each_ansible.run(
            "ansible-doc", "--type", "role", "--json", name, cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed)
        )
        assert "main" in json.loads(result.stdout)[name]["entry_points"]


def test_every_kind_of_plugin_is_covered() -> None:
    private = {"doc_fragments", "module_utils", "plugin_utils"}
    assert {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()} - {"__pycache__"} == {
        *DOCUMENTED,
        *private,
    }


def test_playbooks_resolve_by_full_name_in_a_checkout(checkout: Path, each_ansible: Ansible) -> None:
    names = [path.stem for path in (checkout / "playbooks").glob("*.yml")]
    assert {"scan", "deploy"} <= set(names)
    for name in names:
        each_ansible.run(
            "ansible-playbook", f"patchherd.fleet.{name}", "--syntax-check", "--inventory", "localhost,", cwd=checkout
        )


def test_links_of_the_checkout_are_relative_and_inside() -> None:
    assert (ROOT / "collection/ansible_collections/patchherd/fleet").resolve() == ROOT
    assert (ROOT / "inventory_plugins").resolve() == ROOT / "plugins" / "inventory"
    assert not list((ROOT / "collection").glob("galaxy.y*ml"))
