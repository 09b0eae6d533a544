# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Receive what a host says about itself: facts, package set, verdicts, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import xxhash
from peewee import JOIN

from patchherd.database import Prepared, now, write_statement, write_transaction
from patchherd.devices import history, host_keys
from patchherd.devices.models import Device
from patchherd.devices.registry import (
    DEBIAN_IDS,
    REDHAT_IDS,
    clean_address,
    clean_text,
    os_family,
    write_columns,
)
from patchherd.enrollment.hashgate import GATE_COLUMNS, Gate, changes_by_report, write_gate
from patchherd.enrollment.hosts import statement_with
from patchherd.enrollment.models import HostCredential
from patchherd.errors import NotFound, invalid
from patchherd.packages import verdicts
from patchherd.packages.advisories.rating import enrich, sources_of
from patchherd.packages.advisories.records import distribution_of
from patchherd.packages.advisories.store import GENERATION_COLUMNS, generation
from patchherd.packages.applicability import evaluation, windows_loops, windows_reports
from patchherd.packages.applicability.judge import known
from patchherd.packages.due import ask_for
from patchherd.packages.evaluate import RULES, Finding, evaluate
from patchherd.packages.items import Report, decode_report
from patchherd.packages.linking import store_packages
from patchherd.packages.memory import KnownItem, read_list
from patchherd.packages.models import DevicePackages
from patchherd.packages.status import counted, status
from patchherd.packages.views.matching import Match

MAX_FACTS_BYTES = 256 * 1024
MAX_BROKEN = 100
"""Broken packages that the facts name."""
_FACTS = (
    "package_manager", "os_codename", "cpu_model", "cpu_cores", "ram_installed", "swap_size", "disk_details",
    "gateway_ip", "dns_servers", "network_interfaces", "selinux_status", "system_uptime", "load_average",
    "repositories", "problems", "services_to_restart", "execution_time", "machine_id", "module_streams",
    "phasing_machine_id",
)  # fmt: skip
_DECIDING = ("repositories", "osCodename", "moduleStreams", "phasingMachineId")
"""Facts by which content views are a device's, and versions of theirs are for it."""
_WIRE_NAMES = {field.name: field.encode_name for field in msgspec.structs.fields(Report)}
_MANAGERS = {
    "apt": "deb", "apt-get": "deb", "dpkg": "deb", "dnf": "rpm", "dnf5": "rpm", "yum": "rpm", "zypper": "rpm",
    "windows": "windows", "wua": "windows", "winget": "windows",
}  # fmt: skip
_FAMILY_ECOSYSTEMS = {"debian": "deb", "redhat": "rpm", "windows": "windows"}


class _Host(NamedTuple):
    """What is known of a reporting device, as the database keeps it."""

    id: int
    machine_id: str | None
    os_family: str | None
    os_id: str | None
    os_version_id: str | None
    ssh_host_keys: str
    facts: str
    missing: int | None
    missing_security: int | None
    hostname: str | None
    ip_address: str | None
    agent_version: str | None
    os_name: str | None
    os_version: str | None
    reported_host_keys: str
    last_report: int | None
    package_set: int | None
    fingerprint: bytes | None
    reported: int | None
    views: str | None
    feeds: int
    feed_changes: int | None
    gate: Gate


_DEVICE_COLUMNS = _Host._fields[: _Host._fields.index("package_set")]
_COLUMNS = (
    *(getattr(Device, name) for name in _DEVICE_COLUMNS),
    DevicePackages.package_set,
    DevicePackages.fingerprint,
    DevicePackages.reported,
    DevicePackages.views,
    *GENERATION_COLUMNS,
    *GATE_COLUMNS,
)
_GATE_AT = len(_Host._fields) - 1
_host = Prepared(
    lambda device: (
        Device.select(*_COLUMNS)
        .join(DevicePackages, JOIN.LEFT_OUTER)
        .switch(Device)
        .join(HostCredential, JOIN.LEFT_OUTER)
        .where((Device.id == device) & Device.deleted_at.is_null())
    )
)
HOST_STATEMENT = statement_with(
    _COLUMNS, lambda query: query.join(DevicePackages, JOIN.LEFT_OUTER, on=(DevicePackages.device == Device.id))
)
"""Reads the host together with its credential."""


def _load_host(device_id: int) -> _Host:
    row = _host.run(device_id).fetchone()
    if row is None:
        raise NotFound("Device not found", "it was deleted a moment ago")
    return _told_by(row)


def _told_by(row: Sequence[Any]) -> _Host:
    return _Host._make([*row[:_GATE_AT], Gate._make(row[_GATE_AT:])])


def receive_report(
    device_id: int, report: dict[str, Any] | bytes, source: str = "agent", host_row: Sequence[Any] | None = None
) -> dict[str, int]:
    """Take a report (JSON bytes or the same as a dict) of a device; what it lacks stays as it was.

    Returns packagesProcessed, updatesAvailable, securityUpdates. Raises BadRequest and NotFound, then nothing was
    changed. `source` tells who brought it: agent or ansible. `host_row`: what HOST_STATEMENT read a moment
    ago.
    """
    host = _told_by(host_row) if host_row else _load_host(device_id)
    body = report if isinstance(report, bytes) else msgspec.json.encode(report)
    told = decode_report(body)
    moment = now()
    facts, changes, moved = _facts(host, told, source)
    changes |= {"last_heartbeat": moment, "last_report": moment, "updated_at": moment}
    raw = bytes(told.packages)
    if raw == b"null":
        _store_unchanged(host, told, changes, facts, moved, with_packages=False)
        return _answer(0, host.missing, host.missing_security)
    changes |= _metadata(told, moment)
    ecosystem = _ecosystem(told, changes.get("os_family") or host.os_family)
    if raw.strip() == b"[]" and "packages" not in (told.sections or ()):
        raise invalid("packages", "an empty list is taken only when sections names packages")
    fingerprint = _fingerprint(f"windows {told.os_version}" if ecosystem == "windows" else ecosystem, raw)
    if host.fingerprint is not None and bytes(host.fingerprint) == fingerprint:
        changes |= status(host.missing, changes["metadata_updated"])
        _store_unchanged(host, told, changes, facts, moved)
        return _answer(host.reported or 0, host.missing, host.missing_security)
    known_list = read_list(ecosystem, fingerprint, raw)
    items = known_list.items
    if known_list.findings is None:
        known_list.findings = evaluate(ecosystem, items)
    findings = known_list.findings
    turn, seen = None, None
    if ecosystem == "windows":
        findings, turn = windows_reports.at_report(device_id, findings, items, changes, facts)
    elif host.views and ecosystem in evaluation.ECOSYSTEMS:
        findings, seen = _with_views(host, ecosystem, items, findings, facts, changes)
    if evaluation.is_open(findings):
        fingerprint = b""
    offering = [item for item in items if item.offer is not None]
    findings = enrich(
        _distribution(host, changes), findings, sources_of(offering), (host.feeds, int(host.feed_changes or 0))
    )
    told_packages = bool(items) or ecosystem == "windows"  # Windows lists only what is missing
    changes |= counted(findings, changes["metadata_updated"], known=told_packages)
    broken = {f"{item.offer.name} ({item.offer.broken})" for item in offering if item.offer and item.offer.broken}
    facts["brokenPackages"] = sorted(broken)[:MAX_BROKEN]
    with write_transaction():
        keep_set = ecosystem == "windows" and source == "ansible"
        _store_device(host, changes, facts, moved)  # first: it makes two reports of one device take turns
        history.note_all(device_id, history.told_by_report(host, changes))
        rows = store_packages(
            device_id, ecosystem, None if keep_set else items, fingerprint, len(items), moment, verdicts.ROWS
        )
        verdicts.apply([verdicts.difference(device_id, rows, findings, moment)])
        if seen is not None and seen != evaluation.views_now(device_id):
            ask_for([device_id])  # they have changed in between
        if generation() != (host.feeds, int(host.feed_changes or 0)):
            ask_for([device_id], anew=True)  # advisories have
        if turn is not None:
            windows_loops.keep(device_id, turn, moment)
        write_gate(host.gate, _gate_changes(host, told))
    return _answer(len(items), changes["missing"], changes["missing_security"])


def _with_views(
    host: _Host,
    ecosystem: str,
    items: list[KnownItem],
    findings: list[Finding],
    facts: dict[str, Any],
    changes: dict[str, Any],
) -> tuple[list[Finding], evaluation.Views]:
    match = Match.read(host.views or "")
    installed = [known(ecosystem, *item.triple) for item in items if item.triple]
    context = evaluation.context_of(match, facts, host.machine_id, changes["metadata_updated"])
    return evaluation.at_report(ecosystem, match, installed, findings, context)


def _fingerprint(ecosystem: str, raw: bytes) -> bytes:
    """Of the package list and the rules that it was judged by.

    Nothing is proven by it: a host that makes two lists of one fingerprint could as well send the first one again.
    """
    found = xxhash.xxh3_128(b"%d\0%s\0" % (RULES, ecosystem.encode()))
    found.update(raw)
    return found.digest()


def _answer(processed: int, missing: int | None, security: int | None) -> dict[str, int]:
    return {"packagesProcessed": processed, "updatesAvailable": missing or 0, "securityUpdates": security or 0}


def _store_unchanged(
    host: _Host,
    told: Report,
    changes: dict[str, Any],
    facts: dict[str, Any],
    moved: bool,
    *,
    with_packages: bool = True,
) -> None:
    """Store a report whose packages are the known ones, as a rule by a single statement."""
    gate = _gate_changes(host, told, with_packages=with_packages)
    events = history.told_by_report(host, changes)
    with write_transaction() if gate or events or moved else write_statement():
        _store_device(host, changes, facts, moved)
        history.note_all(host.id, events)
        write_gate(host.gate, gate)


def _store_device(host: _Host, changes: dict[str, Any], facts: dict[str, Any], moved: bool) -> None:
    text = msgspec.json.encode(facts)
    if len(text) > MAX_FACTS_BYTES:
        raise invalid("", f"the facts besides packages exceed {MAX_FACTS_BYTES} bytes")
    if text != host.facts.encode():
        changes["facts"] = facts
    write_columns(host.id, changes)
    if moved:
        ask_for([host.id])


def _gate_changes(host: _Host, told: Report, *, with_packages: bool = True) -> dict[str, dict[str, str]]:
    sections = {
        "packages": with_packages,
        "repos": told.repositories is not None,
        "interfaces": told.network_interfaces is not None,
        "hostname": told.hostname is not None,
    }
    return changes_by_report(host.gate, [name for name, given in sections.items() if given], told.hashes)


def _ecosystem(told: Report, family: str | None) -> str:
    """deb, rpm, windows; other when nothing tells."""
    named = clean_text(told.ecosystem, 16)
    if named in {"deb", "rpm", "windows"}:
        return named
    manager = (clean_text(told.package_manager, 32) or "").lower()
    return _MANAGERS.get(manager) or _FAMILY_ECOSYSTEMS.get(family or "") or "other"


def _distribution(host: _Host, changes: dict[str, Any]) -> str | None:
    """By the name that advisories give it; what this report does not tell is known from those before."""
    if changes.get("os_family", host.os_family) == "windows":
        return "windows"
    return distribution_of(changes.get("os_id", host.os_id), changes.get("os_version_id", host.os_version_id))


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


def _facts(host: _Host, told: Report, source: str) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Facts and other device columns from the report; what it does not state keeps its last value.

    And whether those have changed that decide about content views.
    """
    name = clean_text(told.os_type, 255)
    os_id = clean_text(told.os_id, 64)
    if os_id is None and name:
        word = name.lower().split()[0]
        os_id = word if word in DEBIAN_IDS | REDHAT_IDS | {"windows"} else None
    stated = {
        "hostname": clean_text(told.hostname, 255),
        "ip_address": clean_address(told.ip) if told.ip else None,
        "machine_id": None if host.machine_id else clean_text(told.machine_id, 255),  # enrolment knows it by its own
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
    stated_facts = {_WIRE_NAMES[field]: getattr(told, field) for field in _FACTS if getattr(told, field) is not None}
    before = msgspec.json.decode(host.facts)
    facts = {**before, **stated_facts, "source": source}
    if told.ssh_host_keys is not None:
        keys, bad = host_keys.read_host_keys(told.ssh_host_keys)
        changes["reported_host_keys"] = keys
        if keys and host.ssh_host_keys == "[]":
            changes["ssh_host_keys"] = keys
        others = [text for text in facts.get("problems") or () if not str(text).startswith(host_keys.PROBLEM)]
        if bad or "problems" in facts:
            facts["problems"] = [*others, *bad]
    return facts, changes, any(facts.get(name) != before.get(name) for name in _DECIDING)
