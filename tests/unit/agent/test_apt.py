# SPDX-License-Identifier: Apache-2.0
"""apt: parsing of recorded outputs, version order against dpkg."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

POLICY = """\
bash:
  Installed: 5.2.15-2+b8
  Candidate: 5.2.15-2+b8
  Version table:
     5.2.15-2+b13 500
        500 http://archive.example/debian bookworm/main amd64 Packages
 *** 5.2.15-2+b8 1001
        100 /var/lib/dpkg/status
openssl:
  Installed: 3.0.19-1~deb12u2
  Candidate: 3.0.23-1
  Version table:
     3.0.23-1 500 (phased 20%)
        500 http://archive.example/debian bookworm/main amd64 Packages
     3.0.22-1~deb12u2 500
        500 http://archive.example/debian-security bookworm-security/main amd64 Packages
     3.0.20-1~deb12u2 500
        500 http://archive.example/debian bookworm/main amd64 Packages
 *** 3.0.19-1~deb12u2 100
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: 2.36-9
  Candidate: 2.36-10
  Version table:
     2.36-10 500
        500 http://archive.example/debian-security bookworm-security/main i386 Packages
 *** 2.36-9 100
        100 /var/lib/dpkg/status
libc6:
  Installed: 2.36-10
  Candidate: 2.36-10
  Version table:
 *** 2.36-10 100
        100 /var/lib/dpkg/status
local-only:
  Installed: 1.0
  Candidate: 1.0
  Version table:
 *** 1.0 100
        100 /var/lib/dpkg/status
downgraded:
  Installed: 2:2.0
  Candidate: 2:1.0
  Version table:
 *** 2:2.0 100
        100 /var/lib/dpkg/status
     2:1.0 1001
       1001 http://archive.example/debian bookworm/main amd64 Packages
"""
DPKG = """\
bash\tbash\tamd64\t5.2.15-2+b8\tbash\tinstall\tinstalled
openssl\topenssl\tamd64\t3.0.19-1~deb12u2\topenssl\thold\tinstalled
libc6:amd64\tlibc6\tamd64\t2.36-10\tglibc\tinstall\tinstalled
libc6:i386\tlibc6\ti386\t2.36-9\tglibc\tinstall\thalf-configured
local-only\tlocal-only\tall\t1.0\tlocal-only\tinstall\tinstalled
downgraded\tdowngraded\tall\t2:2.0\tdowngraded\tinstall\tinstalled
removed\tremoved\tall\t1.0\tremoved\tdeinstall\tconfig-files
never\tnever\tall\t\tnever\tpurge\tnot-installed
"""


def target(description: str, **values: str) -> dict[str, str]:
    base = {"description": description, "repo_uri": "", "site": "", "release": "", "component": "main",
            "trusted": "yes", "codename": "bookworm", "suite": "stable", "origin": "Debian", "label": "Debian"}
    return base | values


TARGETS = [
    target("http://archive.example/debian bookworm/main amd64 Packages"),
    target("http://archive.example/debian-security bookworm-security/main amd64 Packages",
           codename="bookworm-security", suite="stable-security", label="Debian-Security"),
    target("http://archive.example/debian-security bookworm-security/main i386 Packages",
           codename="bookworm-security", suite="stable-security", label="Debian-Security"),
]


Packages = dict[tuple[str, str], dict[str, object]]


@pytest.fixture
def packages(agent: ModuleType) -> Packages:
    found = agent.apply_policy(agent.parse_dpkg(DPKG), agent.parse_policy(POLICY), TARGETS, "amd64")
    return {(p["name"], p["architecture"]): p for p in found}


def test_installed_packages_are_those_that_dpkg_has_unpacked(packages: Packages) -> None:
    assert sorted(packages) == [("bash", "amd64"), ("downgraded", "all"), ("libc6", "amd64"), ("libc6", "i386"),
                                ("local-only", "all"), ("openssl", "amd64")]
    assert packages["libc6", "i386"]["sourceName"] == "glibc"


def test_packages_that_dpkg_left_half_done_are_named(agent: ModuleType, packages: Packages) -> None:
    assert packages["libc6", "i386"]["broken"] == "half-configured"
    assert agent.broken_problems(packages.values()) == ["not completely installed: libc6 (half-configured)"]
    many = [{"name": f"p{number}", "broken": "unpacked"} for number in range(25)]
    (problem,) = agent.broken_problems(many)
    assert problem.endswith("p19 (unpacked) and 5 more")
    assert agent.broken_problems([{"name": "good"}]) == []


def test_a_downgrade_is_no_update(packages: Packages) -> None:
    for key in (("downgraded", "all"), ("local-only", "all"), ("libc6", "amd64")):
        assert packages[key]["needsUpdate"] is False
        assert "availableVersion" not in packages[key]


def test_a_pin_blocks_the_newer_version(packages: Packages) -> None:
    assert packages["bash", "amd64"] == {
        "name": "bash", "currentVersion": "5.2.15-2+b8", "architecture": "amd64", "sourceName": "bash",
        "availableVersion": "5.2.15-2+b13", "needsUpdate": False, "isSecurityUpdate": False, "blocked": "pinned",
        "blockedDetail": "5.2.15-2+b13 has priority 500, 5.2.15-2+b8 has 1001", "sourceRepository": "bookworm/main",
        "origins": [{"origin": "Debian", "label": "Debian", "suite": "stable", "codename": "bookworm",
                     "component": "main"}]}


OTHER_POLICY = """\
never:
  Installed: 1.0
  Candidate: (none)
  Version table:
     2.0 -1
         -1 http://archive.example/debian-security bookworm-security/main amd64 Packages
 *** 1.0 -1
        100 /var/lib/dpkg/status
backported:
  Installed: 1.0
  Candidate: 1.0
  Version table:
     2.0 100
        100 http://archive.example/debian bookworm-backports/main amd64 Packages
 *** 1.0 500
        500 http://archive.example/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
ceiling:
  Installed: 1.0
  Candidate: 1.0
  Version table:
     2.0 1 (phased 40%)
        500 http://archive.example/debian bookworm/main amd64 Packages
 *** 1.0 100
        100 /var/lib/dpkg/status
between:
  Installed: 1.0
  Candidate: 2.0
  Version table:
     3.0 -1
         -1 http://archive.example/debian bookworm/main amd64 Packages
     2.0 500
        500 http://archive.example/debian bookworm/main amd64 Packages
 *** 1.0 100
        100 /var/lib/dpkg/status
"""


def test_what_else_hides_a_version_from_apt(agent: ModuleType) -> None:
    names = ["never", "backported", "ceiling", "between"]
    dpkg = "".join(f"{name}\t{name}\tamd64\t1.0\t{name}\tinstall\tinstalled\n" for name in names)
    targets = [*TARGETS, target("http://archive.example/debian bookworm-backports/main amd64 Packages", optIn="yes")]
    found = {p["name"]: p for p in agent.apply_policy(
        agent.parse_dpkg(dpkg), agent.parse_policy(OTHER_POLICY), targets, "amd64")}
    assert (found["never"]["blocked"], found["never"]["blockedDetail"]) == ("pinned", "2.0 has priority -1")
    assert found["never"]["isSecurityUpdate"] is True
    assert "availableVersion" not in found["backported"], "such a suite offers nothing to who does not ask"
    assert (found["ceiling"]["blocked"], found["ceiling"]["phased"]) == ("phased", 40)
    assert found["ceiling"]["blockedDetail"] == "offered to 40 % of machines"
    assert (found["between"]["availableVersion"], found["between"]["needsUpdate"]) == ("2.0", True)
    assert "blocked" not in found["between"]


SIMULATION = """\
NOTE: This is only a simulation!
      apt-get needs root privileges for real execution.
The following packages will be REMOVED:
  old-lib
The following packages have been kept back:
  openssl
Remv old-lib [1.0] [app:amd64 ]
Inst libc6:i386 [2.36-9] (2.36-10 Debian-Security:12/stable-security [i386]) []
Inst libc6 [2.36-9] (2.36-10 Debian-Security:12/stable-security [amd64])
Inst new-lib (1.0 Debian:12.1/stable [all])
Conf libc6 (2.36-10 Debian-Security:12/stable-security [amd64])
"""
UNMET = """\
The following packages have unmet dependencies:
 lab-app : Depends: lab-absent (>= 2.0) but it is not installable
           Depends: other but it is not going to be installed
 libc6:i386 : PreDepends: libc6 (= 2.37) but 2.36 is to be installed
 lab-tool : Conflicts: lab-web
E: Unable to correct problems, you have held broken packages.
"""


def test_a_simulation_tells_what_apt_would_do(agent: ModuleType) -> None:
    assert agent.parse_simulation(SIMULATION) == (
        {"libc6:i386": "2.36-10", "libc6": "2.36-10", "new-lib": "1.0"}, {"old-lib"})
    assert agent.parse_unmet(UNMET) == {
        "lab-app": "Depends: lab-absent (>= 2.0) but it is not installable",
        "libc6:i386": "PreDepends: libc6 (= 2.37) but 2.36 is to be installed", "lab-tool": "Conflicts: lab-web"}


class Simulated:
    """Answers of apt-get for the arguments that begin with these words."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, argv: list[str], timeout: int = 60) -> tuple[int, str, str]:
        always = "APT::Get::Always-Include-Phased-Updates=true" in argv
        which = "install" if "install" in argv else "always" if always else "upgrade"
        self.asked.append(which)
        code, text = self.answers[which]
        return code, text if code == 0 else "", text


def waiting(*names: str, **phased: int) -> dict[str, dict[str, object]]:
    return {name: {"name": name, "availableVersion": "2", "needsUpdate": True} for name in names} | {
        name: {"name": name, "availableVersion": "2", "needsUpdate": True, "phased": share}
        for name, share in phased.items()}


def keep_back(agent: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: dict[str, dict[str, object]],
              **answers: tuple[int, str]) -> tuple[dict[str, str], list[str], list[str]]:
    simulated = Simulated(**answers)
    monkeypatch.setattr(agent, "run", simulated)
    apt = agent.Apt(str(tmp_path))
    apt.keep_back(wanted)
    blocked = {name: f"{p['blocked']}: {p['blockedDetail']}" for name, p in wanted.items() if "blocked" in p}
    assert all(p["needsUpdate"] is (name not in blocked) for name, p in wanted.items())
    return blocked, apt.problems, simulated.asked


def inst(*names: str) -> tuple[int, str]:
    return 0, "".join(f"Inst {name} [1] (2 Lab [all])\n" for name in names)


def test_what_is_kept_back_is_told_from_what_is_deferred(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = waiting("a", "needs", "rider", p=20, q=90, r=30)
    unmet = " needs : Depends: x (>= 2) but it is not installable\nE: Unable to correct problems\n"
    assert keep_back(agent, monkeypatch, tmp_path, wanted, upgrade=inst("a", "q"), always=inst("a", "q", "p", "rider"),
                     install=(100, unmet)) == (
        {"p": "phased: offered to 20 % of machines", "rider": "phased: needs updates that are phased",
         "needs": "dependency: Depends: x (>= 2) but it is not installable",
         "r": "dependency: kept back by apt-get dist-upgrade"}, [], ["upgrade", "always", "install"])
    removing = (0, "Remv a [1]\nInst b [1] (2 Lab [all])\n")
    assert keep_back(agent, monkeypatch, tmp_path, waiting("b"), upgrade=inst(), install=removing)[0] == {
        "b": "dependency: kept back by apt-get dist-upgrade; to install it would remove a"}


def test_nothing_is_asked_for_nothing_and_nothing_is_guessed(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert keep_back(agent, monkeypatch, tmp_path, {}) == ({}, [], [])
    assert keep_back(agent, monkeypatch, tmp_path, waiting("a", p=20), upgrade=inst("a", "p")) == ({}, [], ["upgrade"])
    failed = (100, "E: Unmet dependencies. Try 'apt --fix-broken install'\n")
    assert keep_back(agent, monkeypatch, tmp_path, waiting("a"), upgrade=failed) == (
        {}, ["which updates apt would keep back is unknown: Unmet dependencies. Try 'apt --fix-broken install'"],
        ["upgrade"])


def test_candidate_carries_origin_hold_and_phase(packages: Packages) -> None:
    assert packages["openssl", "amd64"] == {
        "name": "openssl", "currentVersion": "3.0.19-1~deb12u2", "architecture": "amd64", "sourceName": "openssl",
        "availableVersion": "3.0.23-1", "needsUpdate": False, "held": True, "phased": 20,
        "blocked": "held", "blockedDetail": "held by dpkg",
        "isSecurityUpdate": True,  # 3.0.22 came from the security archive, and the upgrade goes past it
        "sourceRepository": "bookworm/main",
        "origins": [{"origin": "Debian", "label": "Debian", "suite": "stable", "codename": "bookworm",
                     "component": "main"}]}


def test_each_architecture_is_judged_for_itself(packages: Packages) -> None:
    foreign = packages["libc6", "i386"]
    assert foreign["availableVersion"] == "2.36-10"
    assert foreign["sourceRepository"] == "bookworm-security/main"
    assert foreign["isSecurityUpdate"] is True


@pytest.mark.parametrize(("origin", "label", "suite", "expected"), [
    ("Debian", "Debian-Security", "stable-security", True), ("Debian", "Debian", "stable-security", False),
    ("Ubuntu", "Ubuntu", "jammy-security", True), ("Ubuntu", "Ubuntu", "jammy-updates", False),
    ("UbuntuESMApps", "UbuntuESMApps", "jammy-apps-security", True),
    ("Acme security tools", "Acme", "acme-security", False)])
def test_security_archives_are_known_by_their_distribution(
    agent: ModuleType, origin: str, label: str, suite: str, expected: bool
) -> None:
    assert agent.is_security_archive({"origin": origin, "label": label, "suite": suite}) is expected


def test_partial_failures_of_an_update_are_seen_at_exit_code_0(agent: ModuleType) -> None:
    output = ("Err:2 http://a.example stable InRelease\n  Could not resolve 'a.example'\n"
              "W: Failed to fetch http://a.example/dists/stable/InRelease  Could not resolve 'a.example'\n"
              "W: Some index files failed to download. They have been ignored, or old ones used instead.\n")
    assert agent.apt_update_problems(0, output)[0].startswith(
        "apt-get update failed: Failed to fetch http://a.example/dists/stable/InRelease")
    assert agent.apt_update_problems(100, "E: Could not get lock /var/lib/apt/lists/lock.") == [
        "apt-get update failed: Could not get lock /var/lib/apt/lists/lock."]
    assert agent.apt_update_problems(124, "apt-get: no answer within 600 s") == [
        "apt-get update failed: apt-get: no answer within 600 s"]
    harmless = "W: http://b.example: Key is stored in legacy trusted.gpg keyring\nHit:1 http://b.example x InRelease\n"
    assert agent.apt_update_problems(0, harmless) == []


@pytest.mark.parametrize(("running", "names", "expected"), [
    ("6.1.0-9-amd64", ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-10-amd64", "linux-image-amd64"],
     ("6.1.0-10-amd64", True)),
    ("6.1.0-10-amd64", ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-10-amd64"], ("6.1.0-10-amd64", False)),
    ("5.15.0-91-generic", ["linux-image-5.15.0-91-generic", "linux-image-unsigned-6.8.0-1012-aws"],
     ("5.15.0-91-generic", False)),
    ("6.12.9+deb13-amd64", ["linux-image-6.12.10+deb13-amd64"], ("6.12.10+deb13-amd64", True)),
    ("6.18.44-hypervisor", ["linux-image-6.1.0-9-amd64"], ("6.1.0-9-amd64", False)),
    ("6.1.0-9-amd64", ["bash"], (None, False))])
def test_reboot_into_a_newer_kernel_of_the_same_flavour(
    agent: ModuleType, monkeypatch: pytest.MonkeyPatch, running: str, names: list[str],
    expected: tuple[str | None, bool],
) -> None:
    monkeypatch.setattr(agent, "in_container", lambda: False)
    assert agent.newest_kernel(running, "deb", [{"name": name} for name in names]) == expected


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is the oracle of this test")
def test_version_order_is_that_of_dpkg(agent: ModuleType) -> None:
    generator = random.Random(20)
    versions = ["1.0", "1.0-0", "1.0-1", "1.0~rc1-1", "1:0.1", "1.0+b1", "1.00", "1.0-1~bpo1", "1.", "1.0a", "1.0.a"]
    versions += ["".join(generator.choice("019.+~a-Z") for _ in range(generator.randint(1, 6))) for _ in range(25)]
    versions = ["1" + v.strip("-") if not v.startswith("1") else v for v in versions]
    for one, other in generator.sample(list(itertools.combinations(versions, 2)), 250):
        a, b = agent.deb_version_key(one), agent.deb_version_key(other)
        relation = "lt" if a < b else "gt" if a > b else "eq"
        done = subprocess.run(["dpkg", "--compare-versions", one, relation, other])
        assert done.returncode == 0, (one, relation, other)


def test_sizes_are_those_of_exactly_the_versions_that_are_named(agent: ModuleType) -> None:
    said = """\
Package: bash
Version: 5.2-1
Installed-Size: 7164
Size: 1490012
Architecture: amd64
Description-en: GNU shell
 Size: 1
 Package: other

Package: bash
Version: 5.2-1
Size: unknown
Architecture: i386

Package: tzdata
Architecture: all
Version: 2026a-0+deb12u1
Size: 301428
"""
    assert agent.parse_sizes(said) == {
        ("bash", "amd64", "5.2-1"): 1_490_012, ("tzdata", "all", "2026a-0+deb12u1"): 301_428}
    assert agent.parse_sizes("") == {}
