# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Deployments as people read them: a page of hosts, the newest events, what happened on one device."""

from __future__ import annotations

from typing import Any

import peewee
from peewee import fn

from patchherd.deployments.models import Deployment, DeploymentChange, DeploymentHost, Job, JobEvent
from patchherd.devices.history import with_merged

_WORST_FIRST = ("failed", "unreachable", "running", "not_effective", "incomplete", "waiting", "canceled", "skipped")


def deployments_of_device(device_id: int, limit: int) -> list[dict[str, Any]]:
    """The newest patch runs and scans of one device, or of one merged into it, with its own result in each."""
    rows = (
        DeploymentHost.select(DeploymentHost, Deployment)
        .join(Deployment)
        .where(DeploymentHost.device.in_(with_merged(device_id)) & Deployment.kind.in_(["patch", "scan"]))
        .order_by(Deployment.id.desc())
        .limit(limit)
    )
    return [
        {
            "id": row.deployment.id,
            "kind": row.deployment.kind,
            "filter": row.deployment.filter,
            "packages": row.deployment.packages,
            "dry_run": row.deployment.dry_run,
            "created_by": row.deployment.created_by,
            "created_at": row.deployment.created_at,
            "state": row.deployment.state,
            "host_state": row.state,
            "message": row.message,
        }
        for row in rows
    ]


def host_page(deployment_id: int, *, offset: int, limit: int) -> list[dict[str, Any]]:
    """Hosts of one deployment with their changes, what needs attention first: two queries whatever the number."""
    rank = peewee.Case(DeploymentHost.state, [(state, n) for n, state in enumerate(_WORST_FIRST)], len(_WORST_FIRST))
    hosts = list(
        DeploymentHost.select()
        .where(DeploymentHost.deployment == deployment_id)
        .order_by(rank, fn.LOWER(DeploymentHost.name), DeploymentHost.id)
        .offset(offset)
        .limit(limit)
    )
    changes: dict[int, list[dict[str, Any]]] = {host.id: [] for host in hosts}
    columns = (
        "package", "architecture", "kb", "installed", "candidate", "replaced_by", "severity", "security", "planned",
        "result", "message",
    )  # fmt: skip
    rows = (
        DeploymentChange.select(DeploymentChange.host, *(getattr(DeploymentChange, name) for name in columns))
        .where(DeploymentChange.host.in_(list(changes)))
        .order_by(DeploymentChange.planned.desc(), DeploymentChange.package, DeploymentChange.id)
    )
    for row in rows.tuples():
        changes[row[0]].append(dict(zip(columns, row[1:], strict=True)))
    return [
        {
            "id": host.id,
            "device_id": host.device_id,
            "name": host.name,
            "state": host.state,
            "message": host.message,
            "attempts": host.attempts,
            "reboot_required": host.reboot_required,
            "rebooted": host.rebooted,
            "started_at": host.started_at,
            "finished_at": host.finished_at,
            "changes": changes[host.id],
        }
        for host in hosts
    ]


def jobs_of(deployment_id: int) -> list[dict[str, Any]]:
    """The runs of one deployment, oldest first."""
    columns = ("id", "state", "attempt", "created_at", "started_at", "finished_at", "message")
    jobs = Job.select(*(getattr(Job, name) for name in columns)).where(Job.deployment == deployment_id)
    return list(jobs.order_by(Job.id).dicts())


def newest_events(deployment_id: int, limit: int) -> list[dict[str, Any]]:
    """The last events of the playbook runs, newest first."""
    columns = ("id", "created_at", "event", "host", "task", "changed", "message")
    events = JobEvent.select(*(getattr(JobEvent, name) for name in columns))
    return list(events.where(JobEvent.deployment_id == deployment_id).order_by(JobEvent.id.desc()).limit(limit).dicts())
