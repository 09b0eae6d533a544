# SPDX-License-Identifier: Apache-2.0
"""dnf: parsing of recorded outputs, version order against rpm."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

RPMS = """\
gpg-pubkey\t(none)\t17d9762b\t6b0243c8\t(none)\t(none)
bash\t(none)\t5.1.8\t6.el9\tx86_64\tbash-5.1.8-6.el9.src.rpm
openssl-libs\t1\t3.0.7\t24.el9\tx86_64\topenssl-3.0.7-24.el9.src.rpm
openssl-libs\t1\t3.0.7\t24.el9\ti686\topenssl-3.0.7-24.el9.src.rpm
kernel-core\t0\t5.14.0\t503.el9\tx86_64\tkernel-5.14.0-503.el9.src.rpm
kernel-core\t0\t5.14.0\t70.el9\tx86_64\tkernel-5.14.0-70.el9.src.rpm
moved\t(none)\t1.0\t1\tnoarch\tmoved-1.0-1.src.rpm
"""
UPGRADES = """\
openssl-libs|1|3.0.7|27.el9|x86_64|baseos|2400100
openssl-libs|1|3.0.7|28.el9|x86_64|baseos|2400200
openssl-libs|1|3.0.7|27.el9|i686|baseos|2300000
kernel-core|0|5.14.0|570.el9|x86_64|baseos|
moved|0|2.0|1|x86_64|appstream|33000
not-installed|0|1.0|1|x86_64|appstream|1
"""
LIST_DNF4 = """\
RLSA-2026:1002 Critical/Sec. openssl-libs-1:3.0.7-27.el9.x86_64
RLSA-2026:1009 Low/Sec.      openssl-libs-1:3.0.7-28.el9.x86_64
RLSA-2026:1010 Low/Sec.      openssl-libs-1:3.0.7-99.el9.x86_64
RLBA-2026:1000 bugfix        kernel-core-5.14.0-570.el9.x86_64
FEDORA-2026-ab newpackage    moved-2.0-1.x86_64
SEC-2026-1     Unknown/Sec.  bash-5.1.8-9.el9.x86_64
"""
LIST_DNF5 = """\
Name           Type        Severity                         Package              Issued
RLSA-2026:1002 security    Critical openssl-libs-1:3.0.7-27.el9.x86_64 2026-06-01 00:00:00
RLBA-2026:1000 bugfix      None     kernel-core-5.14.0-570.el9.x86_64 2026-06-01 00:00:00
"""
INFO_DNF4 = """\
===============================================================================
  openssl security update
===============================================================================
  Update ID: RLSA-2026:1002
       Type: security
    Updated: 2026-06-01 00:00:00
       Bugs: 123 - CVE-2000-0001 in a title
       CVEs: CVE-2026-1001
           : CVE-2026-1002
Description: It mentions CVE-1999-0001
   Severity: Critical

===============================================================================
  kernel bugfix update
===============================================================================
  Update ID: RLBA-2026:1000
       Type: bugfix
"""
REPOINFO = """\
Repo-id            : bad
Repo-name          : bad
Repo-status        : disabled
Repo-baseurl       : http://repo.example/nonexist
Repo-expire        : 172800 second(s) (last: unknown)

Repo-id            : baseos
Repo-name          : Lab: BaseOS
Repo-status        : enabled
Repo-updated       : Sun Nov 22 01:22:19 2026
Repo-metalink      : https://mirrors.example/metalink?repo=baseos
Repo-baseurl       : http://repo.example/rpm (3 more)
Repo-expire        : 21600 second(s) (last: Sun Nov 22 01:27:54 2026)
Total packages: 17
"""


@pytest.fixture
def packages(agent: ModuleType) -> list[dict[str, object]]:
    found: list[dict[str, object]] = agent.apply_upgrades(
        agent.parse_rpms(RPMS), agent.parse_upgrades(UPGRADES), agent.parse_advisory_list(LIST_DNF4),
        agent.parse_advisory_cves(INFO_DNF4))
    return found


def pick(packages: list[dict[str, object]], name: str, **values: object) -> dict[str, object]:
    (found,) = (p for p in packages if p["name"] == name and all(p[k] == v for k, v in values.items()))
    return found


def test_every_installed_instance_is_one_entry_and_keys_are_none(packages: list[dict[str, object]]) -> None:
    assert [(p["name"], p["architecture"], p["currentVersion"]) for p in packages] == [
        ("bash", "x86_64", "5.1.8-6.el9"), ("kernel-core", "x86_64", "5.14.0-70.el9"),
        ("kernel-core", "x86_64", "5.14.0-503.el9"), ("moved", "noarch", "1.0-1"),
        ("openssl-libs", "i686", "1:3.0.7-24.el9"), ("openssl-libs", "x86_64", "1:3.0.7-24.el9")]


def test_the_newest_offer_wins_with_every_advisory_up_to_it(packages: list[dict[str, object]]) -> None:
    assert pick(packages, "openssl-libs", architecture="x86_64") == {
        "name": "openssl-libs", "currentVersion": "1:3.0.7-24.el9", "architecture": "x86_64", "sourceName": "openssl",
        "availableVersion": "1:3.0.7-28.el9", "needsUpdate": True, "isSecurityUpdate": True,
        "sourceRepository": "baseos", "size": 2_400_200,
        "advisories": [
            {"id": "RLSA-2026:1002", "type": "security", "severity": "Critical",
             "cves": ["CVE-2026-1001", "CVE-2026-1002"]},
            {"id": "RLSA-2026:1009", "type": "security", "severity": "Low", "cves": []}]}
    assert pick(packages, "openssl-libs", architecture="i686")["availableVersion"] == "1:3.0.7-27.el9"


OBSOLETES = """\
Obsoleting Packages
bash-next.i686                                  1:6.0-1.el9                appstream
    bash.x86_64                                 5.1.8-6.el9                @System
bash-next.x86_64                                1:6.0-1.el9                appstream
    bash.x86_64                                 5.1.8-6.el9                @System
bash-next.x86_64                                1:5.9-1.el9                appstream
    bash.x86_64                                 5.1.8-6.el9                @System
a-part-of-bash-with-a-name-that-does-not-fit-into-its-column-any-more.noarch
                                                0.9-1                      appstream
    bash.x86_64                                 5.1.8-6.el9                @System
openssl-libs.x86_64                             1:3.0.7-28.el9             baseos
    moved.noarch                                1.0-1                      @System
other.x86_64                                    1.0-1                      baseos
    not-there-any-more.x86_64                   1.0-1                      @System
"""
LONG_NAME = "a-part-of-bash-with-a-name-that-does-not-fit-into-its-column-any-more"


def test_what_replaces_a_package_is_reported_with_it(
    agent: ModuleType, packages: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.platform, "machine", lambda: "x86_64")
    [(package, rows)] = agent.replacements(packages, agent.parse_obsoletes(OBSOLETES))
    assert rows == [
        (LONG_NAME, "noarch", "0.9-1", "appstream"), ("bash-next", "x86_64", "1:6.0-1.el9", "appstream"),
    ], "one of each name: the newest, for the machine; what is installed replaces moved by its update"
    advisories = [
        ("A-1", "security", "Low", ("bash-next", "1:5.9-1.el9", "x86_64")),
        ("A-2", "bugfix", None, ("bash-next", "1:6.0-1.el9", "x86_64")),
        ("A-3", "security", "Critical", ("bash-next", "1:6.1-1.el9", "x86_64")),
        ("A-4", "security", "Critical", ("bash-next", "1:5.9-1.el9", "i686")),
    ]  # fmt: skip
    agent.replace(package, rows, advisories, {"A-1": ["CVE-2026-1"]})
    assert package == {
        "name": "bash", "currentVersion": "5.1.8-6.el9", "architecture": "x86_64", "sourceName": "bash",
        "availableVersion": "0.9-1", "sourceRepository": "appstream", "needsUpdate": True, "isSecurityUpdate": True,
        "replacedBy": [{"name": LONG_NAME, "version": "0.9-1", "architecture": "noarch"},
                       {"name": "bash-next", "version": "1:6.0-1.el9", "architecture": "x86_64"}],
        "advisories": [{"id": "A-1", "type": "security", "severity": "Low", "cves": ["CVE-2026-1"]},
                       {"id": "A-2", "type": "bugfix", "severity": None, "cves": []}]}  # fmt: skip


@pytest.mark.parametrize("text", ["", "Obsoleting Packages\n", "    bash.x86_64 5.1.8-6.el9 @System\n", "a.b\n", "?"])
def test_nothing_replaces_anything_without_proof(
    agent: ModuleType, packages: list[dict[str, object]], text: str
) -> None:
    assert agent.replacements(packages, agent.parse_obsoletes(text)) == []


def test_a_replacement_of_which_only_dnf_itself_knows_that_it_is_a_security_fix(
    agent: ModuleType, packages: list[dict[str, object]]
) -> None:
    package = pick(packages, "bash")
    rows = [("bash-next", "x86_64", "6.0-1", "appstream")]
    agent.replace(package, rows, [], {}, {"other"})
    assert package["isSecurityUpdate"] is False
    agent.replace(package, rows, [], {}, {"bash-next"})
    assert (package["isSecurityUpdate"], package["advisories"]) == (True, [])


@pytest.mark.parametrize(("locks", "expected"), [
    ("bash-0:5.1.8-6.el9.*\n", "versionlock bash-0:5.1.8-6.el9.*"),
    ("bash\n", "versionlock bash"),
    ("bash-0:4.0-1.*\n", None),  # of another version: dnf replaces it for all that
    ("!bash-next-0:6.0-*\n", "versionlock !bash-next-0:6.0-*"),
    ("bash-next-0:5.0-1.*\n", "versionlock bash-next-0:5.0-1.*"),
    ("bash-next-0:6.0-1.*\n", None),
    ("moved\n", None),
])  # fmt: skip
def test_locks_hold_what_would_be_replaced(
    agent: ModuleType, packages: list[dict[str, object]], locks: str, expected: str | None
) -> None:
    package = pick(packages, "bash")
    agent.replace(package, [("bash-next", "x86_64", "6.0-1", "appstream")], [], {})
    agent.apply_locks(packages, agent.parse_locks(locks))
    assert (package.get("blockedDetail"), package["needsUpdate"]) == (expected, expected is None)


def test_only_a_python_program_has_an_interpreter(agent: ModuleType, tmp_path: Path) -> None:
    script, binary = tmp_path / "dnf", tmp_path / "dnf5"
    script.write_text("#!/usr/libexec/platform-python -s\n")
    binary.write_bytes(b"\x7fELF\2\1")
    assert agent.interpreter(str(script)) == "/usr/libexec/platform-python"
    assert [agent.interpreter(path) for path in (str(binary), str(tmp_path / "nothing"), None)] == [None, None, None]


def test_an_architecture_that_changes_with_the_update_is_told(packages: list[dict[str, object]]) -> None:
    assert pick(packages, "moved")["availableArchitecture"] == "x86_64"
    assert [p["name"] for p in packages if "availableArchitecture" in p] == ["moved"]


def test_only_the_newest_kernel_misses_an_update(packages: list[dict[str, object]]) -> None:
    assert pick(packages, "kernel-core", currentVersion="5.14.0-70.el9")["needsUpdate"] is False
    newest = pick(packages, "kernel-core", currentVersion="5.14.0-503.el9")
    assert newest["availableVersion"] == "5.14.0-570.el9"
    assert newest["isSecurityUpdate"] is False


def test_a_package_that_changes_architecture_is_followed(packages: list[dict[str, object]]) -> None:
    assert pick(packages, "moved")["availableVersion"] == "2.0-1"


def test_a_package_built_for_several_architectures_comes_in_that_of_the_host(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.platform, "machine", lambda: "x86_64")
    for offers in itertools.permutations(["moved|0|2.0|1|x86_64|a|5\n", "moved|0|2.1|1|i686|b|6\n"]):
        found = agent.apply_upgrades(agent.parse_rpms(RPMS), agent.parse_upgrades("".join(offers)), [], {})
        assert pick(found, "moved")["availableVersion"] == "2.0-1"


def test_an_advisory_without_an_offered_package_is_no_update(packages: list[dict[str, object]]) -> None:
    assert pick(packages, "bash")["needsUpdate"] is False


def test_advisory_rows_of_dnf4_and_dnf5(agent: ModuleType) -> None:
    assert agent.parse_advisory_list(LIST_DNF5) == [
        ("RLSA-2026:1002", "security", "Critical", ("openssl-libs", "1:3.0.7-27.el9", "x86_64")),
        ("RLBA-2026:1000", "bugfix", None, ("kernel-core", "5.14.0-570.el9", "x86_64"))]
    assert agent.parse_advisory_list(LIST_DNF4)[-1][2] is None


def test_repositories_tell_their_age_and_that_they_have_none(agent: ModuleType) -> None:
    bad, good = agent.parse_repositories(REPOINFO)
    assert bad["updated"] is None
    assert good == {"id": "baseos", "name": "Lab: BaseOS", "enabled": True,
                    "url": "https://mirrors.example/metalink?repo=baseos", "updated": 1795310874.0}


def test_reboot_into_a_newer_kernel_of_the_same_package(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "in_container", lambda: False)
    packages = agent.parse_rpms(RPMS)
    assert agent.newest_kernel("5.14.0-70.el9.x86_64", "rpm", packages) == ("5.14.0-503.el9.x86_64", True)
    assert agent.newest_kernel("5.14.0-503.el9.x86_64", "rpm", packages) == ("5.14.0-503.el9.x86_64", False)
    assert agent.newest_kernel("6.8.0-foreign", "rpm", packages) == ("5.14.0-503.el9.x86_64", False)


SKIPPING = """\
Dependencies resolved.

 Problem 1: cannot install the best update candidate for package lab-needy-1.0-1.el9.noarch
  - nothing provides lab-absent >= 3 needed by lab-needy-1:2.0-1.el9.noarch
 Problem 2: package lab-rival-2.0-1.el9.noarch conflicts with lab-plain provided by lab-plain-2.0-1.el9.noarch
  - cannot install the best update candidate for package lab-rival-1.0-1.el9.noarch
================================================================================
 Package            Architecture    Version              Repository        Size
================================================================================
Upgrading:
 lab-plain          noarch          2.0-1.el9            reasons          5.4 k
Skipping packages with conflicts:
(add '--best --allowerasing' to command line to force their upgrade):
 lab-rival          noarch          2.0-1.el9            reasons          5.5 k
Skipping packages with broken dependencies:
 lab-needy          noarch          1:2.0-1.el9          reasons          5.4 k
 a-package-with-a-name-that-is-longer-than-the-line
                    x86_64          3.0-1.el9            reasons          5.4 k

Transaction Summary
================================================================================
Upgrade  1 Package
Skip     2 Packages
"""


def test_what_an_upgrade_skips_and_why(agent: ModuleType) -> None:
    skipped = agent.parse_skipped(SKIPPING)
    assert skipped == {("lab-rival", "noarch"): "2.0-1.el9", ("lab-needy", "noarch"): "1:2.0-1.el9",
                       ("a-package-with-a-name-that-is-longer-than-the-line", "x86_64"): "3.0-1.el9"}
    troubles = agent.parse_troubles(SKIPPING)
    why = {key[0]: agent.why_skipped(key[0], version, key[1], troubles) for key, version in skipped.items()}
    assert why == {
        "lab-needy": "nothing provides lab-absent >= 3 needed by lab-needy-1:2.0-1.el9.noarch",
        "lab-rival": "package lab-rival-2.0-1.el9.noarch conflicts with lab-plain provided by "
                     "lab-plain-2.0-1.el9.noarch",
        "a-package-with-a-name-that-is-longer-than-the-line": "skipped by dnf upgrade"}
    assert agent.parse_skipped("Nothing to do.\n") == {}


@pytest.mark.parametrize(("line", "version", "held"), [
    ("openssl-libs-1:3.0.7-24.el9.*", "1:3.0.7-28.el9", True),  # the version that is installed is the only one
    ("openssl-libs-1:3.0.7-28.el9.*", "1:3.0.7-28.el9", False),  # the lock is on the newer one
    ("openssl-libs-1:3.0.*-*.el9.*", "1:3.0.7-28.el9", False),
    ("openssl-libs-1:3.0.*-*.el9.*", "1:3.2.1-1.el9", True),
    ("openssl-libs-1:3.0.7-24.el9.x86_64", "1:3.0.7-28.el9", True),
    ("openssl-1:3.0.7-24.el9.*", "1:3.0.7-28.el9", False),
    ("# openssl-libs-1:3.0.7-24.el9.*", "1:3.0.7-28.el9", False),
    ("!openssl-libs-1:3.0.7-28.el9.*", "1:3.0.7-28.el9", True),
    ("!openssl-libs-1:3.0.7-27.el9.*", "1:3.0.7-28.el9", False),
    ("", "1:3.0.7-28.el9", False)])
def test_locks_on_versions(agent: ModuleType, line: str, version: str, held: bool) -> None:
    package = {"name": "openssl-libs", "currentVersion": "1:3.0.7-24.el9", "architecture": "x86_64",
               "availableVersion": version, "needsUpdate": True}
    agent.apply_locks([package], agent.parse_locks(f"# Added lock on Sun Nov 22 2026\n{line}\n"))
    assert package.get("held", False) is held
    assert package["needsUpdate"] is not held
    assert package.get("blockedDetail") == (f"versionlock {line}" if held else None)


def test_a_locked_package_without_an_update_is_held_and_not_blocked(agent: ModuleType) -> None:
    package = {"name": "bash", "currentVersion": "5.1.8-6.el9", "architecture": "x86_64", "needsUpdate": False}
    agent.apply_locks([package], agent.parse_locks("bash-0:5.1.8-6.el9.*\n"))
    assert package["held"] is True
    assert "blocked" not in package


def test_which_option_excludes_a_package(agent: ModuleType) -> None:
    excluded = agent.exclusions({"main": {"exclude": "kernel*, php", "gpgcheck": "1"}, "base": {"excludepkgs": "bash"},
                                 "extra": {"includepkgs": "nginx"}, "free": {"exclude": ""}})
    assert sorted(excluded) == ["base", "extra", "main"]
    why = agent.why_excluded
    assert why("kernel-core", "base", excluded) == "exclude=kernel* of dnf.conf"
    assert why("bash", "base", excluded) == "excludepkgs=bash of repository base"
    assert why("curl", "extra", excluded) == "not in includepkgs of repository extra"
    assert why("curl", "base", excluded) == "excluded by the configuration of dnf"


def test_modules_that_provide_a_package(agent: ModuleType, tmp_path: Path) -> None:
    said = ("nodejs-1:20.1.0-1.module+el9.x86_64\nModule   : nodejs:20:9020:c0ffee:x86_64\nProfiles : common\n"
            "Repo     : appstream\nSummary  : Javascript runtime\n\nModule   : nodejs:20:9010:c0ffee:x86_64\n"
            "Profiles : \n\nperl-5.32-1.module+el9.noarch\nModule   : perl:5.32:1:c0ffee:x86_64\n")
    assert agent.parse_module_provides(said) == {
        ("nodejs", "1:20.1.0-1.module+el9", "x86_64"): {"nodejs:20"},
        ("perl", "5.32-1.module+el9", "noarch"): {"perl:5.32"}}
    states = {"nodejs": "stream=20\nprofiles=common\nstate=enabled", "perl": "stream=\nstate=disabled",
              "php": "stream = 8.2\nprofiles=\nstate = enabled"}
    for name, text in states.items():
        (tmp_path / f"{name}.module").write_text(f"[{name}]\nname={name}\n{text}\n")
    (tmp_path / "broken.module").write_text("\0")
    assert agent.module_streams(str(tmp_path)) == ["nodejs:20", "php:8.2"]
    assert agent.module_streams(str(tmp_path / "absent")) == []


@pytest.mark.skipif(shutil.which("rpm") is None, reason="rpm is the oracle of this test")
def test_version_order_is_that_of_rpm(agent: ModuleType) -> None:
    generator = random.Random(21)
    parts = ["1.0", "1.0^git1", "1.0~rc1", "1.0.1", "1.0a", "1.00", "1_0", "a", "1.a", "1.el9", "1.el9_2"]
    parts += ["".join(generator.choice("019.~^aZ_") for _ in range(generator.randint(1, 6))) for _ in range(25)]
    pairs = generator.sample(list(itertools.combinations(parts, 2)), 300)
    script = "".join(f'print(rpm.vercmp("{a}","{b}").."\\n")' for a, b in pairs)
    said = subprocess.run(["rpm", "--eval", "%{lua: " + script + "}"], capture_output=True, text=True, check=True)
    for (one, other), expected in zip(pairs, said.stdout.split(), strict=True):
        a, b = agent.rpm_version_key(f"{one}-1"), agent.rpm_version_key(f"{other}-1")
        assert (a > b) - (a < b) == int(expected), (one, other)
