# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Tokens for programs: `pht_<16 hex>_<64 hex>`, as Bearer, or as HTTP Basic with the two halves."""

from __future__ import annotations

import hmac
import re
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from patchherd.database import now, write_transaction
from patchherd.errors import NotFound, Unauthorized, invalid
from patchherd.identity import audit, credentials
from patchherd.identity.models import ApiToken, User
from patchherd.identity.permissions import TOKEN_PERMISSIONS
from patchherd.identity.principal import Principal
from patchherd.identity.roles import check_role, permissions_of

USE_RESOLUTION = timedelta(seconds=60)
_TOKEN = re.compile(r"^(pht_[0-9a-f]{16})_([0-9a-f]{64})$")


def create_api_token(
    name: str,
    *,
    permissions: Iterable[str] = (),
    role: str | None = None,
    expires_at: datetime | None = None,
    created_by: int | None = None,
) -> tuple[ApiToken, str]:
    """A new token and its full text, which cannot be had again. `role` adds what a role allows now."""
    granted = set(permissions)
    if role is not None:
        granted |= permissions_of(check_role(role))
    if unknown := granted - TOKEN_PERMISSIONS:
        raise invalid("permissions", f"unknown permission {sorted(unknown)[0]}")
    if not granted:
        raise invalid("permissions", "at least one permission, or a role, is needed")
    if expires_at is not None and expires_at <= now():
        raise invalid("expires_at", "a moment in the future is needed")
    token_id, secret = f"pht_{secrets.token_hex(8)}", secrets.token_hex(32)
    with write_transaction():
        token = ApiToken.create(
            uuid=str(uuid.uuid4()),
            name=name,
            token_id=token_id,
            secret_hash=credentials.digest(secret),
            permissions=sorted(granted),
            created_by=created_by,
            created_at=now(),
            expires_at=expires_at,
        )
        audit.record("api_token.create", "api_token", token.uuid, name, after={"permissions": sorted(granted)})
    return token, f"{token_id}_{secret}"


def list_api_tokens() -> list[ApiToken]:
    """All tokens, newest first, with their creators."""
    return list(ApiToken.select(ApiToken, User).left_outer_join(User).order_by(ApiToken.id.desc()))


def find_api_token(reference: str) -> ApiToken:
    """The token with this UUID. Raises NotFound."""
    token = ApiToken.get_or_none(ApiToken.uuid == reference)
    if token is None:
        raise NotFound("API token not found")
    return token


def revoke_api_token(reference: str) -> ApiToken:
    """End a token for good; the row stays for the record. Raises NotFound."""
    with write_transaction():
        token = find_api_token(reference)
        if token.revoked_at is None:
            token.revoked_at = now()
            token.save(only=[ApiToken.revoked_at])
            audit.record("api_token.revoke", "api_token", token.uuid, token.name)
    return token


def looks_like(text: str) -> bool:
    """Whether a bearer value is meant to be one of these tokens."""
    return text.startswith("pht_")


def authenticate(text: str) -> Principal:
    """The principal of a token. Raises Unauthorized."""
    match = _TOKEN.match(text)
    principal = authenticate_pair(*match.groups()) if match else None
    if principal is None:
        raise Unauthorized("Invalid API token")
    return principal


def authenticate_pair(token_id: str, secret: str) -> Principal | None:
    """The principal of the two halves of a token; None when the name is no token's. Raises Unauthorized."""
    if not looks_like(token_id):
        return None
    token = ApiToken.get_or_none(ApiToken.token_id == token_id)
    right = token is not None and hmac.compare_digest(token.secret_hash, credentials.digest(secret))
    if not right or token.revoked_at is not None:
        raise Unauthorized("Invalid API token")
    moment = now()
    if token.expires_at is not None and token.expires_at <= moment:
        raise Unauthorized("API token expired")
    if token.last_used_at is None or moment - token.last_used_at > USE_RESOLUTION:
        ApiToken.update(last_used_at=moment).where(ApiToken.id == token.id).execute()
    return Principal("token", token.id, token.name, frozenset(token.permissions))
