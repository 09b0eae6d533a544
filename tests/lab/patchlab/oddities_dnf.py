# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""A DNF repository of what lists of updates get wrong: kernels, other names, architectures, advisories."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from .repos_dnf import RELEASE
from .signing import TRUSTED, detach_sign, sign_rpms
from .system import run

NATIVE = "x86_64"


class Rpm(NamedTuple):
    """A version of a package; `installed`: hosts begin with it, `offered`: the repository has it."""

    name: str
    version: str
    architecture: str = "noarch"
    installed: bool = False
    offered: bool = True
    epoch: int = 0
    header: str = ""
    """More lines for its header in the spec file."""

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-{RELEASE}.{self.architecture}.rpm"


class Advisory(NamedTuple):
    """An entry of updateinfo.xml; `packages`: (name, version, architecture), `epoch` of all of them."""

    id: str
    kind: str
    packages: tuple[tuple[str, str, str], ...]
    severity: str = ""
    cves: tuple[str, ...] = ()
    epoch: int = 0


_KERNEL = ("kernel", "kernel-core")


def _kernel(version: str, *, installed: bool = False, offered: bool = True) -> tuple[Rpm, ...]:
    return tuple(Rpm(name, version, NATIVE, installed, offered, header="Provides: installonlypkg(kernel)\n")
                 for name in _KERNEL)


RPMS = (
    # three kernels side by side, and one that is newer than all
    *_kernel("5.14.0.1", installed=True, offered=False),
    *_kernel("5.14.0.2", installed=True), *_kernel("5.14.0.9", installed=True),
    *_kernel("5.14.0.10"),
    # replaced by another name: as an update of one that is there, as something new, and by one that splits in two
    Rpm("odd-oldname", "1.0", installed=True),
    Rpm("odd-newname", "2.0", header="Obsoletes: odd-oldname < 2.0\nProvides: odd-oldname = 2.0\n"),
    Rpm("odd-keeps", "1.0", installed=True), Rpm("odd-swallowed", "1.0", installed=True),
    Rpm("odd-keeps", "2.0", header="Obsoletes: odd-swallowed <= 1.0\n"),
    Rpm("odd-spared", "3.0", installed=True, offered=False),
    Rpm("odd-toolate", "1.0", header="Obsoletes: odd-spared < 2.0\n"),
    # by an older version only: dnf takes it for all that
    Rpm("odd-peaceful", "1.0", installed=True),
    Rpm("odd-grown", "1.0", header="Obsoletes: odd-peaceful\n"), Rpm("odd-grown", "2.0"),
    # by two together; by one that cannot be installed; two by one, which is built for several architectures
    Rpm("odd-divided", "1.0", installed=True),
    Rpm("odd-part-with-the-longer-one-of-all-names-here", "2.0", epoch=1, header="Obsoletes: odd-divided < 2.0\n"),
    Rpm("odd-part-two", "2.1", header="Obsoletes: odd-divided < 2.0\n"),
    Rpm("odd-barred", "1.0", installed=True),
    Rpm("odd-impossible", "2.0", header="Obsoletes: odd-barred < 2.0\nRequires: odd-nowhere\n"),
    Rpm("odd-first", "1.0", installed=True), Rpm("odd-second", "1.0", NATIVE, installed=True),
    *(Rpm("odd-merged", version, architecture, header="Obsoletes: odd-first < 2, odd-second < 2\n")
      for version in ("2.0", "2.1") for architecture in (NATIVE, "i686")),
    # by one of another name, and there is a newer version of its own; for two architectures
    Rpm("odd-forked", "1.0", installed=True), Rpm("odd-forked", "1.5"),
    Rpm("odd-successor", "0.9", header="Obsoletes: odd-forked < 2\n"),
    *(Rpm("odd-bothold", "1.0", architecture, installed=True) for architecture in (NATIVE, "i686")),
    *(Rpm("odd-bothnew", "1.0", architecture, header="Obsoletes: odd-bothold < 2\n")
      for architecture in (NATIVE, "i686")),
    # both architectures; one of them; one of both got the update
    *(Rpm("odd-both", version, architecture, installed=version == "1.0")
      for version in ("1.0", "2.0") for architecture in (NATIVE, "i686")),
    Rpm("odd-native", "1.0", NATIVE, installed=True), Rpm("odd-native", "2.0", NATIVE),
    Rpm("odd-native", "2.1", "i686"),
    # built for each machine now, and the other way round
    Rpm("odd-wasnoarch", "1.0", installed=True), Rpm("odd-wasnoarch", "2.0", NATIVE),
    Rpm("odd-wasarch", "1.0", NATIVE, installed=True), Rpm("odd-wasarch", "2.0"),
    Rpm("odd-becameboth", "1.0", installed=True), Rpm("odd-becameboth", "2.0", NATIVE),
    Rpm("odd-becameboth", "2.1", "i686"),
    Rpm("odd-wasforeign", "1.0", "i686", installed=True), Rpm("odd-wasforeign", "2.0"),
    # security fix below what is newest; two advisories on the way; an advisory of what is not offered any more
    Rpm("odd-above", "1.0", installed=True), Rpm("odd-above", "1.1"), Rpm("odd-above", "1.2"),
    Rpm("odd-split", "1.0", installed=True), Rpm("odd-split", "1.1"), Rpm("odd-split", "1.2"),
    Rpm("odd-withdrawn", "1.0", installed=True), Rpm("odd-withdrawn", "1.2"),
    Rpm("odd-fixed", "1.1", installed=True), Rpm("odd-fixed", "1.0"), Rpm("odd-fixed", "1.2"),
    # one advisory for a package and its libraries, of which only one is installed
    Rpm("odd-tools", "1.0", installed=True), Rpm("odd-tools", "2.0"), Rpm("odd-libs", "2.0"),
    Rpm("odd-custom", "1.0", installed=True), Rpm("odd-custom", "2.0"),
    # order of versions
    Rpm("odd-epoch", "9.9", installed=True), Rpm("odd-epoch", "0.1", epoch=1),
    Rpm("odd-tilde", "1.0", installed=True, offered=False), Rpm("odd-tilde", "1.0~rc9"),
    Rpm("odd-caret", "1.0", installed=True), Rpm("odd-caret", "1.0^git1"),
    # an update that cannot be installed is an update nevertheless
    Rpm("odd-stuck", "1.0", installed=True), Rpm("odd-stuck", "2.0", header="Requires: odd-nowhere\n"),
    # newer than the repository; nowhere in it; nothing new
    Rpm("odd-local", "3.0", installed=True, offered=False), Rpm("odd-local", "2.0"),
    Rpm("odd-orphan", "1.0", installed=True, offered=False),
    Rpm("odd-same", "1.0", installed=True),
)  # fmt: skip
ADVISORIES = (
    Advisory("RLSA-2026:1", "security", tuple((name, "5.14.0.10", NATIVE) for name in _KERNEL), "Important",
             ("CVE-2026-2001",)),
    Advisory("RLSA-2026:0", "security", tuple((name, "5.14.0.2", NATIVE) for name in _KERNEL), "Moderate"),
    Advisory("FEDORA-2026-abcdef", "security", (("odd-both", "2.0", NATIVE), ("odd-both", "2.0", "i686")), "Critical",
             ("CVE-2026-2002", "CVE-2026-2003")),
    Advisory("CUSTOM_1-2", "security", (("odd-custom", "2.0", "noarch"),)),
    Advisory("RLSA-2026:3", "security", (("odd-wasarch", "2.0", "noarch"),), "Moderate"),
    Advisory("RLSA-2026:4", "security", (("odd-above", "1.1", "noarch"),), "Low", ("CVE-2026-2004",)),
    Advisory("RLBA-2026:5", "bugfix", (("odd-above", "1.2", "noarch"),)),
    Advisory("RLSA-2026:6", "security", (("odd-split", "1.1", "noarch"),), "Moderate", ("CVE-2026-2005",)),
    Advisory("RLSA-2026:7", "security", (("odd-split", "1.2", "noarch"),), "Important", ("CVE-2026-2006",)),
    Advisory("RLSA-2026:8", "security", (("odd-withdrawn", "1.1", "noarch"),), "Important", ("CVE-2026-2007",)),
    Advisory("RLSA-2026:9", "security", (("odd-fixed", "1.1", "noarch"),), "Important", ("CVE-2026-2008",)),
    Advisory("RLEA-2026:10", "enhancement", (("odd-fixed", "1.2", "noarch"),)),
    Advisory("RLSA-2026:11", "security", (("odd-tools", "2.0", "noarch"), ("odd-libs", "2.0", "noarch")), "Low"),
    Advisory("RLSA-2026:12", "security", (("odd-newname", "2.0", "noarch"),), "Important", ("CVE-2026-2009",)),
    Advisory("RLSA-2026:13", "security", (("odd-epoch", "0.1", "noarch"),), "Important", epoch=1),
    Advisory("RLBA-2026:14", "bugfix", (("odd-wasnoarch", "2.0", NATIVE),)),
    Advisory("RLSA-2026:15", "security", (("odd-local", "2.0", "noarch"), ("odd-same", "1.0", "noarch")), "Critical"),
    Advisory("RLBA-2026:16", "newpackage", (("odd-caret", "1.0^git1", "noarch"),)),
)
UPGRADABLE = frozenset((
    *_KERNEL, "odd-keeps", "odd-both", "odd-native", "odd-wasnoarch", "odd-wasarch", "odd-becameboth",
    "odd-wasforeign", "odd-above", "odd-split", "odd-withdrawn", "odd-fixed", "odd-tools", "odd-custom", "odd-epoch",
    "odd-caret", "odd-stuck", "odd-forked",
))
REPLACED = {
    "odd-oldname": ("odd-newname",), "odd-peaceful": ("odd-grown",), "odd-barred": ("odd-impossible",),
    "odd-divided": ("odd-part-two", "odd-part-with-the-longer-one-of-all-names-here"),
    "odd-first": ("odd-merged",), "odd-second": ("odd-merged",),
    "odd-forked": ("odd-successor",), "odd-bothold": ("odd-bothnew",),
}
"""Package -> those of other names that dnf would install in its place."""
BY_ITS_OWN_UPDATE = {"odd-swallowed": "odd-keeps"}
"""Package -> the one that is installed, and whose update replaces it."""
# as dnf sees it: it looks for advisories of a package by name and the architecture that is installed
SECURITY = frozenset((
    *_KERNEL, "odd-both", "odd-above", "odd-split", "odd-withdrawn", "odd-tools", "odd-custom", "odd-epoch",
))


def build(root: Path, topdir: Path) -> None:
    """Write the repository and, in pool/, all packages below `root`; `topdir` is scratch. Call it inside signing()."""
    pool, packages = root / "pool", root / "Packages"
    pool.mkdir(parents=True)
    packages.mkdir()
    for rpms in _waves(RPMS):
        _build(rpms, topdir)
    built = sorted(path for path in (topdir / "RPMS").rglob("*.rpm") if not path.name.startswith("labodd-"))
    sign_rpms(built, topdir)
    for path in built:
        shutil.move(path, pool / path.name)
    for rpm in RPMS:
        if rpm.offered:
            os.link(pool / rpm.filename, packages / rpm.filename)
    run("createrepo_c", "--quiet", "--workers", "2", "--excludes", "pool/*", root)
    file = root / "updateinfo.xml"
    file.write_text('<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n' + "".join(map(_entry, ADVISORIES))
                    + "</updates>\n")
    run("modifyrepo_c", "--mdtype=updateinfo", file, root / "repodata")
    file.unlink()
    detach_sign(root / "repodata/repomd.xml", root / "repodata/repomd.xml.asc", TRUSTED)


def _waves(rpms: Iterable[Rpm]) -> list[list[Rpm]]:
    """One rpmbuild run each: a name occurs once in a spec file, and a run is for one architecture beside noarch."""
    waves: list[list[Rpm]] = []
    for rpm in rpms:
        for wave in waves:
            foreign = {other.architecture for other in wave} - {"noarch", rpm.architecture}
            if rpm.name not in {other.name for other in wave} and (rpm.architecture == "noarch" or not foreign):
                wave.append(rpm)
                break
        else:
            waves.append([rpm])
    return waves


def _build(rpms: list[Rpm], topdir: Path) -> None:
    target = next((rpm.architecture for rpm in rpms if rpm.architecture != "noarch"), NATIVE)
    head = (f"Name: labodd\nVersion: 1\nRelease: {RELEASE}\nSummary: lab oddities\nLicense: MIT\nAutoReqProv: no\n"
            "%description\nlab oddities\n%install\nmkdir -p %{buildroot}/usr/share/lab\n")
    install, parts = [], []
    for rpm in rpms:
        data = f"/usr/share/lab/{rpm.name}-{rpm.version}"
        install.append(f"echo {rpm.name} {rpm.version} > %{{buildroot}}{data}\n")
        build_arch = "BuildArch: noarch\n" if rpm.architecture == "noarch" else ""
        parts.append(
            f"%package -n {rpm.name}\nVersion: {rpm.version}\nRelease: {RELEASE}\nEpoch: {rpm.epoch}\n"
            f"Summary: lab oddity {rpm.name}\nAutoReqProv: no\n{build_arch}{rpm.header}"
            f"%description -n {rpm.name}\nlab oddity\n%files -n {rpm.name}\n{data}\n")
    spec = topdir / "labodd.spec"
    spec.write_text("".join([head, *install, *parts]))
    run("rpmbuild", "-bb", "--quiet", "--nodeps", "--target", target, "--define", f"_topdir {topdir}",
        "--define", "__os_install_post %{nil}", "--define", "_build_id_links none", "--define", "debug_package %{nil}",
        "--define", f"_dbpath {topdir}/no-database", spec)


def _entry(advisory: Advisory) -> str:
    severity = f"<severity>{advisory.severity}</severity>" if advisory.severity else ""
    references = "".join(f'<reference href="https://lab.invalid/{cve}" id="{cve}" type="cve" title="{cve}"/>'
                         for cve in advisory.cves)
    packages = "".join(
        f'<package name="{name}" version="{escape(version)}" release="{RELEASE}" epoch="{advisory.epoch}"'
        f' arch="{architecture}" src="labodd-1-{RELEASE}.src.rpm">'
        f"<filename>{name}-{version}-{RELEASE}.{architecture}.rpm</filename></package>"
        for name, version, architecture in advisory.packages)
    return f"""\
 <update from="lab@lab.invalid" status="final" type="{advisory.kind}" version="1">
  <id>{advisory.id}</id><title>{advisory.id}</title>
  <issued date="2026-06-01 00:00:00"/><updated date="2026-06-01 00:00:00"/>
  <rights>none</rights><release>Rocky Linux 9</release>{severity}
  <summary>lab oddity</summary><description>lab oddity</description><references>{references}</references>
  <pkglist><collection short="lab"><name>lab</name>{packages}</collection></pkglist>
 </update>
"""


def setup_script(url: str, keyring: str) -> str:
    """What makes a host one of this repository's: packages as at the beginning, no other repository."""
    installed = " ".join(f"{url}/pool/{rpm.filename}" for rpm in RPMS if rpm.installed)
    return f"""set -e
        mkdir /tmp/odd && cd /tmp/odd
        for file in {installed}; do curl -fsSO "$file"; done
        rpm -i --nodeps --oldpackage *.rpm
        rm -rf /tmp/odd /etc/yum.repos.d/*
        printf '[odd]\\nname=Lab oddities\\nbaseurl={url}\\nenabled=1\\ngpgcheck=1\\ngpgkey=file://{keyring}\\n' \\
          > /etc/yum.repos.d/odd.repo
    """
