# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The modules `updates` and `updates_info` against real apt and dnf."""
from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.patchlab import Lab

Play = Callable[..., dict[str, dict[str, Any]]]
COLLECTIONS = Path(__file__).parents[2] / "collection"
HOSTS = pytest.mark.parametrize("name", ["deb1", "rpm1"])
SECURITY = {"lab-ssl", "lab-lib", "lab-web", "lab-doc"}


def task(name: str, module: str = "updates", **options: Any) -> dict[str, Any]:
    check = options.pop("check_mode", False)
    return {"name": name, f"patchherd.fleet.{module}": options, "ignore_errors": True, "check_mode": check}


def names(result: dict[str, Any], part: str = "updates") -> set[str]:
    return {update["name"] for update in result[part].values()}


@HOSTS
def test_search_tells_what_is_chosen_and_why_others_are_not(fresh_lab: Lab, play: Play, name: str) -> None:
    fresh_lab.publish("v2")
    host, rpm = fresh_lab[name], name.startswith("rpm")
    kernel = "linux-firmware" if rpm else "lab-kernel"
    host.ssh("apt-mark hold lab-web" if not rpm else "true")
    found = play(name, [
        task("all", "updates_info", refresh="always"),
        task("security", "updates_info", category_names=["security"], reject_list=["lab-d*"]),
        task("named", "updates_info", accept_list=["lab-ssl", "nothing-*"]),
        task("cve", "updates_info", cves=["CVE-2026-1001"]),
    ], COLLECTIONS)
    held = set() if rpm else {"lab-web"}
    everything = SECURITY | {"lab-app", "lab-tool", kernel}
    assert names(found["all"]) == everything - held
    assert found["all"]["found_update_count"] == len(everything - held)
    assert found["all"]["problems"] == []
    security = found["security"]
    assert names(security) == (SECURITY | {kernel}) - held - {"lab-doc"}
    reasons = {update["name"]: update["filtered_reasons"] for update in security["filtered_updates"].values()}
    assert reasons["lab-app"] == ["category_names"]
    assert reasons["lab-doc"] == ["reject_list"]
    assert reasons.get("lab-web", []) == ([] if rpm else ["held"])
    assert names(found["named"]) == {"lab-ssl"}
    # apt knows no advisories: it must not guess that something fixes a vulnerability
    assert names(found["cve"]) == ({"lab-ssl"} if rpm else set())
    if rpm:
        [ssl] = found["cve"]["updates"].values()
        assert (ssl["severity"], ssl["cves"], ssl["categories"]) == ("Critical", ["CVE-2026-1001"], ["security"])
        assert ssl["advisories"][0].startswith("RLSA-")
    assert not any(result["changed"] for result in found.values())


@HOSTS
def test_install_exactly_what_was_chosen_and_look_again(fresh_lab: Lab, play: Play, name: str) -> None:
    fresh_lab.publish("v2")
    host = fresh_lab[name]
    done = play(name, [
        task("checked", refresh="always", accept_list=["lab-ssl"], check_mode=True),
        task("downloaded", accept_list=["lab-ssl"], state="downloaded"),
        task("installed", accept_list=["lab-ssl"]),
        task("again", accept_list=["lab-ssl"]),
        task("dependency", accept_list=["lab-app"]),
    ], COLLECTIONS)
    assert all(not result["failed"] for result in done.values()), done
    assert [done[step]["changed"] for step in ("checked", "downloaded", "installed", "again")] == [
        True, True, True, False]
    [update] = done["downloaded"]["updates"].values()
    assert (update["downloaded"], update["installed"]) == (True, False)
    [update] = done["installed"]["updates"].values()
    assert (update["title"].split()[0], update["installed"]) == ("lab-ssl", True)
    assert done["installed"]["installed_update_count"] == 1
    assert host.ssh("lab-ssl; lab-lib; lab-newdep").stdout == "lab-ssl 2.0\nlab-lib 1.0\nlab-newdep 1.0\n"


@HOSTS
def test_a_reboot_that_is_needed_is_told(fresh_lab: Lab, play: Play, name: str) -> None:
    fresh_lab.publish("v2")
    done = play(name, [task("install", refresh="always", accept_list=["lab-kernel", "linux-firmware"])], COLLECTIONS)
    assert done["install"]["reboot_required"], done


@HOSTS
def test_a_failed_installation_is_no_success(fresh_lab: Lab, play: Play, name: str) -> None:
    fresh_lab.publish("broken")
    done = play(name, [task("install", refresh="always", accept_list=["lab-broken"])], COLLECTIONS)["install"]
    assert done["failed"]
    assert (done["installed_update_count"], done["failed_update_count"]) == (0, 1)
    assert "lab-broken 2.0" in done["msg"]


@HOSTS
def test_a_host_that_does_not_know_says_so(fresh_lab: Lab, play: Play, name: str) -> None:
    """Without metadata "no updates" would be a lie."""
    host = fresh_lab[name]
    host.ssh("rm -rf /var/lib/apt/lists/* /var/lib/patchherd" if name == "deb1" else "dnf -q clean all")
    done = play(name, [task("search", "updates_info", refresh="never")], COLLECTIONS)["search"]
    assert done["failed"]
    assert done["msg"].startswith("What this host misses is unknown"), done["msg"]


def test_the_scan_by_hand_shows_what_is_missing(fresh_lab: Lab, windows_double: Path, tmp_path: Path) -> None:
    """`ansible-playbook patchherd.fleet.scan` on hosts of all kinds."""
    fresh_lab.publish("v2")
    environment = {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}", "ANSIBLE_HOME": str(tmp_path),
                   "ANSIBLE_COLLECTIONS_PATH": f"{windows_double}:{COLLECTIONS}", "LC_ALL": "C.UTF-8",
                   "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    families = tmp_path / "families.ini"
    families.write_text("win1 patchherd_os_family=windows\n")  # as the inventory plugin says of a Windows host
    command = ["ansible-playbook", "patchherd.fleet.scan", "-l", "deb1,rpm1,win1"]
    for inventory in (fresh_lab.inventory, families):
        command += ["-i", str(inventory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = {block.split("]", 1)[0]: block for block in done.stdout.split("ok: [") if '"missing"' in block}
    assert set(shown) == {"deb1", "rpm1", "win1"}
    assert "lab-ssl 2.0" in shown["deb1"]
    assert "lab-ssl 2.0-1.el9" in shown["rpm1"]
    assert "KB5050002" in shown["win1"]
