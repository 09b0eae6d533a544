# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The same comparison where content views decide: alone, and together with the host's own report."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.patchlab import oddities, oddities_apt
from tests.lab.patchlab.signing import public_key
from tests.lab.product import Product
from tests.lab.test_oracles import (
    DNF_TWICE,
    apt_updates,
    check_apt,
    check_dnf,
    differences,
    dnf_advisories,
    dnf_updates,
    offered_for,
    replaced_in,
    rpm_packages,
    updates_of,
    without_installed,
)
from tests.running import wait_for

ECOSYSTEMS = {"deb1": "deb", "rpm1": "rpm"}


ADVISORIES_OF_CHANGED_ARCHITECTURES = {"odd-wasarch": "RLSA-2026:3", "odd-wasnoarch": "RLBA-2026:14"}
"""Accepted: dnf looks for advisories by the architecture that is installed, and finds none for these."""


def add_view(product: Product, ecosystem: str, *, known_to_hosts: bool = True) -> None:
    """Import the repository of oddities, fetched from where it is served, as a content view."""
    own = oddities.ADDRESSES[ecosystem]
    source: dict[str, Any] = {
        "url": own.replace("repo.lab", product.lab.gateway),
        "keyring": public_key(),
        "aliases": [own] if known_to_hosts else [],
    }
    views = "/api/v1/content-views"
    product.server.post(views, {"name": ecosystem, "ecosystem": ecosystem}, 201)
    suites = oddities_apt.CONFIGURED if ecosystem == "deb" else [""]
    for suite in suites:
        apt = {"kind": "apt", "suite": suite, "architectures": list(oddities_apt.ARCHITECTURES)}
        product.server.post(f"{views}/{ecosystem}/sources", {**source, **(apt if suite else {"kind": "rpm"})}, 201)
    product.server.post(f"{views}/{ecosystem}/import", None, 202)

    def imported() -> bool:
        sources = product.server.get(f"{views}/{ecosystem}")["sources"]
        failed = [source["error"] for source in sources if source["state"] == "failed"]
        assert not failed
        return all(source["state"] == "ok" for source in sources)

    wait_for("the worker has imported all sources", imported, 60)


def rows_of(product: Product, name: str) -> list[dict[str, Any]]:
    return list(product.patches(name)["patches"])


def decided(product: Product, name: str, by: set[str]) -> None:
    """Wait for the server to have evaluated the device against its views."""

    def found() -> bool:
        missing = [row for row in rows_of(product, name) if row["verdict"] == "missing"]
        return bool(missing) and {row["decided_by"] for row in missing} <= by

    wait_for(f"verdicts of {name} decided by {by}", found, 60)


@pytest.mark.parametrize("assigned", [False, True])
def test_view_and_apt_agree(product: Product, assigned: bool) -> None:
    oddities.use(product.lab, "deb1")
    product.enrol("deb1")
    before = check_apt(product, "deb1")
    add_view(product, "deb", known_to_hosts=not assigned)
    if assigned:
        product.server.call("PUT", "/api/v1/content-views/deb/assignments", json={"devices": ["deb1"], "groups": []})
    decided(product, "deb1", {"both"})
    assert updates_of(rows_of(product, "deb1")) == before, "evaluated in the background"
    assert check_apt(product, "deb1") == before, "evaluated when it reports"


@pytest.mark.parametrize("assigned", [False, True])
def test_view_and_dnf_agree(product: Product, assigned: bool) -> None:
    oddities.use(product.lab, "rpm1")
    product.enrol("rpm1")
    before = check_dnf(product, "rpm1")
    add_view(product, "rpm", known_to_hosts=not assigned)
    if assigned:
        product.server.call("PUT", "/api/v1/content-views/rpm/assignments", json={"devices": ["rpm1"], "groups": []})
    decided(product, "rpm1", {"both"})
    again = check_dnf(product, "rpm1", fed=ADVISORIES_OF_CHANGED_ARCHITECTURES)
    assert again == before, "evaluated when it reports"
    replaced = dnf_updates(product.lab["rpm1"])[1]
    assert {(old, new) for old, new, _version in replaced_in(rows_of(product, "rpm1"))} == {row[:2] for row in replaced}


def what_if(product: Product, name: str, view: str, **more: Any) -> list[dict[str, Any]]:
    """What would be missing with what the host has installed, by its own package manager."""
    if product.lab[name].family == "deb":
        listing = "dpkg-query -W -f '${Package} ${Architecture} ${Version}\\n'"
    else:
        listing = "rpm -qa --qf '%{name} %{arch} %{evr}\\n' | grep -v ^gpg-pubkey"
    rows = [line.split() for line in product.lab[name].ssh(listing).stdout.splitlines()]
    packages = [{"name": row[0], "architecture": row[1], "version": row[2]} for row in rows]
    answer = product.server.post("/api/v1/patches/evaluate", {"views": [view], "packages": packages, **more})
    assert answer["packages"] == len(packages)
    return list(answer["patches"])


def test_what_if_for_the_packages_of_an_apt_host(product: Product) -> None:
    oddities.use(product.lab, "deb1")
    add_view(product, "deb")
    host = product.lab["deb1"]
    host.ssh("apt-get -q update")
    theirs = {row for row in apt_updates(host) if row[2] != row[3]}
    found = differences(updates_of(what_if(product, "deb1", "deb")), theirs)
    assert not found, "\n".join(found)
    assert {row[0] for row in theirs} == oddities_apt.UPGRADABLE


def test_what_if_for_the_packages_of_a_dnf_host(product: Product) -> None:
    oddities.use(product.lab, "rpm1")
    add_view(product, "rpm")
    host = product.lab["rpm1"]
    host.ssh("dnf -q makecache")
    rows = what_if(product, "rpm1", "rpm", distribution="rocky:9")
    installed = rpm_packages(host)
    for security in (False, True):
        theirs, replaced = dnf_updates(host, *(["--security"] if security else []))
        ours = without_installed(updates_of(rows, security=security))
        ours = {row for row in ours if not (security and row[0] in ADVISORIES_OF_CHANGED_ARCHITECTURES)}
        theirs = {row for row in theirs if row[0] not in DNF_TWICE}
        found = differences(ours, offered_for(installed, theirs))
        found += differences(replaced_in(rows, security=security), replaced)
        assert not found, "\n".join([f"{security=}", *found])
    named = {
        (advisory, f"{row['package']}.{row['architecture']}")
        for row in rows
        for advisory in row["advisories"]
        if not row["replaced_by"]
    }
    found = differences(
        {one for one in named if one[0] not in ADVISORIES_OF_CHANGED_ARCHITECTURES.values()}, dnf_advisories(host)
    )
    assert not found, "\n".join(found)
