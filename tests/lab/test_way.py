# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The main way on real hosts: enrol, report, see what is missing, reach by Ansible, deploy, prove."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.patchlab import FIXTURES
from tests.lab.product import Product, by_name, installed_version, results
from tests.running import wait_for

LINUX = ("deb1", "deb2", "rpm1", "rpm2")
UPDATES = [fixture for fixture in FIXTURES if fixture.offered("v2")]
ROOT = Path(__file__).parents[2]


def package_name(host: str, fixture: Any) -> str:
    return fixture.as_rpm if host.startswith("rpm") else fixture.name


def version(host: str, number: str) -> str:
    return f"{number}-1.el9" if host.startswith("rpm") else number


def test_a_host_that_has_nothing_to_install_is_current(product: Product) -> None:
    product.enrol("deb1", "rpm1")
    for name in ("deb1", "rpm1"):
        shown = product.patches(name)
        assert (shown["status"], shown["reason"]) == ("current", None), product.device(name)
        assert shown["counts"]["total"] == 0


def test_enrol_report_and_see_what_is_missing(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol(*LINUX)

    devices = {row["hostname"]: row for row in product.server.get("/api/devices")["devices"]}
    assert set(devices) == set(LINUX)
    for name, row in devices.items():
        assert row["status"] == "ONLINE"
        assert row["ip_address"] == product.lab[name].ip
        assert row["os_name"] == ("Debian GNU/Linux" if name.startswith("deb") else "Rocky Linux")

    for name in LINUX:
        missing = product.missing(name)
        assert set(missing) == {package_name(name, fixture) for fixture in UPDATES}, missing
        for fixture in UPDATES:
            row = missing[package_name(name, fixture)]
            assert (row["installed"], row["candidate"]) == (version(name, "1.0"), version(name, "2.0"))
            assert row["security"] is (fixture.kind == "security")
            if fixture.kind != "security":
                assert row["severity"] == "Optional"
            elif name.startswith("rpm"):
                assert row["severity"] == fixture.severity
                assert row["advisories"][0].startswith("RLSA-")
                assert row["cves"] == [fixture.cve]
            else:
                assert row["severity"] == "Important"
                assert "security" in row["origin"]


def test_the_inventory_plugin_reaches_hosts_with_pinned_keys(product: Product, tmp_path: Path) -> None:
    product.enrol("deb1", "rpm1")
    token = product.server.command("api-token", "create", "inventory", "--role", "viewer").stdout.strip()
    source = tmp_path / "fleet.patchherd.yml"
    source.write_text("plugin: patchherd.fleet.devices\n")
    environment = {
        **os.environ,
        "PATCHHERD_URL": product.server.url,
        "PATCHHERD_TOKEN": token,
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",  # each call shall meet the host anew
    }
    programs = Path(sys.executable).parent

    def ansible(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(programs / command[0]), "-i", str(source), *command[1:]],
            capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120, check=False,
        )  # fmt: skip

    listed = ansible("ansible-inventory", "--list")
    assert listed.returncode == 0, listed.stderr
    hosts = json.loads(listed.stdout)["_meta"]["hostvars"]
    assert set(hosts) == {"deb1", "rpm1"}
    assert product.lab["deb1"].ip in json.dumps(hosts["deb1"]["ansible_host"])

    key = f"ansible_ssh_private_key_file={product.server.data}/ssh/id_ed25519"
    ping = ansible("ansible", "all", "-m", "ansible.builtin.ping", "-e", key)
    assert ping.returncode == 0, ping.stdout + ping.stderr
    assert ping.stdout.count('"ping": "pong"') == 2

    # another machine answers under the same address: Ansible must refuse to talk to it
    impostor = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/new && mv /etc/ssh/new /etc/ssh/ssh_host_ed25519_key"
    product.lab["deb1"].ssh(f"{impostor} && mv /etc/ssh/new.pub /etc/ssh/ssh_host_ed25519_key.pub; kill -HUP 1")
    product.lab["deb1"].wait_ready()
    ping = ansible("ansible", "deb1", "-m", "ansible.builtin.ping", "-e", key)
    assert ping.returncode != 0
    assert "UNREACHABLE" in ping.stdout
    assert "Host key verification failed" in ping.stdout


def test_dry_run_security_and_all_on_two_apt_and_two_dnf_hosts(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol(*LINUX)
    security = [fixture for fixture in UPDATES if fixture.kind == "security"]

    tried = product.run(*LINUX, filter="security", dry_run=True)
    assert tried["state"] == "succeeded", product.explain(tried)
    for name, host in by_name(tried).items():
        assert host["state"] == "planned"
        assert results(host) == {package_name(name, fixture): "would_install" for fixture in security}
        assert installed_version(product.lab[name], "lab-ssl") == version(name, "1.0")

    boots = {name: product.lab[name].boots for name in LINUX}
    done = product.run(*LINUX, filter="security", reboot="if_required")
    assert done["state"] == "succeeded", product.explain(done)
    for name, host in by_name(done).items():
        assert (host["state"], host["rebooted"], host["reboot_required"]) == ("patched", True, False), host
        assert results(host) == {package_name(name, fixture): "installed" for fixture in security}
        for fixture in UPDATES:
            expected = version(name, "2.0" if fixture.kind == "security" else "1.0")
            assert installed_version(product.lab[name], package_name(name, fixture)) == expected
        left = {package_name(name, fixture) for fixture in UPDATES if fixture.kind != "security"}
        assert set(product.missing(name)) == left
        assert product.lab[name].boots == boots[name] + 1

    done = product.run(*LINUX, filter="all")
    assert done["state"] == "succeeded", product.explain(done)
    for name, host in by_name(done).items():
        assert host["state"] == "patched"
        new = {change["package"]: change for change in host["changes"] if not change["planned"]}
        assert set(new) == {"lab-newdep"}, "a dependency that came along is shown, not hidden"
        assert installed_version(product.lab[name], "lab-app") == version(name, "2.0")
        assert product.patches(name)["status"] == "current"
        assert (product.patches(name)["counts"] or {})["total"] == 0


def test_named_packages_and_groups(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1", "rpm1")
    group = product.server.post("/api/v1/host-groups", {"name": "web"}, 201)
    reference = group.get("id") or group["group"]["id"]
    for name in ("deb1", "rpm1"):
        product.server.call("PATCH", f"/api/v1/devices/{name}", json={"groups": [reference]})
    order = {"groups": ["web"], "filter": "packages", "packages": ["lab-t*"]}
    done = product.finished(product.server.post("/api/v1/deployments", order, 201))
    assert done["state"] == "succeeded", product.explain(done)
    for name in ("deb1", "rpm1"):
        assert installed_version(product.lab[name], "lab-tool") == version(name, "2.0")
        assert installed_version(product.lab[name], "lab-ssl") == version(name, "1.0")
        assert "lab-tool" not in product.missing(name)


def test_installed_without_the_reboot_it_needs_is_not_called_patched(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1", "rpm1")
    done = product.run("deb1", "rpm1", filter="packages", packages=["lab-kernel", "linux-firmware"], reboot="never")
    for name, host in by_name(done).items():
        assert host["state"] == "not_effective", product.explain(done)
        assert host["message"].startswith("installed, not effective")
        assert product.device(name)["reboot_required"] is True


def test_the_terminal_shows_a_deployment_until_its_end(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    shown = product.server.command("patches", "deb1").stdout
    assert "lab-ssl" in shown
    watched = product.server.command("deploy", "deb1", "--package", "lab-ssl", "--watch", check=False)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert "deb1: running" in watched.stdout
    assert "succeeded" in watched.stdout
    again = product.server.command("deploy", "deb1", "--package", "lab-ssl", "--watch", check=False)
    assert again.returncode == 0, again.stdout
    assert "unchanged" in again.stdout


def test_progress_is_streamed_while_it_runs(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    deployment = product.deploy("deb1", filter="packages", packages=["lab-ssl"])
    url = f"{product.server.url}/api/v1/deployments/{deployment['id']}/events"
    states, tasks = [], []
    with product.server.session.get(url, headers={"Accept": "text/event-stream"}, stream=True, timeout=120) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                if kind == "deployment":
                    states.append(data["state"])
                elif kind == "event":
                    tasks.append(data["task"])
    assert states[0] in {"queued", "running"}
    assert "running" in states
    assert states[-1] == "succeeded"
    assert "Install the planned versions with apt" in tasks
    later = product.server.get(f"/api/v1/deployments/{deployment['id']}/events?after=0&limit=5")
    assert len(later) == 5


@pytest.mark.usefixtures("windows_double")
def test_a_windows_host_is_patched_through_win_updates(windows_product: Product) -> None:
    """Against the double of ansible.windows: the action plugin is real, Windows is not."""
    product = windows_product
    product.lab.publish("v2")
    product.enrol_windows()
    assert product.patches("win1")["status"] == "unknown"

    scan = product.finished(product.server.post("/api/v1/scans", {"devices": ["win1"]}, 201))
    assert scan["state"] == "succeeded", product.explain(scan)
    missing = {row["kb"]: row for row in product.patches("win1")["patches"] if row["verdict"] == "missing"}
    assert missing["KB5050002"]["security"] is True
    assert missing["KB5050006"]["security"] is False

    done = product.run("win1", filter="security", reboot="if_required")
    assert done["state"] == "succeeded", product.explain(done)
    shown = by_name(done)["win1"]
    assert shown["state"] == "patched"
    assert shown["rebooted"] is True
    assert set(results(shown).values()) == {"installed"}
    kbs = {row["kb"] for row in product.patches("win1")["patches"] if row["verdict"] == "missing"}
    assert "KB5050002" not in kbs
    assert "KB5050006" in kbs


def test_agents_report_by_themselves_after_a_change(product: Product) -> None:
    product.enrol("deb1")
    assert product.patches("deb1")["status"] == "current"
    product.lab.publish("v2")
    product.report("deb1")
    wait_for("the report is shown", lambda: product.patches("deb1")["status"] == "missing", 10)
