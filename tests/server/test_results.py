# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""From the events of a playbook to results: the rescan decides, and no host's words break the others' run."""

from __future__ import annotations

import zlib
from base64 import b64encode
from typing import Any

import pytest
from flask import Flask

from patchherd import database
from patchherd.deployments import ledger, orders
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import Deployment, DeploymentHost, Job, JobEvent
from patchherd.deployments.patching import decode_report
from patchherd.deployments.recorder import Recorder
from patchherd.deployments.texts import storable
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from patchherd.packages.reports import receive_report
from patchherd.packages.windows import windows_report
from patchherd.settings import Settings
from tests.server.fleet import add_host, encoded, package, rpm_report, security
from tests.server.queries import queries

BEFORE = (security("openssl"), package("bash", candidate="2-1"), package("zsh"))
AFTER = (package("openssl", "2-1"), package("bash", "2-1"), package("zsh"))


class Run:
    """A deployment on hosts that miss openssl and bash, and the events of its playbook."""

    def __init__(self, settings: Settings, *names: str, **order: Any) -> None:
        with database.connection():
            devices = [add_host(name, *BEFORE).id for name in names or ("web",)]
            values = {"created_by": "me", "devices": devices, "groups": [], **order}
            self.deployment = orders.place(settings, lambda _: None, **values)
            self.job = self.deployment.jobs.get()
            ledger.take(self.job.id, "m:1:x", 20)
            self.recorder = Recorder(self.job, kind_of(Deployment.get_by_id(self.deployment.id)))
        self.recorder.start()
        self.counter = 0

    def event(self, kind: str, host: str = "web", task: str = "", action: str = "", **more: Any) -> None:
        """An event as ansible-runner hands it to its event handler."""
        self.counter += 1
        data = {"playbook": "p", "task": task, "task_action": action, "resolved_action": action, "host": host, **more}
        assert not self.recorder.put(
            {
                "uuid": f"u{self.counter}",
                "counter": self.counter,
                "stdout": more.get("stdout", ""),
                "event": kind,
                "created": "2026-02-17T06:03:22.123456+00:00",
                "event_data": data,
            }
        )

    def ok(self, host: str, task: str, action: str, **result: Any) -> None:
        self.event("runner_on_ok", host, task, action, res={"changed": False, **result})

    def failed(self, host: str = "web", task: str = "Install", **result: Any) -> None:
        self.event("runner_on_failed", host, task, "ansible.builtin.dnf", res=result)

    def report(self, phase: str, *packages: dict[str, Any], host: str = "web", **more: Any) -> None:
        report = rpm_report(host, *packages, **more)
        name = f"Collect the report ({phase})"
        self.ok(host, name, "patchherd.fleet.report_info", phase=phase, report_encoded=encoded(report))

    def end(self) -> dict[str, Any]:
        """The deployment after the run, its hosts by name."""
        self.recorder.close()
        with database.connection():
            assert ledger.finish(self.job.id, "m:1:x", "succeeded", "", self.recorder.received)
            shown = orders.details(Deployment.get_by_id(self.deployment.id))
        shown["hosts"] = {host["name"]: host for host in shown["hosts"]}
        return shown


@pytest.fixture
def settings(app: Flask, app_settings: Settings) -> Settings:
    return app_settings


def changes(host: dict[str, Any]) -> dict[str, str]:
    return {change["package"]: change["result"] for change in host["changes"]}


def test_patched_is_what_the_rescan_shows(settings: Settings) -> None:
    run = Run(settings)
    run.event("runner_on_start")
    run.report("before", *BEFORE)
    run.ok("web", "Install", "ansible.builtin.dnf", changed=True, msg="ok")
    run.report("after", *AFTER, package("newdep", "1-1"))
    done = run.end()
    host = done["hosts"]["web"]
    assert (done["state"], host["state"], host["message"]) == ("succeeded", "patched", "")
    assert changes(host) == {"openssl": "installed", "bash": "installed", "newdep": "installed"}
    extra = next(change for change in host["changes"] if change["package"] == "newdep")
    assert (extra["planned"], extra["from"], extra["to"]) == (False, None, "1-1")
    assert (host["reboot_required"], host["rebooted"]) == (False, False)
    assert host["started_at"] is not None
    with database.connection():
        assert Device.get(Device.hostname == "web").patch_status == "current"
        assert JobEvent.select().count() == 3, "starts of tasks on hosts are not kept"
        assert Job.get_by_id(run.job.id).events == 4


@pytest.mark.parametrize(("old", "new", "state"), [
    ("noarch", "x86_64", "patched"), ("x86_64", "noarch", "patched"), ("i686", "x86_64", "failed"),
])  # fmt: skip
def test_an_update_may_go_to_or_from_noarch(settings: Settings, old: str, new: str, state: str) -> None:
    with database.connection():
        device = add_host("moving", package("moved", candidate="2-1", architecture=old))
    run = Run(settings, devices=[device.id])
    run.report("before", package("moved", candidate="2-1", architecture=old), host="moving")
    run.report("after", package("moved", "2-1", architecture=new), host="moving")
    host = run.end()["hosts"]["moving"]
    assert host["state"] == state
    assert [change["planned"] for change in host["changes"]] == ([True] if state == "patched" else [True, False])


def test_success_of_the_module_without_the_version_is_a_failure(settings: Settings) -> None:
    run = Run(settings)
    run.report("before", *BEFORE)
    run.ok("web", "Install", "ansible.builtin.dnf", changed=True, msg="Everything installed")
    run.report("after", package("openssl", "2-1"), package("bash", candidate="2-1"))
    host = run.end()["hosts"]["web"]
    assert (host["state"], host["message"]) == ("failed", "not installed: bash")
    assert changes(host) == {"openssl": "installed", "bash": "failed"}


def test_a_failed_task_is_told_even_if_everything_is_there(settings: Settings) -> None:
    run = Run(settings)
    run.report("before", *BEFORE)
    run.failed(msg="post-installation script failed", stderr="exit 1")
    run.report("after", *AFTER)
    run.failed(task="Fail where the installation has failed", msg="again")
    host = run.end()["hosts"]["web"]
    assert host["state"] == "failed"
    assert host["message"] == "Install: post-installation script failed\nexit 1"
    assert changes(host) == {"openssl": "installed", "bash": "installed"}


def test_a_failure_that_is_ignored_is_none(settings: Settings) -> None:
    run = Run(settings)
    run.report("before", *BEFORE)
    run.event("runner_on_failed", "web", "Look", "x", res={"msg": "no"}, ignore_errors=True)
    run.report("after", *AFTER)
    assert run.end()["hosts"]["web"]["state"] == "patched"


def test_what_is_no_longer_offered_is_superseded(settings: Settings) -> None:
    run = Run(settings)
    run.report("before", security("openssl", candidate="3-1"), package("bash"))
    run.report("after", security("openssl", candidate="3-1"), package("bash"))
    done = run.end()
    host = done["hosts"]["web"]
    assert (done["state"], host["state"]) == ("failed", "incomplete")
    assert host["message"] == "2 planned version(s) are no longer offered; plan again"
    told = {change["package"]: (change["result"], change["message"]) for change in host["changes"]}
    assert told["openssl"] == ("superseded", "the repositories now offer 3-1")
    assert told["bash"][0] == "superseded"
    assert told["bash"][1].startswith("no longer offered")


def test_what_the_host_refuses_is_superseded_with_its_reason(settings: Settings) -> None:
    run = Run(settings)
    why = {"needsUpdate": False, "blocked": "pinned", "blockedDetail": "2-1 has priority -1"}
    for phase in ("before", "after"):
        run.report(phase, security("openssl") | why, package("bash", candidate="3-1") | why)
    host = run.end()["hosts"]["web"]
    assert host["state"] == "incomplete"
    told = {change["package"]: change["message"] for change in host["changes"]}
    assert told["openssl"] == "not installable: pinned: 2-1 has priority -1"
    assert told["bash"].startswith("no longer offered"), "what is blocked is another version than the planned one"


def test_somebody_else_installed_it_meanwhile(settings: Settings) -> None:
    run = Run(settings)
    run.report("before", *AFTER)
    run.report("after", package("openssl", "9-1"), package("bash", "2-1"))
    host = run.end()["hosts"]["web"]
    assert host["state"] == "patched"
    assert changes(host) == {"openssl": "installed", "bash": "installed"}


def test_a_half_configured_package_is_not_installed(settings: Settings) -> None:
    run = Run(settings)
    run.report("before", *BEFORE)
    run.report("after", package("openssl", "2-1", broken="half-configured"), package("bash", "2-1"))
    host = run.end()["hosts"]["web"]
    assert (host["state"], changes(host)["openssl"]) == ("failed", "failed")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("policy", "reports", "state", "rebooted", "final"),
    [
        ("never", [("boot-1", True)], "not_effective", False, "succeeded"),
        ("if_required", [("boot-1", True), ("boot-2", False)], "patched", True, "succeeded"),
        ("if_required", [("boot-1", True), ("boot-2", True)], "not_effective", True, "failed"),
        ("if_required", [("boot-1", True), ("boot-1", True)], "not_effective", False, "failed"),
        ("if_required", [("boot-1", True)], "failed", False, "failed"),
        ("if_required", [("boot-1", False)], "patched", False, "succeeded"),
    ],
)
def test_reboots(
    settings: Settings, policy: str, reports: list[tuple[str, bool]], state: str, rebooted: bool, final: str
) -> None:
    run = Run(settings, reboot=policy)
    run.report("before", *BEFORE)
    for number, (boot, needed) in enumerate(reports):
        if number and boot != reports[number - 1][0]:
            run.ok("web", "Reboot a Linux host", "ansible.builtin.reboot", rebooted=True)
        run.report("after", *AFTER, bootId=boot, needsReboot=needed, rebootReason="new kernel" if needed else None)
    done = run.end()
    host = done["hosts"]["web"]
    assert (host["state"], host["rebooted"], done["state"]) == (state, rebooted, final)
    if state == "not_effective":
        assert host["message"] == "installed, not effective: new kernel"


def test_a_dry_run_installs_and_proves_nothing(settings: Settings) -> None:
    run = Run(settings, "web", "db", dry_run=True)
    for name in ("web", "db"):
        run.report("before", *BEFORE, host=name)
    run.failed("db", msg="conflicts")
    for name in ("web", "db"):
        run.report("after", *BEFORE, host=name)
    done = run.end()
    web, db = done["hosts"]["web"], done["hosts"]["db"]
    assert (web["state"], set(changes(web).values())) == ("planned", {"would_install"})
    assert (db["state"], db["message"], set(changes(db).values())) == ("failed", "Install: conflicts", {"unproven"})


def test_a_scan_ends_with_the_report(settings: Settings) -> None:
    run = Run(settings, kind="scan")
    run.report("before", *AFTER)
    done = run.end()
    assert (done["state"], done["hosts"]["web"]["state"]) == ("succeeded", "scanned")
    with database.connection():
        assert Device.get(Device.hostname == "web").missing == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Failed to connect to the host via ssh: Host key verification failed.", "SSH host key does not match"),
        ("@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@", "SSH host key does not match"),
        ("No ED25519 host key is known for patchherd-x and you have requested strict checking.", "SSH host key"),
        ("root@10.0.0.1: Permission denied (publickey).", "the server's SSH key or credentials were refused"),
        ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", "unreachable: ssh: connect"),
        ("", "unreachable"),
    ],
)
def test_why_a_host_is_unreachable(settings: Settings, text: str, reason: str) -> None:
    run = Run(settings)
    run.event("runner_on_unreachable", "web", "Collect", "x", res={"unreachable": True, "msg": text})
    run.report("after", *AFTER)  # what comes later does not make it reachable
    done = run.end()
    host = done["hosts"]["web"]
    assert (done["state"], host["state"]) == ("failed", "unreachable")
    assert host["message"].startswith(reason)
    assert text in host["message"]
    assert set(changes(host).values()) == {"unproven"}


def contact() -> tuple[bool | None, str | None, bool]:
    """What the device keeps about Ansible: reachable, message, whether a time is known."""
    with database.connection():
        device = Device.get(Device.hostname == "web")
        return device.ansible_reachable, device.ansible_message, device.ansible_checked_at is not None


def test_what_ansible_found_is_kept_apart_from_signs_of_life(settings: Settings) -> None:
    run = Run(settings)
    assert contact() == (None, None, False), "an agent that reports proves nothing about Ansible"
    with database.connection():
        beat = Device.get().last_heartbeat
    run.event("runner_on_unreachable", "web", "Collect", "x", res={"unreachable": True, "msg": "timed out"})
    run.end()
    assert contact() == (False, "unreachable: timed out", True)
    with database.connection():
        device = Device.get()
    assert device.last_heartbeat == beat
    again = Run(settings, "db")
    again.report("before", *BEFORE, host="db")
    again.end()
    assert contact()[0] is False, "another host was reached"
    retried = Run(settings, "other", devices=[device.id])
    retried.report("before", *BEFORE)
    retried.end()
    assert contact() == (True, None, True)


DEEP = b64encode(zlib.compress(b"[" * 100_000)).decode()
MALFORMED: list[Any] = [
    None, 7, "", "%%%", "bm90IHpsaWI=", b64encode(zlib.compress(b"[]")).decode(), DEEP,
    b64encode(zlib.compress(b"not json")).decode(), encoded(rpm_report("web"))[:-8],
]  # fmt: skip


def test_malformed_payloads_are_no_reports() -> None:
    assert [decode_report(payload) for payload in MALFORMED] == [None] * len(MALFORMED)
    bomb = b64encode(zlib.compress(b" " * (65 * 1024 * 1024), 1)).decode()
    assert decode_report(bomb) is None


def test_one_host_with_malformed_results_does_not_stop_the_others(settings: Settings) -> None:
    names = [f"bad{number}" for number in range(len(MALFORMED))] + ["odd", "long", "wrong", "mail"]
    run = Run(settings, *names)
    action = "patchherd.fleet.report_info"
    for name, payload in zip(names, MALFORMED, strict=False):
        run.ok(name, "Collect the report (after)", action, phase="after", report_encoded=payload)
    run.event(
        "runner_on_ok",
        "odd",
        "Search Windows updates (after)",
        "ansible.windows.win_updates",
        res={"updates": {"a": 1}},
    )
    run.event("runner_on_ok", "odd", "Collect", action, res=["no", "object"])
    run.event("runner_on_failed", "odd", "Install", "x", res="text")
    run.event("runner_on_ok", "nobody", "Collect", action, res={})
    run.report("before", *BEFORE, host="long", bootId="x" * 5000, rebootReason="y" * 5000, hostname="long")
    run.report("after", *AFTER, host="long", bootId=["list"])
    run.report("after", {"name": 7}, host="wrong")
    run.event("warning", "", stdout="text \0 with \udcff bytes")
    run.failed("mail", msg="NUL \0 and \udcff")
    run.report("after", *AFTER, host="mail")
    done = run.end()
    assert run.recorder.error is None
    shown = {name: host["state"] for name, host in done["hosts"].items()}
    assert set(shown.values()) == {"failed"}, shown
    assert done["hosts"]["bad0"]["message"] == "Collect the report (after): the report is malformed"
    assert "malformed (" in done["hosts"]["odd"]["message"] or done["hosts"]["odd"]["message"] == "Install: text"
    assert "report (after)" in done["hosts"]["wrong"]["message"]
    assert done["hosts"]["mail"]["message"] == "Install: NUL  and ?"
    with database.connection():
        texts = [row.message for row in JobEvent.select()]
    assert "text  with ? bytes" in texts


def test_storable() -> None:
    assert storable("a\0b\udcffü") == "ab?ü"
    assert storable(7) == "7"


def test_events_are_written_in_batches(settings: Settings) -> None:
    """Thousands of events, as a large fleet sends them, cost few statements and lose nothing."""
    names = [f"h{number}" for number in range(8)]
    run = Run(settings, *names)
    with queries() as seen:
        for task in range(300):
            for name in names:
                run.event("runner_on_start", name, f"task {task}")
                run.event("runner_on_ok", name, f"task {task}", "ansible.builtin.debug", res={"changed": False})
        run.recorder.close()
    with database.connection():
        assert JobEvent.select().count() == 2400
        assert run.recorder.received == 4800
        assert DeploymentHost.select().where(DeploymentHost.state == "running").count() == len(names)
    updates = [sql for sql in seen if sql.startswith("UPDATE")]
    assert len(updates) == len(names), "each host starts once"


def test_the_newest_lines_outside_of_tasks_are_kept(settings: Settings) -> None:
    run = Run(settings)
    for number in range(50):
        run.event("verbose", "", stdout=f"line {number}")
    run.recorder.close()
    assert run.recorder.last_words().endswith("line 49")
    assert len(run.recorder.last_words()) <= 2000
    assert not run.recorder.has_stats


def test_a_broken_database_ends_the_run_with_its_error(settings: Settings) -> None:
    run = Run(settings)
    with database.connection():
        database.db.drop_tables([JobEvent])
    run.ok("web", "Anything", "ansible.builtin.debug")
    with pytest.raises(Exception, match="job_event"):
        run.recorder.close()


def test_windows_hosts_are_judged_by_what_is_still_offered(settings: Settings) -> None:
    def update(kb: str, category: str = "Security Updates") -> dict[str, Any]:
        return {"title": f"Update {kb}", "kb": [kb], "categories": [category], "id": kb, "installed": False}

    search = {"updates": {"a": update("5050001"), "b": update("5050002")}, "filtered_updates": {}}
    with database.connection():
        device = create_device("win")
        receive_report(device.id, {"hostname": "win", "ip": "10.0.0.9", "osType": "Microsoft Windows Server 2022"})
        receive_report(device.id, windows_report(search), source="ansible")
        order = {"created_by": "me", "devices": ["win"], "groups": []}
        deployment = orders.place(settings, lambda _: None, **order)
        job = deployment.jobs.get()
        ledger.take(job.id, "m:1:x", 20)
        run = Run.__new__(Run)
        run.deployment, run.job, run.counter = deployment, job, 0
        run.recorder = Recorder(job, kind_of(Deployment.get_by_id(deployment.id)))
    run.recorder.start()
    action = "ansible.windows.win_updates"
    run.ok("win", "Search Windows updates (before)", action, **search)
    run.ok("win", "Install the planned updates", action, changed=True, rebooted=True)
    run.ok("win", "Ask", "ansible.windows.win_reboot_info", reboot_required=False)
    run.ok("win", "Search Windows updates (after)", action, updates={"b": update("5050002")}, filtered_updates={})
    host = run.end()["hosts"]["win"]
    assert (host["state"], host["rebooted"], host["message"]) == ("failed", True, "not installed: Update 5050002")
    assert {change["kb"]: change["result"] for change in host["changes"]} == {
        "KB5050001": "installed",
        "KB5050002": "failed",
    }
