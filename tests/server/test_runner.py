# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What the runner writes for ansible-playbook: data of hosts stays data, and only the hosts that still have work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from msgspec.structs import replace

from patchherd import database
from patchherd.deployments import ledger, orders
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import Deployment, DeploymentChange, DeploymentHost
from patchherd.deployments.runner import Lease, _write_inputs
from patchherd.devices.changes import delete_device
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device
from patchherd.settings import Settings
from tests.running import wait_for
from tests.server.fleet import add_host, package, security
from tests.server.queries import queries
from tests.ssh_keys import ed25519

ANSIBLE = Path(sys.executable).parent
KEY = ed25519("any")


def deployment_of(settings: Settings, *names: str) -> Deployment:
    """A placed deployment on these devices."""
    with database.connection():
        ids = [find_device(name).id for name in names]
        return orders.place(settings, lambda _: None, created_by="me", devices=ids, groups=[])


def written(settings: Settings, deployment: Deployment, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(extra variables, hosts of the inventory)."""
    directory.mkdir()
    with database.connection():
        extra = _write_inputs(settings, kind_of(Deployment.get_by_id(deployment.id)), directory)
    return extra, json.loads((directory / "inventory/hosts.json").read_text())["all"]["hosts"]


@pytest.fixture
def settings(app: Flask, app_settings: Settings) -> Settings:
    return app_settings


def test_inputs_hold_what_is_still_to_be_done(settings: Settings, tmp_path: Path) -> None:
    for name in ("web", "db", "gone", "done"):
        add_host(name, security("openssl"), package("bash", candidate="2-1"), sshHostKeys=[KEY])
    deployment = deployment_of(settings, "web", "db", "gone", "done")
    with database.connection():
        delete_device(find_device("gone"))
        web = DeploymentHost.get(DeploymentHost.name == "web")
        DeploymentHost.update(state="patched").where(DeploymentHost.name == "done").execute()
        DeploymentChange.update(result="superseded").where(
            (DeploymentChange.host == web) & (DeploymentChange.package == "bash")
        ).execute()
    extra, hosts = written(settings, deployment, tmp_path / "run")
    assert extra == {"patchherd_deployment": deployment.id, "patchherd_dry_run": False, "patchherd_reboot": "never"}
    assert set(hosts) == {"web", "db"}
    assert [change["package"] for change in hosts["web"]["patchherd_plan"]] == [{"__ansible_unsafe": "openssl"}]
    assert len(hosts["db"]["patchherd_plan"]) == 2
    with database.connection():
        assert [host.attempts for host in deployment.hosts.order_by(DeploymentHost.id)] == [1, 1, 0, 0]
        gone = DeploymentHost.get(DeploymentHost.name == "gone")
        assert (gone.state, gone.message) == ("skipped", "the device was deleted")
        uuids = {device.uuid for device in Device.select().where(Device.hostname.in_(["web", "db"]))}
    known = (tmp_path / "run/known_hosts").read_text().splitlines()
    assert {line.split()[0] for line in known} == {f"patchherd-{uuid}" for uuid in uuids}


def test_inputs_cost_a_fixed_number_of_queries(settings: Settings, tmp_path: Path) -> None:
    def cost(count: int) -> int:
        names = [f"h{count}x{number}" for number in range(count)]
        for name in names:
            add_host(name, security("openssl"), package("bash", candidate="2-1"))
        deployment = deployment_of(settings, *names)
        with queries() as seen:
            written(settings, deployment, tmp_path / str(count))
        return len(seen)

    assert cost(1) == cost(12)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_names_that_are_templates_never_run(settings: Settings, tmp_path: Path) -> None:
    """The real Ansible reads what was written for it, and its playbook uses each value."""
    trap = tmp_path / "trap"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(trap) + "') }}"
    with database.connection():
        add_host("web", package("bash", candidate="2-1"))
    deployment = deployment_of(settings, "web")
    with database.connection():
        hostile = {
            "package": template,
            "candidate": template,
            "architecture": "{{ 1 }}",
            "kb": "{% if 1 %}x{% endif %}",
        }
        DeploymentChange.update(**hostile).execute()
        Device.update(address=template, remote_user=template, python=template, uuid="{{ 7 * 7 }}").execute()
        DeploymentHost.update(name="web").execute()
    _, hosts = written(settings, deployment, tmp_path / "run")
    assert list(hosts) == ["web"]
    playbook = tmp_path / "use.yml"
    playbook.write_text(
        "- hosts: all\n"
        "  gather_facts: false\n"
        "  connection: local\n"
        "  vars: {ansible_python_interpreter: /usr/bin/python3}\n"
        "  tasks:\n"
        "    - ansible.builtin.debug:\n"
        "        msg: \"{{ patchherd_plan[0].package }} {{ patchherd_plan | map(attribute='candidate') | join }}\"\n"
        "    - ansible.builtin.set_fact:\n"
        '        copied: "{{ patchherd_plan[0] }} {{ ansible_host }} {{ ansible_user | default(omit) }}"\n'
        "    - ansible.builtin.debug:\n"
        "        var: copied\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
    inventory = str(tmp_path / "run/inventory/hosts.json")
    done = subprocess.run(
        [ANSIBLE / "ansible-playbook", "-i", inventory, playbook],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lookup('ansible.builtin.pipe'" in done.stdout, "shown as it is"
    listed = subprocess.run(
        [ANSIBLE / "ansible-inventory", "-i", inventory, "--list"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
        check=True,
    )
    assert "web" in json.loads(listed.stdout)["_meta"]["hostvars"]
    assert not trap.exists(), "a host's words ran on this machine"


def test_a_lease_that_cannot_be_renewed_ends_the_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    add_host("web", security("openssl"))
    deployment = deployment_of(settings, "web")
    with database.connection():
        job = deployment.jobs.get()
        ledger.take(job.id, "m:1:x", 5)
    lease = Lease(replace(settings, lease_seconds=5), job.id, "m:1:x")
    lease.start()
    try:
        with database.connection():
            first = deployment.jobs.get().lease_expires
            wait_for("the lease is renewed", lambda: deployment.jobs.get().lease_expires > first, 10)
        assert not lease.must_end()
        outage = threading.Event()

        def broken(*_: object) -> bool:
            outage.set()
            raise OSError("the database is away")

        monkeypatch.setattr(ledger, "cancel_requested", broken)
        assert outage.wait(5)
        assert not lease.must_end(), "a short outage is survived"
        wait_for("the run is told to end", lease.must_end, 10)
        assert lease.lost
        assert not lease.canceled
    finally:
        lease.stop()
