# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions that Ansible runs: a kind of deployment whose hosts carry actions instead of patches.

Scripts may do harm when they run twice. An action is `running` from its announcement on, and a lost job runs only those
again that nobody announced; the host itself refuses a second start of the same action, should the announcement be lost.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from patchherd.automation import chains, dispatch
from patchherd.automation.installers import powershell_of
from patchherd.automation.models import Action
from patchherd.automation.platforms import ACTION_LANGUAGES
from patchherd.database import now
from patchherd.deployments import kinds, processes, results
from patchherd.deployments.models import OPEN_HOST_STATES, Deployment, DeploymentHost
from patchherd.deployments.texts import storable
from patchherd.devices.ansible import host_key_alias
from patchherd.devices.models import Device
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.actions")

GRACE = timedelta(seconds=60)
OUTPUT_LIMIT = 70_000
"""Characters of one output that are stored; hosts cut at 64 KiB and add a line about it."""
GONE = "the host has started it before, in a run that was lost; " + chains.UNKNOWN


@kinds.register("action")
class Actions(kinds.Kind):
    playbook = "patchherd.fleet.run_action"
    ssh_retries = 0
    can_retry = False

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment)
        self.left_out: set[int] = set()

    def variables(self, directory: Path) -> dict[str, Any]:
        control = directory / "control"
        control.mkdir(exist_ok=True)
        return {"patchherd_control": str(control)}

    def host_variables(self, is_open: Any) -> dict[int, dict[str, Any]]:
        hosts = DeploymentHost.select(DeploymentHost.id).where(is_open)
        found: dict[int, list[dict[str, Any]]] = {host.id: [] for host in hosts}
        waiting = Action.select().where(Action.host.in_(hosts) & (Action.status == "pending"))
        for action in waiting.order_by(Action.id):
            found[action.host_id].append(order_of(action, self.deployment.uuid))
        return {host: {"patchherd_actions": actions} for host, actions in found.items()}

    def ok(self, host_id: int, data: dict[str, Any], result: dict[str, Any]) -> None:
        if (data.get("resolved_action") or data.get("task_action")) != "ansible.builtin.set_fact":
            return
        facts = result.get("ansible_facts") or {}
        if ended := facts.get("actions_result"):
            self._ended(host_id, int(ended["id"]), ended["encoded"])
        elif number := facts.get("actions_started"):
            self._started(host_id, int(number))

    def _started(self, host_id: int, number: int) -> None:
        moment, mine = now(), (Action.id == number) & (Action.host == host_id)
        action = Action.get_or_none(mine)
        if action is None:
            return
        deadline = moment + timedelta(seconds=action.timeout_seconds) + GRACE
        begun = {"status": "running", "started_at": moment, "updated_at": moment, "deadline": deadline, "message": ""}
        if Action.update(**begun).where(mine & (Action.status == "pending")).execute():
            return
        # Canceled at the very moment when it started: `watch` ends it.
        words = "canceled as it started; " + chains.UNKNOWN
        Action.update(message=words, cancel_requested=True).where(mine & (Action.status == "canceled")).execute()

    def _ended(self, host_id: int, number: int, encoded: str) -> None:
        mine = (Action.id == number) & (Action.host == host_id)
        action = Action.get_or_none(mine & Action.status.in_(chains.OPEN))
        if action is None:
            return
        found = msgspec.json.decode(base64.b64decode(encoded))
        status, message = judge(found, action)
        chains.end(
            mine,
            status,
            message,
            exit_code=found.get("exit_code"),
            stdout=storable(found.get("stdout") or "")[:OUTPUT_LIMIT],
            stderr=storable(found.get("stderr") or "")[:OUTPUT_LIMIT],
            stdout_cut=int(found.get("stdout_cut") or 0),
            stderr_cut=int(found.get("stderr_cut") or 0),
            started_at=action.started_at or _moment(found.get("started_at")),
        )
        if status != "succeeded" and not action.continue_on_error:
            chains.stop_behind(action, f"action {action.id} {status}")
        chains.settle_host(host_id)

    def failed(self, host_id: int, task: str, text: str) -> None:
        """Actions tell their own failures; this is about what surrounds them."""
        results.note_failure(host_id, task, text)

    def unreachable(self, host_id: int, text: str) -> None:
        results.note_unreachable(host_id, text)
        words = DeploymentHost.get_by_id(host_id).message
        mine = Action.host == host_id
        canceled = mine & (Action.status == "running") & Action.cancel_requested
        chains.end(canceled, "canceled", "canceled while it ran")
        chains.end(mine & (Action.status == "running"), "failed", f"the connection broke, {chains.UNKNOWN}: {words}")
        chains.end(mine, "failed", f"not started: {words}")

    def close(self, state: str, message: str) -> None:
        hosts = chains.hosts_of(self.deployment.id).where(DeploymentHost.state.in_(OPEN_HOST_STATES))
        mine = Action.host.in_(hosts)
        running, canceled = mine & (Action.status == "running"), state == "canceled"
        if canceled:
            chains.end(running, "canceled", "canceled while it ran")
            chains.end(mine, "canceled", "canceled before it started")
        chains.end(running, "failed", f"{message}; {chains.UNKNOWN}")
        chains.end(mine, "failed", f"not started: {message}")

    def reopen(self, reason: str) -> None:
        hosts = chains.hosts_of(self.deployment.id)
        running = list(Action.select().where(Action.host.in_(hosts) & (Action.status == "running")))
        for action in running:
            canceled = action.cancel_requested
            words = "canceled while it ran" if canceled else f"lost: {reason}; {chains.UNKNOWN}"
            chains.end(Action.id == action.id, "canceled" if canceled else "failed", words)
            if canceled or not action.continue_on_error:
                chains.stop_behind(action, f"action {action.id} was lost")
            chains.settle_host(action.host_id)

    def watch(self, directory: Path, mark: str) -> None:
        """Keep what was canceled from starting, and end it where it runs."""
        query = (
            Action.select(Action.id, Action.status, Device.uuid)
            .join(Device)
            .where(Action.host.in_(chains.hosts_of(self.deployment.id)))
            .where(Action.status.in_(["canceled", "skipped"]) | Action.cancel_requested)
        )
        for row in query:
            if row.id in self.left_out:
                continue
            control = directory / "control" / str(row.id)
            if row.status in {"canceled", "skipped"} and control.parent.is_dir():
                control.touch()
                if not row.cancel_requested:
                    self.left_out.add(row.id)
                    continue
            # Its script ends with its connection.
            killed = processes.kill_marked(mark, host_key_alias(row.device))
            if row.status in {"canceled", "skipped"} and killed:
                self.left_out.add(row.id)

    def ended(self, settings: Settings) -> None:
        dispatch.start_waiting(settings)

    def event_message(self, event: dict[str, Any], result: dict[str, Any]) -> str:
        """Nothing that a script says: its output is kept with the action alone."""
        if event["event"] == "runner_on_failed":
            return storable(result.get("msg") or "")[:400]
        return super().event_message(event, result) if event["event"] in kinds.BAD_EVENTS else ""


def order_of(action: Action, run: str) -> dict[str, Any]:
    """One entry of the playbook's `patchherd_actions`; Base64 keeps the text from being taken for a template."""
    order = {
        "id": action.id,
        "run": "script" if action.type in ACTION_LANGUAGES else "software" if action.installer else "agent_uninstall",
        "timeout": action.timeout_seconds,
        "once": f"{run}-{action.id}",
        "continue_on_error": action.continue_on_error,
    }
    text = action.payload
    if action.installer:
        order["software"] = action.installer
        text = powershell_of(action.installer)
    if text:
        order["script_encoded"] = base64.b64encode(text.encode()).decode()
    return order


def judge(found: dict[str, Any], action: Action) -> tuple[str, str]:
    """(status, message) for what the host sent."""
    if found.get("already"):
        return "failed", GONE
    if found.get("problem"):
        if action.cancel_requested:
            return "canceled", "canceled while it ran"
        return "failed", storable(found["problem"])[:2000]
    if found.get("timed_out"):
        return "failed", f"not finished within {action.timeout_seconds} s, and killed"
    code = found.get("exit_code")
    if code == 0 or (action.installer and code in {1641, 3010}):  # Windows: installed, wants a reboot
        return "succeeded", "" if code == 0 else "installed, a reboot is needed"
    return "failed", f"exit code {code}"


def _moment(value: Any) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
