# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the endpoints for clients of the Patch Management API."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.registry import MAX_ID


class DeployItem(ma.Schema):
    """One patch for one agent."""

    class Meta:
        unknown = ma.EXCLUDE

    agent_id = ma.fields.String(required=True, validate=validate.Length(min=1, max=255))
    patch_file = ma.fields.String(required=True, validate=validate.Length(min=1, max=600))


class DeployStatusQuery(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    agent_id = ma.fields.String(metadata={"description": "comma-separated"})
    deployment_id = ma.fields.Integer(validate=validate.Range(min=1, max=MAX_ID))


class LegacyPatch(ma.Schema):
    """A missing patch. Windows updates have a title and perhaps a KB, others a package; times are RFC 1123."""

    id = ma.fields.Integer()
    device_id = ma.fields.Integer()
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String(allow_none=True)
    os = ma.fields.String(allow_none=True, metadata={"description": "windows, ubuntu or rhel"})
    os_name = ma.fields.String(allow_none=True)
    title = ma.fields.String(allow_none=True)
    kb = ma.fields.String(allow_none=True)
    package = ma.fields.String(allow_none=True)
    architecture = ma.fields.String(allow_none=True)
    installed_version = ma.fields.String(allow_none=True)
    latest_version = ma.fields.String(allow_none=True)
    replaced_by = ma.fields.List(
        ma.fields.String(),
        metadata={"description": "packages of other names that take its place; the version is then the first one's"},
    )
    severity = ma.fields.String()
    security = ma.fields.Boolean()
    detected_at = ma.fields.String()
    download_status = ma.fields.String(metadata={"description": "not_downloaded: hosts use their own repositories"})
    deploy_status = ma.fields.String(
        metadata={
            "description": "not_scheduled, scheduled, running; then what the newest deployment of this version proved: "
            "installed, failed, superseded, unproven, canceled"
        }
    )


class UnknownDevice(ma.Schema):
    """A device of which nobody knows what it misses."""

    device_id = ma.fields.Integer()
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String(allow_none=True)
    os = ma.fields.String(allow_none=True)
    reason = ma.fields.String(allow_none=True)


class LegacyMissing(ma.Schema):
    patches = ma.fields.List(ma.fields.Nested(LegacyPatch))
    unknown_ = ma.fields.List(ma.fields.Nested(UnknownDevice), data_key="unknown")
    count = ma.fields.Integer(metadata={"description": "of patches"})


class ScheduledItem(ma.Schema):
    agent_id = ma.fields.String()
    patch_file = ma.fields.String()
    deployment_id = ma.fields.Integer()


class LegacyScheduled(ScheduledItem):
    """For a single patch its fields stand beside `items`, too."""

    status = ma.fields.String(metadata={"description": "scheduled"})
    jobs = ma.fields.Integer(metadata={"description": "deployments that were placed"})
    items = ma.fields.List(ma.fields.Nested(ScheduledItem))


class ProgressItem(ma.Schema):
    package = ma.fields.String()
    architecture = ma.fields.String(allow_none=True)
    kb = ma.fields.String(allow_none=True)
    installed_version = ma.fields.String(allow_none=True)
    latest_version = ma.fields.String(allow_none=True)
    result = ma.fields.String()
    message = ma.fields.String()


class AgentProgress(ma.Schema):
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    deployment_id = ma.fields.Integer()
    status = ma.fields.String(metadata={"description": "scheduled, running, succeeded, failed or canceled"})
    state = ma.fields.String(metadata={"description": "as the deployment itself calls it"})
    message = ma.fields.String()
    total = ma.fields.Integer()
    done = ma.fields.Integer()
    percent = ma.fields.Integer()
    items = ma.fields.List(ma.fields.Nested(ProgressItem))


class LegacyProgress(ma.Schema):
    """`status` is that of the agent that needs most attention; none without any deployment."""

    status = ma.fields.String()
    total = ma.fields.Integer()
    done = ma.fields.Integer()
    percent = ma.fields.Integer()
    count = ma.fields.Integer()
    agents = ma.fields.List(ma.fields.Nested(AgentProgress))
