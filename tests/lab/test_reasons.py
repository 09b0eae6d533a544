# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Why an update is not installable: real apt and dnf refuse it, the agent says why, the server's verdict carries it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchherd.packages.applicability.phasing import is_offered, share
from tests.lab.patchlab import Host, Lab, reason_fixtures
from tests.lab.product import Product

COLLECTIONS = Path(__file__).parents[2] / "collection"
ESM = "/var/lib/ubuntu-advantage/apt-esm"
Play = Callable[..., dict[str, dict[str, Any]]]


def verdicts(product: Product, host: str) -> dict[str, tuple[str, str | None]]:
    return {row["package"]: (row["verdict"], row["reason"]) for row in product.patches(host)["patches"]}


def filtered(play: Play, host: str) -> dict[str, list[str]]:
    """What the module `updates_info` leaves out, and why."""
    task = {"name": "all", "patchherd.fleet.updates_info": {"refresh": "never"}}
    result = play(host, [task], COLLECTIONS)["all"]
    assert result["failed"] is False, result
    assert result["problems"] == []
    return {update["name"]: update["filtered_reasons"] for update in result["filtered_updates"].values()}


def machine_with(early: str, late: str) -> str:
    """A machine id that draws a number below 50 for 2.0 of one package and one above for 2.0 of the other."""
    ids = (f"{number:032x}" for number in range(10_000))
    return next(number for number in ids if share(early, "2.0", number) < 50 < share(late, "2.0", number))


def test_apt_hosts(product: Product, play: Play, tmp_path: Path) -> None:
    host = product.lab["deb1"]
    machine = machine_with("why-early", "why-late")
    host.path("/etc/apt/apt.conf.d/99lab").write_text(f'APT::Machine-ID "{machine}";\n')
    names = [f"why-{word}" for word in ("held", "pinned", "never", "needy", "early", "late", "free", "esm", "ported")]
    newer = tmp_path / "newer"
    needs = {"why-needy": "why-absent (>= 2)"}
    reason_fixtures.add_apt_packages(host, newer, {name: needs.get(name, "") for name in names})
    for folder in ("esm", "ported"):
        (tmp_path / folder).mkdir()
        (newer / f"why-{folder}_2.0_all.deb").rename(tmp_path / folder / "2.0.deb")
    reason_fixtures.publish_apt(host, newer, {"why-early": 50, "why-late": 50})
    reason_fixtures.publish_apt(host, tmp_path / "ported", Suite="lab-backports", NotAutomatic="yes")
    reason_fixtures.publish_apt(host, tmp_path / "esm", Origin="UbuntuESMApps", Label="UbuntuESMApps",
                                Suite="lab-apps-security")  # fmt: skip
    # The Pro client keeps these sources away from apt's own, in a tree that looks like apt's.
    host.ssh(f"cd / && mkdir -p {ESM}/etc/apt/sources.list.d {ESM}/var/lib/apt/lists/partial"
             f" && mkdir -p {ESM}/var/cache/apt/archives/partial"
             f" && mv /etc/apt/sources.list.d/esm.list {ESM}/etc/apt/sources.list.d/ && apt-get -q update"
             f" && apt-get -q -o Dir={ESM} -o Dir::State::status=/var/lib/dpkg/status update")  # fmt: skip
    host.ssh("apt-mark hold why-held && printf 'Package: why-pinned\\nPin: version 1.0\\nPin-Priority: 1001\\n\\n"
             "Package: why-never\\nPin: version *\\nPin-Priority: -1\\n' > /etc/apt/preferences.d/lab")  # fmt: skip
    product.enrol("deb1")

    expected = {
        "why-held": ("not_installable", "held: held by dpkg"),
        "why-pinned": ("not_installable", "pinned: 2.0 has priority 500, 1.0 has 1001"),
        "why-never": ("not_installable", "pinned: 2.0 has priority -1"),
        "why-needy": ("not_installable", "dependency: Depends: why-absent (>= 2) but it is not installable"),
        "why-late": ("not_installable", "phased: offered to 50 % of machines"),
        "why-esm": ("not_installable", "esm: Ubuntu Pro (lab) has 2.0"),
        "why-early": ("missing", "phased: offered to 50 % of machines"),
        "why-free": ("missing", None),
    }
    assert verdicts(product, "deb1") == expected
    rows = {row["package"]: row for row in product.patches("deb1")["patches"]}
    assert rows["why-esm"]["security"] is True
    assert {rows[name]["candidate"] for name in rows} == {"2.0"}
    assert all(row["size"] > 0 for name, row in rows.items() if name != "why-esm"), "apt knows nothing of that archive"
    assert product.device("deb1")["facts"]["phasingMachineId"] == machine
    assert product.patches("deb1")["problems"] == []
    found = product.server.get("/api/v1/patches?reason=pinned,esm")
    assert {row["package"] for row in found["patches"]} == {"why-pinned", "why-never", "why-esm"}
    assert filtered(play, "deb1") == {
        name: [reason.partition(":")[0]] for name, (verdict, reason) in expected.items() if verdict == "not_installable"
    }  # fmt: skip

    done = host.ssh("apt-get -q -y dist-upgrade").stdout
    assert "2 upgraded" in done, "what is missing is what apt installs"
    host.ssh("apt-mark unhold why-held; rm /etc/apt/preferences.d/lab")
    product.report("deb1")
    after = verdicts(product, "deb1")
    missing = {name for name, (verdict, _reason) in after.items() if verdict == "missing"}
    assert missing == {"why-held", "why-pinned", "why-never"}
    assert set(after) - missing == {"why-needy", "why-late", "why-esm"}


def test_an_ordinary_user_sees_the_same_reasons(fresh_lab: Lab, tmp_path: Path) -> None:
    host = fresh_lab["deb1"]
    reason_fixtures.add_apt_packages(host, tmp_path / "newer", {"why-held": "", "why-needy": "why-absent"})
    reason_fixtures.publish_apt(host, tmp_path / "newer")
    host.ssh("apt-mark hold why-held && apt-get -q update")
    agent = Path(__file__).parents[2] / "plugins/module_utils/_agent.py"
    host.path("/tmp/agent.py").write_text(agent.read_text())
    says = host.ssh("python3 /tmp/agent.py --dry-run --refresh never", user="deploy").stdout
    assert '"blocked": "held"' in says
    assert '"blockedDetail": "Depends: why-absent but it is not installable"' in says


def test_dnf_hosts(product: Product, play: Play, tmp_path: Path) -> None:
    host = product.lab["rpm1"]
    needs = {"lab-needy": "Requires: lab-absent >= 3\n", "lab-rival": "Conflicts: lab-free\n"}
    names = ("lab-excluded", "lab-hidden", "lab-locked", "lab-needy", "lab-modular", "lab-free", "lab-rival")
    reason_fixtures.build_reason_rpms(tmp_path, {name: needs.get(name, "") for name in names})
    reason_fixtures.add_rpm_packages(host, tmp_path / "repository")
    host.ssh("sed -i '/^gpgcheck=0/a excludepkgs=lab-exc*' /etc/yum.repos.d/reasons.repo"
             " && echo exclude=lab-hidden >> /etc/dnf/dnf.conf && dnf -q versionlock add lab-locked")  # fmt: skip
    product.enrol("rpm1")
    expected = {
        "lab-excluded": ("not_installable", "excluded: excludepkgs=lab-exc* of repository reasons"),
        "lab-hidden": ("not_installable", "excluded: exclude=lab-hidden of dnf.conf"),
        "lab-locked": ("not_installable", "held: versionlock lab-locked-0:1.0-1.el9.*"),
        "lab-needy": ("not_installable",
                      "dependency: nothing provides lab-absent >= 3 needed by lab-needy-2.0-1.el9.noarch"),
        "lab-modular": ("not_installable", "module: lab-mod:2 is not enabled"),
        "lab-rival": ("not_installable", "dependency: package lab-rival-2.0-1.el9.noarch conflicts with lab-free"
                      " provided by lab-free-2.0-1.el9.noarch"),
        "lab-free": ("missing", None),
    }  # fmt: skip
    assert verdicts(product, "rpm1") == expected
    rows = product.patches("rpm1")["patches"]
    assert {(row["candidate"], row["severity"], row["security"]) for row in rows} == {("2.0-1.el9", "Important", True)}
    assert all(row["size"] > 0 for row in rows)
    assert product.device("rpm1")["facts"]["moduleStreams"] == []
    assert product.patches("rpm1")["problems"] == []
    assert filtered(play, "rpm1") == {
        name: [reason.partition(":")[0]] for name, (verdict, reason) in expected.items() if verdict == "not_installable"
    }  # fmt: skip

    host.ssh("dnf -q -y module enable lab-mod:2 && dnf -q versionlock clear && sed -i /^exclude/d /etc/dnf/dnf.conf")
    product.report("rpm1")
    after = verdicts(product, "rpm1")
    assert product.device("rpm1")["facts"]["moduleStreams"] == ["lab-mod:2"]
    missing = {name for name, (verdict, _reason) in after.items() if verdict == "missing"}
    assert missing == {"lab-free", "lab-hidden", "lab-locked", "lab-modular"}


class Phased:
    """Packages at 1.0 that the host's apt believes to be installed, each with a phased 2.0."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        generator = random.Random(23)
        self.sources: dict[str, tuple[str, str]] = {}
        self.percentages: dict[str, int] = {}
        index, status = "", host.path("/var/lib/dpkg/status").read_text()
        for number in range(400):
            name = f"ph{number}"
            version = f"{generator.randint(2, 9)}.{generator.randint(0, 99)}-{number}"
            self.sources[name] = (name, version)
            fields: dict[str, Any] = {"Phased_Update_Percentage": generator.randint(0, 100)}
            if number % 3 == 0:  # several packages of one source, whose version is another one
                self.sources[name] = (f"src+{number // 9}", f"1:{number // 9}.0~rc1")
                fields["Source"] = "{} ({})".format(*self.sources[name])
            self.percentages[name] = fields["Phased_Update_Percentage"]
            index += reason_fixtures.apt_stanza(
                name, version, Filename=f"./{name}.deb", Size=9, SHA256="0" * 64, **fields)  # fmt: skip
            status += reason_fixtures.apt_stanza(name, "1.0", Status="install ok installed")
        host.path("/tmp/status").write_text(status)
        reason_fixtures.publish_index(host, folder / "newer", index)
        host.ssh("apt-get -q update")

    def upgraded(self, *options: str) -> set[str]:
        """What the host's apt would install."""
        words = " ".join(f"-o {option}" for option in ("Dir::State::status=/tmp/status", *options))
        return set(re.findall(r"(?m)^Inst (ph\d+) ", self.host.ssh(f"apt-get -s {words} dist-upgrade").stdout))

    def expected(self, machine: str) -> set[str]:
        return {
            name for name, (source, version) in self.sources.items()
            if is_offered(self.percentages[name], source, version, machine)
        }  # fmt: skip


def test_apt_offers_phased_updates_to_the_machines_that_we_say(fresh_lab: Lab, tmp_path: Path) -> None:
    phased = Phased(fresh_lab["deb1"], tmp_path)
    own = phased.host.path("/etc/machine-id").read_text().strip()
    everything = set(phased.sources)
    assert 100 < len(phased.expected(own)) < 300
    assert phased.upgraded() == phased.expected(own)
    generator = random.Random(24)
    for machine in [f"{generator.getrandbits(128):032x}" for _ in range(12)] + ["x", "a-b-c"]:
        assert phased.upgraded(f"APT::Machine-ID={machine}") == phased.expected(machine)

    assert phased.upgraded("APT::Get::Always-Include-Phased-Updates=1") == everything
    complete = {name for name, percentage in phased.percentages.items() if percentage == 100}
    assert phased.upgraded("APT::Get::Never-Include-Phased-Updates=1") == complete
    assert phased.upgraded("Dir::Etc::machine-id=/nonexistent") == everything, "apt has nothing to draw by"


def test_apt_does_not_defer_an_update_that_goes_past_a_security_fix(fresh_lab: Lab, tmp_path: Path) -> None:
    phased = Phased(fresh_lab["deb1"], tmp_path)
    machine = phased.host.path("/etc/machine-id").read_text().strip()
    offered = phased.expected(machine)
    deferred = sorted(set(phased.sources) - offered)
    plain = [name for name in deferred if phased.sources[name][0] == name]
    # Ten have an older fix; of ten others the security suite has the phased version itself, which does not count.
    fixes = dict.fromkeys(plain[:10], "1.5") | {name: phased.sources[name][1] for name in plain[10:20]}
    index = [
        reason_fixtures.apt_stanza(name, version, Filename=f"./{name}_{version}.deb", Size=9, SHA256="0" * 64)
        for name, version in fixes.items()
    ]
    reason_fixtures.publish_index(phased.host, tmp_path / "fixes", "".join(index), Suite="lab-security")
    phased.host.ssh("apt-get -q update")
    assert phased.upgraded() == offered | set(plain[:10])


@pytest.mark.parametrize("name", ["deb1", "rpm1"])
def test_a_host_without_obstacles_has_no_reasons(product: Product, name: str) -> None:
    product.lab.publish("v2")
    product.enrol(name)
    reasons = {reason for _verdict, reason in verdicts(product, name).values()}
    assert reasons == {None}
    assert len(product.missing(name)) == 7
