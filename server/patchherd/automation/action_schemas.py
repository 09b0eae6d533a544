# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of actions, profile runs, and of what agents of other makes send."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import validate

from patchherd.automation.chains import STATUSES
from patchherd.automation.platforms import ACTION_TYPES
from patchherd.devices.registry import MAX_ID
from patchherd.devices.schemas import Reference

MAX_TEXT = 1_000_000
IDS = validate.Range(min=1, max=MAX_ID)


def _id(**options: Any) -> ma.fields.Integer:
    return ma.fields.Integer(strict=True, allow_none=True, validate=IDS, **options)


class NewAction(ma.Schema):
    """What to run; the DeployFlow API's clients may send more than this."""

    class Meta:
        unknown = ma.EXCLUDE

    type = ma.fields.String(required=True, validate=validate.OneOf(ACTION_TYPES))
    payload = ma.fields.String(
        allow_none=True, validate=validate.Length(max=MAX_TEXT), metadata={"description": "the text of the script"}
    )
    script_id = _id(metadata={"description": "a script of the library, instead of payload"})
    software_id = _id(metadata={"description": "with install_software"})
    timeout_seconds = ma.fields.Integer(
        strict=True, allow_none=True, validate=validate.Range(min=1, max=86_400), metadata={"description": "1800"}
    )


class Devices(ma.Schema):
    device_ids = ma.fields.List(
        Reference(metadata={"description": "id, agent id or host name", "type": "string"}),
        load_default=list,
        validate=validate.Length(max=10_000),
    )
    groups = ma.fields.List(
        Reference(metadata={"description": "id or name", "type": "string"}),
        load_default=list,
        validate=validate.Length(max=100),
    )
    partial_ = ma.fields.Boolean(
        data_key="partial",
        load_default=False,
        metadata={"description": "go on with the devices that can take it, and name the others"},
    )


class NewActions(NewAction, Devices):
    """One action for each of several devices."""

    class Meta:
        unknown = ma.RAISE


class ApplyBody(Devices):
    """The devices to apply a profile to."""

    class Meta:
        unknown = ma.EXCLUDE

    group = Reference(allow_none=True, metadata={"description": "one more group", "type": "string"})


class DeviceActionQuery(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    before = ma.fields.Integer(validate=IDS, metadata={"description": "smallest id seen"})
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=500))


class ActionQuery(ma.Schema):
    device = Reference(metadata={"description": "id, agent id or host name", "type": "string"})
    status = ma.fields.String(validate=validate.OneOf(STATUSES))
    type = ma.fields.String(validate=validate.OneOf(ACTION_TYPES))
    script_id = ma.fields.Integer(validate=IDS)
    software_id = ma.fields.Integer(validate=IDS)
    profile_run = ma.fields.Integer(validate=IDS)
    deployment = ma.fields.Integer(validate=IDS)
    before = ma.fields.Integer(validate=IDS, metadata={"description": "smallest id seen"})
    limit = ma.fields.Integer(load_default=50, validate=validate.Range(min=1, max=500))


class ActionSummary(ma.Schema):
    """An action without what it runs and printed."""

    id = ma.fields.Integer()
    device_id = ma.fields.Integer()
    type = ma.fields.String()
    name = ma.fields.String(metadata={"description": "the profile task's"})
    status = ma.fields.String(metadata={"description": ", ".join(STATUSES)})
    message = ma.fields.String(metadata={"description": "why it is not succeeded"})
    digest = ma.fields.String(metadata={"description": "SHA-256 of the payload"})
    script_id = ma.fields.Integer(allow_none=True)
    script_version = ma.fields.Integer(allow_none=True)
    software_id = ma.fields.Integer(allow_none=True)
    profile_run_id = ma.fields.Integer(allow_none=True)
    deployment_id = ma.fields.Integer(allow_none=True, metadata={"description": "the run of Ansible that carries it"})
    continue_on_error = ma.fields.Boolean()
    timeout_seconds = ma.fields.Integer()
    execution = ma.fields.String(metadata={"description": "ansible or agent"})
    cancel_requested = ma.fields.Boolean()
    exit_code = ma.fields.Integer(allow_none=True)
    created_by = ma.fields.String()
    created_at = ma.fields.DateTime()
    updated_at = ma.fields.DateTime()
    started_at = ma.fields.DateTime(allow_none=True)
    completed_at = ma.fields.DateTime(allow_none=True)
    deadline = ma.fields.DateTime(allow_none=True)


class ActionView(ActionSummary):
    """An action as the DeployFlow API documents it, and more."""

    payload = ma.fields.String(allow_none=True, metadata={"description": "the text that is run"})
    logs = ma.fields.String(allow_none=True, metadata={"description": "both outputs, and why it failed"})


class ActionDetails(ActionView):
    stdout = ma.fields.String()
    stderr = ma.fields.String()
    stdout_cut = ma.fields.Integer(metadata={"description": "bytes that are left out of stdout"})
    stderr_cut = ma.fields.Integer()


class Refused(ma.Schema):
    device = ma.fields.Raw(metadata={"description": "as it was given"})
    error = ma.fields.String()


class QueuedView(ma.Schema):
    """What became of an order for several devices."""

    actions = ma.fields.List(ma.fields.Integer(), metadata={"description": "ids"})
    refused = ma.fields.List(ma.fields.Nested(Refused))
    profile_run_id = ma.fields.Integer(allow_none=True)


class RunDevice(ma.Schema):
    device_id = ma.fields.Integer()
    name = ma.fields.String()
    status = ma.fields.String(metadata={"description": "pending, running, succeeded, failed or canceled"})
    counts = ma.fields.Dict(ma.fields.String(), ma.fields.Integer())


class ProfileRunView(ma.Schema):
    """A profile applied to devices; `progress` is the percentage of its actions that have ended."""

    id = ma.fields.Integer()
    profile_id = ma.fields.Integer(allow_none=True)
    profile_name = ma.fields.String()
    created_by = ma.fields.String()
    created_at = ma.fields.DateTime()
    status = ma.fields.String(metadata={"description": "pending, running, succeeded, failed or canceled"})
    progress = ma.fields.Integer()
    counts = ma.fields.Dict(ma.fields.String(), ma.fields.Integer(), metadata={"description": "actions by status"})
    devices = ma.fields.List(ma.fields.Nested(RunDevice))


BeatBody = {
    "type": "object",
    "required": ["device_id"],
    "properties": {
        "device_id": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
        "status": {"type": "string", "nullable": True},
        "os_version": {"type": "string", "nullable": True},
        "hardware_summary": {"type": "string", "nullable": True},
    },
}


class WorkView(ma.Schema):
    id = ma.fields.Integer()
    type = ma.fields.String()
    payload = ma.fields.String(allow_none=True)
    software_id = ma.fields.Integer(allow_none=True)


class AgentWork(ma.Schema):
    actions = ma.fields.List(ma.fields.Nested(WorkView))


class Alive(ma.Schema):
    message = ma.fields.String()


class ResultBody(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    status = ma.fields.String(required=True, validate=validate.OneOf(["succeeded", "failed"]))
    exit_code = ma.fields.Integer(allow_none=True, validate=validate.Range(min=-(2**31), max=2**31 - 1))
    logs = ma.fields.String(allow_none=True)
    completed_at = ma.fields.String(allow_none=True, validate=validate.Length(max=64), metadata={"format": "date-time"})


class Done(ma.Schema):
    status = ma.fields.String(metadata={"description": "ok"})
