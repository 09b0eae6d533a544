# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The states of actions, and what the end of one means for those behind it on the same device."""

from __future__ import annotations

from typing import Any

from patchherd.automation.models import Action
from patchherd.database import now
from patchherd.deployments import results
from patchherd.deployments.models import DeploymentHost

OPEN = ("pending", "running")
STATUSES = (*OPEN, "succeeded", "failed", "canceled", "skipped")
UNKNOWN = "its outcome is unknown"


def end(where: Any, status: str, message: str, **columns: Any) -> int:
    """Close the open actions of the condition; how many."""
    moment = now()
    columns = {"status": status, "message": message, "completed_at": moment, "updated_at": moment, **columns}
    return int(Action.update(**columns).where(where & Action.status.in_(OPEN)).execute())


def stop_behind(action: Action, reason: str) -> None:
    """Leave out what waits behind an action in its chain."""
    if action.profile_run_id is None:
        return
    behind = (Action.profile_run == action.profile_run_id) & (Action.device == action.device_id)
    end(behind & (Action.id > action.id) & (Action.status == "pending"), "skipped", reason)


def settle_host(host_id: int) -> None:
    """Give the host of a deployment its result when none of its actions is open any more."""
    rows = Action.select(Action.status).where(Action.host == host_id).distinct()
    statuses = {status for (status,) in rows.tuples()}
    if statuses & set(OPEN):
        return
    bad = [status for status in ("failed", "canceled") if status in statuses]
    results.finish(host_id, bad[0] if bad else "succeeded", _words(host_id) if bad else "")


def _words(host_id: int) -> str:
    rows = Action.select(Action.id, Action.message).where(
        (Action.host == host_id) & Action.status.in_(["failed", "canceled"])
    )
    return "; ".join(f"action {number}: {message}" for number, message in rows.order_by(Action.id).tuples())[:4000]


def hosts_of(deployment_id: int) -> Any:
    """The hosts of a deployment, as a subquery of ids."""
    return DeploymentHost.select(DeploymentHost.id).where(DeploymentHost.deployment == deployment_id)
