# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Missing patches with what is being done about them, and deployments, as the Patch Management API documents them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from peewee import fn

from patchherd.database import connection, now, write_transaction
from patchherd.deployments.models import (
    GOOD_HOST_STATES,
    OPEN_HOST_STATES,
    Deployment,
    DeploymentChange,
    DeploymentHost,
)
from patchherd.deployments.orders import place
from patchherd.deployments.placing import Wake
from patchherd.deployments.plan import unreachable_reason
from patchherd.devices.models import Device
from patchherd.devices.registry import find_devices
from patchherd.errors import Conflict, field_error, invalid
from patchherd.packages.missing import missing_rows, unknown_devices
from patchherd.packages.patches import patch_state, patches_of
from patchherd.settings import Settings

MAX_ITEMS = 1_000
_KB = re.compile(r"(?<![A-Za-z0-9])KB?(\d{5,9})(?![0-9])", re.IGNORECASE)


def missing_patches(settings: Settings, filters: dict[str, Any], system: str | None = None) -> Iterator[bytes]:
    """The JSON answer `{"patches", "unknown", "count"}`, made while it is read: a fleet misses any number of patches.

    The first part is read at once, so that what goes wrong there can still be answered as an error.
    """
    moment = now()
    batches = missing_rows(settings, moment, filters, system)
    first = next(batches, [])
    unknown = unknown_devices(settings, moment, filters, system)
    head = b'{"patches":[' + _encode_rows(first)

    def parts() -> Iterator[bytes]:
        count = len(first)
        yield head
        while True:
            with connection():
                if not (rows := next(batches, [])):
                    break
                part = _encode_rows(rows)
            count += len(rows)
            yield b"," + part
        yield b'],"unknown":' + msgspec.json.encode(unknown) + b',"count":%d}' % count

    return parts()


def _encode_rows(rows: list[dict[str, Any]]) -> bytes:
    states = _deploy_states(rows)
    for row in rows:
        key = (row["device_id"], row["package"] or row["title"], row["architecture"], row["latest_version"])
        # Hosts install from their own repositories: this server has downloaded nothing.
        row |= {"download_status": "not_downloaded", "deploy_status": states.get(key, "not_scheduled")}
    return msgspec.json.encode(rows)[1:-1]


def _deploy_states(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    """(device, package, architecture, version) -> what the newest real deployment of just this is doing or did."""
    change, host = DeploymentChange, DeploymentHost
    names = {row["package"] or row["title"] for row in rows}
    newest = (
        change.select(fn.MAX(change.id))
        .join(host)
        .join(Deployment)
        .where(host.device.in_({row["device_id"] for row in rows}) & change.package.in_(names))
        .where(change.planned & ~Deployment.dry_run)
        .group_by(host.device, change.package, change.architecture, change.candidate)
    )
    columns = (host.device, change.package, change.architecture, change.candidate, host.state, change.result)
    found = change.select(*columns).join(host).where(change.id.in_(newest)).tuples()
    return {tuple(row[:4]): _deploy_state(*row[4:]) for row in found}


def _deploy_state(host_state: str, result: str) -> str:
    if host_state in OPEN_HOST_STATES:
        return "scheduled" if host_state == "waiting" else "running"
    return "canceled" if result == "planned" else result


# -- placing ---------------------------------------------------------------------------------------------------------


def schedule(settings: Settings, wake: Wake, created_by: str, items: list[dict[str, str]]) -> dict[str, Any]:
    """Deploy these patches, {"agent_id", "patch_file"} each: all of them, or none when one cannot be.

    `patch_file` names a patch that the device misses: its KB, package, `package=version` or file name. Devices that get
    the same patches share a deployment. Raises NotFound or Gone for an unknown or deleted agent, Conflict for what is
    not missing, and what `orders.place` raises.
    """
    devices = find_devices([item["agent_id"] for item in items])
    missing = patches_of({device.id for device in devices})
    problems: list[dict[str, Any]] = []
    wanted: dict[int, set[str]] = {}
    if not 0 < len(items) <= MAX_ITEMS:
        raise invalid("", f"1 to {MAX_ITEMS} patches are needed")
    for number, (item, device) in enumerate(zip(items, devices, strict=True)):
        rows = [row for row in missing[device.id] if row["verdict"] == "missing" and _is_named(row, item["patch_file"])]
        if why := _why_not(settings, device, rows):
            problems.append(field_error(f"[{number}].patch_file", why, value=item["patch_file"]))
        wanted.setdefault(device.id, set()).update(_pattern(row) for row in rows)
    if problems:
        said = "; ".join(f"{row['value']}: {row['msg']}" for row in problems[:20])
        raise Conflict("Nothing was scheduled", said, errors=problems)
    sharing: dict[tuple[str, ...], list[int | str]] = {}
    for device_id, names in wanted.items():
        sharing.setdefault(tuple(sorted(names)), []).append(device_id)
    placed: dict[int | str, int] = {}
    with write_transaction():
        for shared, ids in sharing.items():
            order = place(settings, wake, created_by=created_by, devices=ids, groups=[], filter_="packages",
                          packages=list(shared))  # fmt: skip
            placed.update((device_id, order.id) for device_id in ids)
    scheduled = [
        {"agent_id": device.uuid, "patch_file": item["patch_file"], "deployment_id": placed[device.id]}
        for item, device in zip(items, devices, strict=True)
    ]
    single = scheduled[0] if len(scheduled) == 1 else {}
    return {"status": "scheduled", "jobs": len(sharing), **single, "items": scheduled}


def _why_not(settings: Settings, device: Device, rows: list[dict[str, Any]]) -> str:
    """What stands against installing these rows on a device; empty when nothing does."""
    state, reason = patch_state(device, settings)
    if state == "unknown":
        return f"it is unknown what this device misses: {reason}"
    if not rows:
        return "not missing there"
    if device.os_family != "windows" and not all(row["candidate"] for row in rows):
        return "the agent names no version of it"
    return unreachable_reason(device)


def _is_named(patch: dict[str, Any], text: str) -> bool:
    """Whether a text means this patch."""
    package = patch["package"]
    if patch["kb"] and (found := _KB.search(text)):
        return patch["kb"] == f"KB{found[1]}"
    names = {package}
    offered = [(new["name"], new["version"], new["architecture"]) for new in patch["replaced_by"]]
    for name, version, architecture in offered or [(package, patch["candidate"], patch["architecture"])]:
        names.add(name)
        if version:
            plain = version.partition(":")[2] or version  # file names carry no epoch
            names |= {f"{name}={version}", f"{name}_{plain}_{architecture}.deb", f"{name}-{plain}.{architecture}.rpm"}
    return text in names


def _pattern(patch: dict[str, Any]) -> str:
    """What selects this patch in an order, where * ? [ are special."""
    return patch["kb"] or re.sub(r"([*?[])", r"[\1]", patch["package"])


# -- progress --------------------------------------------------------------------------------------------------------


def progress(agent_ids: list[str], deployment_id: int | None = None) -> dict[str, Any]:
    """How far the newest deployment (or this one) is on each agent that has one; patches only of named agents.

    Raises NotFound or Gone for an unknown or deleted agent.
    """
    host = DeploymentHost
    newest = host.select(fn.MAX(host.id)).join(Deployment)
    newest = newest.where((Deployment.kind == "patch") & ~Deployment.dry_run).group_by(host.device)
    if agent_ids:
        newest = newest.where(host.device.in_([device.id for device in find_devices(agent_ids)]))
    if deployment_id is not None:
        newest = newest.where(Deployment.id == deployment_id)
    rows = list(host.select().where(host.id.in_(newest)).order_by(host.id))
    numbers, uuids = _numbers(newest), _uuids(newest)
    agents = [_agent(row, uuids[row.device_id], *numbers.get(row.id, (0, 0))) for row in rows]
    if agent_ids or deployment_id is not None:
        items = _items(newest)
        for agent, row in zip(agents, rows, strict=True):
            agent["items"] = items.get(row.id, [])
    total, done = sum(agent["total"] for agent in agents), sum(agent["done"] for agent in agents)
    words = {agent["status"] for agent in agents}
    order = ("running", "scheduled", "failed", "canceled", "succeeded")
    status = next((word for word in order if word in words), "none")
    percent = 100 * done // total if total else 100 * (status not in {"running", "scheduled"})
    return {"status": status, "total": total, "done": done, "percent": percent, "count": len(agents), "agents": agents}


def _agent(host: DeploymentHost, uuid: str, total: int, open_: int) -> dict[str, Any]:
    is_open = host.state in OPEN_HOST_STATES
    done = total - open_ if is_open else total
    if is_open:
        status = "scheduled" if host.state == "waiting" else "running"
    else:
        status = "succeeded" if host.state in GOOD_HOST_STATES else "canceled" if host.state == "canceled" else "failed"
    return {
        "agent_id": uuid,
        "hostname": host.name,
        "deployment_id": host.deployment_id,
        "status": status,
        "state": host.state,
        "message": host.message,
        "total": total,
        "done": done,
        "percent": 100 * done // total if total else 0 if is_open else 100,
    }


def _numbers(hosts: Any) -> dict[int, tuple[int, int]]:
    """Host -> planned changes, and those without a result."""
    change = DeploymentChange
    rows = change.select(change.host, change.result, fn.COUNT(change.id)).where(change.host.in_(hosts) & change.planned)
    found: dict[int, tuple[int, int]] = {}
    for host, result, number in rows.group_by(change.host, change.result).tuples():
        total, open_ = found.get(host, (0, 0))
        found[host] = (total + number, open_ + (number if result == "planned" else 0))
    return found


def _uuids(hosts: Any) -> dict[int, str]:
    chosen = DeploymentHost.select(DeploymentHost.device).where(DeploymentHost.id.in_(hosts))
    return dict(Device.select(Device.id, Device.uuid).where(Device.id.in_(chosen)).tuples())


def _items(hosts: Any) -> dict[int, list[dict[str, Any]]]:
    """Host -> its planned changes."""
    change = DeploymentChange
    names = ("package", "architecture", "kb", "installed", "candidate", "result", "message")
    rows = change.select(change.host, *(getattr(change, name) for name in names))
    shown = ("package", "architecture", "kb", "installed_version", "latest_version", "result", "message")
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows.where(change.host.in_(hosts) & change.planned).order_by(change.package, change.id).tuples():
        found.setdefault(row[0], []).append(dict(zip(shown, row[1:], strict=True)))
    return found
