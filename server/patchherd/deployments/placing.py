# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Open a deployment of any kind: its row, its hosts, its first job. No device is in two open ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from patchherd.database import chunked, db, now
from patchherd.deployments import ledger
from patchherd.deployments.models import OPEN_HOST_STATES, OPEN_STATES, Deployment, DeploymentHost, Job
from patchherd.devices.models import Device
from patchherd.devices.naming import inventory_names
from patchherd.packages.sets import device_sets

PLACING = 0x70617410
"""Lock of those who place deployments: none may take a device that another is just taking."""

Wake = Callable[[int], None]
"""Tells a worker about a queued job."""


@dataclass(frozen=True)
class Target:
    """A device of a new deployment; with an `ended` state there is nothing to do on it."""

    device: Device
    ended: str = ""
    message: str = ""


def busy_devices(device_ids: list[int]) -> dict[int, tuple[str, int]]:
    """Device id -> (name, deployment id) of those that an open deployment still has work on."""
    found: dict[int, tuple[str, int]] = {}
    for part in chunked(device_ids, 1):
        rows = (
            DeploymentHost.select(DeploymentHost.device, DeploymentHost.name, DeploymentHost.deployment)
            .join(Deployment)
            .where(
                DeploymentHost.device.in_(part)
                & DeploymentHost.state.in_(OPEN_HOST_STATES)
                & Deployment.state.in_(OPEN_STATES)
            )
        )
        found.update({device: (name, deployment) for device, name, deployment in rows.tuples()})
    return found


def free_of_work(device: Any) -> Any:
    """The condition that no open deployment has work on the device of this column."""
    at_work = (
        DeploymentHost.select(DeploymentHost.device)
        .join(Deployment)
        .where(DeploymentHost.state.in_(OPEN_HOST_STATES) & Deployment.state.in_(OPEN_STATES))
    )
    return device.not_in(at_work)


def open_deployment(wake: Wake, targets: list[Target], **columns: Any) -> tuple[Deployment, dict[int, int]]:
    """A new deployment, and the DeploymentHost id of each device id. A job is queued when a target has work.

    Call it in the write transaction that has taken the turn PLACING and looked at `busy_devices`.
    """
    deployment = Deployment.create(uuid=str(uuid.uuid4()), created_at=now(), **columns)
    devices = [target.device for target in targets]
    names, sets = inventory_names(devices), device_sets([device.id for device in devices])
    rows = [
        {
            "deployment": deployment.id,
            "device": target.device.id,
            "name": names[target.device.id],
            "state": target.ended or "waiting",
            "message": target.message,
            "package_set_before": sets.get(target.device.id),
            "boot_id_before": target.device.boot_id,
            "finished_at": now() if target.ended else None,
        }
        for target in targets
    ]
    for part in chunked(rows, len(rows[0])):
        DeploymentHost.insert_many(part).execute()
    stored = DeploymentHost.select(DeploymentHost.device, DeploymentHost.id)
    hosts = dict(stored.where(DeploymentHost.deployment == deployment).tuples())
    if all(target.ended for target in targets):
        ledger.settle(deployment.id)
    else:
        job = Job.create(deployment=deployment, attempt=1, created_at=now())
        db.after_commit(lambda: wake(job.id))
    return deployment, hosts
