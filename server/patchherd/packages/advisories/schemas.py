# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the endpoints about advisories."""

from __future__ import annotations

from datetime import UTC

import marshmallow as ma
from marshmallow import validate

from patchherd.packages.schemas import Csv
from patchherd.packages.severity import SEVERITIES

SOURCES = ("osv", "usn", "updateinfo", "csaf", "msrc")
TYPES = ("security", "bugfix", "enhancement", "newpackage", "unknown")
STATUSES = ("exposed", "unknown")


class AdvisoriesQuery(ma.Schema):
    """Filters and page of advisories; values of one kind are OR, kinds are AND."""

    id = Csv()
    source = Csv(SOURCES)
    type = Csv(TYPES)
    severity = Csv(SEVERITIES)
    cve = Csv()
    package = Csv(metadata={"description": "names of packages or source packages, as the advisories write them"})
    exploited = ma.fields.Boolean(metadata={"description": "whether a CVE of it is known to be exploited"})
    withdrawn = ma.fields.Boolean()
    since = ma.fields.AwareDateTime(
        default_timezone=UTC, metadata={"description": "published or changed at or after this time"}
    )
    after = ma.fields.String(metadata={"description": "`next` of the page before"})
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))


class ExposureQuery(ma.Schema):
    """Which of the devices that are not known to be safe, and their page."""

    status = ma.fields.String(load_default=None, validate=validate.OneOf(STATUSES))
    after = ma.fields.Integer(
        load_default=0, validate=validate.Range(min=0, max=2**62), metadata={"description": "`next` of the page before"}
    )
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))


class AdvisoryQuery(ExposureQuery):
    source = ma.fields.String(
        load_default=None,
        validate=validate.OneOf(SOURCES),
        metadata={"description": "whose advisory, where several sources publish the same id"},
    )


class AdvisorySummary(ma.Schema):
    id = ma.fields.String()
    source = ma.fields.String(validate=validate.OneOf(SOURCES))
    type = ma.fields.String(validate=validate.OneOf(TYPES))
    severity = ma.fields.String(allow_none=True, metadata={"description": "null: nobody has rated it"})
    severity_word = ma.fields.String(allow_none=True, metadata={"description": "the publisher's own word"})
    cvss = ma.fields.Float(allow_none=True)
    title = ma.fields.String()
    published = ma.fields.DateTime(allow_none=True)
    modified = ma.fields.DateTime(allow_none=True)
    withdrawn = ma.fields.DateTime(allow_none=True)
    url = ma.fields.String(allow_none=True)
    reboot_suggested = ma.fields.Boolean()
    exploited = ma.fields.Boolean()


class AdvisoryPage(ma.Schema):
    advisories = ma.fields.List(ma.fields.Nested(AdvisorySummary))
    count = ma.fields.Integer(metadata={"description": "rows on this page"})
    next = ma.fields.String(allow_none=True)


class AdvisoryFixView(ma.Schema):
    advisory = ma.fields.String()
    distribution = ma.fields.String()
    package = ma.fields.String()
    is_source = ma.fields.Boolean(metadata={"description": "it names the source of what is installed"})
    architecture = ma.fields.String(allow_none=True)
    introduced = ma.fields.String(allow_none=True)
    fixed = ma.fields.String(allow_none=True, metadata={"description": "null: nothing fixes it yet"})
    module = ma.fields.String(allow_none=True)
    repository = ma.fields.String(allow_none=True)
    kb = ma.fields.String(allow_none=True)
    product = ma.fields.String(allow_none=True)


class AffectedPackage(ma.Schema):
    package = ma.fields.String()
    architecture = ma.fields.String(allow_none=True)
    installed = ma.fields.String()
    fixed = ma.fields.String(allow_none=True)
    advisories = ma.fields.List(ma.fields.String())


class ExposedDevice(ma.Schema):
    id = ma.fields.Integer()
    agent_id = ma.fields.String()
    hostname = ma.fields.String(allow_none=True)
    status = ma.fields.String(validate=validate.OneOf(STATUSES))
    reason = ma.fields.String(allow_none=True, metadata={"description": "why it is unknown, or what limits it"})
    as_of = ma.fields.DateTime(
        allow_none=True, metadata={"description": "status unknown: the packages below are those known at that time"}
    )
    since = ma.fields.DateTime(
        allow_none=True, metadata={"description": "the fix was published, and the device was seen without it"}
    )
    packages = ma.fields.List(ma.fields.Nested(AffectedPackage))
    kbs = ma.fields.List(ma.fields.String(), metadata={"description": "updates of Windows that it lacks"})


class Exposure(ma.Schema):
    """Devices that are not known to be safe."""

    fixes = ma.fields.List(ma.fields.Nested(AdvisoryFixView), metadata={"description": "at most 1,000"})
    exposed_devices = ma.fields.Integer(metadata={"description": "all pages"})
    unknown_devices = ma.fields.Integer(metadata={"description": "all pages; nobody can tell whether these are safe"})
    devices = ma.fields.List(ma.fields.Nested(ExposedDevice))
    next = ma.fields.Integer(allow_none=True)


class AdvisoryView(AdvisorySummary, Exposure):
    summary = ma.fields.String()
    cves = ma.fields.List(ma.fields.String())


class CveView(Exposure):
    id = ma.fields.String()
    severity = ma.fields.String(allow_none=True)
    cvss = ma.fields.Float(allow_none=True)
    description = ma.fields.String(allow_none=True)
    exploited = ma.fields.Boolean()
    exploited_since = ma.fields.DateTime(allow_none=True)
    due = ma.fields.DateTime(allow_none=True)
    ransomware = ma.fields.Boolean(allow_none=True)
    published = ma.fields.DateTime(allow_none=True)
    advisories = ma.fields.List(ma.fields.Nested(AdvisorySummary))


class RefusedEntry(ma.Schema):
    file = ma.fields.String()
    position = ma.fields.String()
    record = ma.fields.String(allow_none=True)
    reason = ma.fields.String()


class FeedView(ma.Schema):
    name = ma.fields.String()
    kind = ma.fields.String()
    location = ma.fields.String()
    distribution = ma.fields.String(allow_none=True)
    state = ma.fields.String(validate=validate.OneOf(["new", "running", "ok", "failed"]))
    error = ma.fields.String(allow_none=True)
    taken = ma.fields.Integer()
    refused = ma.fields.Integer()
    refusals = ma.fields.List(ma.fields.Nested(RefusedEntry), metadata={"description": "the first ones"})
    distributions = ma.fields.List(ma.fields.String())
    requested_at = ma.fields.DateTime(allow_none=True)
    last_checked = ma.fields.DateTime(allow_none=True)
    completed_at = ma.fields.DateTime(allow_none=True)


class FeedList(ma.Schema):
    feeds = ma.fields.List(ma.fields.Nested(FeedView))
