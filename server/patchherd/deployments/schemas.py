# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the deployment endpoints."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.registry import MAX_ID
from patchherd.devices.schemas import Reference

STATES = ["queued", "running", "succeeded", "failed", "canceled"]


class Targets(ma.Schema):
    """Which devices."""

    devices = ma.fields.List(
        Reference(metadata={"description": "id, agent id or host name", "type": "string"}),
        load_default=list,
        validate=validate.Length(max=10_000),
    )
    groups = ma.fields.List(
        Reference(metadata={"description": "id or name", "type": "string"}),
        load_default=list,
        validate=validate.Length(max=100),
    )

    @ma.validates_schema
    def check_targets(self, data: dict[str, Any], **kwargs: Any) -> None:
        if not data["devices"] and not data["groups"]:
            raise ma.ValidationError("At least one device or group is needed.", "devices")


class NewDeployment(Targets):
    """A deployment to place."""

    filter = ma.fields.String(
        load_default="all",
        validate=validate.OneOf(["all", "security", "packages"]),
        metadata={"description": "all missing patches, those with a security advisory, or the named packages"},
    )
    packages = ma.fields.List(
        ma.fields.String(validate=validate.Length(min=1, max=255)),
        load_default=list,
        validate=validate.Length(max=1000),
        metadata={"description": "package names or KBs with filter 'packages'; * and ? match"},
    )
    dry_run = ma.fields.Boolean(
        load_default=False, metadata={"description": "ask the package managers, install nothing"}
    )
    reboot = ma.fields.String(load_default="never", validate=validate.OneOf(["never", "if_required"]))


class NewScan(Targets):
    """A scan to place."""


class DeploymentQuery(ma.Schema):
    kind = ma.fields.String(
        validate=validate.OneOf(["patch", "scan", "action"]),
        metadata={"description": "patch and scan unless told otherwise; action: runs of scripts and the like"},
    )
    state = ma.fields.String(validate=validate.OneOf(STATES))
    before = ma.fields.Integer(validate=validate.Range(min=1, max=MAX_ID), metadata={"description": "smallest id seen"})
    limit = ma.fields.Integer(load_default=50, validate=validate.Range(min=1, max=500))


class EventQuery(ma.Schema):
    after = ma.fields.Integer(
        load_default=0, validate=validate.Range(min=0, max=MAX_ID), metadata={"description": "last id seen"}
    )
    limit = ma.fields.Integer(load_default=500, validate=validate.Range(min=1, max=5000))
