# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the package endpoints."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import validate

from patchherd.packages.patches import VERDICTS
from patchherd.packages.reasons import REASONS
from patchherd.packages.severity import SEVERITIES

SEVERITY_SOURCES = ("advisory", "osv", "usn", "updateinfo", "csaf", "msrc", "unrated", "none")
"""advisory: named by the host itself; osv to msrc: advisories that were imported."""


DECIDED_BY = ("node", "view", "both")


class Csv(ma.fields.List[str]):
    """Comma-separated values, each perhaps in quotes, as a list without blanks."""

    def __init__(self, choices: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(ma.fields.String(), **kwargs)
        self.choices = {choice.lower(): choice for choice in choices}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str | None]:
        texts = value if isinstance(value, list) else [value]
        parts = [part.strip().strip("\"'") for text in texts for part in str(text).split(",")]
        parts = [part for part in parts if part]
        if not self.choices:
            return [*parts]
        unknown = [part for part in parts if part.lower() not in self.choices]
        if unknown:
            raise ma.ValidationError(f"{unknown[0][:40]!r} is none of {', '.join(self.choices.values())}")
        return [self.choices[part.lower()] for part in parts]


class PatchFilters(ma.Schema):
    """Which patches; values of one kind are OR, kinds are AND."""

    class Meta:
        unknown = ma.EXCLUDE

    severity = Csv(SEVERITIES)
    security = ma.fields.Boolean()
    package = Csv(metadata={"description": "names or titles; * stands for any text"})
    verdict = Csv(VERDICTS)
    reason = Csv(REASONS, metadata={"description": "what the reason begins with: " + ", ".join(REASONS)})
    kb = Csv()
    ecosystem = Csv(("deb", "rpm", "windows"))
    decided_by = Csv(DECIDED_BY, metadata={"description": "whose candidate it is"})
    advisory = Csv(metadata={"description": "ids, as their publishers write them"})
    cve = Csv()
    exploited = ma.fields.Boolean(metadata={"description": "whether a CVE that it fixes is known to be exploited"})
    min_age_days = ma.fields.Integer(
        validate=validate.Range(min=0, max=36_500), metadata={"description": "missing for at least so many days"}
    )


class DevicePatchesQuery(PatchFilters):
    """Filters of one device's patches."""


class PatchesQuery(PatchFilters):
    """Filters and page of the fleet's patches; by default what is missing, with a reason whatever has it."""

    verdict = Csv(VERDICTS, metadata={"description": "missing, unless a reason is asked for"})
    hostname = ma.fields.String(metadata={"description": "comma-separated, as are the next ones"})
    agent_id = ma.fields.String()
    ip_address = ma.fields.String()
    os_family = ma.fields.String(metadata={"description": "debian, redhat, windows"})
    os = ma.fields.String(metadata={"description": "id or name of the operating system"})
    tag = ma.fields.String()
    group = ma.fields.String(metadata={"description": "id or name of one group"})
    group_by = ma.fields.String(validate=validate.OneOf(["package"]))
    after = ma.fields.String(metadata={"description": "`next` of the page before"})
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))

    @ma.post_load
    def ask_for_missing(self, query: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        return query if "reason" in query else {"verdict": ["missing"]} | query


class LegacyMissingQuery(ma.Schema):
    """Filters of missing patches for clients of the Patch Management API; values may be comma-separated and quoted."""

    class Meta:
        unknown = ma.EXCLUDE

    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String()
    severity = Csv(SEVERITIES, metadata={"description": ", ".join(SEVERITIES)})
    kb = Csv(metadata={"description": "with or without the letters KB"})
    package = Csv(metadata={"description": "names or titles; * stands for any text"})


class PackagesQuery(ma.Schema):
    """Filter and page of installed packages."""

    class Meta:
        unknown = ma.EXCLUDE

    name = Csv(metadata={"description": "names; * stands for any text"})
    after = ma.fields.Integer(load_default=0, validate=validate.Range(min=0), metadata={"description": "rows to skip"})
    limit = ma.fields.Integer(load_default=500, validate=validate.Range(min=1, max=10_000))


class DeviceName(ma.Schema):
    id = ma.fields.Integer()
    agent_id = ma.fields.String()
    hostname = ma.fields.String(allow_none=True)


class Replacement(ma.Schema):
    name = ma.fields.String()
    version = ma.fields.String()
    architecture = ma.fields.String(allow_none=True)


class Finding(ma.Schema):
    """A verdict that need not be stored."""

    ecosystem = ma.fields.String()
    package = ma.fields.String()
    architecture = ma.fields.String(allow_none=True)
    installed = ma.fields.String(allow_none=True)
    candidate = ma.fields.String(allow_none=True)
    replaced_by = ma.fields.List(
        ma.fields.Nested(Replacement),
        metadata={"description": "packages of other names that take its place; the candidate is then the first one's"},
    )
    verdict = ma.fields.String(validate=validate.OneOf(VERDICTS))
    reason = ma.fields.String(
        allow_none=True, metadata={"description": "not_installable: begins with a code, CODE: detail"}
    )
    decided_by = ma.fields.String(
        validate=validate.OneOf(DECIDED_BY),
        metadata={"description": "whose candidate it is: the host's own package manager, a content view, or both"},
    )
    view = ma.fields.String(allow_none=True, metadata={"description": "the content view that offers the candidate"})
    size = ma.fields.Integer(
        allow_none=True, metadata={"description": "of the download, bytes; null where nobody tells it"}
    )
    severity = ma.fields.String(validate=validate.OneOf(SEVERITIES))
    severity_source = ma.fields.String(validate=validate.OneOf(SEVERITY_SOURCES))
    severity_word = ma.fields.String(
        allow_none=True, metadata={"description": "the source's own word, as important, medium, not yet assigned"}
    )
    security = ma.fields.Boolean()
    advisories = ma.fields.List(ma.fields.String())
    cves = ma.fields.List(ma.fields.String())
    exploited = ma.fields.Boolean(metadata={"description": "whether one of the CVEs is known to be exploited"})
    origin = ma.fields.String(allow_none=True)
    kb = ma.fields.String(allow_none=True)
    update_id = ma.fields.String(
        allow_none=True, metadata={"description": "of a Windows update: tells apart what has one title"}
    )
    title = ma.fields.String(allow_none=True)
    categories = ma.fields.List(ma.fields.String())
    reboot_suggested = ma.fields.Boolean()


class Patch(Finding):
    id = ma.fields.Integer()
    first_seen = ma.fields.DateTime()
    age_days = ma.fields.Integer(metadata={"description": "whole days since first_seen"})


class Counts(ma.Schema):
    total = ma.fields.Integer()
    security = ma.fields.Integer()
    critical = ma.fields.Integer()
    important = ma.fields.Integer()
    moderate = ma.fields.Integer()
    low = ma.fields.Integer()
    optional = ma.fields.Integer()


class DevicePatches(ma.Schema):
    device = ma.fields.Nested(DeviceName)
    status = ma.fields.String(validate=validate.OneOf(["missing", "current", "unknown"]))
    reason = ma.fields.String(allow_none=True, metadata={"description": "why the status is unknown"})
    reported_at = ma.fields.DateTime(allow_none=True)
    metadata_updated = ma.fields.DateTime(allow_none=True)
    evaluated_at = ma.fields.DateTime(allow_none=True)
    as_of = ma.fields.DateTime(
        allow_none=True, metadata={"description": "status unknown: the patches below are those known at that time"}
    )
    problems = ma.fields.List(ma.fields.String(), metadata={"description": "what limits the truth of the last report"})
    counts = ma.fields.Nested(Counts, allow_none=True, metadata={"description": "null while the status is unknown"})
    patches = ma.fields.List(ma.fields.Nested(Patch))


class FleetPatch(Patch):
    device = ma.fields.Nested(DeviceName)
    as_of = ma.fields.DateTime(allow_none=True)


class FleetPatches(ma.Schema):
    """One page; with group_by=package its rows have package, ecosystem, kb, severity, security, exploited, devices,
    candidates, first_seen.
    """

    patches = ma.fields.List(ma.fields.Nested(FleetPatch))
    count = ma.fields.Integer(metadata={"description": "rows on this page"})
    next = ma.fields.String(allow_none=True)
    counts = ma.fields.Nested(Counts, metadata={"description": "all pages, devices whose state is known"})
    outdated = ma.fields.Integer(metadata={"description": "all pages, rows of devices whose state is unknown by now"})
    unknown_devices = ma.fields.Integer(metadata={"description": "devices in the filter whose state is unknown"})


class Package(ma.Schema):
    name = ma.fields.String()
    architecture = ma.fields.String(allow_none=True)
    version = ma.fields.String()


class DevicePackagesPage(ma.Schema):
    device = ma.fields.Nested(DeviceName)
    reported_at = ma.fields.DateTime(allow_none=True)
    total = ma.fields.Integer()
    packages = ma.fields.List(ma.fields.Nested(Package))
    next = ma.fields.Integer(allow_none=True)


class ReportAnswer(ma.Schema):
    message = ma.fields.String()
    packagesProcessed = ma.fields.Integer()
    updatesAvailable = ma.fields.Integer()
    securityUpdates = ma.fields.Integer()
