# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The kinds of deployments that come with this room: patch, and scan, which only reads the hosts' reports."""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path
from typing import Any

import msgspec

from patchherd.deployments import kinds, results
from patchherd.deployments.models import OPEN_HOST_STATES, Deployment, DeploymentChange, DeploymentHost
from patchherd.packages.windows import windows_report

REPORT_LIMIT = 64 * 1024 * 1024
REPORT_ACTION = "patchherd.fleet.report_info"
REBOOT_INFO_ACTION = "ansible.windows.win_reboot_info"
REBOOT_ACTIONS = frozenset({"ansible.builtin.reboot", "ansible.windows.win_reboot", "ansible.windows.win_updates"})
WINDOWS_SEARCH = re.compile(r"Search Windows updates \((before|after)\)")


@kinds.register("patch")
class Patch(kinds.Kind):
    playbook = "patchherd.fleet.deploy"

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment)
        self.reboot_info: dict[int, dict[str, Any]] = {}

    def variables(self, directory: Path) -> dict[str, Any]:
        return {
            "patchherd_deployment": self.deployment.id,
            "patchherd_dry_run": self.deployment.dry_run,
            "patchherd_reboot": self.deployment.reboot,
        }

    def host_variables(self, is_open: Any) -> dict[int, dict[str, Any]]:
        """The transitions that are still wanted on each host."""
        names = ("package", "architecture", "installed", "candidate", "kb", "replaced_by")
        rows = (
            DeploymentChange.select(DeploymentChange.host, *(getattr(DeploymentChange, name) for name in names))
            .join(DeploymentHost)
            .where(is_open & DeploymentChange.planned & DeploymentChange.result.in_(["planned", "failed", "unproven"]))
            .order_by(DeploymentChange.id)
        )
        found: dict[int, list[dict[str, Any]]] = {}
        for host, *values in rows.tuples():
            found.setdefault(host, []).append(dict(zip(names, values, strict=True)))
        hosts = DeploymentHost.select(DeploymentHost.id).where(is_open)
        return {host.id: {"patchherd_plan": found.get(host.id, [])} for host in hosts}

    def ok(self, host_id: int, data: dict[str, Any], result: dict[str, Any]) -> None:
        """Results of tasks that carry evidence: reports, reboots and Windows searches."""
        action = data.get("resolved_action") or data.get("task_action") or ""
        if action in REBOOT_ACTIONS and result.get("rebooted"):
            results.note_reboot(host_id)
        if action == REPORT_ACTION:
            report = decode_report(result.get("report_encoded"))
            if report is None:
                self.failed(host_id, data.get("task") or "", "the report is malformed")
            else:
                results.note_report(self.deployment, host_id, result.get("phase") or "after", report)
        elif action == REBOOT_INFO_ACTION:
            self.reboot_info[host_id] = result
        elif phase := WINDOWS_SEARCH.search(data.get("task") or ""):
            report = windows_report(result, self.reboot_info.get(host_id))
            results.note_report(self.deployment, host_id, phase.group(1), report)

    def failed(self, host_id: int, task: str, text: str) -> None:
        results.note_failure(host_id, task, text)

    def unreachable(self, host_id: int, text: str) -> None:
        results.note_unreachable(host_id, text)

    def close(self, state: str, message: str) -> None:
        """What was planned on an open host stays unproven."""
        hosts = DeploymentHost.select(DeploymentHost.id).where(
            (DeploymentHost.deployment == self.deployment) & DeploymentHost.state.in_(OPEN_HOST_STATES)
        )
        DeploymentChange.update(result="unproven").where(
            DeploymentChange.host.in_(hosts) & (DeploymentChange.result == "planned")
        ).execute()


@kinds.register("scan")
class Scan(Patch):
    playbook = "patchherd.fleet.scan"


def decode_report(encoded: Any) -> dict[str, Any] | None:
    """The report in a `report_info` result; None when it is malformed or larger than REPORT_LIMIT."""
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(encoded), REPORT_LIMIT)
        report = msgspec.json.decode(raw) if inflater.eof else None
    except (ValueError, TypeError, RecursionError, zlib.error, msgspec.DecodeError):
        return None
    return report if isinstance(report, dict) else None
