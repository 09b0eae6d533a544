# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Place, cancel, retry and read deployments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from peewee import fn

from patchherd.database import chunked, now, write_transaction
from patchherd.deployments import ledger
from patchherd.deployments.history import jobs_of
from patchherd.deployments.kinds import kind_of
from patchherd.deployments.models import (
    OPEN_HOST_STATES,
    OPEN_STATES,
    Deployment,
    DeploymentChange,
    DeploymentHost,
    Job,
    JobEvent,
)
from patchherd.deployments.placing import PLACING, Target, Wake, busy_devices, open_deployment
from patchherd.deployments.plan import HostPlan, make_plan, plan_digest, resolve_targets, unreachable_reason
from patchherd.devices.models import Device
from patchherd.devices.registry import MAX_ID
from patchherd.errors import BadRequest, Conflict, NotFound, invalid
from patchherd.identity import audit
from patchherd.identity.locking import take_turn
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.deployments")

PATCHING = ("patch", "scan")
"""Kinds that the history of patches is made of."""
HOST_STATES = (
    "waiting", "running", "patched", "unchanged", "planned", "scanned", "succeeded", "not_effective",
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
    chosen = resolve_targets(settings, devices, groups)
    if kind == "scan":
        plans = [HostPlan(device, skip=unreachable_reason(device)) for device in chosen]
    else:
        plans = make_plan(settings, chosen, filter_, packages)
    if all(plan.skip for plan in plans):
        reasons = "; ".join(f"{plan.device.hostname or plan.device.friendly_name}: {plan.skip}" for plan in plans[:20])
        raise Conflict("Nothing can be deployed", reasons)
    targets = [_target(kind, plan) for plan in plans]
    with write_transaction():
        take_turn(PLACING)
        refuse_busy([plan.device.id for plan in plans if not plan.skip])
        order = {"kind": kind, "filter": filter_, "packages": packages, "dry_run": dry_run, "reboot": reboot}
        digest = plan_digest(plans)
        deployment, hosts = open_deployment(wake, targets, plan_digest=digest, created_by=created_by, **order)
        _store_changes(hosts, plans)
        told = {**order, "plan_digest": digest, "devices": [plan.device.id for plan in plans]}
        audit.record("deployment.place", "deployment", deployment.id, after=told)
    working = sum(not target.ended for target in targets)
    log.info("deployment placed", deployment=deployment.id, kind=kind, hosts=len(plans), working=working, by=created_by)
    return Deployment.get_by_id(deployment.id)


def _target(kind: str, plan: HostPlan) -> Target:
    if plan.skip:
        return Target(plan.device, "skipped", plan.skip)
    if plan.changes or kind == "scan":
        return Target(plan.device)
    return Target(plan.device, "unchanged", "nothing to install")


def refuse_busy(ids: list[int]) -> None:
    """Raises Conflict when one of these devices is part of an open deployment.

    Two runs on one machine would fight for its package lock and each report the other's changes.
    """
    for name, number in busy_devices(ids).values():
        raise Conflict("Device is busy", f"{name} is part of running deployment {number}")


def _store_changes(hosts: dict[int, int], plans: list[HostPlan]) -> None:
    """Write what is planned on each host, and what is left out."""
    wanted = {"planned": True, "result": "planned", "message": ""}
    left_out = {"planned": False, "result": "skipped", "message": "the agent names no version"}
    changes = [
        {"host": hosts[plan.device.id], **change, **how}
        for plan in plans
        for how, some in ((wanted, plan.changes), (left_out, plan.nameless))
        for change in some
    ]
    for part in chunked(changes, 14):
        DeploymentChange.insert_many(part).execute()


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
    if not kind_of(deployment).can_retry:
        raise Conflict("Not to be repeated", "scripts may do harm when they run twice: place the actions anew")
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


def list_deployments(
    state: str | None, before: int | None, limit: int, kinds: Iterable[str] = PATCHING
) -> list[dict[str, Any]]:
    """Newest first; `before` is the last id of the page before. Two queries whatever the number."""
    query = Deployment.select().where(Deployment.kind.in_(list(kinds))).order_by(Deployment.id.desc()).limit(limit)
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
                "replaced_by": row.replaced_by or [],
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
