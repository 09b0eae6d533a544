# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The DNF side: signed RPMs, repository metadata and updateinfo advisories."""
from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

from .fixtures import FIXTURES, NEW_DEPENDENCY, Fixture
from .signing import STRANGER, TRUSTED, detach_sign, sign_rpms
from .system import run

RELEASE = "1.el9"
ADVISORY_PREFIX = {"security": "RLSA", "bugfix": "RLBA", "enhancement": "RLEA"}
# Stands for the parts of the distribution that the rpm database of a lab host does not hold.
RELEASE_PROVIDES = ("system-release = 9.6", "system-release(releasever) = 9", "redhat-release = 9.6", "/bin/sh",
                    "bash", "glibc = 2.34")


def build_rpms(pool: Path, topdir: Path) -> None:
    """Build and sign all RPMs; one rpmbuild run a version, the packages being sub-packages of one spec.

    Call it inside signing().
    """
    for version in ("1.0", "2.0"):
        spec = topdir / f"fixtures-{version}.spec"
        spec.write_text(_spec(version))
        run("rpmbuild", "-bb", "--quiet", "--nodeps", "--define", f"_topdir {topdir}",
            "--define", "__os_install_post %{nil}", "--define", "_build_id_links none",
            "--define", f"_dbpath {topdir}/no-database", spec)
    rpms = sorted(path for path in (topdir / "RPMS").rglob("*.rpm") if not path.name.startswith("labfixtures-"))
    sign_rpms(rpms, topdir)
    for path in rpms:
        shutil.move(path, pool / path.name)


def _spec(version: str) -> str:
    head = (f"Name: labfixtures\nVersion: {version}\nRelease: {RELEASE}\nSummary: lab fixtures\nLicense: MIT\n"
            "BuildArch: noarch\nAutoReqProv: no\n%description\nlab fixtures\n")
    install = ["%install", "mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/lab"]
    packages = []

    def add(name: str, extra: str = "", pre: str = "") -> None:
        install.append(f"printf '#!/bin/sh\\necho {name} {version}\\n' > %{{buildroot}}/usr/bin/{name}")
        install.append(f"echo {version} > %{{buildroot}}/usr/share/lab/{name}")
        packages.append(
            f"%package -n {name}\nSummary: lab fixture {name}\nAutoReqProv: no\n{extra}"
            f"%description -n {name}\nlab fixture {name}\n"
            f"%files -n {name}\n%attr(755,root,root) /usr/bin/{name}\n/usr/share/lab/{name}\n{pre}")

    for fixture in FIXTURES:
        newer = version == "2.0"
        add(fixture.as_rpm,
            extra=f"Requires: {NEW_DEPENDENCY}\n" if newer and fixture.needs_new else "",
            pre=f"%pre -n {fixture.as_rpm}\necho '{fixture.as_rpm}: made to fail' >&2\nexit 1\n"
            if newer and fixture.broken else "")
    if version == "1.0":
        add(NEW_DEPENDENCY)
        provides = "".join(f"Provides: {capability}\n" for capability in RELEASE_PROVIDES)
        packages.append("%package -n rocky-release\nVersion: 9.6\nSummary: release\nAutoReqProv: no\n" + provides
                        + "%description -n rocky-release\nrelease\n%files -n rocky-release\n")
    return "\n".join([head, "\n".join(install), *packages])


def _contents(stage: str, pool: Path) -> list[Path]:
    names = ["rocky-release-9.6"]
    for fixture in FIXTURES:
        names.append(f"{fixture.as_rpm}-1.0")
        if fixture.offered(stage):
            names.append(f"{fixture.as_rpm}-2.0")
            if fixture.needs_new:
                names.append(f"{NEW_DEPENDENCY}-1.0")
    return [pool / f"{name}-{RELEASE}.noarch.rpm" for name in names]


def build_dnf(root: Path, stage: str, pool: Path) -> None:
    """Lay out a repository with its metadata and a signature on it. Call it inside signing()."""
    (root / "Packages").mkdir(parents=True)
    for rpm in _contents(stage, pool):
        os.link(rpm, root / "Packages" / rpm.name)
    run("createrepo_c", "--quiet", "--workers", "2", root)
    advisories = [_advisory(number, fixture) for number, fixture in enumerate(FIXTURES, 1000) if fixture.offered(stage)]
    if advisories:
        file = root / "updateinfo.xml"
        file.write_text('<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n' + "".join(advisories) + "</updates>\n")
        run("modifyrepo_c", "--mdtype=updateinfo", file, root / "repodata")
        file.unlink()
    repomd, forged = root / "repodata/repomd.xml", stage == "badsig"
    if forged:
        # a checksum that nothing has, rather than a damaged file: hosts with the file in their cache refuse it as well
        repomd.write_text(re.sub(r'(<data type="primary">\s*<checksum type="sha256">)\w+', rf"\g<1>{'0' * 64}",
                                 repomd.read_text()))
    detach_sign(repomd, repomd.with_suffix(".xml.asc"), STRANGER if forged else TRUSTED)


def _advisory(number: int, fixture: Fixture) -> str:
    name, cve = fixture.as_rpm, fixture.cve
    severity = f"<severity>{fixture.severity}</severity>" if fixture.severity else ""
    reference = (f'<reference href="https://lab.invalid/{cve}" id="{cve}" type="cve" title="{cve}"/>' if cve else "")
    reboot = "<reboot_suggested>True</reboot_suggested>" if fixture.reboot else ""
    return f"""\
 <update from="lab@lab.invalid" status="final" type="{fixture.kind}" version="1">
  <id>{ADVISORY_PREFIX[fixture.kind]}-2026:{number}</id>
  <title>{escape(name)} {fixture.kind} update</title>
  <issued date="2026-06-01 00:00:00"/><updated date="2026-06-01 00:00:00"/>
  <rights>none</rights><release>Rocky Linux 9</release>{severity}
  <summary>{escape(name)} update</summary><description>Lab advisory for {escape(name)}</description>
  <references>{reference}</references>
  <pkglist><collection short="lab"><name>lab</name>
   <package name="{name}" version="2.0" release="{RELEASE}" epoch="0" arch="noarch"
    src="labfixtures-2.0-{RELEASE}.src.rpm">
    <filename>{name}-2.0-{RELEASE}.noarch.rpm</filename>{reboot}
   </package>
  </collection></pkglist>
 </update>
"""
