# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Enrolment tokens: create, change, delete, and recognise."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from flask import request

from patchherd.database import now, write_transaction
from patchherd.devices.models import DeviceGroup
from patchherd.devices.registry import find_group
from patchherd.enrollment import addresses
from patchherd.enrollment.models import EnrollmentToken
from patchherd.errors import BadRequest, Forbidden, NotFound, Unauthorized
from patchherd.http import settings
from patchherd.identity import audit, credentials
from patchherd.identity.api_tokens import USE_RESOLUTION
from patchherd.identity.models import User
from patchherd.identity.permissions import ENROLLMENT_USE, HOST_REPORT
from patchherd.identity.principal import Principal

API_INTEGRATION = "api"
_AUDITED = ("token_name", "is_active", "max_hosts_per_day", "allowed_ip_ranges", "expires_at", "scopes")


def create_token(
    values: dict[str, Any], *, prefix: str, cost: int, created_by: int | None = None
) -> tuple[EnrollmentToken, str]:
    """A new token and its secret, which cannot be had again.

    `values`: token_name and any of max_hosts_per_day, default_host_group_id, allowed_ip_ranges, expires_at, metadata,
    scopes. Raises BadRequest.
    """
    columns = _columns(values)
    if columns.get("scopes") is not None and not _is_api(columns.get("metadata") or {}):
        raise BadRequest("Scopes are only possible for API integration tokens")
    secret = secrets.token_hex(32)
    secret_hash = credentials.hash_secret(secret, cost)
    moment = now()
    with write_transaction():
        token = EnrollmentToken.create(
            **columns,
            uuid=str(uuid.uuid4()),
            token_key=f"{prefix}_ae_{secrets.token_hex(16)}",
            secret_hash=secret_hash,
            created_by=created_by,
            created_at=moment,
            updated_at=moment,
        )
        audit.record("enrollment_token.create", "enrollment_token", token.uuid, token.token_name, after=_facts(token))
    return find_token(token.uuid), secret


def list_tokens() -> list[EnrollmentToken]:
    """All tokens with group and creator, newest first."""
    return list(_with_relations().order_by(EnrollmentToken.id.desc()))


def find_token(reference: str) -> EnrollmentToken:
    """The token with this UUID. Raises NotFound."""
    token = _with_relations().where(EnrollmentToken.uuid == reference).first()
    if token is None:
        raise NotFound("Token not found")
    return token


def id_of_key(key: str) -> str | None:
    """The UUID of the token with this key."""
    token = EnrollmentToken.get_or_none(EnrollmentToken.token_key == key)
    return None if token is None else str(token.uuid)


def change_token(reference: str, values: dict[str, Any]) -> EnrollmentToken:
    """Change the given fields of a token. Raises NotFound, BadRequest."""
    columns = _columns(values)
    with write_transaction():
        token = find_token(reference)
        if columns.get("scopes") is not None and not _is_api(token.metadata):
            raise BadRequest("Scopes can only be updated for API integration tokens")
        EnrollmentToken.update(**columns, updated_at=now()).where(EnrollmentToken.id == token.id).execute()
        changed = find_token(reference)
        audit.record(
            "enrollment_token.update",
            "enrollment_token",
            token.uuid,
            changed.token_name,
            before=_facts(token),
            after=_facts(changed),
        )
    return changed


def delete_token(reference: str) -> EnrollmentToken:
    """Delete a token; the hosts it created stay. Raises NotFound."""
    with write_transaction():
        token = find_token(reference)
        EnrollmentToken.delete().where(EnrollmentToken.id == token.id).execute()
        audit.record("enrollment_token.delete", "enrollment_token", token.uuid, token.token_name, before=_facts(token))
    return token


def verify_token(key: str, secret: str) -> EnrollmentToken:
    """The token with this key and secret, when it may be used from the client's address.

    Checked in the order that clients rely on: key, activity, secret, expiry (Unauthorized), address (Forbidden).
    """
    token = EnrollmentToken.get_or_none(EnrollmentToken.token_key == key)
    if token is None or not token.is_active:
        raise Unauthorized("Invalid or inactive token")
    if not credentials.verified.check(secret, token.secret_hash):
        raise Unauthorized("Invalid token secret")
    if token.expires_at is not None and token.expires_at <= now():
        raise Unauthorized("Token expired")
    if not addresses.is_allowed(request.remote_addr, token.allowed_ip_ranges):
        raise Forbidden("IP address not authorized for this token")
    return token


def verify_enrolling_token(key: str, secret: str) -> EnrollmentToken:
    """The same for a token that may create hosts; one for the machine API may not (Forbidden)."""
    token = verify_token(key, secret)
    if _is_api(token.metadata):
        raise Forbidden("Token is not valid for enrollment", "it is a token for the API")
    return token


def authenticate() -> Principal:
    """Scheme of enrolment: two headers. Raises Unauthorized, Forbidden."""
    key = request.headers.get("X-Auto-Enrollment-Key")
    secret = request.headers.get("X-Auto-Enrollment-Secret")
    if not key or not secret:
        raise Unauthorized("Auto-enrollment credentials required")
    token = verify_enrolling_token(key, secret)
    return Principal("enrollment", token.id, token.token_name, frozenset({ENROLLMENT_USE}))


def authenticate_basic(key: str, secret: str) -> Principal | None:
    """HTTP Basic with a token for the machine API; None when `key` is no token key."""
    if not key.startswith(f"{settings().credential_prefix}_ae_"):
        return None
    token = verify_token(key, secret)
    if not _is_api(token.metadata):
        raise Forbidden("Token is not valid for the API", "it is a token for enrolment")
    moment = now()
    if token.last_used_at is None or moment - token.last_used_at > USE_RESOLUTION:
        EnrollmentToken.update(last_used_at=moment).where(EnrollmentToken.id == token.id).execute()
    scopes: dict[str, list[str]] = token.scopes or {}
    may_read = "get" in scopes.get("host", [])
    return Principal("token", token.id, token.token_name, frozenset({"devices:read"} if may_read else ()))


def authenticate_bearer(value: str) -> Principal | None:
    """Bearer `key:secret` of an enrolment token, for agents that know one header only; None when it is none.

    It may report, for the devices that it let in; the rooms that take reports hold it to that.
    """
    key, colon, secret = value.partition(":")
    if not colon or not key.startswith(f"{settings().credential_prefix}_ae_"):
        return None
    token = verify_enrolling_token(key, secret)
    return Principal("enrollment", token.id, token.token_name, frozenset({HOST_REPORT}), reference=token.uuid)


def _with_relations() -> Any:
    return (
        EnrollmentToken.select(EnrollmentToken, DeviceGroup, User)
        .left_outer_join(DeviceGroup)
        .switch(EnrollmentToken)
        .left_outer_join(User)
    )


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """Column values of request fields. Raises BadRequest for a group that does not exist."""
    columns = dict(values)
    if "default_host_group_id" in columns:
        reference = columns.pop("default_host_group_id")
        try:
            columns["default_group"] = find_group(reference).id if reference else None
        except NotFound as exc:
            raise BadRequest("Host group not found") from exc
    return columns


def _is_api(metadata: dict[str, Any]) -> bool:
    return metadata.get("integration_type") == API_INTEGRATION


def _facts(token: EnrollmentToken) -> dict[str, Any]:
    return {name: getattr(token, name) for name in _AUDITED}
