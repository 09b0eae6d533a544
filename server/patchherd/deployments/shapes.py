# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of what the deployment endpoints answer, for the API's description."""

from __future__ import annotations

import marshmallow as ma

from patchherd.packages.schemas import Replacement


class DeploymentSummary(ma.Schema):
    """`progress` is the percentage of hosts that have a result, `counts` the hosts in each state."""

    id = ma.fields.Integer()
    uuid = ma.fields.String()
    kind = ma.fields.String(metadata={"description": "patch, scan or action"})
    state = ma.fields.String(metadata={"description": "queued, running, succeeded, failed or canceled"})
    filter = ma.fields.String()
    packages = ma.fields.List(ma.fields.String())
    dry_run = ma.fields.Boolean()
    reboot = ma.fields.String()
    plan_digest = ma.fields.String()
    created_by = ma.fields.String()
    created_at = ma.fields.DateTime()
    started_at = ma.fields.DateTime(allow_none=True)
    finished_at = ma.fields.DateTime(allow_none=True)
    cancel_requested = ma.fields.Boolean()
    message = ma.fields.String(allow_none=True)
    progress = ma.fields.Integer()
    counts = ma.fields.Dict(ma.fields.String(), ma.fields.Integer())


class DeploymentChangeView(ma.Schema):
    """One transition of one package."""

    package = ma.fields.String()
    architecture = ma.fields.String(allow_none=True)
    kb = ma.fields.String(allow_none=True)
    from_ = ma.fields.String(data_key="from", allow_none=True)
    to = ma.fields.String(allow_none=True)
    replaced_by = ma.fields.List(
        ma.fields.Nested(Replacement), metadata={"description": "packages of other names to install in its place"}
    )
    severity = ma.fields.String(allow_none=True)
    security = ma.fields.Boolean()
    advisories = ma.fields.List(ma.fields.String())
    planned = ma.fields.Boolean()
    result = ma.fields.String(allow_none=True)
    message = ma.fields.String(allow_none=True)


class DeploymentHostView(ma.Schema):
    device_id = ma.fields.Integer()
    agent_id = ma.fields.String(allow_none=True)
    name = ma.fields.String()
    state = ma.fields.String()
    message = ma.fields.String(allow_none=True)
    attempts = ma.fields.Integer()
    reboot_required = ma.fields.Boolean(allow_none=True)
    rebooted = ma.fields.Boolean(allow_none=True)
    started_at = ma.fields.DateTime(allow_none=True)
    finished_at = ma.fields.DateTime(allow_none=True)
    changes = ma.fields.List(ma.fields.Nested(DeploymentChangeView))


class JobView(ma.Schema):
    id = ma.fields.Integer()
    state = ma.fields.String()
    attempt = ma.fields.Integer()
    created_at = ma.fields.DateTime()
    started_at = ma.fields.DateTime(allow_none=True)
    finished_at = ma.fields.DateTime(allow_none=True)
    message = ma.fields.String(allow_none=True)


class DeploymentDetails(DeploymentSummary):
    hosts = ma.fields.List(ma.fields.Nested(DeploymentHostView))
    jobs = ma.fields.List(ma.fields.Nested(JobView))


class JobEventView(ma.Schema):
    id = ma.fields.Integer()
    job = ma.fields.Integer()
    counter = ma.fields.Integer()
    created_at = ma.fields.DateTime()
    event = ma.fields.String()
    host = ma.fields.String(allow_none=True)
    task = ma.fields.String(allow_none=True)
    changed = ma.fields.Boolean(allow_none=True)
    message = ma.fields.String(allow_none=True)


EVENT_STREAM = {"200": {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
