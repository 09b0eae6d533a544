# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions that Ansible runs: from the playbook's events to results, and never twice whatever dies when."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from patchherd import database
from patchherd.automation import actions
from patchherd.automation.dispatch import start_waiting
from patchherd.automation.models import Action, Profile, ProfileTask
from patchherd.database import now
from patchherd.deployments import ledger, orders
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import Deployment, DeploymentHost, Job, JobEvent
from patchherd.deployments.recorder import Recorder
from patchherd.deployments.runner import _write_inputs
from patchherd.devices.registry import find_device
from patchherd.errors import Conflict
from patchherd.settings import Settings
from tests.server.fleet import add_host, package

SET_FACT = "ansible.builtin.set_fact"
TEXT = "echo '{{ 7 * 7 }}' \"é\"\n"


@pytest.fixture
def settings(app: Flask, app_settings: Settings) -> Settings:
    return app_settings


class Run:
    """A profile of three steps, the second of which must not fail, on some hosts; and the events of its playbook."""

    def __init__(self, settings: Settings, *names: str) -> None:
        self.settings, self.names = settings, names or ("web",)
        with database.connection():
            moment = now()
            profile = Profile.create(name="p", created_at=moment, updated_at=moment)
            for place in range(3):
                ProfileTask.create(
                    profile=profile, name=str(place), order_index=place, action_type="bash_inline", payload=TEXT,
                    continue_on_error=place != 1, created_at=moment, updated_at=moment,
                )  # fmt: skip
            references = [add_host(name, package("bash")).id for name in self.names]
            queued = actions.apply_profile(settings, profile.id, actions.Targets(references), "me")
            self.numbers = {name: queued.actions[3 * place : 3 * place + 3] for place, name in enumerate(self.names)}
            self.deployment = Deployment.get()
            self.take()

    def take(self) -> None:
        self.job = Job.get(Job.state == "queued")
        ledger.take(self.job.id, "m:1:x", 20)
        self.recorder = Recorder(self.job, kind_of(Deployment.get_by_id(self.deployment.id)))
        self.recorder.start()
        self.counter = 0

    def event(self, kind: str, host: str = "web", action: str = SET_FACT, **more: Any) -> None:
        self.counter += 1
        data = {"task": "t", "task_action": action, "resolved_action": action, "host": host, **more}
        self.recorder.put(
            {"uuid": f"u{self.counter}", "counter": self.counter, "stdout": "", "event": kind,
             "created": "2026-02-17T06:03:22.123456+00:00", "event_data": data}
        )  # fmt: skip

    def facts(self, host: str, action: str = SET_FACT, **facts: Any) -> None:
        self.event("runner_on_ok", host, action, res={"ansible_facts": facts, "changed": False})

    def started(self, number: int, host: str = "web") -> None:
        self.facts(host, actions_started=str(number))

    def ended(self, number: int, host: str = "web", **found: Any) -> None:
        encoded = base64.b64encode(json.dumps({"exit_code": 0, **found}).encode()).decode()
        self.facts(host, actions_result={"id": number, "exit_code": 0, "encoded": encoded})

    def written(self) -> None:
        """Wait until everything is recorded."""
        self.recorder.close()

    def finish(self, state: str = "succeeded", message: str = "") -> None:
        self.written()
        with database.connection():
            assert ledger.finish(self.job.id, "m:1:x", state, message, self.counter)

    def shown(self, name: str = "web") -> list[tuple[str, str]]:
        with database.connection():
            rows = Action.select().where(Action.id.in_(self.numbers[name])).order_by(Action.id)
            return [(row.status, row.message) for row in rows]

    def states(self) -> tuple[str, list[str]]:
        with database.connection():
            hosts = DeploymentHost.select().where(DeploymentHost.deployment == self.deployment)
            return Deployment.get_by_id(self.deployment.id).state, [h.state for h in hosts.order_by(DeploymentHost.id)]


def test_the_playbook_gets_what_waits_in_order_and_literally(settings: Settings, tmp_path: Path) -> None:
    run = Run(settings, "web", "db")
    with database.connection():
        Action.update(status="succeeded").where(Action.id == run.numbers["web"][0]).execute()
        extra = _write_inputs(settings, kind_of(Deployment.get()), tmp_path)
    assert Path(extra["patchherd_control"]).is_dir()
    hosts = json.loads((tmp_path / "inventory/hosts.json").read_text())["all"]["hosts"]
    listed = {name: host["patchherd_actions"] for name, host in hosts.items()}
    assert [row["id"] for row in listed["web"]] == run.numbers["web"][1:]
    assert [row["continue_on_error"] for row in listed["db"]] == [True, False, True]
    first = listed["db"][0]
    assert base64.b64decode(first["script_encoded"]["__ansible_unsafe"]).decode() == TEXT
    assert first["once"] == {"__ansible_unsafe": f"{run.deployment.uuid}-{first['id']}"}
    assert (first["run"], first["timeout"]) == ({"__ansible_unsafe": "script"}, 1800)
    assert "7 * 7" not in (tmp_path / "inventory/hosts.json").read_text()
    run.written()


def test_actions_end_as_the_host_says(settings: Settings) -> None:
    run = Run(settings)
    first, second, third = run.numbers["web"]
    run.event("runner_on_start")
    run.started(first)
    run.ended(first, stdout="out\0", stderr="err", stdout_cut=5, started_at=1.5, ended_at=2)
    run.started(second)
    run.ended(second)
    run.started(third)
    run.ended(third, exit_code=4)
    run.event("runner_on_failed", action="ansible.builtin.fail", res={"msg": f"failed: {third}"})
    run.finish()
    assert run.shown() == [("succeeded", ""), ("succeeded", ""), ("failed", "exit code 4")]
    assert run.states() == ("failed", ["failed"])
    with database.connection():
        row = Action.get_by_id(first)
        assert (row.stdout, row.stderr, row.stdout_cut, row.exit_code) == ("out", "err", 5, 0)
        assert row.started_at <= row.completed_at
        assert DeploymentHost.get().message == f"action {third}: exit code 4"
        assert not [event for event in JobEvent.select() if "out" in event.message]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"exit_code": None, "timed_out": True}, ("failed", "not finished within 1800 s, and killed")),
        ({"exit_code": None, "already": True}, ("failed", "the host has started it before")),
        ({"exit_code": None, "problem": "Run the script: no bash"}, ("failed", "Run the script: no bash")),
        ({"exit_code": 3010}, ("failed", "exit code 3010")),
        ({"exit_code": None}, ("failed", "exit code None")),
    ],
)
def test_what_is_no_success(settings: Settings, found: dict[str, Any], expected: tuple[str, str]) -> None:
    run = Run(settings)
    run.started(run.numbers["web"][1])
    run.ended(run.numbers["web"][1], **found)
    run.written()
    shown = run.shown()
    assert shown[1][0] == expected[0]
    assert shown[1][1].startswith(expected[1])
    assert shown[2] == ("skipped", f"action {run.numbers['web'][1]} failed")
    assert shown[0][0] == "pending"


def test_a_failure_stops_its_own_device_only(settings: Settings) -> None:
    run = Run(settings, "web", "db")
    for name in ("web", "db"):
        for place, number in enumerate(run.numbers[name]):
            if name == "web" and place == 2:
                continue
            run.started(number, name)
            run.ended(number, name, exit_code=1 if (name, place) == ("web", 1) else 0)
    run.finish()
    assert [status for status, _ in run.shown("web")] == ["succeeded", "failed", "skipped"]
    assert [status for status, _ in run.shown("db")] == ["succeeded"] * 3
    assert run.states() == ("failed", ["failed", "succeeded"])


def test_no_host_speaks_for_another(settings: Settings) -> None:
    run = Run(settings, "web", "db")
    number = run.numbers["db"][0]
    run.started(number, "web")
    run.ended(number, "web")
    facts = {"actions_started": number, "actions_result": {"id": number, "encoded": "e30="}}
    run.facts("db", action="patchherd.fleet.run_script", **facts)
    run.facts("web", actions_started="many")
    run.facts("web", actions_result={"id": run.numbers["web"][0], "encoded": "no base64 %"})
    run.started(run.numbers["db"][1], "db")
    run.written()
    assert [status for status, _ in run.shown("db")] == ["pending", "running", "pending"]
    assert [status for status, _ in run.shown("web")] == ["pending"] * 3, "what is malformed proves nothing"
    assert run.recorder.error is None


@pytest.mark.parametrize("announced", [0, 1, 2])
def test_a_lost_job_repeats_nothing_that_was_announced(settings: Settings, announced: int) -> None:
    run = Run(settings, "web", "db")
    numbers = run.numbers["web"]
    for number in numbers[:announced]:
        run.started(number)
        run.ended(number)
    run.started(numbers[announced])
    run.written()
    with database.connection():
        Job.update(lease_expires=now() - timedelta(seconds=1)).execute()
        assert ledger.expired_jobs() == [run.job.id]
        assert ledger.lose(run.job.id, None, "its worker was killed") is not None
    shown = run.shown()
    assert shown[:announced] == [("succeeded", "")] * announced
    assert shown[announced] == ("failed", "lost: its worker was killed; its outcome is unknown")
    left = [status for status, _ in shown[announced + 1 :]]
    assert left == (["skipped"] if announced == 1 else ["pending"] * len(left)), "the second one must not fail"
    with database.connection():
        run.take()
        hosts = list(DeploymentHost.select().order_by(DeploymentHost.id))
    assert [host.state for host in hosts] == ["waiting" if "pending" in left else "failed", "waiting"]
    run.finish()


def test_three_lost_jobs_are_enough(settings: Settings) -> None:
    run = Run(settings)
    with database.connection():
        for attempt in (1, 2, 3):
            run.recorder.close()
            assert (ledger.lose(run.job.id, "m:1:x", "killed") is not None) is (attempt < 3)
            if attempt < 3:
                run.take()
    assert run.shown() == [("failed", "not started: killed; given up after 3 attempts")] * 3
    assert run.states() == ("failed", ["failed"])


def test_the_end_of_the_run_closes_what_is_open(settings: Settings) -> None:
    run = Run(settings)
    first, second, _ = run.numbers["web"]
    run.started(first)
    run.ended(first)
    run.started(second)
    run.finish("failed", "ansible-playbook ended early (exit 4)")
    assert run.shown() == [
        ("succeeded", ""),
        ("failed", "ansible-playbook ended early (exit 4); its outcome is unknown"),
        ("failed", "not started: ansible-playbook ended early (exit 4)"),
    ]


def test_unreachable_hosts(settings: Settings) -> None:
    run = Run(settings, "web", "db")
    run.started(run.numbers["web"][0])
    run.event("runner_on_unreachable", "web", res={"unreachable": True, "msg": "timed out"})
    run.event("runner_on_unreachable", "db", res={"unreachable": True, "msg": "Host key verification failed"})
    run.finish()
    assert run.shown()[0][1].startswith("the connection broke, its outcome is unknown: unreachable: timed out")
    assert [message.split(":")[0] for _, message in run.shown("db")] == ["not started"] * 3
    assert "host key" in run.shown("db")[0][1]
    assert run.states() == ("failed", ["unreachable", "unreachable"])


def test_cancel_while_it_runs(settings: Settings, tmp_path: Path) -> None:
    run = Run(settings, "web", "db")
    first, second, third = run.numbers["web"]
    run.started(first)
    run.written()
    (tmp_path / "control").mkdir()
    kind = run.recorder.kind
    with database.connection():
        assert actions.cancel(first).status == "running"
        assert not Deployment.get().cancel_requested, "db goes on"
        kind.watch(tmp_path, "no such mark")
    assert {path.name for path in (tmp_path / "control").iterdir()} == {str(second), str(third)}
    run.recorder = Recorder(run.job, kind)
    run.recorder.start()
    run.ended(first, exit_code=None, problem="Run the script: killed by the cut connection")
    run.written()
    assert run.shown()[0] == ("canceled", "canceled while it ran")
    assert [status for status, _ in run.shown()] == ["canceled", "skipped", "skipped"]
    with database.connection():
        waiting = run.numbers["db"][2]
        actions.cancel(waiting)
        kind.watch(tmp_path, "no such mark")
        assert (tmp_path / "control" / str(waiting)).exists()
        actions.cancel(run.numbers["db"][0])
        assert actions.cancel(run.numbers["db"][1]).status == "canceled"
    assert run.states()[1] == ["canceled", "canceled"]


def test_cancel_that_meets_the_start(settings: Settings) -> None:
    run = Run(settings)
    with database.connection():
        actions.cancel(run.numbers["web"][0])
    run.started(run.numbers["web"][0])
    run.written()
    with database.connection():
        row = Action.get_by_id(run.numbers["web"][0])
    assert (row.status, row.cancel_requested) == ("canceled", True)
    assert row.message == "canceled as it started; its outcome is unknown"


def test_a_run_whose_actions_were_all_called_off_is_canceled(settings: Settings, tmp_path: Path) -> None:
    run = Run(settings)
    with database.connection():
        for number in run.numbers["web"][:2]:
            actions.cancel(number)
        assert _write_inputs(settings, run.recorder.kind, tmp_path) == {}, "nothing is left to do"
    run.finish()
    assert [status for status, _ in run.shown()] == ["canceled", "canceled", "skipped"]
    assert run.states() == ("canceled", ["canceled"])


def test_a_canceled_run_cancels_its_actions(settings: Settings) -> None:
    run = Run(settings)
    first, *_ = run.numbers["web"]
    run.started(first)
    run.written()
    with database.connection():
        orders.cancel(Deployment.get())
        assert ledger.finish(run.job.id, "m:1:x", "canceled", "canceled while it ran", 1)
    assert run.shown() == [("canceled", "canceled while it ran"), *[("canceled", "canceled before it started")] * 2]
    assert run.states() == ("canceled", ["canceled"])
    with database.connection(), pytest.raises(Conflict, match="place the actions anew"):
        orders.retry(settings, lambda _: None, Deployment.get(), "me")


def test_a_freed_device_gets_its_next_chain(settings: Settings) -> None:
    run = Run(settings)
    with database.connection():
        work = actions.work_of(settings, {"type": "bash_inline", "payload": "id"})
        later = actions.queue(settings, work, find_device("web"), "me")
        assert later.host_id is None
        assert start_waiting(settings) is None
    for number in run.numbers["web"]:
        run.started(number)
        run.ended(number)
    run.finish()
    with database.connection():
        run.recorder.kind.ended(settings)
        assert Action.get_by_id(later.id).host.deployment_id != run.deployment.id
    assert run.states() == ("succeeded", ["succeeded"])
