# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of tags, history, duplicates and deleted devices."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.registry import MAX_ID
from patchherd.devices.schemas import Reference
from patchherd.devices.shapes import DeviceView
from patchherd.identity.schemas import Moment


class TagCount(ma.Schema):
    tag = ma.fields.String()
    devices = ma.fields.Integer()


class NewTags(ma.Schema):
    tags = ma.fields.List(
        ma.fields.String(validate=validate.Length(max=100)), required=True, validate=validate.Length(1, 64)
    )


class DeviceTags(ma.Schema):
    tags = ma.fields.List(ma.fields.String(), metadata={"description": "all that the device has now"})


class HistoryQuery(ma.Schema):
    type = ma.fields.String(metadata={"description": "only events of these types, comma-separated"})
    since = Moment()
    before = ma.fields.Integer(validate=validate.Range(1, MAX_ID), metadata={"description": "`next` of the last page"})
    limit = ma.fields.Integer(load_default=50, validate=validate.Range(1, 500))


class DeviceEventView(ma.Schema):
    id = ma.fields.Integer()
    device_id = ma.fields.Integer(metadata={"description": "another one where that was merged into this"})
    at = ma.fields.DateTime()
    type = ma.fields.String()
    actor = ma.fields.String(metadata={"description": "a user, a token, device or system"})
    detail = ma.fields.Dict()


class HistoryPage(ma.Schema):
    events = ma.fields.List(ma.fields.Nested(DeviceEventView))
    next = ma.fields.Integer(allow_none=True, metadata={"description": "`before` of the next page"})


class DuplicatesQuery(ma.Schema):
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(1, 1000))


class DuplicateReason(ma.Schema):
    kind = ma.fields.String(metadata={"description": "machine_id or ssh_host_key"})
    value = ma.fields.String(metadata={"description": "the machine id, or the fingerprint of the key"})
    devices = ma.fields.List(ma.fields.Integer())


class DuplicateDevice(ma.Schema):
    id = ma.fields.Integer()
    agent_id = ma.fields.String()
    friendly_name = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String(allow_none=True)
    created_at = ma.fields.DateTime()
    last_report = ma.fields.DateTime(allow_none=True)
    state = ma.fields.String()


class DuplicateSet(ma.Schema):
    newest = ma.fields.Integer(metadata={"description": "the one that was heard of last"})
    reasons = ma.fields.List(ma.fields.Nested(DuplicateReason))
    devices = ma.fields.List(ma.fields.Nested(DuplicateDevice))


class Duplicates(ma.Schema):
    count = ma.fields.Integer(metadata={"description": "sets, whatever the limit"})
    duplicates = ma.fields.List(ma.fields.Nested(DuplicateSet))


class DeletedQuery(ma.Schema):
    after = ma.fields.Integer(
        load_default=0, validate=validate.Range(0, MAX_ID), metadata={"description": "`next` of the last page"}
    )
    limit = ma.fields.Integer(load_default=100, validate=validate.Range(1, 1000))


class DeletedDevice(DeviceView):
    deleted_at = ma.fields.DateTime()


class DeletedPage(ma.Schema):
    devices = ma.fields.List(ma.fields.Nested(DeletedDevice))
    next = ma.fields.Integer(allow_none=True, metadata={"description": "`after` of the next page"})


class MergeBody(ma.Schema):
    from_ = ma.fields.List(
        Reference(metadata={"type": "string"}),
        data_key="from",
        required=True,
        validate=validate.Length(1, 50),
        metadata={"description": "ids, agent ids or host names of the devices that are the same machine"},
    )


class RestoreBody(ma.Schema):
    credentials = ma.fields.String(
        load_default="auto",
        validate=validate.OneOf(["auto", "keep", "revoke"]),
        metadata={"description": "auto: kept unless the machine has got others since, or the device was merged"},
    )


class RestoredDevice(DeviceView):
    credentials = ma.fields.String(metadata={"description": "kept, revoked, or none"})
    credentials_reason = ma.fields.String(allow_none=True, metadata={"description": "why they were revoked"})
