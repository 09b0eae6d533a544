# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Receive what a host says about itself: facts, package set, verdicts, in one transaction."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from patchherd.database import Prepared, is_sqlite, now, write_transaction
from patchherd.devices.models import Device
from patchherd.devices.registry import (
    DEBIAN_IDS,
    REDHAT_IDS,
    clean_address,
    clean_host_keys,
    clean_text,
    os_family,
    write_columns,
)
from patchherd.enrollment.hashgate import accept_report
from patchherd.errors import invalid
from patchherd.packages.evaluate import RULES, Finding, evaluate
from patchherd.packages.items import Report, decode_items, decode_report
from patchherd.packages.models import DevicePackages, PackageSet
from patchherd.packages.sets import Triple, store_set
from patchherd.packages.verdicts import write_findings

MAX_FACTS_BYTES = 256 * 1024
MAX_BROKEN = 100
"""Broken packages that the facts name."""
_FACTS = (
    "package_manager", "os_codename", "cpu_model", "cpu_cores", "ram_installed", "swap_size", "disk_details",
    "gateway_ip", "dns_servers", "network_interfaces", "selinux_status", "system_uptime", "load_average",
    "repositories", "problems", "services_to_restart", "execution_time", "machine_id",
)  # fmt: skip
_WIRE_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(Report)}
_MANAGERS = {
    "apt": "deb", "apt-get": "deb", "dpkg": "deb", "dnf": "rpm", "dnf5": "rpm", "yum": "rpm", "zypper": "rpm",
    "windows": "windows", "wua": "windows", "winget": "windows",
}  # fmt: skip
_FAMILY_ECOSYSTEMS = {"debian": "deb", "redhat": "rpm", "windows": "windows"}


class _Evaluated(NamedTuple):
    fingerprint: bytes
    ecosystem: str
    reported: int
    triples: list[Triple]
    findings: list[Finding]


def receive_report(device: Device, report: dict[str, Any] | bytes, source: str = "agent") -> dict[str, int]:
    """Take a report (JSON bytes or the same as a dict) of `device`; what it lacks stays as it was.

    Returns packagesProcessed, updatesAvailable, securityUpdates. Raises BadRequest, then nothing was changed.
    `source` tells who brought it: agent or ansible.
    """
    body = report if isinstance(report, bytes) else msgspec.json.encode(report)
    told = decode_report(body)
    moment = now()
    changes = _facts(device, told, source)
    changes |= {"last_heartbeat": moment, "last_report": moment, "updated_at": moment}
    raw = bytes(told.packages)
    if raw == b"null":
        with write_transaction():
            _store_device(device, told, changes, with_packages=False)
        return _answer(0, device.missing, device.missing_security)
    changes |= _metadata(told, moment)
    ecosystem = _ecosystem(told, changes.get("os_family") or device.os_family)
    if raw.strip() == b"[]" and "packages" not in (told.sections or ()):
        raise invalid("packages", "an empty list is taken only when sections names packages")
    fingerprint = _fingerprint(ecosystem, raw)
    known_as = _link.run(device.id).fetchone()
    if known_as is not None and bytes(known_as[0]) == fingerprint:
        changes |= _status(changes, device.missing)
        with write_transaction():
            _store_device(device, told, changes)
        return _answer(known_as[1], device.missing, device.missing_security)
    items = decode_items(raw)
    evaluated = _Evaluated(fingerprint, ecosystem, len(items), *evaluate(ecosystem, items))
    missing = [finding for finding in evaluated.findings if finding.verdict == "missing"]
    security = sum(finding.security for finding in missing)
    known = bool(items) or ecosystem == "windows"  # Windows lists only what is missing
    changes |= {"missing": len(missing) if known else None, "missing_security": security if known else None}
    changes |= _status(changes, changes["missing"])
    broken = sorted({f"{item.name} ({item.broken})" for item in items if item.broken})
    changes["facts"]["brokenPackages"] = broken[:MAX_BROKEN]
    with write_transaction():
        _store_packages(device, evaluated, moment, keep_set=ecosystem == "windows" and source == "ansible")
        _store_device(device, told, changes)
    return _answer(len(items), len(missing), security)


_link = Prepared(
    lambda device: DevicePackages.select(DevicePackages.fingerprint, DevicePackages.reported).where(
        DevicePackages.device == device
    )
)


def _fingerprint(ecosystem: str, raw: bytes) -> bytes:
    """Of the package list and the rules that it was judged by. SHA-256: processors have instructions for it."""
    found = hashlib.sha256(b"%d\0%s\0" % (RULES, ecosystem.encode()))
    found.update(raw)
    return found.digest()[:16]


def _answer(processed: int, missing: int | None, security: int | None) -> dict[str, int]:
    return {"packagesProcessed": processed, "updatesAvailable": missing or 0, "securityUpdates": security or 0}


def _store_packages(device: Device, evaluated: _Evaluated, moment: datetime, *, keep_set: bool) -> None:
    """Write set and verdicts. `keep_set`: the report lists no installed packages, so the known list stays."""
    if not is_sqlite():  # two reports of one device take turns; on SQLite all writers do
        Device.select(Device.id).where(Device.id == device.id).for_update().execute()
    link = DevicePackages.get_or_none(DevicePackages.device == device.id)
    if link is not None and keep_set:
        package_set = link.package_set_id
    else:
        package_set = store_set(evaluated.ecosystem, evaluated.triples)
    row = {"package_set": package_set, "fingerprint": evaluated.fingerprint, "reported": evaluated.reported}
    if link is None:
        DevicePackages.insert(device=device.id, **row).execute()
    else:
        DevicePackages.update(**row).where(DevicePackages.device == device.id).execute()
        if link.package_set_id != package_set:
            PackageSet.update(released_at=moment).where(PackageSet.id == link.package_set_id).execute()
    write_findings(device.id, evaluated.findings, moment)


def _store_device(device: Device, told: Report, changes: dict[str, Any], *, with_packages: bool = True) -> None:
    write_columns(device.id, changes)
    sections = {
        "packages": with_packages,
        "repos": told.repositories is not None,
        "interfaces": told.network_interfaces is not None,
        "hostname": told.hostname is not None,
    }
    accept_report(device.id, [name for name, given in sections.items() if given], told.hashes)


def _ecosystem(told: Report, family: str | None) -> str:
    """deb, rpm, windows; other when nothing tells."""
    named = clean_text(told.ecosystem, 16)
    if named in {"deb", "rpm", "windows"}:
        return named
    manager = (clean_text(told.package_manager, 32) or "").lower()
    return _MANAGERS.get(manager) or _FAMILY_ECOSYSTEMS.get(family or "") or "other"


def _metadata(told: Report, moment: datetime) -> dict[str, Any]:
    """How old the package metadata behind the candidates is; an agent that does not tell is trusted for now."""
    value = told.metadata_updated
    if value is msgspec.UNSET:
        updated: datetime | None = moment
    elif not value:
        updated = None
    else:
        try:
            updated = datetime.fromisoformat(str(value))
        except ValueError as exc:
            raise invalid("metadataUpdated", "an ISO 8601 time is needed", value=value) from exc
        updated = min(updated.replace(tzinfo=updated.tzinfo or UTC), moment)
    return {"metadata_updated": updated, "evaluated_at": moment}


def _status(changes: dict[str, Any], missing: int | None) -> dict[str, Any]:
    """The stored half of the patch status: what this report proves at this moment. `patches.patch_state` adds time."""
    if missing is None:
        return {"patch_status": "unknown", "patch_reason": "the last report names no packages"}
    if changes["metadata_updated"] is None:
        return {"patch_status": "unknown", "patch_reason": "the host never refreshed its package metadata"}
    return {"patch_status": "missing" if missing else "current", "patch_reason": None}


def _facts(device: Device, told: Report, source: str) -> dict[str, Any]:
    """Device columns from the report; a fact that it does not state keeps its last value."""
    name = clean_text(told.os_type, 255)
    os_id = clean_text(told.os_id, 64)
    if os_id is None and name:
        word = name.lower().split()[0]
        os_id = word if word in DEBIAN_IDS | REDHAT_IDS | {"windows"} else None
    stated = {
        "hostname": clean_text(told.hostname, 255),
        "ip_address": clean_address(told.ip) if told.ip else None,
        "machine_id": None if device.machine_id else clean_text(told.machine_id, 255),  # enrolment knows it by its own
        "os_family": os_family(os_id, name, told.os_id_like or ()),
        "os_id": os_id,
        "os_name": name,
        "os_version": clean_text(told.os_version, 255),
        "os_version_id": clean_text(told.os_version_id, 64),
        "os_architecture": clean_text(told.architecture, 32),
        "agent_version": clean_text(told.agent_version, 64),
        "kernel_running": clean_text(told.kernel_version, 255),
        "kernel_installed": clean_text(told.installed_kernel_version, 255),
        "boot_id": clean_text(told.boot_id, 64),
    }
    changes: dict[str, Any] = {column: value for column, value in stated.items() if value is not None}
    if told.needs_reboot is not None:
        changes["reboot_required"] = told.needs_reboot
        changes["reboot_reason"] = clean_text(told.reboot_reason, 1000)
    if told.ssh_host_keys is not None:
        keys = clean_host_keys(told.ssh_host_keys)
        changes["reported_host_keys"] = keys
        if keys and not device.ssh_host_keys:
            changes["ssh_host_keys"] = keys
    facts = {_WIRE_NAMES[field]: getattr(told, field) for field in _FACTS if getattr(told, field) is not None}
    facts = {**device.facts, **facts, "source": source}
    if len(msgspec.json.encode(facts)) > MAX_FACTS_BYTES:
        raise invalid("", f"the facts besides packages exceed {MAX_FACTS_BYTES} bytes")
    changes["facts"] = facts
    return changes
