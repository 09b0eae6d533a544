# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions and profile runs as people and programs read them."""

from __future__ import annotations

from typing import Any

from peewee import fn

from patchherd.automation import chains, library
from patchherd.automation.models import Action, ProfileRun
from patchherd.deployments.models import DeploymentHost
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device

_SUMMARY = (
    "id", "type", "name", "status", "message", "digest", "script_version", "continue_on_error", "timeout_seconds",
    "execution", "cancel_requested", "exit_code", "created_by", "created_at", "updated_at", "started_at",
    "completed_at", "deadline",
)  # fmt: skip
_LINKS = {"device_id": "device", "script_id": "script", "software_id": "software", "profile_run_id": "profile_run"}
_TEXTS = ("payload", "stdout", "stderr", "logs")


def list_actions(
    *,
    before: int | None = None,
    limit: int,
    device: int | str | None = None,
    with_texts: bool = False,
    status: str | None = None,
    type: str | None = None,  # noqa: A002 - the name of the filter
    script_id: int | None = None,
    software_id: int | None = None,
    profile_run: int | None = None,
    deployment: int | None = None,
) -> list[dict[str, Any]]:
    """Newest first, one query; `before` is the last id of the page before. Raises NotFound or Gone for the device."""
    query = _query(with_texts).order_by(Action.id.desc()).limit(limit)
    exact = {
        Action.status: status,
        Action.type: type,
        Action.script: script_id,
        Action.software: software_id,
        Action.profile_run: profile_run,
        DeploymentHost.deployment: deployment,
    }
    for field, value in exact.items():
        if value is not None:
            query = query.where(field == value)
    if device is not None:
        query = query.where(Action.device == find_device(device).id)
    if before is not None:
        query = query.where(Action.id < before)
    return [_view(row, with_texts) for row in query.dicts()]


def details(action_id: int) -> dict[str, Any]:
    """One action with everything. Raises NotFound."""
    action = library.find(Action, action_id, "Action")
    row = _query(True).where(Action.id == action.id).dicts().get()
    texts = {name: row[name] for name in ("stdout", "stderr")}
    return {**_view(row, True), **texts, "stdout_cut": action.stdout_cut, "stderr_cut": action.stderr_cut}


def _query(with_texts: bool) -> Any:
    columns = [getattr(Action, name) for name in (*_SUMMARY, *(_TEXTS if with_texts else ()))]
    links = [getattr(Action, field).alias(name) for name, field in _LINKS.items()]
    return Action.select(*columns, *links, DeploymentHost.deployment.alias("deployment_id")).left_outer_join(
        DeploymentHost
    )


def _view(row: dict[str, Any], with_texts: bool) -> dict[str, Any]:
    view = {name: row[name] for name in (*_SUMMARY, *_LINKS, "deployment_id")}
    if with_texts:
        view["payload"] = row["payload"]
        view["logs"] = row["logs"] if row["logs"] is not None else logs_of(row)
    return view


def logs_of(row: dict[str, Any]) -> str | None:
    """What an agent of the DeployFlow API would have sent: both outputs, and why it failed. None before the end."""
    if row["status"] in chains.OPEN:
        return None
    parts = [row["stdout"], f"--- stderr ---\n{row['stderr']}" if row["stderr"] else "", row["message"]]
    return "\n".join(part.rstrip("\n") for part in parts if part)


def profile_run(run_id: int) -> dict[str, Any]:
    """How far a profile run has come, on each device. Raises NotFound. A fixed number of queries."""
    run = library.find(ProfileRun, run_id, "Profile run")
    name = fn.COALESCE(Device.hostname, Device.friendly_name)
    rows = (
        Action.select(Action.device, name, Action.status, fn.COUNT(Action.id))
        .join(Device)
        .where(Action.profile_run == run)
        .group_by(Action.device, name, Action.status)
        .order_by(Action.device)
    )
    total: dict[str, int] = {}
    devices: dict[int, dict[str, Any]] = {}
    for device, shown, status, count in rows.tuples():
        one = devices.setdefault(device, {"device_id": device, "name": shown, "counts": {}})
        one["counts"][status] = count
        total[status] = total.get(status, 0) + count
    for one in devices.values():
        one["status"] = _overall(one["counts"])
    number = sum(total.values())
    is_open = sum(total.get(status, 0) for status in chains.OPEN)
    return {
        "id": run.id,
        "profile_id": run.profile_id,
        "profile_name": run.profile_name,
        "created_by": run.created_by,
        "created_at": run.created_at,
        "status": _overall(total),
        "progress": 100 * (number - is_open) // number if number else 100,
        "counts": total,
        "devices": list(devices.values()),
    }


def _overall(counts: dict[str, int]) -> str:
    """One word for many actions."""
    if "running" in counts or ("pending" in counts and len(counts) > 1):
        return "running"
    return next((status for status in ("pending", "failed", "canceled") if status in counts), "succeeded")
