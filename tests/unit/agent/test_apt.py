# SPDX-License-Identifier: Apache-2.0
"""apt: parsing of recorded outputs, version order against dpkg."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
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


def test_a_pin_hides_the_newer_version_and_a_downgrade_is_no_update(
    packages: Packages,
) -> None:
    for key in (("bash", "amd64"), ("downgraded", "all"), ("local-only", "all"), ("libc6", "amd64")):
        assert packages[key]["needsUpdate"] is False
        assert "availableVersion" not in packages[key]


def test_candidate_carries_origin_hold_and_phase(packages: Packages) -> None:
    assert packages["openssl", "amd64"] == {
        "name": "openssl", "currentVersion": "3.0.19-1~deb12u2", "architecture": "amd64", "sourceName": "openssl",
        "availableVersion": "3.0.23-1", "needsUpdate": True, "held": True, "phased": 20,
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
