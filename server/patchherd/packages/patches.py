# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What devices miss, as far as it is known now: old evidence proves nothing, so time is part of every answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import peewee
from peewee import fn

from patchherd.database import chunked, now
from patchherd.devices.evidence import is_known
from patchherd.devices.evidence import patch_state as patch_state
from patchherd.devices.models import Device
from patchherd.packages.evaluate import Finding
from patchherd.packages.models import Verdict
from patchherd.packages.severity import SEVERITIES, word_of
from patchherd.packages.status import COUNTS, SEVERITY_COLUMNS
from patchherd.settings import Settings

VERDICTS = ("missing", "unknown", "not_installable", "current")


def patch_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the API shows it."""
    return {
        "id": verdict.id,
        **_described(verdict, verdict.advisories, verdict.categories, verdict.evidence, verdict.replaced_by),
        "first_seen": verdict.first_seen,
        "age_days": (now() - verdict.first_seen).days,
    }


def finding_row(finding: Finding) -> dict[str, Any]:
    """The same of a finding that is not stored, without id and age."""
    decode = msgspec.json.decode
    evidence = decode(finding.evidence) if finding.evidence else None
    replaced_by = decode(finding.replaced_by) if finding.replaced_by else None
    return _described(finding, decode(finding.advisories), decode(finding.categories), evidence, replaced_by)


def _described(
    found: Verdict | Finding,
    advisories: list[dict[str, Any]],
    categories: list[str],
    evidence: dict[str, Any] | None,
    replaced_by: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    offer = (evidence or {}).get("view") or {}
    return {
        "ecosystem": found.ecosystem,
        "package": found.package,
        "architecture": found.architecture or None,
        "installed": found.installed,
        "candidate": found.candidate,
        "replaced_by": replaced_by or [],
        "verdict": found.verdict,
        "reason": found.reason,
        "decided_by": found.decided_by,
        "view": offer.get("name"),
        "size": found.size,
        "severity": found.severity,
        "severity_source": found.severity_source,
        "severity_word": word_of(found.severity, found.severity_source, advisories),
        "security": found.security,
        "advisories": [advisory["id"] for advisory in advisories],
        "cves": sorted({cve for advisory in advisories for cve in advisory["cves"] or ()}),
        "exploited": any(advisory.get("exploited") for advisory in advisories),
        "origin": found.origin,
        "kb": found.kb,
        "update_id": found.update_id or None,
        "title": found.package if found.ecosystem == "windows" else None,
        "categories": categories,
        "reboot_suggested": found.reboot_suggested,
    }


def patches_of(device_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """device id -> its rows as the last evaluation left them, worst first; every id has a list.

    Rows say nothing about their age: ask `patch_state` first.
    """
    out: dict[int, list[dict[str, Any]]] = {number: [] for number in device_ids}
    for part in chunked(list(out), 1):
        for verdict in Verdict.select().where(Verdict.device.in_(part)).order_by(Verdict.package, Verdict.id):
            out[verdict.device_id].append(patch_row(verdict))
    for rows in out.values():
        rows.sort(key=by_weight)
    return out


def by_weight(row: dict[str, Any]) -> tuple[int, bool, int]:
    """Sorts rows: what is missing before what is not, exploited and worst first."""
    return VERDICTS.index(row["verdict"]), not row["exploited"], SEVERITIES.index(row["severity"])


def count_patches(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Missing patches among `rows`: total, security, and one count a severity."""
    missing = [row for row in rows if row["verdict"] == "missing"]
    counts = {"total": len(missing), "security": sum(row["security"] for row in missing)}
    for severity in SEVERITIES:
        counts[severity.lower()] = sum(row["severity"] == severity for row in missing)
    return counts


def fleet_counts(settings: Settings, moment: datetime | None = None) -> dict[str, Any]:
    """{"devices", "status": {missing, current, unknown}, "patches": counts as in `count_patches`, "reboot_required"}.

    Patches are counted on devices whose state is known.
    """
    moment = moment or now()
    known = is_known(settings, moment)
    alive = Device.deleted_at.is_null()
    where = known & (Device.missing > 0)
    devices, proven, missing, reboots = (
        Device.select(fn.COUNT(Device.id), count_if(known), count_if(where), count_if(Device.reboot_required))
        .where(alive)
        .tuples()
        .first()
    )
    status = {"missing": missing, "current": proven - missing, "unknown": devices - proven}
    patches = named_counts(Device.select(*count_columns(known)).where(alive).tuples().first())
    return {"devices": devices, "status": status, "patches": patches, "reboot_required": reboots}


def count_columns(known: Any) -> list[Any]:
    """What devices miss, from their own columns, of those that meet `known`; see `named_counts`."""
    return [fn.COALESCE(fn.SUM(peewee.Case(None, ((known, getattr(Device, name)),), 0)), 0) for name in COUNTS]


def named_counts(numbers: Sequence[int]) -> dict[str, int]:
    """The values of `count_columns` in the form of `count_patches`."""
    missing, security, *severities = numbers
    named = {severity.lower(): int(number) for severity, number in zip(SEVERITY_COLUMNS, severities, strict=True)}
    optional = int(missing) - sum(named.values())
    return {"total": int(missing), "security": int(security), **named, "optional": optional}


def count_if(condition: Any) -> Any:
    """How many rows of a query meet `condition`, as a column of it."""
    return fn.COALESCE(fn.SUM(peewee.Case(None, ((condition, 1),), 0)), 0)


def sum_counts(rows: Iterable[tuple[str, bool, int]]) -> dict[str, int]:
    """(severity, security, number) rows in the form of `count_patches`."""
    counts = {"total": 0, "security": 0, **{severity.lower(): 0 for severity in SEVERITIES}}
    for severity, security, number in rows:
        counts["total"] += number
        counts[severity.lower()] += number
        counts["security"] += number if security else 0
    return counts
