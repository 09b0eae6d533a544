# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Queue actions for devices, apply profiles, cancel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import structlog

from patchherd.automation import chains, dispatch, library
from patchherd.automation.installers import WINDOWS_ONLY, installer_of
from patchherd.automation.models import Action, Profile, ProfileRun, ProfileTask, Script, SoftwareItem
from patchherd.automation.platforms import ACTION_LANGUAGES, fits, language_fits
from patchherd.database import chunked, now, write_transaction
from patchherd.deployments import orders
from patchherd.deployments.models import OPEN_HOST_STATES, DeploymentHost
from patchherd.deployments.plan import unreachable_reason
from patchherd.devices.groups import is_member
from patchherd.devices.models import Device
from patchherd.devices.os_types import WINDOWS, os_type
from patchherd.devices.registry import find_group, look_up
from patchherd.devices.views import LIST_COLUMNS, is_in_maintenance
from patchherd.errors import ApiError, BadRequest, Conflict, field_error, invalid
from patchherd.identity import audit
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.actions")

DEFAULT_TIMEOUT = 1800


@dataclass(frozen=True)
class Work:
    """What an action does, before it is known on which device."""

    type: str
    payload: str | None = None
    script: Script | None = None
    software: SoftwareItem | None = None
    name: str = ""
    continue_on_error: bool = True
    timeout_seconds: int = DEFAULT_TIMEOUT

    @property
    def text(self) -> str | None:
        return self.script.content if self.script is not None else self.payload


@dataclass
class Queued:
    """What became of an order for several devices."""

    actions: list[int] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """`device` as it was given, and `error`."""
    profile_run: int | None = None


def work_of(settings: Settings, body: dict[str, Any], place: str = "") -> Work:
    """What a request asks for. Raises BadRequest that names the field, NotFound for an unknown script or software."""
    kind, payload = body["type"], body.get("payload")
    script = software = None
    if body.get("script_id") is not None:
        script = library.find(Script, body["script_id"], "Script")
    if body.get("software_id") is not None:
        software = library.find(SoftwareItem, body["software_id"], "Software")
    timeout = body.get("timeout_seconds") or DEFAULT_TIMEOUT
    if timeout > settings.job_timeout_minutes * 60:
        limit = settings.job_timeout_minutes * 60
        raise invalid(place + "timeout_seconds", f"at most {limit}, the setting job_timeout_minutes", value=timeout)
    language = ACTION_LANGUAGES.get(kind)
    if language is not None:
        if script is None and not payload:
            raise invalid(place + "payload", f"{kind} needs a payload or a script_id")
        if script is not None and payload:
            raise invalid(place + "payload", "give a payload or a script_id, not both")
        if script is not None and script.language != language:
            raise invalid(place + "script_id", f"{kind} runs {language}; script {script.id} is {script.language}")
    if kind == "install_software" and software is None:
        raise invalid(place + "software_id", "install_software needs a software_id")
    if language is None and script is not None:
        raise invalid(place + "script_id", f"{kind} runs no script")
    if kind != "install_software" and software is not None:
        raise invalid(place + "software_id", f"{kind} installs no software")
    return Work(
        kind, payload or None, script, software, body.get("name", ""), body.get("continue_on_error", True), timeout
    )


def misfit(work: Work, device: Device) -> str:
    """Why this cannot run on the device; empty when it can."""
    system = os_type(device)
    language = ACTION_LANGUAGES.get(work.type)
    if language is not None and not language_fits(language, system):
        return f"{language} does not run on {system}"
    for item in (work.script, work.software):
        if item is not None and not fits(item.target_os_type, system):
            return f"{item.name} is made for {item.target_os_type}, the device runs {system}"
    if work.software is not None and work.software.installer_type in WINDOWS_ONLY and system not in {*WINDOWS, None}:
        return f"{work.software.installer_type} installs on Windows only, the device runs {system}"
    return ""


def queue(settings: Settings, work: Work, device: Device, created_by: str) -> Action:
    """Queue one action for one device. Raises BadRequest for what does not fit it.

    Where nobody can reach the device yet, the action waits and says for what.
    """
    if reason := misfit(work, device):
        raise BadRequest("Does not fit the device", reason)
    queued = _store(Queued(), [work], [device], created_by)
    dispatch.start_waiting(settings)
    return find_action(queued.actions[0])


def queue_many(
    settings: Settings, works: list[Work], targets: Targets, created_by: str, profile: Profile | None = None
) -> Queued:
    """Queue the same chain for several devices: all of them or none, unless `targets` is partial.

    Raises NotFound, Gone or BadRequest, which name every device that cannot take it; BadRequest for none.
    """
    devices, problems = targets.resolve(settings)
    good = []
    for reference, device in devices:
        reason = next(filter(None, (misfit(work, device) for work in works)), "")
        if profile is not None and not fits(profile.target_os_type, os_type(device)):
            reason = f"the profile is made for {profile.target_os_type}, the device runs {os_type(device)}"
        if reason:
            problems.append((reference, BadRequest("Does not fit the device", reason)))
        else:
            good.append(device)
    if problems and (not targets.partial or not good):
        first = problems[0][1]
        rows = [field_error(targets.field, str(error), "body", reference) for reference, error in problems[:100]]
        named = "; ".join(f"{reference}: {error}" for reference, error in problems[:20])
        raise type(first)(first.error, f"nothing was queued: {named}", errors=rows)
    if not good:
        raise invalid(targets.field, "at least one device is needed")
    refused = [{"device": reference, "error": str(error)} for reference, error in problems]
    queued = _store(Queued(refused=refused), works, good, created_by, profile)
    dispatch.start_waiting(settings)
    return queued


@dataclass(frozen=True)
class Targets:
    """Devices by reference, and the members of groups."""

    references: list[int | str]
    groups: list[int | str] = field(default_factory=list)
    partial: bool = False
    field: str = "device_ids"

    def resolve(self, settings: Settings) -> tuple[list[tuple[int | str, Device]], list[tuple[int | str, ApiError]]]:
        """Distinct devices, and the references that lead to none with the reason, each as it was given."""
        columns = [*LIST_COLUMNS, Device.deleted_at, Device.os_type]
        found: dict[int, tuple[int | str, Device]] = {}
        problems: list[tuple[int | str, ApiError]] = []
        for reference, device in zip(self.references, look_up(self.references, columns), strict=True):
            if isinstance(device, ApiError):
                problems.append((reference, device))
            else:
                found.setdefault(device.id, (reference, device))
        for group in map(find_group, self.groups):
            living = Device.select(*columns).where(Device.deleted_at.is_null() & is_member(settings, group))
            for device in living.order_by(Device.id):
                found.setdefault(device.id, (device.id, device))
        return list(found.values()), problems


def apply_profile(settings: Settings, profile_id: int, targets: Targets, created_by: str) -> Queued:
    """Queue the tasks of a profile, in order, for each device. Raises what `queue_many` does."""
    profile = library.find(Profile, profile_id, "Profile")
    if profile.is_template:
        raise BadRequest("Templates are not applied", f"make a profile of template {profile.name} first")
    tasks = list(
        ProfileTask.select(ProfileTask, Script, SoftwareItem)
        .left_outer_join(Script)
        .switch(ProfileTask)
        .left_outer_join(SoftwareItem)
        .where(ProfileTask.profile == profile)
        .order_by(ProfileTask.order_index, ProfileTask.id)
    )
    if not tasks:
        raise BadRequest("Profile has no tasks", f"profile {profile.name} has no tasks")
    works = [
        Work(
            task.action_type,
            task.payload,
            task.script,
            task.software,
            task.name,
            task.continue_on_error,
            task.timeout_seconds or DEFAULT_TIMEOUT,
        )
        for task in tasks
    ]
    return queue_many(settings, works, targets, created_by, profile)


def _store(
    queued: Queued, works: list[Work], devices: list[Device], created_by: str, profile: Profile | None = None
) -> Queued:
    moment = now()
    with write_transaction():
        run = None
        if profile is not None:
            run = ProfileRun.create(
                profile=profile, profile_name=profile.name, created_by=created_by, created_at=moment
            )
            queued.profile_run = run.id
        rows = [
            {
                "device": device.id,
                "execution": device.execution,
                "type": work.type,
                "name": work.name,
                "payload": work.text,
                "digest": hashlib.sha256((work.text or "").encode()).hexdigest(),
                "script": work.script,
                "script_version": work.script.version if work.script is not None else None,
                "software": work.software,
                "installer": installer_of(work.software) if work.software is not None else None,
                "profile_run": run,
                "continue_on_error": work.continue_on_error,
                "timeout_seconds": work.timeout_seconds,
                "message": _waits(device),
                "created_by": created_by,
                "created_at": moment,
                "updated_at": moment,
            }
            for device in devices
            for work in works
        ]
        for part in chunked(rows, 26):
            returned = Action.insert_many(part).returning(Action.id).execute()
            queued.actions += sorted(row.id for row in returned)
        told = {
            "devices": [device.id for device in devices],
            "actions": [{"type": row["type"], "digest": row["digest"]} for row in rows[: len(works)]],
        }
        if run is not None:
            audit.record("profile.apply", "profile_run", run.id, profile.name if profile else None, after=told)
        else:
            first = queued.actions[0]
            audit.record("action.create", "action", first, after={**told, "count": len(rows)})
    log.info("actions queued", actions=len(rows), devices=len(devices), by=created_by)
    return queued


def _waits(device: Device) -> str:
    """What keeps an action from starting now; who runs it matters for some of that only."""
    reason = unreachable_reason(device)
    held = not device.approved or is_in_maintenance(device, now())
    if not reason or not (held or device.execution == "ansible"):
        return ""
    return f"not yet: the device {'is ' if reason.startswith('in ') else ''}{reason}"


def find_action(action_id: int) -> Action:
    """The action with this id. Raises NotFound."""
    return library.find(Action, action_id, "Action")


def cancel(action_id: int) -> Action:
    """End an action: one that waits never starts, one that runs ends within seconds, with what is behind it.

    Idempotent once canceled. Raises Conflict for one that has ended otherwise, or that cannot be called back.
    """
    action = find_action(action_id)
    if action.status == "canceled":
        return action
    with write_transaction():
        waits = (Action.id == action.id) & (Action.status == "pending")
        if chains.end(waits, "canceled", "canceled before it started"):
            if not action.continue_on_error:
                chains.stop_behind(action, f"action {action.id} was canceled")
            if action.host_id is not None:
                chains.settle_host(action.host_id)
            audit.record("action.cancel", "action", action.id)
            return find_action(action_id)
        action = find_action(action_id)
        if action.status != "running":
            raise Conflict("Action has ended", f"action {action.id} is {action.status}")
        if action.execution == "agent":
            raise Conflict("Cannot be called back", "the device's agent has fetched it and will report its result")
        _end_running(action)
        audit.record("action.cancel", "action", action.id)
    return find_action(action_id)


def _end_running(action: Action) -> None:
    host = DeploymentHost.get_by_id(action.host_id)
    others = DeploymentHost.select().where(
        (DeploymentHost.deployment == host.deployment_id)
        & (DeploymentHost.id != host.id)
        & DeploymentHost.state.in_(OPEN_HOST_STATES)
    )
    alone = not others.exists()
    if not alone and action.device.os_family == "windows":
        words = f"it runs among other devices: cancel deployment {host.deployment_id} to end all of them"
        raise Conflict("Cannot be ended alone", words)
    Action.update(cancel_requested=True, updated_at=now()).where(Action.id == action.id).execute()
    chains.stop_behind(action, f"action {action.id} was canceled")
    if alone:
        orders.cancel(orders.find_deployment(host.deployment_id))
