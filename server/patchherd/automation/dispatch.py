# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Hand waiting actions to Ansible: each device's oldest chain, as soon as nothing else works on the device."""

from __future__ import annotations

from functools import partial

import structlog

from patchherd.automation import chains
from patchherd.automation.models import Action
from patchherd.database import chunked, now, write_transaction
from patchherd.deployments import kinds
from patchherd.deployments.models import Deployment, DeploymentHost, Job
from patchherd.deployments.placing import PLACING, Target, free_of_work, open_deployment
from patchherd.deployments.plan import is_reachable
from patchherd.deployments.queue import wake_worker
from patchherd.devices.models import Device
from patchherd.devices.views import LIST_COLUMNS
from patchherd.identity.locking import take_turn
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.actions")

AT_ONCE = 2_000
"""Actions that one look takes in; the next look is at most seconds away."""
_WAITING = (Action.status == "pending") & (Action.execution == "ansible") & Action.host.is_null()


@kinds.chore
def start_waiting(settings: Settings) -> int | None:
    """Open a deployment for the actions that can run now; its id, None when there are none.

    At most one such deployment waits for a worker: what comes meanwhile goes into the next one together.
    """
    if not Action.select(Action.id).where(_WAITING).limit(1).exists():
        return None
    with write_transaction():
        take_turn(PLACING)
        queued = Job.select(Job.id).join(Deployment).where((Job.state == "queued") & (Deployment.kind == "action"))
        if queued.exists():
            return None
        actions = _next_chains()
        if not actions:
            return None
        devices = {action.device_id: action.device for action in actions}
        authors = {action.created_by for action in actions}
        deployment, _ = open_deployment(
            partial(wake_worker, settings),
            [Target(device) for device in devices.values()],
            kind="action",
            filter="",
            created_by=authors.pop() if len(authors) == 1 else "several",
        )
        host = DeploymentHost.select(DeploymentHost.id).where(
            (DeploymentHost.deployment == deployment) & (DeploymentHost.device == Action.device)
        )
        for part in chunked([action.id for action in actions], 1):
            Action.update(host=host).where(Action.id.in_(part)).execute()
    log.info("actions handed to Ansible", deployment=deployment.id, actions=len(actions), hosts=len(devices))
    return int(deployment.id)


def _next_chains() -> list[Action]:
    """The first chain of each device that is free and can be reached, in order."""
    columns = [*LIST_COLUMNS, Device.boot_id]
    ready = _WAITING & free_of_work(Action.device) & is_reachable() & Device.deleted_at.is_null()
    rows = Action.select(Action, *columns).join(Device).where(ready).order_by(Action.id).limit(AT_ONCE)
    chain_of: dict[int, int] = {}
    return [row for row in rows if chain_of.setdefault(row.device_id, _chain(row)) == _chain(row)]


def _chain(action: Action) -> int:
    return -int(action.id) if action.profile_run_id is None else int(action.profile_run_id)


@kinds.chore
def close_overdue(settings: Settings) -> None:
    """Close what agents have fetched and never reported, and what waits for a device that is gone."""
    overdue = (Action.status == "running") & (Action.execution == "agent") & (Action.deadline < now())
    late = list(Action.select().where(overdue))
    deleted = Device.select(Device.id).where(Device.deleted_at.is_null(False))
    forlorn = (Action.status == "pending") & Action.host.is_null() & Action.device.in_(deleted)
    if not late and not Action.select(Action.id).where(forlorn).limit(1).exists():
        return
    with write_transaction():
        for action in late:
            words = f"no result within {action.timeout_seconds} s; {chains.UNKNOWN}"
            if chains.end((Action.id == action.id) & overdue, "failed", words) and not action.continue_on_error:
                chains.stop_behind(action, f"action {action.id} failed")
        chains.end(forlorn, "failed", "not started: the device was deleted")
    log.info("overdue actions closed", count=len(late))
