# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Bodies of the identity endpoints, and the two building blocks that other rooms' schemas share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from patchherd.identity.permissions import TOKEN_PERMISSIONS, USER_PERMISSIONS


class Body(Schema):
    """A request body; fields that this version does not know are ignored."""

    class Meta:
        unknown = EXCLUDE


class Moment(fields.AwareDateTime):
    """A moment: ISO 8601 in, taken as UTC when it names no zone; `2026-12-31T23:59:59Z` out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", default_timezone=UTC, **kwargs)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class LoginBody(Body):
    username = fields.String(required=True, validate=validate.Length(1, 254))
    password = fields.String(required=True, validate=validate.Length(1, 1024), load_only=True)


class ProfileBody(Body):
    first_name = fields.String(validate=validate.Length(max=100))
    last_name = fields.String(validate=validate.Length(max=100))
    email = fields.String(validate=validate.Length(max=254), allow_none=True)


class SetupBody(ProfileBody):
    username = fields.String(load_default="admin", validate=validate.Length(1, 64))
    password = fields.String(required=True, load_only=True)


class NewUser(ProfileBody):
    username = fields.String(required=True, validate=validate.Length(1, 64))
    password = fields.String(required=True, load_only=True)
    role = fields.String(load_default="viewer", validate=validate.Length(1, 64))


class UserChange(ProfileBody):
    role = fields.String(validate=validate.Length(1, 64))
    is_active = fields.Boolean()
    password = fields.String(load_only=True)


class PasswordChange(Body):
    current_password = fields.String(required=True, load_only=True)
    new_password = fields.String(required=True, load_only=True)


class UserView(Schema):
    id = fields.String(attribute="uuid")
    username = fields.String()
    first_name = fields.String()
    last_name = fields.String()
    email = fields.String(allow_none=True)
    role = fields.String()
    is_active = fields.Boolean()
    created_at = Moment()
    last_login_at = Moment(allow_none=True)


class LoginView(Schema):
    message = fields.String()
    token = fields.String(metadata={"description": "access token: `Authorization: Bearer …`"})
    expires_in = fields.Integer(metadata={"description": "seconds"})
    refresh_token = fields.String(metadata={"description": "exchange it once, at /auth/refresh, for new tokens"})
    refresh_expires_in = fields.Integer(metadata={"description": "seconds"})
    user = fields.Nested(UserView)


class RefreshBody(Body):
    refresh_token = fields.String(required=True, validate=validate.Length(1, 4096), load_only=True)


class SessionView(Schema):
    id = fields.Integer()
    created_at = Moment()
    expires_at = Moment()
    address = fields.String(allow_none=True)
    current = fields.Boolean(metadata={"description": "the log-in of this request"})


class RoleChange(Body):
    description = fields.String(validate=validate.Length(max=500))
    permissions = fields.List(
        fields.String(validate=validate.OneOf(sorted(USER_PERMISSIONS))), validate=validate.Length(min=1)
    )


class NewRole(RoleChange):
    name = fields.String(required=True, validate=validate.Length(2, 64))
    permissions = fields.List(
        fields.String(validate=validate.OneOf(sorted(USER_PERMISSIONS))),
        required=True,
        validate=validate.Length(min=1),
    )


class RoleView(Schema):
    name = fields.String()
    description = fields.String()
    permissions = fields.List(fields.String())
    built_in = fields.Boolean()
    users = fields.Integer(metadata={"description": "how many users have it"})


class PermissionView(Schema):
    name = fields.String()
    description = fields.String()


class MeView(Schema):
    kind = fields.String()
    name = fields.String()
    permissions = fields.List(fields.String())
    user = fields.Nested(UserView, allow_none=True)


class MessageView(Schema):
    message = fields.String()


class NewApiToken(Body):
    name = fields.String(required=True, validate=validate.Length(1, 255))
    role = fields.String(allow_none=True, load_default=None, validate=validate.Length(1, 64))
    permissions = fields.List(
        fields.String(validate=validate.OneOf(sorted(TOKEN_PERMISSIONS))),
        load_default=list,
    )
    expires_at = Moment(allow_none=True, load_default=None)


class ApiTokenView(Schema):
    id = fields.String(attribute="uuid")
    name = fields.String()
    token_id = fields.String()
    permissions = fields.List(fields.String())
    created_at = Moment()
    expires_at = Moment(allow_none=True)
    revoked_at = Moment(allow_none=True)
    last_used_at = Moment(allow_none=True)
    created_by = fields.Function(lambda token: token.created_by.username if token.created_by else None)


class NewApiTokenView(ApiTokenView):
    token = fields.String(metadata={"description": "shown only here"})


class AuditQuery(Body):
    before = fields.Integer(load_default=None, validate=validate.Range(1))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 500))
    action = fields.String()
    actor = fields.String()
    object_kind = fields.String()
    object_id = fields.String()
    since = Moment()
    until = Moment()


class AuditView(Schema):
    id = fields.Integer()
    at = Moment()
    actor_kind = fields.String()
    actor_id = fields.Integer(allow_none=True)
    actor_name = fields.String()
    address = fields.String(allow_none=True)
    action = fields.String()
    object_kind = fields.String()
    object_id = fields.String(allow_none=True)
    object_name = fields.String(allow_none=True)
    before = fields.Raw(allow_none=True)
    after = fields.Raw(allow_none=True)
    seal = fields.String()


class AuditPage(Schema):
    entries = fields.List(fields.Nested(AuditView))
    next = fields.Integer(allow_none=True, metadata={"description": "`before` of the next page"})
