# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Upstream is real: what a stage offers is found, verified and installed by apt and dnf themselves."""
from __future__ import annotations

import re

from tests.lab.patchlab import Lab

APT_UPDATE = "apt-get -q update"


def deb_updates(lab: Lab, name: str = "deb1") -> dict[str, str]:
    """Package -> origin of each update that apt would install now."""
    lab[name].ssh(APT_UPDATE)
    simulated = lab[name].ssh("apt-get -s dist-upgrade").stdout
    return dict(re.findall(r"^Inst (\S+) \[1\.0\] \(2\.0 (\S+)", simulated, re.MULTILINE))


def rpm_updates(lab: Lab, name: str = "rpm1") -> set[str]:
    done = lab[name].ssh("dnf -q --refresh check-update", check=False)
    assert done.returncode in (0, 100), done.stderr
    return set(re.findall(r"^(\S+)\.noarch\s+2\.0-1", done.stdout, re.MULTILINE))


def test_nothing_is_missing_at_first(fresh_lab: Lab) -> None:
    assert deb_updates(fresh_lab) == {}
    assert rpm_updates(fresh_lab) == set()


def test_apt_sees_security_by_origin_and_upgrades_one_package(fresh_lab: Lab) -> None:
    fresh_lab.publish("v2")
    ordinary, security = "Debian:stable-updates", "Debian-Security:stable-security"
    assert deb_updates(fresh_lab) == {
        "lab-app": ordinary, "lab-tool": ordinary, "lab-ssl": security, "lab-lib": security, "lab-web": security,
        "lab-doc": security, "lab-kernel": security}
    fresh_lab["deb1"].ssh("apt-get -q -y install --only-upgrade lab-ssl=2.0")
    assert fresh_lab["deb1"].ssh("lab-ssl; lab-lib").stdout == "lab-ssl 2.0\nlab-lib 1.0\n"
    assert "lab-ssl" not in deb_updates(fresh_lab)
    assert "lab-ssl" in deb_updates(fresh_lab, "deb2")


def test_dnf_sees_security_by_advisory_and_upgrades_one_package(fresh_lab: Lab) -> None:
    fresh_lab.publish("v2")
    assert rpm_updates(fresh_lab) == {"lab-app", "lab-tool", "lab-ssl", "lab-lib", "lab-web", "lab-doc",
                                      "linux-firmware"}
    host = fresh_lab["rpm1"]
    advisories = host.ssh("dnf -q updateinfo list --available").stdout
    kinds = dict(re.findall(r"^(RL[A-Z]+)-2026:\d+ .* (\S+)-2\.0-1", advisories, re.MULTILINE))
    assert set(kinds) == {"RLSA", "RLBA", "RLEA"}
    assert re.search(r"^RLSA-2026:\d+ Critical/Sec\. +lab-ssl-2\.0", advisories, re.MULTILINE)
    host.ssh("dnf -q -y upgrade lab-ssl")
    assert host.ssh("rpm -q lab-ssl lab-lib").stdout.split() == ["lab-ssl-2.0-1.el9.noarch", "lab-lib-1.0-1.el9.noarch"]


def test_some_updates_need_a_new_package_or_a_reboot(fresh_lab: Lab) -> None:
    fresh_lab.publish("v2")
    deb, rpm = fresh_lab["deb1"], fresh_lab["rpm1"]
    deb.ssh(f"{APT_UPDATE}; apt-get -q -y install --only-upgrade lab-app lab-kernel")
    assert deb.ssh("lab-newdep; cat /run/reboot-required.pkgs").stdout == "lab-newdep 1.0\nlab-kernel\n"
    rpm.ssh("dnf -q -y upgrade lab-app linux-firmware")
    assert rpm.ssh("lab-newdep").stdout == "lab-newdep 1.0\n"
    assert rpm.ssh("dnf -q needs-restarting -r", check=False).returncode == 1


def test_a_broken_update_fails_on_the_host(fresh_lab: Lab) -> None:
    fresh_lab.publish("broken")
    deb = fresh_lab["deb1"].ssh(f"{APT_UPDATE}; apt-get -q -y install --only-upgrade lab-broken", check=False)
    assert deb.returncode == 100
    assert "lab-broken: made to fail" in deb.stdout + deb.stderr
    rpm = fresh_lab["rpm1"].ssh("dnf -y upgrade lab-broken", check=False)
    assert rpm.returncode == 1
    assert "lab-broken: made to fail" in rpm.stdout + rpm.stderr


def test_metadata_of_a_stranger_is_refused(fresh_lab: Lab) -> None:
    fresh_lab.publish("badsig")
    deb = fresh_lab["deb1"].ssh(APT_UPDATE, check=False)
    assert deb.returncode == 100
    assert "NO_PUBKEY" in deb.stdout + deb.stderr
    rpm = fresh_lab["rpm1"].ssh("dnf -q --refresh check-update", check=False)
    assert rpm.returncode == 1
    assert "primary.xml" in rpm.stderr


def test_repository_signatures_verify_on_rpm_hosts_that_ask_for_them(fresh_lab: Lab) -> None:
    command = "dnf -q -y --refresh --setopt=baseos.repo_gpgcheck=1 check-update"
    fresh_lab.publish("v2")
    assert fresh_lab["rpm1"].ssh(command, check=False).returncode == 100
    fresh_lab.publish("badsig")
    refused = fresh_lab["rpm1"].ssh(command, check=False)
    assert refused.returncode == 1
    assert "signature" in refused.stderr.lower()


def test_metadata_of_a_stranger_is_refused_by_hosts_that_know_better(fresh_lab: Lab) -> None:
    fresh_lab.publish("v2")
    known = deb_updates(fresh_lab)
    rpm_updates(fresh_lab)
    fresh_lab.publish("badsig")
    # apt goes on with what it had and only warns: a caller that reads the exit status alone is misled
    refused = fresh_lab["deb1"].ssh(APT_UPDATE)
    assert "NO_PUBKEY" in refused.stderr
    assert known
    assert fresh_lab["rpm1"].ssh("dnf -q --refresh check-update", check=False).returncode == 1


def test_a_repository_that_is_gone_and_back(fresh_lab: Lab) -> None:
    fresh_lab.publish("gone")
    host = fresh_lab["deb1"]
    status = "curl -s -o /dev/null -w '%{http_code}' http://repo.lab/current/"
    assert [host.ssh(status + path).stdout for path in ("", "apt/dists/bookworm/InRelease", "windows/updates.json")] \
        == ["404"] * 3
    assert host.ssh(APT_UPDATE, check=False).returncode == 100
    assert fresh_lab["rpm1"].ssh("dnf -q --refresh check-update", check=False).returncode == 1
    fresh_lab.publish("v2")
    assert "lab-ssl" in deb_updates(fresh_lab)
    assert "lab-ssl" in rpm_updates(fresh_lab)
