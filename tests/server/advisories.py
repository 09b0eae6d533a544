# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Imports of sample files, and what they leave in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from patchherd import database
from patchherd.packages.advisories.importing import Outcome, define_feed, import_feed
from patchherd.packages.advisories.models import (
    Advisory,
    AdvisoryCve,
    AdvisoryFeed,
    AdvisoryFix,
    KnownExploited,
    PackageSource,
)

SAMPLES = Path(__file__).parents[1] / "fixtures" / "advisories"


def take(kind: str, file: str | Path, name: str | None = None, distribution: str | None = None) -> Outcome:
    """Import a sample, or the file at a path, into the feed `name` (default: named like the sample)."""
    path = SAMPLES / file
    with database.connection():
        return import_feed(define_feed(name or path.stem, kind, str(path), distribution))


def taken(kind: str, file: str | Path, name: str | None = None, distribution: str | None = None) -> Outcome:
    """The same for a file that must be good."""
    outcome = take(kind, file, name, distribution)
    assert (outcome.error, outcome.refused) == (None, 0), outcome
    return outcome


def stored() -> dict[str, Any]:
    """Everything that is known of advisories, without ids and times of this server."""
    with database.connection():
        out: dict[str, Any] = {}
        for advisory in Advisory.select():
            fields = (
                "type", "severity", "severity_word", "cvss", "title", "summary", "published", "modified", "url",
                "reboot_suggested", "exploited", "rank",
            )  # fmt: skip
            row = {field: getattr(advisory, field) for field in fields}
            row["withdrawn"] = advisory.withdrawn_at is not None
            cve = AdvisoryCve
            row["cves"] = sorted(
                set(cve.select(cve.cve, cve.severity, cve.cvss).where(cve.advisory == advisory.id).tuples()), key=str
            )
            fix = AdvisoryFix
            columns = (
                fix.distribution, fix.package, fix.is_source, fix.architecture, fix.introduced, fix.fixed, fix.module,
                fix.repository, fix.kb,
            )  # fmt: skip
            row["fixes"] = sorted(set(fix.select(*columns).where(fix.advisory == advisory.id).tuples()), key=str)
            out[f"{advisory.source} {advisory.name}"] = row
        exploited = KnownExploited
        out["exploited"] = sorted(exploited.select(exploited.cve, exploited.added, exploited.ransomware).tuples())
        source = PackageSource
        out["sources"] = sorted(source.select(source.ecosystem, source.name, source.source).tuples())
        return out


def feed(name: str) -> AdvisoryFeed:
    with database.connection():
        return AdvisoryFeed.get(AdvisoryFeed.name == name)
