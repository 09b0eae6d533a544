# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Bodies of the enrolment endpoints, in the words of the clients in the field."""

from __future__ import annotations

from typing import Any

import msgspec
from marshmallow import Schema, ValidationError, fields, pre_load, validate

from patchherd.devices.os_types import OS_TYPES
from patchherd.devices.rules import MAX_LENGTH
from patchherd.devices.schemas import MAX_SUMMARY, Reference
from patchherd.enrollment import addresses, quota
from patchherd.forms import Choice, Name, Text
from patchherd.identity.schemas import Body, Moment

NAME_RULE = "Token name is required (max 255 characters)"
QUOTA_RULE = "Max hosts per day must be between 1 and 1000"
HOST_RULE = "Friendly name is required (max 255 characters)"
MACHINE_RULE = "Machine ID must be text of at most 255 characters"


def _messages(text: str) -> Any:
    return dict.fromkeys(("required", "null", "invalid", "invalid_utf8", "too_large"), text)


def _name(rule: str, **kwargs: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(1, 255, error=rule), validate.Regexp(r"[\s\S]*\S", error=rule)],
        error_messages=_messages(rule),
        **kwargs,
    )


def _check_range(text: str) -> None:
    try:
        addresses.parse_range(text)
    except ValueError as exc:
        raise ValidationError("an IP address or CIDR range is needed") from exc


class TokenFields(Body):
    """What creating and changing a token share."""

    max_hosts_per_day = fields.Integer(
        strict=True, validate=validate.Range(1, 1000, error=QUOTA_RULE), error_messages=_messages(QUOTA_RULE)
    )
    default_host_group_id = fields.String(allow_none=True)
    allowed_ip_ranges = fields.List(fields.String(validate=_check_range), validate=validate.Length(max=200))
    expires_at = Moment(allow_none=True)
    scopes = fields.Dict(fields.String(), fields.List(fields.String()), allow_none=True)

    @pre_load
    def empty_means_none(self, data: Any, **kwargs: Any) -> Any:
        """Web forms send an empty string for what was cleared."""
        if isinstance(data, dict) and data.get("expires_at") == "":
            return {**data, "expires_at": None}
        return data


class NewToken(TokenFields):
    token_name = _name(NAME_RULE, required=True)
    metadata = fields.Dict()


class TokenChange(TokenFields):
    token_name = _name(NAME_RULE)
    is_active = fields.Boolean()


class GroupRef(Schema):
    id = fields.String(attribute="uuid")
    name = fields.String()
    color = fields.String()


class UserRef(Schema):
    id = fields.String(attribute="uuid")
    username = fields.String()
    first_name = fields.String()
    last_name = fields.String()


class TokenView(Schema):
    id = fields.String(attribute="uuid")
    token_name = fields.String()
    token_key = fields.String()
    is_active = fields.Boolean()
    allowed_ip_ranges = fields.List(fields.String())
    max_hosts_per_day = fields.Integer()
    hosts_created_today = fields.Function(quota.used_today)
    last_used_at = Moment(allow_none=True)
    expires_at = Moment(allow_none=True)
    created_at = Moment()
    updated_at = Moment()
    default_host_group_id = fields.Function(lambda token: token.default_group.uuid if token.default_group else None)
    metadata = fields.Raw()
    scopes = fields.Raw(allow_none=True)
    host_groups = fields.Nested(GroupRef, attribute="default_group", allow_none=True, dump_only=True)
    users = fields.Nested(UserRef, attribute="created_by", allow_none=True, dump_only=True)


class CreatedToken(TokenView):
    token_secret = fields.String(metadata={"description": "shown only here"})
    default_host_group = fields.Nested(GroupRef, attribute="default_group", allow_none=True, dump_only=True)
    created_by = fields.Nested(UserRef, allow_none=True, dump_only=True)


class CreatedTokenAnswer(Schema):
    message = fields.String()
    token = fields.Nested(CreatedToken)
    warning = fields.String()


class ChangedTokenAnswer(Schema):
    message = fields.String()
    token = fields.Nested(TokenView)


class DeletedToken(Schema):
    id = fields.String(attribute="uuid")
    token_name = fields.String()


class DeletedTokenAnswer(Schema):
    message = fields.String()
    deleted_token = fields.Nested(DeletedToken)


class HostBody(Body):
    friendly_name = _name(HOST_RULE, required=True)
    machine_id = fields.String(
        allow_none=True,
        validate=validate.Length(max=255, error=MACHINE_RULE),
        error_messages=_messages(MACHINE_RULE),
    )
    metadata = fields.Dict(allow_none=True)


class BulkBody(Body):
    hosts = fields.List(
        fields.Nested(HostBody),
        required=True,
        validate=validate.Length(1, 50, error="Hosts array must contain between 1 and 50 hosts"),
    )


class EnrolledView(Schema):
    id = fields.String(attribute="device.uuid")
    friendly_name = fields.String(attribute="device.friendly_name")
    api_id = fields.String()
    api_key = fields.String(metadata={"description": "shown only here"})


class EnrolledHost(EnrolledView):
    host_group = fields.Nested(GroupRef, allow_none=True)
    status = fields.String()


class EnrollAnswer(Schema):
    message = fields.String()
    host = fields.Nested(EnrolledHost)


class BulkResults(Schema):
    success = fields.List(fields.Nested(EnrolledView))
    failed = fields.List(fields.Dict())
    skipped = fields.List(fields.Dict())


class BulkAnswer(Schema):
    message = fields.String()
    results = fields.Nested(BulkResults)


class StringTokenChange(TokenFields):
    """A token for agents that take one string."""

    class Meta(Body.Meta):
        exclude = ("scopes",)

    name = Name(attribute="token_name")
    is_active = fields.Boolean()


class NewStringToken(StringTokenChange):
    class Meta(Body.Meta):
        exclude = ("scopes", "is_active")

    name = Name(required=True, attribute="token_name")


class StringTokenView(Schema):
    id = fields.String(attribute="uuid")
    name = fields.String(attribute="token_name")
    token_key = fields.String(metadata={"description": "the first half of the token"})
    is_active = fields.Boolean()
    allowed_ip_ranges = fields.List(fields.String())
    max_hosts_per_day = fields.Integer()
    hosts_created_today = fields.Function(quota.used_today)
    default_host_group_id = fields.Function(lambda token: token.default_group.uuid if token.default_group else None)
    last_used_at = Moment(allow_none=True)
    expires_at = Moment(allow_none=True)
    created_at = Moment()
    updated_at = Moment()


class CreatedStringToken(StringTokenView):
    token = fields.String(metadata={"description": "KEY:SECRET, shown only here"})


class Summary(Text):
    """Text, or an object or list that becomes JSON text."""

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, dict | list):
            value = msgspec.json.encode(value).decode() if value else None
        return super().deserialize(value, *args, **kwargs)


class RegisterBody(Body):
    """What agents of the DeployFlow make say of themselves; `enrollment_token` is KEY:SECRET of an enrolment token."""

    enrollment_token = fields.String(metadata={"description": "or token"})
    token = fields.String()
    hostname = Name(required=True)
    machine_id = Text(255)
    os_type = Choice(OS_TYPES, allow_none=True)
    os_description = Text(255)
    os_version = Text(255)
    hardware_summary = Summary(MAX_SUMMARY)
    agent_version = Text(64)
    metadata = fields.Dict(allow_none=True)


class RegisterAnswer(Schema):
    """The credentials are there when the device is new, and for one that shows them already."""

    device_id = fields.Integer()
    poll_interval_seconds = fields.Integer()
    api_id = fields.String()
    api_key = fields.String()


class ExchangeBody(Body):
    token = fields.String(
        required=True, validate=validate.Length(1, 200), error_messages=_messages("Bootstrap token is required")
    )


class ExchangeAnswer(Schema):
    apiId = fields.String()
    apiKey = fields.String()


class PingAnswer(Schema):
    message = fields.String()
    success = fields.Boolean()
    friendlyName = fields.String()
    updateInterval = fields.Integer(metadata={"description": "minutes"})
    hashGate = fields.Boolean()
    requestFull = fields.List(fields.String(), metadata={"description": "sections that the next report needs"})


class AgentVersion(Schema):
    currentVersion = fields.String(allow_none=True)
    latestVersion = fields.String()
    hasUpdate = fields.Boolean()
    autoUpdate = fields.Boolean()
    downloadUrl = fields.String()
    hash = fields.String()
    hashAlgorithm = fields.String()
    architecture = fields.String(allow_none=True)


class UpdateInterval(Schema):
    updateInterval = fields.Integer(metadata={"description": "minutes"})


class Integrations(Schema):
    success = fields.Boolean()
    integrations = fields.Dict(keys=fields.String(), values=fields.Boolean())


class NewGroup(Body):
    name = fields.String(required=True, validate=[validate.Length(1, 255), validate.Regexp(r".*\S")])
    description = fields.String(allow_none=True, validate=validate.Length(max=10_000))
    color = fields.String(validate=validate.Regexp(r"^#[0-9A-Fa-f]{6}$", error="a colour like #3B82F6 is needed"))
    parent_id = Reference(
        allow_none=True,
        metadata={"type": "string", "description": "id, UUID or name of the group that this one is in; null: of none"},
    )
    rule = fields.String(
        allow_none=True,
        validate=validate.Length(max=MAX_LENGTH),
        metadata={"description": "every device that it holds for is a member; null: none is by rule"},
    )


class GroupChange(NewGroup):
    name = fields.String(validate=[validate.Length(1, 255), validate.Regexp(r".*\S")])


class GroupView(Schema):
    id = fields.String(attribute="uuid")
    name = fields.String()
    description = fields.String()
    color = fields.String()
    created_at = Moment()
    host_count = fields.Integer(metadata={"description": "put in, by rule, and in the groups below"})
    parent_id = fields.String(attribute="parent.uuid", dump_default=None, allow_none=True)
    rule = fields.String(allow_none=True)


class RuleBody(Schema):
    rule = fields.String(required=True, validate=validate.Length(1, MAX_LENGTH))
    limit = fields.Integer(load_default=20, strict=True, validate=validate.Range(0, 100))


class MemberRef(Schema):
    id = fields.String(attribute="uuid")
    device_id = fields.Integer(attribute="id")
    friendly_name = fields.String()
    hostname = fields.String(allow_none=True)
    ip = fields.String(attribute="ip_address", allow_none=True)


class RulePreview(Schema):
    count = fields.Integer()
    devices = fields.List(fields.Nested(MemberRef), metadata={"description": "the first of them"})


class GroupMembers(Body):
    host_ids = fields.List(fields.Raw(), required=True, metadata={"description": "ids or UUIDs of hosts"})


class MemberView(MemberRef):
    static = fields.Boolean(attribute="is_static", metadata={"description": "put into this very group"})
