# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The job ledger: who runs what, proven by a lease that the worker renews.

Every transition is one conditional UPDATE, so two workers, or a worker and the reaper, cannot both win.
"""

from __future__ import annotations

from datetime import timedelta

from peewee import Case

from patchherd.database import now, write_transaction
from patchherd.deployments import patching  # noqa: F401 - adds its kinds
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import (
    GOOD_HOST_STATES,
    OPEN_HOST_STATES,
    OPEN_STATES,
    Deployment,
    DeploymentHost,
    Job,
)

MAX_ATTEMPTS = 3


def take(job_id: int, owner: str, lease_seconds: int) -> Job | None:
    """Start a queued job under a lease of `owner`; None when it is not queued any more."""
    moment = now()
    with write_transaction():
        taken = (
            Job.update(
                state="running",
                lease_owner=owner,
                lease_expires=moment + timedelta(seconds=lease_seconds),
                started_at=moment,
            )
            .where((Job.id == job_id) & (Job.state == "queued"))
            .execute()
        )
        if not taken:
            return None
        job = Job.get_by_id(job_id)
        Deployment.update(state="running").where(
            (Deployment.id == job.deployment_id) & Deployment.state.in_(OPEN_STATES)
        ).execute()
        Deployment.update(started_at=moment).where(
            (Deployment.id == job.deployment_id) & Deployment.started_at.is_null()
        ).execute()
    return job


def renew(job_id: int, owner: str, lease_seconds: int) -> bool:
    """Extend the lease; False when the job is no longer `owner`'s: it must stop at once."""
    expires = now() + timedelta(seconds=lease_seconds)
    where = (Job.id == job_id) & (Job.lease_owner == owner) & (Job.state == "running")
    return bool(Job.update(lease_expires=expires).where(where).execute())


def cancel_requested(job_id: int) -> bool:
    return Deployment.select().join(Job).where((Job.id == job_id) & Deployment.cancel_requested).exists()


def finish(job_id: int, owner: str, state: str, message: str, events: int) -> bool:
    """Close a job that `owner` ran and settle its deployment. False when the lease was lost meanwhile."""
    with write_transaction():
        closed = (
            Job.update(
                state=state, message=message, events=events, finished_at=now(), lease_owner=None, lease_expires=None
            )
            .where((Job.id == job_id) & (Job.lease_owner == owner) & (Job.state == "running"))
            .execute()
        )
        if not closed:
            return False
        deployment_id = Job.get_by_id(job_id).deployment_id
        close_open_hosts(
            deployment_id,
            "canceled" if state == "canceled" else "failed",
            message or "the run ended before this host was proven",
        )
        settle(deployment_id)
    return True


def close_open_hosts(deployment_id: int, state: str, message: str) -> None:
    """Give every host without a result this one. A host that has already told what went wrong keeps its own words."""
    kind_of(Deployment.get_by_id(deployment_id)).close(state, message)
    where = (DeploymentHost.deployment == deployment_id) & DeploymentHost.state.in_(OPEN_HOST_STATES)
    words = Case(None, ((DeploymentHost.message == "", message),), DeploymentHost.message)
    DeploymentHost.update(state=state, message=words, finished_at=now()).where(where).execute()


def settle(deployment_id: int) -> None:
    """Give the deployment its final state when no host is open any more."""
    deployment = Deployment.get_by_id(deployment_id)
    if deployment.state not in OPEN_STATES:
        return
    hosts = DeploymentHost.select(DeploymentHost.state).where(DeploymentHost.deployment == deployment).distinct()
    states = {state for (state,) in hosts.tuples()}
    if any(state in OPEN_HOST_STATES for state in states):
        return
    if "canceled" in states and (deployment.cancel_requested or states <= {*GOOD_HOST_STATES, "canceled"}):
        final = "canceled"
    elif all(state in GOOD_HOST_STATES or (state, deployment.reboot) == ("not_effective", "never") for state in states):
        final = "succeeded"
    else:
        final = "failed"
    Deployment.update(state=final, finished_at=now()).where(Deployment.id == deployment_id).execute()


def lose(job_id: int, owner: str | None, reason: str, *, counts: bool = True) -> int | None:
    """Close a running job whose worker is gone and queue its open hosts again.

    Returns the id of the new job; None when the job was not lost after all, nothing is left to do, or
    MAX_ATTEMPTS is reached (then its hosts fail and say why). An attempt that was ended on purpose, as when the
    server is stopped, does not count.
    """
    with write_transaction():
        gone = Job.lease_expires < now() if owner is None else Job.lease_owner == owner
        where = (Job.id == job_id) & (Job.state == "running") & gone
        lost = Job.update(state="lost", message=reason, finished_at=now(), lease_owner=None, lease_expires=None)
        if not lost.where(where).execute():
            return None
        job = Job.get_by_id(job_id)
        if job.deployment.cancel_requested:
            close_open_hosts(job.deployment_id, "canceled", "canceled; " + reason)
        elif counts and job.attempt >= MAX_ATTEMPTS:
            close_open_hosts(job.deployment_id, "failed", f"{reason}; given up after {MAX_ATTEMPTS} attempts")
        else:
            kind_of(job.deployment).reopen(reason)
            reopened = (
                DeploymentHost.update(state="waiting", message="")
                .where((DeploymentHost.deployment == job.deployment_id) & DeploymentHost.state.in_(OPEN_HOST_STATES))
                .execute()
            )
            if reopened:
                attempt = job.attempt + counts
                return Job.create(deployment=job.deployment_id, attempt=attempt, created_at=now()).id
        settle(job.deployment_id)
    return None


def expired_jobs() -> list[int]:
    """Running jobs whose lease has run out."""
    return [job.id for job in Job.select(Job.id).where((Job.state == "running") & (Job.lease_expires < now()))]


def waiting_jobs(older_than_seconds: int) -> list[int]:
    """Queued jobs that nobody has taken for a while: their wake-up may have been lost."""
    limit = now() - timedelta(seconds=older_than_seconds)
    return [job.id for job in Job.select(Job.id).where((Job.state == "queued") & (Job.created_at < limit))]
