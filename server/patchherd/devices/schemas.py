# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the device endpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.fields import FIELDS, SORTABLE
from patchherd.devices.os_types import OS_TYPES
from patchherd.devices.registry import MAX_ID
from patchherd.devices.selection import AGENT_STATES, PATCH_STATES, STATES, split_values
from patchherd.errors import did_you_mean
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


class Words(ma.fields.String):
    """Comma-separated words, each one of `choices` (with `signed` perhaps after a minus)."""

    def __init__(self, choices: Sequence[str], *, signed: bool = False, **kwargs: Any) -> None:
        described = f"comma-separated: {', '.join(choices)}" + ("; a minus in front reverses" if signed else "")
        super().__init__(metadata={"description": described}, **kwargs)
        self.choices, self.signed = choices, signed

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        words = split_values(super()._deserialize(value, attr, data, **kwargs))
        for word in words:
            plain = word.removeprefix("-") if self.signed else word
            if plain not in self.choices:
                raise ma.ValidationError(f"{word[:40]!r} is none of them.{did_you_mean(plain, self.choices)}")
        return ",".join(words)


class DeviceFilters(ma.Schema):
    """Which devices: kinds are ANDed, the values of one kind, comma-separated, are ORed."""

    agent_id = ma.fields.String()
    status = Words(AGENT_STATES)
    hostname = ma.fields.String()
    ip_address = ma.fields.String()
    group = ma.fields.String(metadata={"description": "id or name"})
    os_family = ma.fields.String(metadata={"description": "debian, redhat, windows"})
    os = ma.fields.String(metadata={"description": "id (rocky) or name (Rocky Linux)"})
    state = Words(STATES)
    patch_status = Words(PATCH_STATES)
    reboot_required = ma.fields.Boolean()
    tag = ma.fields.String(metadata={"description": "any of these, comma-separated"})
    maintenance = ma.fields.Boolean()
    search = ma.fields.String(validate=validate.Length(min=1, max=100))


class DeviceRows(DeviceFilters):
    """Which devices, in which order, and what of each."""

    sort = Words(SORTABLE, signed=True)
    fields_ = Words(list(FIELDS), data_key="fields")


class DeviceQuery(DeviceRows):
    """Filters, order and page of the device list."""

    after = ma.fields.String(
        validate=validate.Length(min=1, max=4000), metadata={"description": "`next` of the page before"}
    )
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))


class ExportQuery(DeviceRows):
    """Filters and order of an export."""

    format_ = ma.fields.String(data_key="format", load_default="csv", validate=validate.OneOf(["csv", "jsonl"]))


class AnyMoment(ma.fields.Field[Any]):
    """A time: ISO 8601 (UTC without an offset), RFC 1123, or seconds since the epoch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"type": "string", "description": "ISO 8601, RFC 1123 or epoch seconds"}, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> datetime:
        # A plus sign that nobody encoded arrives as a blank.
        text = re.sub(r" (\d\d:?\d\d)\Z", r"+\1", str(value).strip().strip("\"'"))
        for read in (datetime.fromisoformat, parsedate_to_datetime, _of_epoch):
            try:
                moment = read(text)
                moment = moment.replace(tzinfo=moment.tzinfo or UTC)
                moment.timestamp()
                return moment
            except (ValueError, OverflowError, IndexError, TypeError):
                continue
        raise ma.ValidationError("Not a time.")


def _of_epoch(text: str) -> datetime:
    return datetime.fromtimestamp(int(text), UTC)


class Period(ma.Schema):
    """What was the case at any time between."""

    since = AnyMoment()
    until = AnyMoment()


class OutagePageQuery(Period):
    min_duration = ma.fields.Float(
        validate=validate.Range(min=0, max=1e9), metadata={"description": "seconds; a running one lasts until now"}
    )
    ongoing = ma.fields.Boolean()
    after = ma.fields.String(
        validate=validate.Length(min=1, max=4000), metadata={"description": "`next` of the page before"}
    )
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))


class OutageQuery(OutagePageQuery):
    """Filters and page of outages; texts may be comma-separated."""

    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String()


class LegacyOutageQuery(ma.Schema):
    """Filters of outages for clients of the Patch Management API; values may be comma-separated and quoted."""

    class Meta:
        unknown = ma.EXCLUDE

    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String()
    since = AnyMoment()
    until = AnyMoment()
    min_duration = ma.fields.Float(validate=validate.Range(min=0, max=1e9), metadata={"description": "seconds"})
    limit = ma.fields.Integer(load_default=1000, validate=validate.Range(min=1, max=10_000))


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
