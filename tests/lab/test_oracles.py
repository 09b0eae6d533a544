# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The server's lists against what apt and dnf say on the host: they decide, not us."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from patchherd.packages.versions import key
from tests.lab.patchlab import Host, oddities, oddities_apt, oddities_dnf
from tests.lab.product import Product

Update = tuple[str, str, str, str]
"""(name, architecture, installed version, candidate)"""

LISTED_NEVERTHELESS = {"held", "dependency", "phased"}
"""Reasons of updates that apt and dnf list though they would keep them back."""
APT_ACCEPTED = {
    oddities_apt.REBUILT: "built anew in the same version: apt would install it again, and nothing in it is newer",
}
DNF_TWICE = {
    "odd-forked": "dnf lists a newer version, too, and replaces it nevertheless: one row tells what dnf does",
}
DNF_FOREIGN = {
    "odd-becameboth": "was noarch, and is built for two architectures now: dnf lists both, and installs the host's own",
}
"""Accepted: names that only apt or dnf list, and why. docs/patches.md tells the same."""


def differences(server: Iterable[Any], host: Iterable[Any]) -> list[str]:
    """One line for each thing that only one of the two says."""
    ours, theirs = set(server), set(host)
    return [f"only the server: {one}" for one in sorted(ours - theirs)] + [
        f"only the host: {one}" for one in sorted(theirs - ours)
    ]


def updates_of(rows: Iterable[dict[str, Any]], *, security: bool = False) -> set[Update]:
    """Newer versions of what is installed; also those that the host's package manager lists but would not install."""
    found = [row for row in rows if row["verdict"] == "missing" or _code(row) in LISTED_NEVERTHELESS]
    updates = [row for row in found if not row["replaced_by"] and (row["security"] or not security)]
    return {(row["package"], row["architecture"], row["installed"], row["candidate"]) for row in updates}


Replaced = set[tuple[str, str, str]]
"""(name.architecture of what is installed, name of what replaces it, its version)"""


def replaced_in(rows: Iterable[dict[str, Any]], *, security: bool = False) -> Replaced:
    """The same of the server's rows; also what the host's package manager lists but would not install."""
    found = [row for row in rows if row["verdict"] == "missing" or _code(row) in LISTED_NEVERTHELESS]
    return {
        (f"{row['package']}.{row['architecture']}", new["name"], new["version"])
        for row in found
        for new in row["replaced_by"]
        if row["security"] or not security
    }


def _code(row: dict[str, Any]) -> str:
    """How the reason begins."""
    return (row["reason"] or "").partition(" ")[0].rstrip(":")


def apt_updates(host: Host) -> set[Update]:
    """`apt list --upgradable`."""
    text = host.ssh("LC_ALL=C apt list --upgradable 2>/dev/null").stdout
    lines = [line for line in text.splitlines() if line and not line.startswith("Listing")]
    found = [re.fullmatch(r"(\S+?)/\S+ (\S+) (\S+) \[upgradable from: (\S+)\]", line) for line in lines]
    assert all(found), text
    return {(m[1], m[3], m[4], m[2]) for m in found if m}


def dnf_updates(host: Host, *options: str) -> tuple[set[tuple[str, str, str]], Replaced]:
    """`dnf check-update`: ((name, architecture, version) of updates, what it replaces under another name)."""
    done = host.ssh(f"LC_ALL=C dnf -q -C check-update {' '.join(options)}", check=False)
    assert done.returncode in {0, 100}, done.stderr
    listed, _head, replacing = done.stdout.partition("Obsoleting Packages\n")
    rows = [line.split() for line in listed.splitlines() if line.strip()]
    assert all(len(row) == 3 for row in rows), done.stdout
    updates = {(*row[0].rsplit(".", 1), row[1]) for row in rows}
    replaced: dict[tuple[str, str], tuple[bytes, str]] = {}
    for line in replacing.splitlines():
        if not line.startswith(" "):
            (new, architecture), version = line.split()[0].rsplit(".", 1), line.split()[1]
            continue
        old = line.split()[0]
        if new not in oddities_dnf.BY_ITS_OWN_UPDATE.values() and architecture in _architectures(old):
            rank = key("rpm", version), version
            replaced[old, new] = max(replaced.get((old, new), rank), rank)
    # dnf lists every version of what replaces something, and every architecture, and installs the best.
    return updates, {(*names, version) for names, (_, version) in replaced.items()}  # type: ignore[return-value]


def _architectures(old: str) -> set[str]:
    """What may replace an installed `name.architecture`."""
    own = old.rpartition(".")[2]
    return {"noarch", oddities_dnf.NATIVE if own == "noarch" else own}


def dnf_advisories(host: Host) -> set[tuple[str, str]]:
    """`dnf updateinfo list --available`: (advisory, name.architecture)."""
    rows = [line.split() for line in host.ssh("dnf -q -C updateinfo list --available").stdout.splitlines()]
    found = set()
    for row in rows:
        nevra, architecture = row[-1].rsplit(".", 1)
        found.add((row[0], f"{nevra.rsplit('-', 2)[0]}.{architecture}"))
    return found


def without_installed(updates: Iterable[Update]) -> set[tuple[str, str, str]]:
    return {(name, architecture, candidate) for name, architecture, _installed, candidate in updates}


def offered_for(installed: Mapping[tuple[str, str], str], updates: Iterable[tuple[str, str, str]]) -> set[Any]:
    """dnf names the architecture of what it offers, the server that of what is installed: use the latter."""
    listed = set(updates)
    names: dict[str, list[str]] = {}
    for name, architecture in installed:
        names.setdefault(name, []).append(architecture)
    out = set()
    for name, architecture, version in listed:
        native = {one for one in listed if one[:2] == (name, oddities_dnf.NATIVE)}
        if architecture not in names[name] and native and architecture != oddities_dnf.NATIVE:
            assert name in DNF_FOREIGN, (name, architecture, version)
            continue
        out.add((name, architecture if architecture in names[name] else names[name][0], version))
    return out


def rpm_packages(host: Host) -> dict[tuple[str, str], str]:
    """(name, architecture) -> one of the installed versions."""
    text = host.ssh("rpm -qa --qf '%{name} %{arch} %{evr}\\n'").stdout
    return {(row[0], row[1]): row[2] for row in map(str.split, text.splitlines()) if row[0] != "gpg-pubkey"}


def check_apt(product: Product, name: str) -> set[Update]:
    product.report(name)
    listed = apt_updates(product.lab[name])
    again = {row for row in listed if row[2] == row[3]}
    assert {row[0] for row in again} <= set(APT_ACCEPTED), again
    theirs = listed - again
    assert not (found := differences(updates_of(product.patches(name)["patches"]), theirs)), "\n".join(found)
    return theirs


def check_missing(product: Product, name: str, would_upgrade: set[tuple[str, ...]]) -> None:
    """What is called missing is what the package manager would upgrade or replace, without what it keeps back."""
    rows = [row for row in product.patches(name)["patches"] if row["verdict"] == "missing"]
    missing = {(row["package"], row["candidate"]) for row in rows if not row["replaced_by"]}
    replaced = {(row["package"], new["name"], new["version"]) for row in rows for new in row["replaced_by"]}
    found = differences(missing | replaced, would_upgrade)
    assert not found, "\n".join(found)


def apt_would_upgrade(host: Host) -> set[tuple[str, ...]]:
    """(name, version) of the updates of `apt-get -s dist-upgrade`."""
    text = host.ssh("LC_ALL=C apt-get -s dist-upgrade").stdout
    found = re.findall(r"(?m)^Inst ([^\s:]+)\S* \[(\S+)\] \((\S+) ", text)
    return {(name, new) for name, old, new in found if new != old}


def dnf_would_upgrade(host: Host) -> set[tuple[str, ...]]:
    """Of `dnf upgrade`: (name, version) of what comes in place of an older version, or beside another kernel, and
    (name, what replaces it, version of that)."""
    text = host.ssh("LC_ALL=C COLUMNS=200 dnf -C upgrade --nobest --assumeno", check=False).stdout
    found: set[tuple[str, ...]] = set()
    section, name, version = "", "", ""
    for line in text.splitlines():
        if not line.startswith(" "):
            section = line
        elif line[1] != " ":
            name, _architecture, version, *_rest = line.split()
            if section == "Upgrading:" or (section == "Installing:" and name.startswith("kernel")):
                found.add((name, version))
        elif section == "Installing:" and line.split()[0] == "replacing":
            found.add((line.split()[1].rpartition(".")[0], name, version))
    return found


def check_dnf(product: Product, name: str, *, fed: Mapping[str, str] = {}) -> set[tuple[str, str, str]]:
    """What dnf would update, after the server agreed. `fed`: package -> advisory that feeds tell, and dnf does not."""
    product.report(name)
    host, installed = product.lab[name], rpm_packages(product.lab[name])
    for security in (False, True):
        theirs, replaced = dnf_updates(host, *(["--security"] if security else []))
        rows = product.patches(name)["patches"]
        ours = without_installed(updates_of(rows, security=security))
        ours = {row for row in ours if not (security and row[0] in fed)}
        theirs = {row for row in theirs if row[0] not in DNF_TWICE}
        found = differences(ours, offered_for(installed, theirs)) + differences(
            replaced_in(rows, security=security), replaced
        )
        assert not found, "\n".join([f"{security=}", *found])
    ours_named = {
        (advisory, f"{row['package']}.{row['architecture']}")
        for row in product.patches(name)["patches"]
        for advisory in row["advisories"]
        if advisory not in fed.values() and not row["replaced_by"]
    }
    found = differences(ours_named, dnf_advisories(host))
    assert not found, "\n".join(found)
    return dnf_updates(host)[0]


@pytest.mark.parametrize("stage", ["v1", "v2"])
def test_ordinary_updates(product: Product, stage: str) -> None:
    product.enrol("deb1", "rpm1")
    product.lab.publish(stage)
    assert bool(check_apt(product, "deb1")) is bool(check_dnf(product, "rpm1")) is (stage == "v2")


def test_apt_oddities_before_and_after_the_upgrade(product: Product) -> None:
    oddities.use(product.lab, "deb1")
    product.enrol("deb1")
    assert {row[0] for row in check_apt(product, "deb1")} == oddities_apt.UPGRADABLE
    assert oddities_apt.REBUILT in {row[0] for row in apt_updates(product.lab["deb1"])}
    check_missing(product, "deb1", apt_would_upgrade(product.lab["deb1"]))
    product.lab["deb1"].ssh("DEBIAN_FRONTEND=noninteractive apt-get -y -q dist-upgrade", timeout=120)
    assert {row[0] for row in check_apt(product, "deb1")} == {"odd-skewed", "odd-stuck"}


def test_dnf_oddities_before_and_after_the_upgrade(product: Product) -> None:
    oddities.use(product.lab, "rpm1")
    product.enrol("rpm1")
    assert {row[0] for row in check_dnf(product, "rpm1")} == oddities_dnf.UPGRADABLE
    listed, replaced = dnf_updates(product.lab["rpm1"], "--security")
    assert {row[0] for row in listed} == oddities_dnf.SECURITY
    assert {row[:2] for row in replaced} == {("odd-oldname.noarch", "odd-newname")}, "a security fix under another name"
    rows = {row["package"]: row for row in product.patches("rpm1")["patches"] if row["replaced_by"]}
    assert {old: tuple(new["name"] for new in row["replaced_by"]) for old, row in rows.items()} == oddities_dnf.REPLACED
    fix = rows["odd-oldname"]
    assert (fix["severity"], fix["advisories"], fix["cves"]) == ("Important", ["RLSA-2026:12"], ["CVE-2026-2009"])
    check_missing(product, "rpm1", dnf_would_upgrade(product.lab["rpm1"]))
    product.lab["rpm1"].ssh("dnf -y -q upgrade --nobest", timeout=180)
    left = {row[0] for row in check_dnf(product, "rpm1")}
    assert left == {"odd-grown", "odd-stuck"}, "the first came in its older version"
    product.lab["rpm1"].ssh("dnf -y -q upgrade --nobest", timeout=180)
    assert {row[0] for row in check_dnf(product, "rpm1")} == {"odd-stuck"}
    assert product.patches("rpm1")["status"] == "current"
