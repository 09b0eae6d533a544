# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agents of other makes fetch their device's actions by heartbeat and report the results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from flask import request

from patchherd.automation import chains, library
from patchherd.automation.models import Action
from patchherd.database import Prepared, now, write_transaction
from patchherd.deployments.texts import storable
from patchherd.devices.models import Device
from patchherd.devices.registry import MAX_ID, clean_text, write_columns
from patchherd.devices.schemas import MAX_SUMMARY
from patchherd.enrollment import hosts
from patchherd.enrollment.models import HostCredential
from patchherd.errors import Conflict, Forbidden, Gone, NotFound, Unauthorized, invalid
from patchherd.identity.credentials import verified
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.agents")

LOGS_LIMIT = 128 * 1024
"""Characters of an agent's report that are kept: the beginning and the end."""
GRACE = timedelta(seconds=300)
"""What an agent gets beyond the timeout of an action: it works through what it fetched one by one."""


def require_credential(settings: Settings) -> None:
    """Refuse a request without any credential, before it learns what exists. Raises Unauthorized."""
    if not settings.agents_without_credentials and not _bearer() and not request.headers.get("X-API-ID"):
        words = "send the device's X-API-ID and X-API-KEY, or its key as Authorization: Bearer"
        raise Unauthorized("The device's credentials are needed", words)


def check_agent(settings: Settings, device_id: int) -> bool:
    """Prove that the request comes from this device; whether it may be worked on: approved, not in maintenance.

    Call `require_credential` before. Raises NotFound, Gone for a deleted device, Unauthorized for a wrong credential,
    Forbidden for another device's.
    """
    row = _device.run(min(device_id, MAX_ID)).fetchone()
    if row is None:
        raise NotFound("Device not found", f"no device {device_id}")
    deleted_at, approved, enrolled_from, api_id, key_hash, maintenance, until = row
    shown, key = request.headers.get("X-API-ID"), request.headers.get("X-API-KEY") or ""
    if shown and shown != api_id:
        hosts.authenticate()  # raises for a wrong one
        raise Forbidden("Permission denied", "these credentials are another device's")
    if secret := key if shown else _bearer():
        if key_hash is None or not verified.check(secret, key_hash):
            raise Unauthorized("Invalid API credentials")
    elif not settings.agents_without_credentials or shown:
        raise Unauthorized("API ID and key required")
    else:
        _check_address(device_id, enrolled_from)
    if deleted_at is not None:
        raise Gone("Device deleted", f"device {device_id} was deleted")
    in_maintenance = maintenance and (until is None or until > now().timestamp() * 1000)
    return bool(approved) and not in_maintenance


_device = Prepared(
    lambda device: (
        Device.select(
            Device.deleted_at,
            Device.approved,
            Device.enrolled_from,
            HostCredential.api_id,
            HostCredential.key_hash,
            Device.maintenance,
            Device.maintenance_until,
        )
        .left_outer_join(HostCredential, on=HostCredential.device == Device.id)
        .where(Device.id == device)
    )
)


def _bearer() -> str:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _check_address(device_id: int, enrolled_from: str | None) -> None:
    """Without a credential, the address that registered the device is all there is to go by."""
    address = request.remote_addr
    if enrolled_from is None or address != enrolled_from:
        log.warning("legacy agent refused: not the address that registered the device", device=device_id, by=address)
        raise Forbidden("Permission denied", "without credentials, only from the address that registered the device")
    log.info("legacy agent without credentials", device=device_id, by=address)


def heartbeat(settings: Settings, device_id: int, said: dict[str, Any]) -> list[dict[str, Any]]:
    """Note a sign of life, and hand out what waits for the device: each action once, whoever asks at the same time."""
    approved = check_agent(settings, device_id)
    columns: dict[str, Any] = {"last_heartbeat": now()}
    if version := clean_text(said.get("os_version"), 255):
        columns["os_version"] = version
    summary = said.get("hardware_summary")
    if isinstance(summary, dict | list):
        summary = msgspec.json.encode(summary).decode()
    if isinstance(summary, str) and summary:
        columns["hardware_summary"] = storable(summary)[:MAX_SUMMARY]
    write_columns(device_id, columns)
    rows = _open.run(device_id, "pending", "running").fetchall() if approved else []
    given = _next([row for row in rows if row[5] == "agent"])
    return _hand_out(given) if given else []


_open = Prepared(
    lambda device, first, second: (
        Action.select(
            Action.id, Action.status, Action.profile_run, Action.continue_on_error, Action.timeout_seconds,
            Action.execution,
        )
        .where((Action.device == device) & Action.status.in_([first, second]))
        .order_by(Action.id)
    )
)  # fmt: skip


def _next(rows: Iterable[Any]) -> list[int]:
    """Ids of what may be handed out: nothing behind an action that must not fail and has no result yet."""
    held: set[int] = set()
    found = []
    for number, status, run, goes_on, *_ in rows:
        if run in held:
            continue
        if status == "pending":
            found.append(number)
        if run is not None and not goes_on:
            held.add(run)
    return found


def _hand_out(ids: list[int]) -> list[dict[str, Any]]:
    moment = now()
    deadline = Action.timeout_seconds * 1000 + int((moment + GRACE).timestamp() * 1000)
    begun = {"status": "running", "started_at": moment, "updated_at": moment, "deadline": deadline, "message": ""}
    with write_transaction():
        taken = Action.update(**begun).where(Action.id.in_(ids) & (Action.status == "pending")).returning(Action.id)
        mine = sorted(row.id for row in taken.execute())
        if not mine:
            return []
        columns = ("id", "type", "payload", "software")
        query = Action.select(*(getattr(Action, name) for name in columns)).where(Action.id.in_(mine))
        rows = list(query.order_by(Action.id).tuples())
    return [dict(zip(("id", "type", "payload", "software_id"), row, strict=True)) for row in rows]


def report(settings: Settings, action_id: int, told: dict[str, Any]) -> None:
    """Take the result of an action from the device that has it.

    Raises NotFound, Conflict for a second, different result and for what the agent did not fetch.
    """
    require_credential(settings)
    action: Action = library.find(Action, action_id, "Action")
    check_agent(settings, action.device_id)
    digest = hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()
    if action.report_digest == digest:
        return
    if action.execution != "agent" or action.status == "pending":
        raise Conflict("Action is not the agent's", f"action {action_id} was not handed out")
    if action.report_digest is not None or action.status not in {"running", "failed"}:
        raise Conflict("Action has its result", f"action {action_id} is {action.status}")
    moment = now()
    text, cut = bounded(storable(told.get("logs") or ""))
    code = told.get("exit_code")
    values = {
        "status": told["status"],
        "exit_code": code,
        "logs": text,
        "stdout_cut": cut,
        "report_digest": digest,
        "message": "" if told["status"] == "succeeded" else "failed" if code is None else f"exit code {code}",
        "completed_at": _within(told.get("completed_at"), action.started_at or moment, moment),
        "updated_at": moment,
    }
    with write_transaction():
        # A result that comes after the deadline is still the truth.
        is_open = (Action.id == action.id) & Action.report_digest.is_null() & Action.status.in_(["running", "failed"])
        if not Action.update(**values).where(is_open).execute():
            raise Conflict("Action has its result", f"action {action_id} was reported a moment ago")
        if told["status"] == "failed" and not action.continue_on_error:
            chains.stop_behind(action, f"action {action.id} failed")


def bounded(text: str) -> tuple[str, int]:
    """The text, its middle cut out where it is longer than LOGS_LIMIT; how many characters that are."""
    cut = len(text) - LOGS_LIMIT
    if cut <= 0:
        return text, 0
    half = LOGS_LIMIT // 2
    return f"{text[:half]}\n[... {cut} characters are left out here ...]\n{text[-half:]}", cut


def _within(text: str | None, first: datetime, last: datetime) -> datetime:
    """When the agent says that it was done, as far as that can be. Raises BadRequest for what is no time."""
    if text is None:
        return last
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("completed_at", "an ISO 8601 time is needed", value=text) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(first, min(moment, last))
