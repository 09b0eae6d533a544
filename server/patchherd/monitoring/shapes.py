# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What operators are answered."""

from __future__ import annotations

import marshmallow as ma

from patchherd.identity.schemas import Moment
from patchherd.packages.schemas import DeviceName


class AgentView(ma.Schema):
    """Whose credential speaks for a device, and what it said last."""

    device = ma.fields.Nested(DeviceName)
    owner = ma.fields.String(metadata={"description": "token, enrollment, host or open"})
    owner_name = ma.fields.String(allow_none=True, metadata={"description": "null when the token is gone"})
    address = ma.fields.String(allow_none=True)
    registered_at = Moment()
    inventory_at = Moment(allow_none=True)
    software_at = Moment(allow_none=True)
    sections = ma.fields.List(ma.fields.String())
    readings = ma.fields.Dict()


class SnapshotView(ma.Schema):
    id = ma.fields.Integer()
    first_seen = Moment()
    last_seen = Moment()
    current = ma.fields.Boolean()
    agent_version = ma.fields.String(allow_none=True)
    sections = ma.fields.Dict(ma.fields.String(), ma.fields.Integer(), metadata={"description": "section -> bytes"})


class SnapshotPage(ma.Schema):
    snapshots = ma.fields.List(ma.fields.Nested(SnapshotView))
    next = ma.fields.Integer(allow_none=True)


class SnapshotContent(SnapshotView):
    sections = ma.fields.Dict(metadata={"description": "section -> content"})
    readings = ma.fields.Dict(allow_none=True, metadata={"description": "what changes all the time, of the newest one"})


class SoftwareProgram(ma.Schema):
    name = ma.fields.String()
    vendor = ma.fields.String(allow_none=True)
    version = ma.fields.String(allow_none=True)


class ChangedProgram(ma.Schema):
    class Meta:
        include = {"from": ma.fields.String(allow_none=True)}

    name = ma.fields.String()
    vendor = ma.fields.String(allow_none=True)
    to = ma.fields.String(allow_none=True)


class SoftwareChanges(ma.Schema):
    added = ma.fields.List(ma.fields.Nested(SoftwareProgram))
    removed = ma.fields.List(ma.fields.Nested(SoftwareProgram))
    changed = ma.fields.List(ma.fields.Nested(ChangedProgram))


class FieldChange(ma.Schema):
    class Meta:
        include = {"from": ma.fields.Raw(allow_none=True)}

    path = ma.fields.String(metadata={"description": "hardware.system_info.model, network.adapters[0].ip"})
    change = ma.fields.String(metadata={"description": "added, removed, changed"})
    to = ma.fields.Raw(allow_none=True)


class SnapshotDifference(ma.Schema):
    class Meta:
        include = {"from": ma.fields.Integer()}

    to = ma.fields.Integer()
    software = ma.fields.Nested(SoftwareChanges)
    fields_ = ma.fields.List(ma.fields.Nested(FieldChange), data_key="fields", attribute="fields")
    truncated = ma.fields.Boolean()


class SoftwareRow(SoftwareProgram):
    install_date = ma.fields.String(allow_none=True)
    first_seen = Moment()
    last_seen = Moment(allow_none=True)
    removed_at = Moment(allow_none=True)


class DeviceSoftwarePage(ma.Schema):
    device = ma.fields.Nested(DeviceName)
    reported_at = Moment(allow_none=True)
    total = ma.fields.Integer(allow_none=True, metadata={"description": "all pages; null without any report of it"})
    software = ma.fields.List(ma.fields.Nested(SoftwareRow))
    next = ma.fields.String(allow_none=True)


class FleetSoftwareRow(SoftwareRow):
    device = ma.fields.Nested(DeviceName)


class FleetSoftwarePage(ma.Schema):
    count = ma.fields.Integer(metadata={"description": "all pages"})
    software = ma.fields.List(ma.fields.Nested(FleetSoftwareRow))
    next = ma.fields.String(allow_none=True)


class SoftwareTitleVersion(ma.Schema):
    version = ma.fields.String(allow_none=True)
    vendor = ma.fields.String(allow_none=True)
    devices = ma.fields.Integer()


class SoftwareTitleView(ma.Schema):
    name = ma.fields.String()
    vendors = ma.fields.List(ma.fields.String())
    devices = ma.fields.Integer()
    versions = ma.fields.List(ma.fields.Nested(SoftwareTitleVersion), metadata={"description": "newest first"})


class SoftwareTitlePage(ma.Schema):
    titles = ma.fields.List(ma.fields.Nested(SoftwareTitleView))
    next = ma.fields.String(allow_none=True)


class AgentMessageRow(ma.Schema):
    id = ma.fields.Integer()
    kind = ma.fields.String()
    level = ma.fields.String()
    message = ma.fields.String()
    details = ma.fields.Dict()
    at = Moment()
    received_at = Moment()


class AgentMessagePage(ma.Schema):
    messages = ma.fields.List(ma.fields.Nested(AgentMessageRow))
    next = ma.fields.Integer(allow_none=True)


class AgentReleaseView(ma.Schema):
    id = ma.fields.Integer()
    version = ma.fields.String()
    platform = ma.fields.String()
    changelog = ma.fields.String()
    file_name = ma.fields.String()
    sha256 = ma.fields.String()
    size = ma.fields.Integer()
    published_by = ma.fields.String()
    published_at = Moment()
    withdrawn_at = Moment(allow_none=True)


class WebhookView(ma.Schema):
    id = ma.fields.Integer()
    type = ma.fields.String()
    address = ma.fields.String()
    port = ma.fields.Integer()
    requested_by = ma.fields.String()
    created_at = Moment()
    status = ma.fields.Integer(allow_none=True, metadata={"description": "HTTP status of the agent's answer"})
    duration_ms = ma.fields.Integer(allow_none=True)
    error = ma.fields.String(allow_none=True, metadata={"description": "null when the agent took it"})


class WebhookPage(ma.Schema):
    deliveries = ma.fields.List(ma.fields.Nested(WebhookView))
    next = ma.fields.Integer(allow_none=True)
