# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""People, the tokens of programs, log-ins, and the record of what they did."""

from __future__ import annotations

import peewee

from patchherd.database import BaseModel, JsonField, UtcField


class User(BaseModel):
    """Somebody who may log in."""

    uuid = peewee.CharField(max_length=36, unique=True)
    username = peewee.CharField(max_length=64, unique=True)
    """Lower case."""
    first_name = peewee.CharField(max_length=100, default="")
    last_name = peewee.CharField(max_length=100, default="")
    email = peewee.CharField(max_length=254, null=True)
    role = peewee.CharField(max_length=64)
    """A built-in role, or the name of a Role."""
    password_hash = peewee.CharField(max_length=60)
    is_active = peewee.BooleanField(default=True)
    created_at = UtcField()
    updated_at = UtcField()
    last_login_at = UtcField(null=True)


class Role(BaseModel):
    """A role that operators made of named permissions, beside the built-in ones."""

    name = peewee.CharField(max_length=64, primary_key=True)
    description = peewee.CharField(max_length=500, default="")
    permissions = JsonField(default=list)
    created_at = UtcField()
    updated_at = UtcField()


class LoginSession(BaseModel):
    """One log-in; its tokens and its session cookie name it, so that ending it ends them."""

    key = peewee.CharField(max_length=43, unique=True)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE", backref="sessions")
    created_at = UtcField()
    expires_at = UtcField(index=True)
    generation = peewee.IntegerField(default=0)
    """How often it was refreshed; only the refresh token of this generation counts."""
    address = peewee.CharField(max_length=64, null=True)


class LoginFailure(BaseModel):
    """Failed log-ins in a row under one name, whether or not a user has it."""

    username = peewee.CharField(max_length=64, unique=True)
    failures = peewee.IntegerField()
    last_failure = UtcField(index=True)
    locked_until = UtcField(null=True)


class ApiToken(BaseModel):
    """A credential for a program. The secret is 256 random bits, so one SHA-256 protects it."""

    uuid = peewee.CharField(max_length=36, unique=True)
    name = peewee.CharField(max_length=255)
    token_id = peewee.CharField(max_length=32, unique=True)
    secret_hash = peewee.CharField(max_length=64)
    permissions = JsonField(default=list)
    created_by = peewee.ForeignKeyField(User, null=True, on_delete="SET NULL", backref="api_tokens")
    created_at = UtcField()
    expires_at = UtcField(null=True)
    revoked_at = UtcField(null=True)
    last_used_at = UtcField(null=True)


class AuditEntry(BaseModel):
    """One change: who, what, which object, when, from where; each entry seals the one before."""

    at = UtcField(index=True)
    actor_kind = peewee.CharField(max_length=16)
    actor_id = peewee.BigIntegerField(null=True)
    actor_name = peewee.CharField(max_length=255)
    address = peewee.CharField(max_length=64, null=True)
    action = peewee.CharField(max_length=64, index=True)
    object_kind = peewee.CharField(max_length=32)
    object_id = peewee.CharField(max_length=64, null=True)
    object_name = peewee.CharField(max_length=255, null=True)
    before = JsonField(null=True)
    after = JsonField(null=True)
    seal = peewee.CharField(max_length=64)

    class Meta:
        indexes = ((("object_kind", "object_id"), False),)


MODELS = [User, Role, LoginSession, LoginFailure, ApiToken, AuditEntry]
