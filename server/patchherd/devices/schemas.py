# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the device endpoints."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.os_types import OS_TYPES
from patchherd.devices.registry import MAX_ID
from patchherd.forms import Choice, Name, Text, one_line
from patchherd.identity.schemas import Moment

MAX_SUMMARY = 4000


class Reference(ma.fields.Field[Any]):
    """A device or group: integer id, UUID or name."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
            raise ma.ValidationError("Not an id or a name.")
        return value


class LegacyQuery(ma.Schema):
    """Filters of the Patch Management API; values may be comma-separated and quoted."""

    class Meta:
        unknown = ma.EXCLUDE

    agent_id = ma.fields.String()
    status = ma.fields.String(metadata={"description": "ONLINE or OFFLINE"})
    hostname = ma.fields.String()
    ip_address = ma.fields.String()


class DeviceQuery(ma.Schema):
    """Filters and page of the native device list."""

    agent_id = ma.fields.String()
    status = ma.fields.String(validate=validate.OneOf(["online", "offline", "unknown"]))
    hostname = ma.fields.String()
    ip_address = ma.fields.String()
    group = ma.fields.String()
    os_family = ma.fields.String()
    tag = ma.fields.String(metadata={"description": "any of these, comma-separated"})
    maintenance = ma.fields.Boolean()
    search = ma.fields.String(validate=validate.Length(min=1, max=100))
    after = ma.fields.Integer(
        load_default=0, validate=validate.Range(min=0, max=MAX_ID), metadata={"description": "last id seen"}
    )
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))


class LegacyDevice(ma.Schema):
    agent_id = ma.fields.String()
    agent_version = ma.fields.String(allow_none=True)
    hostname = ma.fields.String(allow_none=True)
    id = ma.fields.Integer()
    ip_address = ma.fields.String(allow_none=True)
    last_heartbeat = ma.fields.String(allow_none=True)
    last_seen = ma.fields.String(allow_none=True)
    os_architecture = ma.fields.String(allow_none=True)
    os_name = ma.fields.String(allow_none=True)
    os_version = ma.fields.String(allow_none=True)
    status = ma.fields.String()
    updated_at = ma.fields.String(allow_none=True)


class LegacyDevices(ma.Schema):
    count = ma.fields.Integer()
    devices = ma.fields.List(ma.fields.Nested(LegacyDevice))


class DeviceChange(ma.Schema):
    """What an operator may set on a device; what only agents know may be sent back as it came, and is not looked at."""

    READ_ONLY = ("id", "status", "last_check_in", "created_at")

    friendly_name = ma.fields.String(validate=[validate.Length(min=1, max=255), validate.Regexp(r".*\S"), one_line])
    notes = ma.fields.String(validate=validate.Length(max=10_000))
    approved = ma.fields.Boolean()
    groups = ma.fields.List(
        Reference(metadata={"type": "string"}),
        validate=validate.Length(max=1000),
        metadata={"description": "ids or names; replaces the groups that it was put into, not those by rule"},
    )
    tags = ma.fields.List(
        ma.fields.String(validate=validate.Length(max=100)),
        validate=validate.Length(max=200),
        metadata={"description": "replaces the tags"},
    )
    maintenance = ma.fields.Boolean()
    maintenance_reason = ma.fields.String(allow_none=True, validate=[validate.Length(max=500), one_line])
    maintenance_until = Moment(
        allow_none=True, metadata={"description": "the end of a maintenance that ends by itself; null: it does not"}
    )
    connection = ma.fields.String(allow_none=True, validate=validate.OneOf(["ssh", "psrp", "winrm"]))
    address = ma.fields.String(allow_none=True, validate=validate.Length(min=1, max=253))
    port = ma.fields.Integer(strict=True, allow_none=True, validate=validate.Range(min=1, max=65535))
    remote_user = ma.fields.String(allow_none=True, validate=validate.Length(min=1, max=64))
    become = ma.fields.Boolean(allow_none=True)
    shell = ma.fields.String(allow_none=True, validate=validate.OneOf(["sh", "powershell", "cmd"]))
    python = ma.fields.String(allow_none=True, validate=validate.Length(min=1, max=200))
    execution = ma.fields.String(
        validate=validate.OneOf(["ansible", "agent"]), metadata={"description": "who runs actions on the device"}
    )
    hostname = Name()
    os_type = Choice(OS_TYPES, allow_none=True, metadata={"description": "null: what the reports tell"})
    os_version = Text(255)
    hardware_summary = Text(MAX_SUMMARY)
    profile_id = ma.fields.Integer(strict=True, allow_none=True, validate=validate.Range(1, MAX_ID))
    id = ma.fields.Raw(metadata={"description": "not looked at"})
    status = ma.fields.Raw(metadata={"description": "not looked at"})
    last_check_in = ma.fields.Raw(metadata={"description": "not looked at"}, allow_none=True)
    created_at = ma.fields.Raw(metadata={"description": "not looked at"})

    @ma.post_load
    def drop_read_only(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name not in self.READ_ONLY}


class NewDevice(DeviceChange):
    """A device that an operator adds by hand."""

    hostname = Name(required=True)
