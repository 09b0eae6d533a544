# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The job ledger: one winner per transition, whatever happens at the same time, and no deployment that never ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from patchherd import database
from patchherd.database import now
from patchherd.deployments import ledger, processes, worker
from patchherd.deployments.models import Deployment, DeploymentChange, DeploymentHost, Job
from patchherd.devices.registry import create_device
from patchherd.settings import Settings


@pytest.fixture(autouse=True)
def connected(app: Flask) -> Iterator[None]:
    with database.connection():
        yield


def order(*states: str, **columns: Any) -> tuple[Deployment, Job]:
    """A queued deployment, one host for each state with one planned change, and its job."""
    deployment = Deployment.create(
        uuid=str(now().timestamp()), filter="all", created_by="me", created_at=now(), **columns
    )
    for number, state in enumerate(states):
        device = create_device(f"host{number}")
        host = DeploymentHost.create(deployment=deployment, device=device, name=f"host{number}", state=state)
        DeploymentChange.create(host=host, package="bash", candidate="2")
    return deployment, Job.create(deployment=deployment, created_at=now())


def expire(job: Job) -> None:
    Job.update(lease_expires=now() - timedelta(seconds=1)).where(Job.id == job.id).execute()


def hosts(deployment: Deployment) -> list[str]:
    return [host.state for host in deployment.hosts.order_by(DeploymentHost.id)]


def state(row: Any) -> str:
    return str(type(row).get_by_id(row.id).state)


def race(count: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act(n)` returned in `count` threads that begin together, each with a connection of its own."""
    barrier, results = threading.Barrier(count), []

    def run(number: int) -> None:
        with database.connection():
            barrier.wait()
            results.append(act(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results


def test_one_of_many_workers_takes_a_job() -> None:
    deployment, job = order("waiting")
    taken = [found for found in race(8, lambda n: ledger.take(job.id, f"m:{n}:x", 20)) if found]
    assert len(taken) == 1
    shown = Job.get_by_id(job.id)
    assert (shown.state, shown.lease_owner) == ("running", taken[0].lease_owner)
    assert shown.lease_expires > now()
    assert state(deployment) == "running"
    assert Deployment.get_by_id(deployment.id).started_at is not None


def test_one_of_many_reapers_requeues_a_lost_job() -> None:
    deployment, job = order("running", "patched", "waiting")
    ledger.take(job.id, "m:1:x", 20)
    expire(job)
    successors = [found for found in race(8, lambda _: ledger.lose(job.id, None, "gone")) if found]
    assert len(successors) == 1
    assert [(row.state, row.attempt) for row in deployment.jobs.order_by(Job.id)] == [("lost", 1), ("queued", 2)]
    assert hosts(deployment) == ["waiting", "patched", "waiting"]
    assert state(deployment) == "running"


def test_worker_and_reaper_cannot_both_win() -> None:
    for _ in range(5):
        deployment, job = order("patched")
        ledger.take(job.id, "m:1:x", 20)
        expire(job)
        acts = [
            lambda job=job: ledger.finish(job.id, "m:1:x", "succeeded", "", 0),
            lambda job=job: Job.get_by_id(job.id).state == "lost" or bool(ledger.lose(job.id, None, "gone")),
        ]
        race(2, lambda n, acts=acts: acts[n]())
        assert state(job) in {"succeeded", "lost"}
        assert state(deployment) == "succeeded", "every host had its result"
        Deployment.delete().execute()


def test_a_lease_is_renewed_by_its_owner_only() -> None:
    _, job = order("waiting")
    assert not ledger.renew(job.id, "m:1:x", 20), "nobody has taken it"
    ledger.take(job.id, "m:1:x", 20)
    assert not ledger.renew(job.id, "m:2:y", 20)
    expire(job)
    assert ledger.expired_jobs() == [job.id]
    assert ledger.renew(job.id, "m:1:x", 20), "late, but nobody has declared it lost"
    assert ledger.expired_jobs() == []
    assert ledger.lose(job.id, None, "gone") is None, "a renewed lease is no lost one"
    assert ledger.lose(job.id, "m:2:y", "gone") is None
    assert state(job) == "running"
    assert ledger.lose(job.id, "m:1:x", "killed") is not None
    assert not ledger.renew(job.id, "m:1:x", 20), "it must stop at once"
    assert not ledger.finish(job.id, "m:1:x", "succeeded", "", 0)
    assert state(job) == "lost"


def test_after_three_attempts_hosts_fail_and_say_why() -> None:
    deployment, job = order("waiting", "patched")
    for attempt in range(1, ledger.MAX_ATTEMPTS + 1):
        assert Job.get_by_id(job.id).attempt == attempt
        ledger.take(job.id, "m:1:x", 20)
        successor = ledger.lose(job.id, "m:1:x", "its worker was killed")
        job = Job.get_by_id(successor) if successor else job
    assert successor is None
    assert hosts(deployment) == ["failed", "patched"]
    failed = deployment.hosts.order_by(DeploymentHost.id).first()
    assert failed.message == "its worker was killed; given up after 3 attempts"
    assert {change.result for change in failed.changes} == {"unproven"}
    assert state(deployment) == "failed"


def test_what_was_ended_on_purpose_uses_up_no_attempt() -> None:
    """However often the server is stopped; what crashes in between still counts."""
    deployment, job = order("waiting", "patched")
    for counts in [False, False, True, False, False, True, False]:
        ledger.take(job.id, "m:1:x", 20)
        successor = ledger.lose(job.id, "m:1:x", "the server was stopped", counts=counts)
        assert successor
        job = Job.get_by_id(successor)
    assert [row.attempt for row in deployment.jobs.order_by(Job.id)] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert (hosts(deployment), state(deployment)) == (["waiting", "patched"], "running")
    ledger.take(job.id, "m:1:x", 20)
    assert ledger.lose(job.id, "m:1:x", "its worker was killed") is None
    assert (hosts(deployment), state(deployment)) == (["failed", "patched"], "failed")


def test_a_lost_job_starts_clean_or_ends_canceled() -> None:
    deployment, job = order("running")
    ledger.take(job.id, "m:1:x", 20)
    DeploymentHost.update(message="Install: failed").execute()
    assert ledger.lose(job.id, "m:1:x", "gone")
    assert deployment.hosts.get().message == "", "the next attempt is judged by itself"
    deployment, job = order("running")
    ledger.take(job.id, "m:1:x", 20)
    Deployment.update(cancel_requested=True).where(Deployment.id == deployment.id).execute()
    assert ledger.cancel_requested(job.id)
    assert ledger.lose(job.id, "m:1:x", "gone") is None
    assert (hosts(deployment), state(deployment)) == (["canceled"], "canceled")


def test_finish_closes_hosts_without_a_result() -> None:
    deployment, job = order("waiting", "running", "unchanged")
    ledger.take(job.id, "m:1:x", 20)
    told = deployment.hosts.order_by(DeploymentHost.id).first()
    DeploymentHost.update(message="Reboot: timed out").where(DeploymentHost.id == told.id).execute()
    assert ledger.finish(job.id, "m:1:x", "succeeded", "", 42)
    shown = Job.get_by_id(job.id)
    assert (shown.state, shown.events, shown.lease_owner, shown.lease_expires) == ("succeeded", 42, None, None)
    assert [(host.state, host.message) for host in deployment.hosts.order_by(DeploymentHost.id)] == [
        ("failed", "Reboot: timed out"),
        ("failed", "the run ended before this host was proven"),
        ("unchanged", ""),
    ]
    assert state(deployment) == "failed"
    assert not ledger.finish(job.id, "m:1:x", "failed", "again", 0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("states", "columns", "final"),
    [
        (["patched", "unchanged"], {}, "succeeded"),
        (["planned"], {"dry_run": True}, "succeeded"),
        (["scanned"], {"kind": "scan"}, "succeeded"),
        (["patched", "failed"], {}, "failed"),
        (["patched", "unreachable"], {}, "failed"),
        (["patched", "skipped"], {}, "failed"),
        (["patched", "incomplete"], {}, "failed"),
        (["not_effective"], {"reboot": "never"}, "succeeded"),
        (["not_effective"], {"reboot": "if_required"}, "failed"),
        (["canceled", "patched"], {"cancel_requested": True}, "canceled"),
        (["patched"], {"cancel_requested": True}, "succeeded"),
        (["failed"], {"cancel_requested": True}, "failed"),
        (["canceled"], {}, "canceled"),
        (["canceled", "failed"], {}, "failed"),
        (["waiting", "patched"], {}, "queued"),
        (["running", "failed"], {}, "queued"),
    ],
)
def test_the_end_of_a_deployment(states: list[str], columns: dict[str, Any], final: str) -> None:
    deployment, _ = order(*states, **columns)
    ledger.settle(deployment.id)
    assert state(deployment) == final
    assert (Deployment.get_by_id(deployment.id).finished_at is not None) is (final != "queued")
    Deployment.update(state="succeeded").execute()
    ledger.settle(deployment.id)
    assert state(deployment) == "succeeded", "what has ended stays ended"


def test_jobs_that_nobody_takes() -> None:
    _, job = order("waiting")
    assert ledger.waiting_jobs(15) == []
    Job.update(created_at=now() - timedelta(seconds=16)).execute()
    assert ledger.waiting_jobs(15) == [job.id]
    ledger.take(job.id, "m:1:x", 20)
    assert ledger.waiting_jobs(15) == []


def test_the_reaper_tells_the_stopped_from_the_killed(app_settings: Settings) -> None:
    pids = {name: 2**22 + number for number, name in enumerate(["stopped", "killed", "watched"], 7)}
    orders = {name: order("running") for name in pids}
    for name, pid in pids.items():
        ledger.take(orders[name][1].id, f"{processes.machine()}:{pid}:gone", 20)
    worker.reap(app_settings, stopped={pids["stopped"]}, spared={pids["watched"]})
    shown = {
        name: [(row.state, row.attempt, row.message) for row in deployment.jobs.order_by(Job.id)]
        for name, (deployment, _) in orders.items()
    }
    assert shown == {
        "stopped": [("lost", 1, "the server was stopped"), ("queued", 1, "")],
        "killed": [("lost", 1, "its worker was killed"), ("queued", 2, "")],
        "watched": [("running", 1, "")],
    }


def test_the_reaper_requeues_what_dead_processes_left(app_settings: Settings) -> None:
    deployment, job = order("running")
    _, elsewhere = order("running")
    ledger.take(job.id, f"{processes.machine()}:{2**22 + 7}:gone", 20)  # no process can have this id
    ledger.take(elsewhere.id, f"another-boot/1:{2**22 + 7}:alive", 20)
    worker.reap(app_settings)
    assert [row.state for row in deployment.jobs.order_by(Job.id)] == ["lost", "queued"]
    assert state(elsewhere) == "running", "process ids of another machine tell nothing"
    expire(elsewhere)
    worker.reap(app_settings)
    assert state(elsewhere) == "lost"
