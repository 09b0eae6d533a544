# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What goes wrong in the field, each with its own host state: killed workers, cut cables, broken packages."""

from __future__ import annotations

import os
import signal
import time

import pytest

from patchherd.deployments import ledger
from tests.lab.product import Product, by_name, installed_version, results
from tests.running import command_line, descendants, is_alive, wait_for

JOB_MARKS = {
    "worker": " worker --data",
    "job": "patchherd.job",
    "ansible": "ansible-playbook",
}


def job_process(product: Product, mark: str) -> int | None:
    """A process of the server's tree by a part of its command line."""
    assert product.server.process is not None
    for pid in descendants(product.server.process.pid):
        line = command_line(pid)
        if mark in line and "setpriv" not in line:
            return pid
    return None


def slow_down(product: Product, *names: str) -> None:
    """Make installations take a while: the package manager waits for its lock to be let go."""
    hold = "f=open('/var/lib/dpkg/lock-frontend','w'); fcntl.lockf(f,fcntl.LOCK_EX)"
    script = f"import fcntl,time; {hold}; time.sleep(600)"
    for name in names:
        product.lab[name].ssh(f'setsid -f python3 -c "{script}" >/dev/null 2>&1 </dev/null')


def speed_up(product: Product, *names: str) -> None:
    for name in names:
        product.lab[name].ssh("pkill -f lock-frontend", check=False)


def wait_for_task(product: Product, number: int, task: str) -> None:
    def reached() -> bool:
        events = product.server.get(f"/api/v1/deployments/{number}/events?limit=5000")
        return any(event["task"] == task for event in events)

    wait_for(f"task {task}", reached, 90)


@pytest.mark.parametrize("victim", ["worker", "job", "ansible"])
def test_a_killed_process_never_leaves_a_job_running(product: Product, victim: str) -> None:
    product.lab.publish("v2")
    product.enrol("deb1", "rpm1")
    slow_down(product, "deb1")
    deployment = product.deploy("deb1", "rpm1", filter="security")
    wait_for_task(product, deployment["id"], "Install the planned versions with apt")
    pid = wait_for("the process runs", lambda: job_process(product, JOB_MARKS[victim]))
    playbook = wait_for("the playbook runs", lambda: job_process(product, "ansible-playbook"))
    assert pid
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()

    def first_job_is_closed() -> bool:
        return product.deployment(deployment["id"])["jobs"][0]["state"] != "running"

    wait_for("the first job is closed", first_job_is_closed, 60)
    assert time.monotonic() - killed < 60
    assert not is_alive(playbook), "the playbook must not outlive its job"
    speed_up(product, "deb1")
    done = product.finished(deployment)
    if victim == "ansible":
        # nobody but Ansible itself ended: that is a failure of the run, told as such
        assert done["state"] == "failed"
        assert by_name(done)["rpm1"]["state"] in {"patched", "not_effective", "failed"}
        return
    assert [job["state"] for job in done["jobs"]] == ["lost", "succeeded"]
    for name, host in by_name(done).items():
        assert host["state"] == "not_effective", product.explain(done)  # the kernel asks for a reboot
        assert set(results(host).values()) == {"installed"}
        assert installed_version(product.lab[name], "lab-ssl").startswith("2.0")
    assert done["counts"]["not_effective"] == 2


def test_cancel_ends_a_running_deployment(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    slow_down(product, "deb1")
    deployment = product.deploy("deb1")
    wait_for_task(product, deployment["id"], "Install the planned versions with apt")
    product.server.post(f"/api/v1/deployments/{deployment['id']}/cancel")
    done = product.finished(deployment, 15)
    assert done["state"] == "canceled"
    assert by_name(done)["deb1"]["state"] == "canceled"
    wait_for("ansible is gone", lambda: job_process(product, "ansible-playbook") is None, 10)
    product.server.post(f"/api/v1/deployments/{deployment['id']}/cancel")  # once more changes nothing
    speed_up(product, "deb1")
    again = product.finished(product.server.post(f"/api/v1/deployments/{deployment['id']}/retry", None, 201))
    assert again["state"] == "succeeded", product.explain(again)


def test_a_stopped_server_goes_on_with_its_deployment(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    slow_down(product, "deb1")
    deployment = product.deploy("deb1", filter="packages", packages=["lab-ssl"])
    wait_for_task(product, deployment["id"], "Install the planned versions with apt")
    stops = ledger.MAX_ATTEMPTS + 1
    for number in range(stops):
        wait_for("the playbook runs", lambda: job_process(product, JOB_MARKS["ansible"]))
        if number % 2:  # as systemd does it: every process is asked at once
            assert product.server.process is not None
            os.killpg(product.server.process.pid, signal.SIGTERM)
        assert product.server.stop() == 0
        product.server.start()
    wait_for("the playbook runs", lambda: job_process(product, JOB_MARKS["ansible"]))
    speed_up(product, "deb1")
    done = product.finished(deployment)
    assert done["state"] == "succeeded", product.explain(done)
    shown = [(job["state"], job["attempt"]) for job in done["jobs"]]
    assert shown == [("lost", 1)] * stops + [("succeeded", 1)], "no stop uses up an attempt"
    assert installed_version(product.lab["deb1"], "lab-ssl") == "2.0"


def test_a_host_that_goes_away_in_the_middle(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1", "deb2")
    slow_down(product, "deb2")
    deployment = product.deploy("deb1", "deb2", filter="packages", packages=["lab-ssl"])
    wait_for_task(product, deployment["id"], "Install the planned versions with apt")
    product.lab["deb2"].cut()
    done = product.finished(deployment)
    hosts = by_name(done)
    assert done["state"] == "failed"
    assert hosts["deb1"]["state"] == "patched", product.explain(done)
    assert hosts["deb2"]["state"] == "unreachable"
    assert results(hosts["deb2"]) == {"lab-ssl": "unproven"}
    product.lab["deb2"].heal()
    speed_up(product, "deb2")
    again = product.finished(product.server.post(f"/api/v1/deployments/{done['id']}/retry", None, 201))
    assert list(by_name(again)) == ["deb2"]
    assert again["state"] == "succeeded", product.explain(again)


def test_a_wrong_host_key_is_named(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    new_key = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
    product.lab["deb1"].ssh(f"rm /etc/ssh/ssh_host_ed25519_key*; {new_key}; kill -HUP 1")
    product.lab["deb1"].wait_ready()
    done = product.run("deb1")
    host = by_name(done)["deb1"]
    assert host["state"] == "unreachable", product.explain(done)
    assert "host key" in host["message"]


def test_a_repository_that_disappears(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1", "rpm1")
    product.lab.publish("gone")
    done = product.run("deb1", "rpm1", filter="packages", packages=["lab-ssl"])
    assert done["state"] == "failed"
    for name, host in by_name(done).items():
        assert host["state"] == "failed", product.explain(done)
        assert host["message"], name
        assert installed_version(product.lab[name], "lab-ssl").startswith("1.0")
    product.report("deb1", "rpm1")
    for name in ("deb1", "rpm1"):
        device = product.device(name)
        assert device["facts"]["problems"], "a host that cannot refresh says so"


def test_a_broken_package_script(product: Product) -> None:
    product.lab.publish("broken")
    product.enrol("deb1", "rpm1")
    done = product.run("deb1", "rpm1", filter="all")
    assert done["state"] == "failed"
    for name, host in by_name(done).items():
        assert host["state"] == "failed", product.explain(done)
        assert "lab-broken" in host["message"]
        shown = results(host)
        assert shown["lab-broken"] == "failed"
        really = {"lab-ssl": installed_version(product.lab[name], "lab-ssl").startswith("2.0")}
        assert (shown["lab-ssl"] == "installed") is really["lab-ssl"], "the rescan decides, not the module"


def test_a_version_that_is_no_longer_offered_is_reported_not_replaced(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    product.lab.publish("v1")  # the archive withdraws everything again
    done = product.run("deb1", filter="packages", packages=["lab-ssl"])
    host = by_name(done)["deb1"]
    assert host["state"] == "incomplete", product.explain(done)
    assert results(host) == {"lab-ssl": "superseded"}
    assert installed_version(product.lab["deb1"], "lab-ssl") == "1.0"


def test_two_deployments_do_not_fight_over_a_host(product: Product) -> None:
    product.lab.publish("v2")
    product.enrol("deb1")
    slow_down(product, "deb1")
    first = product.deploy("deb1", filter="packages", packages=["lab-ssl"])
    second = product.deploy("deb1", expect=409)
    assert "busy" in second["error"]
    product.server.post(f"/api/v1/deployments/{first['id']}/cancel")
    product.finished(first, 20)
    speed_up(product, "deb1")
