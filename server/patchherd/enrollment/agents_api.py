# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: agents that register themselves, and enrolment tokens as one string."""

from __future__ import annotations

from typing import Any

from patchherd.enrollment import registration, schemas, tokens
from patchherd.http import Room, settings
from patchherd.identity.access import current, public, requires
from patchherd.identity.ratelimit import limited

room = Room("agents", __name__, description="Agents that register themselves")


@room.route("/agent/register", methods=["POST"])
@public("the enrolment token in the body is the credential")
@limited
@registration.with_token
@room.arguments(schemas.RegisterBody)
@room.response(200, schemas.RegisterAnswer)
def register(token: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Register a host by its name; the API id and key are in the first answer only"""
    return registration.register(token, body, settings())


@room.route("/enrollment-tokens")
@requires("settings:manage")
@room.response(200, schemas.StringTokenView(many=True))
def list_tokens() -> Any:
    """All enrolment tokens, newest first"""
    return tokens.list_tokens()


@room.route("/enrollment-tokens", methods=["POST"])
@requires("settings:manage")
@room.arguments(schemas.NewStringToken)
@room.response(201, schemas.CreatedStringToken)
def create_token(body: dict[str, Any]) -> Any:
    """Create an enrolment token; the token itself is in this answer only"""
    principal = current()
    token, secret = tokens.create_token(
        body,
        prefix=settings().credential_prefix,
        cost=settings().token_cost,
        created_by=principal.id if principal.kind == "user" else None,
    )
    token.token = f"{token.token_key}:{secret}"
    return token, {"Location": f"{settings().api_prefix}/enrollment-tokens/{token.uuid}"}


@room.route("/enrollment-tokens/<token_id>")
@requires("settings:manage")
@room.response(200, schemas.StringTokenView)
def get_token(token_id: str) -> Any:
    """One enrolment token"""
    return tokens.find_token(token_id)


@room.route("/enrollment-tokens/<token_id>", methods=["PUT", "PATCH"])
@requires("settings:manage")
@room.arguments(schemas.StringTokenChange)
@room.response(200, schemas.StringTokenView)
def change_token(body: dict[str, Any], token_id: str) -> Any:
    """Change the given fields of an enrolment token"""
    return tokens.change_token(token_id, body)


@room.route("/enrollment-tokens/<token_id>", methods=["DELETE"])
@requires("settings:manage")
@room.response(204)
def delete_token(token_id: str) -> None:
    """Delete an enrolment token; the devices that it let in stay"""
    tokens.delete_token(token_id)
