# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Judge hosts by what their rescans prove, never by what a module said about itself."""

from __future__ import annotations

import re
from typing import Any

from patchherd.database import chunked, now
from patchherd.deployments.models import OPEN_HOST_STATES, Deployment, DeploymentChange, DeploymentHost
from patchherd.devices import history
from patchherd.devices.ansible import note_contact
from patchherd.devices.models import Device
from patchherd.errors import ApiError
from patchherd.packages.reasons import blocked_reason
from patchherd.packages.reports import receive_report
from patchherd.packages.sets import load_set
from patchherd.packages.versions import key

_HOST_KEY = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No .* host key is known")
_AUTH = re.compile(r"Permission denied \(|Authentication or permission failure|no authentication methods", re.I)


def note_unreachable(host_id: int, text: str) -> None:
    """The host could not be reached: say why in one sentence, keep ssh's own words."""
    if _HOST_KEY.search(text):
        reason = "SSH host key does not match the pinned one"
    elif _AUTH.search(text):
        reason = "the server's SSH key or credentials were refused"
    else:
        reason = "unreachable"
    message = f"{reason}: {text}"[:4000]
    note_contact(DeploymentHost.get_by_id(host_id).device_id, message)
    finish(host_id, "unreachable", message)


def note_failure(host_id: int, task: str, text: str) -> None:
    """A task failed; the host stays open, because the rescan that follows decides."""
    DeploymentHost.update(message=f"{task}: {text}"[:4000]).where(
        (DeploymentHost.id == host_id) & DeploymentHost.state.in_(OPEN_HOST_STATES)
    ).execute()


def note_reboot(host_id: int) -> None:
    """The playbook rebooted the host."""
    DeploymentHost.update(rebooted=True).where(DeploymentHost.id == host_id).execute()


def note_report(deployment: Deployment, host_id: int, phase: str, report: dict[str, Any]) -> None:
    """Take a report that a playbook brought: the device's state, and for `after` the proof of what was installed."""
    host = DeploymentHost.get_by_id(host_id)
    note_contact(host.device_id, None)
    try:
        receive_report(host.device_id, report, source="ansible")
    except ApiError as exc:
        note_failure(host_id, f"report ({phase})", str(exc))
        return
    if host.state not in OPEN_HOST_STATES:
        return
    device = Device.get_by_id(host.device_id)  # its columns are the report's values, checked and cut to size
    if phase == "before":
        DeploymentHost.update(boot_id_before=device.boot_id, reboot_required=None).where(
            DeploymentHost.id == host_id
        ).execute()
        if deployment.kind == "scan":
            finish(host_id, "scanned", "")
        else:
            _mark_superseded(host, _offered(report), _blocked(report))
    elif deployment.dry_run:
        _judge_dry_run(host)
    else:
        _judge(deployment, host, device, report)


Identity = tuple[str, str | None]


def _identity(change: DeploymentChange) -> Identity:
    return (f"KB{change.kb}" if change.kb and not change.kb.startswith("KB") else change.kb or change.package,
            None if change.kb else change.architecture)  # fmt: skip


def _report_identity(item: dict[str, Any]) -> Identity:
    if item.get("wuaGuid") or item.get("wuaKb"):
        kb = str(item.get("wuaKb") or "")
        return (kb if kb.startswith("KB") else f"KB{kb}" if kb else item["name"], None)
    return (item["name"], item.get("architecture") or None)


Wanted = dict[str, str | None]
"""Package -> version: of those that replace a package, else its own newer version, by the name ""."""


def _wanted(change: DeploymentChange) -> Wanted:
    return _versions(change.replaced_by, change.candidate)


def _proposed(item: dict[str, Any]) -> Wanted:
    return _versions(item.get("replacedBy"), item.get("availableVersion"))


def _versions(replaced_by: list[dict[str, Any]] | None, version: str | None) -> Wanted:
    return {new["name"]: new["version"] for new in replaced_by or ()} or {"": version}


def _offered(report: dict[str, Any]) -> dict[Identity, Wanted]:
    """What the fresh metadata offers, by identity; a package installed incompletely can be completed."""
    packages = report.get("packages") or []
    return {_report_identity(item): _proposed(item) for item in packages if item.get("needsUpdate")} | {
        _report_identity(item): {"": item["currentVersion"]}
        for item in packages
        if item.get("broken") and not item.get("needsUpdate")
    }


def _blocked(report: dict[str, Any]) -> dict[Identity, tuple[Wanted, str]]:
    """What is there and cannot be installed, and why, by identity."""
    return {
        _report_identity(item): (
            _proposed(item), blocked_reason(str(item["blocked"]), str(item.get("blockedDetail") or ""))
        )
        for item in report.get("packages") or []
        if item.get("blocked")
    }  # fmt: skip


def _installed(report: dict[str, Any]) -> dict[Identity, list[str]]:
    found: dict[Identity, list[str]] = {}
    for item in report.get("packages") or []:
        if not item.get("wuaGuid") and not item.get("broken"):
            found.setdefault(_report_identity(item), []).append(item["currentVersion"])
    return found


def _mark_superseded(
    host: DeploymentHost, offered: dict[Identity, Wanted], blocked: dict[Identity, tuple[Wanted, str]]
) -> None:
    """Planned versions that the repositories no longer offer are reported, and not replaced by others."""
    for change in host.changes.where(DeploymentChange.planned & (DeploymentChange.result == "planned")):
        found = offered.get(_identity(change))
        barred, reason = blocked.get(_identity(change), (None, ""))
        if barred == _wanted(change):
            text = f"not installable: {reason}"
        elif found is None:
            text = "no longer offered: already installed, held, or withdrawn since the plan was made"
        elif change.candidate and found != _wanted(change):
            versions = (f"{name} {version}".strip() for name, version in found.items())
            text = f"the repositories now offer {' and '.join(versions)}"
        else:
            continue
        DeploymentChange.update(result="superseded", message=text).where(DeploymentChange.id == change.id).execute()


def _judge_dry_run(host: DeploymentHost) -> None:
    """A dry run ends well when the package manager accepted the whole transaction in check mode."""
    if host.message:
        finish(host.id, "failed", host.message)
        return
    DeploymentChange.update(result="would_install").where(
        (DeploymentChange.host == host) & (DeploymentChange.result == "planned")
    ).execute()
    finish(host.id, "planned", "")


def _judge(deployment: Deployment, host: DeploymentHost, device: Device, report: dict[str, Any]) -> None:
    """Compare the rescan with the plan and give the host its state."""
    ecosystem = "windows" if device.os_family == "windows" else "deb" if device.os_family == "debian" else "rpm"
    present, offered = _installed(report), _offered(report)
    failed: dict[int, str] = {}
    installed: list[int] = []
    for change in host.changes.where(DeploymentChange.planned):
        identity = _identity(change)
        if ecosystem == "windows":
            is_in = identity not in offered
        else:
            is_in = _is_in(change, present)
            if not is_in and change.result == "superseded" and not change.replaced_by:
                wanted = key(ecosystem, change.candidate)
                is_in = any(key(ecosystem, version) >= wanted for version in present.get(identity, []))
        if is_in:
            installed.append(change.id)
        elif change.result != "superseded":
            failed[change.id] = change.package
    for part in chunked(installed, 1):
        DeploymentChange.update(result="installed", message="").where(DeploymentChange.id.in_(part)).execute()
    for part in chunked(list(failed), 1):
        DeploymentChange.update(result="failed").where(DeploymentChange.id.in_(part)).execute()
    if ecosystem != "windows":
        _note_unplanned(host, report)
    needs_reboot = bool(report.get("needsReboot"))
    rebooted = host.rebooted or bool(host.boot_id_before and device.boot_id and device.boot_id != host.boot_id_before)
    DeploymentHost.update(reboot_required=needs_reboot, rebooted=rebooted).where(DeploymentHost.id == host.id).execute()
    if installed:
        told = {"deployment": deployment.id, "installed": len(installed), "reboot_required": needs_reboot}
        history.note(device.id, "patched", told)
    superseded = host.changes.where(DeploymentChange.planned & (DeploymentChange.result == "superseded")).count()
    if failed:
        named = ", ".join([*failed.values()][:10]) + (" …" if len(failed) > 10 else "")
        finish(host.id, "failed", "\n".join(filter(None, [f"not installed: {named}", host.message])))
    elif host.message:
        # everything planned is there, yet a task failed (a half-configured package, a failed reboot): not a success
        finish(host.id, "failed", host.message)
    elif needs_reboot and deployment.reboot != "never" and not rebooted and host.reboot_required is None:
        pass  # the playbook reboots now and rescans; that report decides
    elif needs_reboot:
        reason = device.reboot_reason or "a reboot is needed"
        finish(host.id, "not_effective", f"installed, not effective: {reason}")
    elif superseded:
        finish(host.id, "incomplete", f"{superseded} planned version(s) are no longer offered; plan again")
    else:
        finish(host.id, "patched" if installed else "unchanged", "")


def _is_in(change: DeploymentChange, present: dict[Identity, list[str]]) -> bool:
    """Whether a rescan shows the version that was planned, or what was to replace the package, and the package gone."""
    identity = _identity(change)
    if not change.replaced_by:
        found = present.get(identity) or [
            version
            for (name, architecture), versions in present.items()
            if name == change.package and "noarch" in (architecture, change.architecture)  # built otherwise by now
            for version in versions
        ]
        return change.candidate in found
    return identity not in present and all(
        new["version"] in present.get((new["name"], new["architecture"]), []) for new in change.replaced_by
    )


def _note_unplanned(host: DeploymentHost, report: dict[str, Any]) -> None:
    """Record what else changed between the set before and now: new dependencies, say."""
    if host.package_set_before is None:
        return
    before: dict[Identity, list[str]] = {}
    for name, architecture, version in load_set(host.package_set_before):
        before.setdefault((name, architecture or None), []).append(version)
    known: set[Identity] = set()
    planned: dict[str, str | None] = {}
    for change in host.changes.where(DeploymentChange.planned):
        planned[change.package] = change.architecture
        known |= {_identity(change)} | {(new["name"], new["architecture"]) for new in change.replaced_by or ()}
    rows = []
    for identity, versions in _installed(report).items():
        new = sorted(set(versions) - set(before.get(identity, [])))
        moved = identity[0] in planned and "noarch" in (identity[1], planned[identity[0]])
        if new and identity not in known and not moved:
            old = before.get(identity, [])
            rows.append(
                {
                    "host": host.id,
                    "package": identity[0],
                    "architecture": identity[1],
                    "installed": old[-1] if old else None,
                    "candidate": new[-1],
                    "planned": False,
                    "result": "installed",
                }
            )
    earlier = (DeploymentChange.host == host) & ~DeploymentChange.planned & (DeploymentChange.result == "installed")
    DeploymentChange.delete().where(earlier).execute()
    for part in chunked(rows, 8):
        DeploymentChange.insert_many(part).execute()


def finish(host_id: int, state: str, message: str) -> None:
    """Give a host that is still open its result."""
    DeploymentHost.update(state=state, message=message, finished_at=now()).where(
        (DeploymentHost.id == host_id) & DeploymentHost.state.in_(OPEN_HOST_STATES)
    ).execute()
    if state in {"unreachable", "failed"}:
        DeploymentChange.update(result="unproven").where(
            (DeploymentChange.host == host_id) & (DeploymentChange.result == "planned")
        ).execute()
