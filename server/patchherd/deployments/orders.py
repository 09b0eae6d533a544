# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Place, cancel, retry and read deployments."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from peewee import fn

from patchherd.database import chunked, db, now, write_transaction
from patchherd.deployments import ledger
from patchherd.deployments.history import jobs_of
from patchherd.deployments.models import (
    OPEN_HOST_STATES,
    OPEN_STATES,
    Deployment,
    DeploymentChange,
    DeploymentHost,
    Job,
    JobEvent,
)
from patchherd.deployments.plan import HostPlan, make_plan, plan_digest, resolve_targets, unreachable_reason
from patchherd.devices.models import Device
from patchherd.devices.naming import inventory_names
from patchherd.devices.registry import MAX_ID
from patchherd.errors import BadRequest, Conflict, NotFound, invalid
from patchherd.identity import audit
from patchherd.identity.locking import take_turn
from patchherd.packages.sets import device_sets
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.deployments")

PLACING = 0x70617410
"""Lock of those who place deployments: none may take a device that another is just taking."""

Wake = Callable[[int], None]
"""Tells a worker about a queued job."""

HOST_STATES = (
    "waiting", "running", "patched", "unchanged", "planned", "scanned", "not_effective",
    "incomplete", "failed", "unreachable", "skipped", "canceled",
)  # fmt: skip


def place(
    settings: Settings,
    wake: Wake,
    *,
    created_by: str,
    devices: list[int | str],
    groups: list[int | str],
    kind: str = "patch",
    filter_: str = "all",
    packages: list[str] | None = None,
    dry_run: bool = False,
    reboot: str = "never",
) -> Deployment:
    """Plan and start a deployment.

    Raises NotFound or Gone for an unknown target, BadRequest for a filter that does not fit, Conflict when not one
    target can be worked on (each with its reason) or when a target is in another running deployment.
    """
    packages = packages or []
    if (filter_ == "packages") != bool(packages):
        raise invalid("packages", "names are needed with filter 'packages', and only there")
    targets = resolve_targets(settings, devices, groups)
    if kind == "scan":
        plans = [HostPlan(device, skip=unreachable_reason(device)) for device in targets]
    else:
        plans = make_plan(settings, targets, filter_, packages)
    if all(plan.skip for plan in plans):
        reasons = "; ".join(f"{plan.device.hostname or plan.device.friendly_name}: {plan.skip}" for plan in plans[:20])
        raise Conflict("Nothing can be deployed", reasons)
    with write_transaction():
        take_turn(PLACING)
        refuse_busy([plan.device.id for plan in plans if not plan.skip])
        deployment = Deployment.create(
            uuid=str(uuid.uuid4()),
            kind=kind,
            filter=filter_,
            packages=packages,
            dry_run=dry_run,
            reboot=reboot,
            plan_digest=plan_digest(plans),
            created_by=created_by,
            created_at=now(),
        )
        working = _store_hosts(deployment, plans)
        if working:
            _queue_job(deployment, wake)
        else:
            ledger.settle(deployment.id)
        order = {"kind": kind, "filter": filter_, "packages": packages, "dry_run": dry_run, "reboot": reboot}
        told = {**order, "plan_digest": deployment.plan_digest, "devices": [plan.device.id for plan in plans]}
        audit.record("deployment.place", "deployment", deployment.id, after=told)
    log.info("deployment placed", deployment=deployment.id, kind=kind, hosts=len(plans), working=working, by=created_by)
    return Deployment.get_by_id(deployment.id)


def refuse_busy(ids: list[int]) -> None:
    """Raises Conflict when one of these devices is part of an open deployment.

    Two runs on one machine would fight for its package lock and each report the other's changes.
    """
    for part in chunked(ids, 1):
        busy = (
            DeploymentHost.select(DeploymentHost.deployment, DeploymentHost.name)
            .join(Deployment)
            .where(
                DeploymentHost.device.in_(part)
                & DeploymentHost.state.in_(OPEN_HOST_STATES)
                & Deployment.state.in_(OPEN_STATES)
            )
            .first()
        )
        if busy is not None:
            raise Conflict("Device is busy", f"{busy.name} is part of running deployment {busy.deployment_id}")


def _store_hosts(deployment: Deployment, plans: list[HostPlan]) -> int:
    """Write hosts and their planned changes; the number of hosts that have work."""
    names = inventory_names([plan.device for plan in plans])
    sets = device_sets([plan.device.id for plan in plans])
    rows = []
    for plan in plans:
        has_work = _has_work(deployment, plan)
        rows.append(
            {
                "deployment": deployment.id,
                "device": plan.device.id,
                "name": names[plan.device.id],
                "state": "waiting" if has_work else "skipped" if plan.skip else "unchanged",
                "message": plan.skip or ("" if has_work else "nothing to install"),
                "package_set_before": sets.get(plan.device.id),
                "boot_id_before": plan.device.boot_id,
                "finished_at": None if has_work else now(),
            }
        )
    for part in chunked(rows, len(rows[0])):
        DeploymentHost.insert_many(part).execute()
    stored = DeploymentHost.select(DeploymentHost.device, DeploymentHost.id)
    ids = dict(stored.where(DeploymentHost.deployment == deployment).tuples())
    wanted = {"planned": True, "result": "planned", "message": ""}
    left_out = {"planned": False, "result": "skipped", "message": "the agent names no version"}
    changes = [
        {"host": ids[plan.device.id], **change, **how}
        for plan in plans
        for how, some in ((wanted, plan.changes), (left_out, plan.nameless))
        for change in some
    ]
    for part in chunked(changes, 13):
        DeploymentChange.insert_many(part).execute()
    return sum(row["state"] == "waiting" for row in rows)


def _has_work(deployment: Deployment, plan: HostPlan) -> bool:
    return not plan.skip and (bool(plan.changes) or deployment.kind == "scan")


def _queue_job(deployment: Deployment, wake: Wake, attempt: int = 1) -> None:
    job = Job.create(deployment=deployment, attempt=attempt, created_at=now())
    db.after_commit(lambda: wake(job.id))


def find_deployment(deployment_id: int) -> Deployment:
    """The deployment with this id. Raises NotFound."""
    deployment = Deployment.get_or_none(Deployment.id == min(deployment_id, MAX_ID))
    if deployment is None:
        raise NotFound("Deployment not found", f"no deployment {deployment_id}")
    return deployment


def cancel(deployment: Deployment) -> Deployment:
    """Ask for the end of a deployment: a queued job ends here, a running one within seconds. Idempotent once canceled.

    Raises Conflict when it has already ended otherwise.
    """
    with write_transaction():
        deployment = Deployment.get_by_id(deployment.id)
        if deployment.state == "canceled":
            return deployment
        if deployment.state not in OPEN_STATES:
            raise Conflict("Deployment has ended", f"deployment {deployment.id} is {deployment.state}")
        Deployment.update(cancel_requested=True).where(Deployment.id == deployment.id).execute()
        Job.update(state="canceled", finished_at=now(), message="canceled before it started").where(
            (Job.deployment == deployment) & (Job.state == "queued")
        ).execute()
        if not Job.select().where((Job.deployment == deployment) & (Job.state == "running")).exists():
            ledger.close_open_hosts(deployment.id, "canceled", "canceled before it started")
            ledger.settle(deployment.id)
        if not deployment.cancel_requested:
            audit.record("deployment.cancel", "deployment", deployment.id)
    return Deployment.get_by_id(deployment.id)


def retry(settings: Settings, wake: Wake, deployment: Deployment, created_by: str) -> Deployment:
    """A new deployment, with the same filter and policy, for the hosts of an ended one that did not end well."""
    if deployment.state in OPEN_STATES:
        raise Conflict("Deployment is running", f"deployment {deployment.id} is {deployment.state}")
    bad = ("failed", "unreachable", "canceled", "not_effective", "incomplete", "skipped")
    living = DeploymentHost.select(DeploymentHost.device).join(Device).where(Device.deleted_at.is_null())
    chosen = living.where((DeploymentHost.deployment == deployment) & DeploymentHost.state.in_(bad))
    hosts = [device for (device,) in chosen.order_by(DeploymentHost.id).tuples()]
    if not hosts:
        raise BadRequest("Nothing to retry", f"every host of deployment {deployment.id} ended well, or was deleted")
    return place(
        settings,
        wake,
        created_by=created_by,
        devices=hosts,
        groups=[],
        kind=deployment.kind,
        filter_=deployment.filter,
        packages=deployment.packages,
        dry_run=deployment.dry_run,
        reboot=deployment.reboot,
    )


# -- views -----------------------------------------------------------------------------------------------------------


def list_deployments(state: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Newest first; `before` is the last id of the page before. Two queries whatever the number."""
    query = Deployment.select().order_by(Deployment.id.desc()).limit(limit)
    if state:
        query = query.where(Deployment.state == state)
    if before:
        query = query.where(Deployment.id < before)
    rows = list(query)
    counts = _host_counts([row.id for row in rows])
    return [summary(row, counts.get(row.id, {})) for row in rows]


def _host_counts(ids: Iterable[int]) -> dict[int, dict[str, int]]:
    counts: dict[int, dict[str, int]] = {}
    rows = (
        DeploymentHost.select(DeploymentHost.deployment, DeploymentHost.state, fn.COUNT(DeploymentHost.id))
        .where(DeploymentHost.deployment.in_(list(ids)))
        .group_by(DeploymentHost.deployment, DeploymentHost.state)
        .tuples()
    )
    for deployment, state, number in rows:
        counts.setdefault(deployment, {})[state] = number
    return counts


def summary(deployment: Deployment, counts: dict[str, int]) -> dict[str, Any]:
    """One deployment without its hosts; `progress` is the percentage of hosts that have a result."""
    total = sum(counts.values())
    is_open = sum(counts.get(state, 0) for state in OPEN_HOST_STATES)
    return {
        "id": deployment.id,
        "uuid": deployment.uuid,
        "kind": deployment.kind,
        "state": deployment.state,
        "filter": deployment.filter,
        "packages": deployment.packages,
        "dry_run": deployment.dry_run,
        "reboot": deployment.reboot,
        "plan_digest": deployment.plan_digest,
        "created_by": deployment.created_by,
        "created_at": deployment.created_at,
        "started_at": deployment.started_at,
        "finished_at": deployment.finished_at,
        "cancel_requested": deployment.cancel_requested,
        "message": deployment.message,
        "progress": 100 * (total - is_open) // total if total else 0,
        "counts": {"total": total, **{state: counts.get(state, 0) for state in HOST_STATES}},
    }


def brief(deployment_id: int) -> dict[str, Any]:
    """The summary of one deployment. Raises NotFound."""
    return summary(find_deployment(deployment_id), _host_counts([deployment_id]).get(deployment_id, {}))


def details(deployment: Deployment) -> dict[str, Any]:
    """One deployment with hosts, their changes and the jobs: a fixed number of queries."""
    hosts = list(deployment.hosts.order_by(DeploymentHost.id))
    counts: dict[str, int] = {}
    for host in hosts:
        counts[host.state] = counts.get(host.state, 0) + 1
    changes: dict[int, list[dict[str, Any]]] = {}
    rows = (
        DeploymentChange.select()
        .join(DeploymentHost)
        .where(DeploymentHost.deployment == deployment)
        .order_by(DeploymentChange.package, DeploymentChange.id)
    )
    for row in rows:
        changes.setdefault(row.host_id, []).append(
            {
                "package": row.package,
                "architecture": row.architecture,
                "kb": row.kb,
                "from": row.installed,
                "to": row.candidate,
                "severity": row.severity,
                "security": row.security,
                "advisories": row.advisories,
                "planned": row.planned,
                "result": row.result,
                "message": row.message,
            }
        )
    devices = Device.select(Device.id, Device.uuid).join(DeploymentHost)
    uuids = dict(devices.where(DeploymentHost.deployment == deployment).tuples())
    return {
        **summary(deployment, counts),
        "hosts": [
            {
                "device_id": host.device_id,
                "agent_id": uuids.get(host.device_id),
                "name": host.name,
                "state": host.state,
                "message": host.message,
                "attempts": host.attempts,
                "reboot_required": host.reboot_required,
                "rebooted": host.rebooted,
                "started_at": host.started_at,
                "finished_at": host.finished_at,
                "changes": changes.get(host.id, []),
            }
            for host in hosts
        ],
        "jobs": jobs_of(deployment.id),
    }


def events_after(deployment_id: int, after: int, limit: int) -> list[dict[str, Any]]:
    """Job events with an id above `after`, oldest first."""
    rows = (
        JobEvent.select()
        .where((JobEvent.deployment_id == deployment_id) & (JobEvent.id > after))
        .order_by(JobEvent.id)
        .limit(limit)
    )
    return [
        {
            "id": row.id,
            "job": row.job_id,
            "counter": row.counter,
            "created_at": row.created_at,
            "event": row.event,
            "host": row.host,
            "task": row.task,
            "changed": row.changed,
            "message": row.message,
        }
        for row in rows
    ]
