# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: log-in, one's own log-ins, API tokens, audit trail."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import session

from patchherd.errors import Forbidden, Unauthorized
from patchherd.http import Room, settings
from patchherd.identity import api_tokens, audit, credentials, logins, roles, schemas, sessions, users
from patchherd.identity.access import check_grant, current, public, requires
from patchherd.identity.permissions import USER_PERMISSIONS
from patchherd.identity.principal import Principal
from patchherd.identity.ratelimit import limited

room = Room("identity", __name__, description="Log-in, API tokens, audit trail")


@room.route("/auth/login", methods=["POST"])
@public("this is how one gets in")
@limited
@room.arguments(schemas.LoginBody)
@room.response(200, schemas.LoginView)
def login(body: dict[str, str]) -> dict[str, Any]:
    """Exchange name and password for an access token"""
    user = logins.check_password(body["username"], body["password"])
    return {"message": "Login successful", **asdict(sessions.log_in(user)), "user": user}


@room.route("/auth/refresh", methods=["POST"])
@public("the refresh token in the body is the credential")
@limited
@room.arguments(schemas.RefreshBody)
@room.response(200, schemas.LoginView)
def refresh(body: dict[str, str]) -> dict[str, Any]:
    """Exchange a refresh token, once, for new tokens of the same log-in"""
    user, tokens = sessions.refresh(body["refresh_token"])
    return {"message": "Token refreshed successfully", **asdict(tokens), "user": user}


@room.route("/auth/setup-admin", methods=["POST"])
@public("works only while there is no user")
@limited
@room.arguments(schemas.SetupBody)
@room.response(201, schemas.LoginView)
def setup_admin(body: dict[str, str]) -> dict[str, Any]:
    """Create the first administrator"""
    user = users.create_first_user(body.pop("username"), body.pop("password"), cost=settings().password_cost, **body)
    return {"message": "Administrator created successfully", **asdict(sessions.log_in(user)), "user": user}


@room.route("/auth/me")
@requires(*sorted(USER_PERMISSIONS))
@room.response(200, schemas.MeView)
def me() -> dict[str, Any]:
    """Who the presented credential belongs to, and what it may do"""
    principal = current()
    user = users.find_user(principal.name) if principal.kind == "user" else None
    return {
        "kind": principal.kind,
        "name": principal.name,
        "permissions": sorted(principal.permissions),
        "user": user,
    }


@room.route("/auth/logout", methods=["POST"])
@requires(*sorted(USER_PERMISSIONS))
@room.response(200, schemas.MessageView)
def logout() -> dict[str, str]:
    """End this log-in: its tokens and its cookie are worth nothing afterwards"""
    _own_user(current())
    sessions.end_session(sessions.presented_session())
    session.clear()
    return {"message": "Logged out successfully"}


@room.route("/auth/sessions")
@requires(*sorted(USER_PERMISSIONS))
@room.response(200, schemas.SessionView(many=True))
def list_sessions() -> Any:
    """One's own log-ins, newest first"""
    found = sessions.list_sessions(_own_user(current()))
    key = sessions.presented_session()
    for login in found:
        login.current = login.key == key
    return found


@room.route("/auth/sessions/<int:session_id>", methods=["DELETE"])
@requires(*sorted(USER_PERMISSIONS))
@room.response(204)
def revoke_session(session_id: int) -> None:
    """End one of one's own log-ins"""
    sessions.revoke_session(_own_user(current()), session_id)


@room.route("/auth/password", methods=["PUT"])
@requires(*sorted(USER_PERMISSIONS))
@limited
@room.arguments(schemas.PasswordChange)
@room.response(200, schemas.MessageView)
def change_password(body: dict[str, str]) -> dict[str, str]:
    """Change one's own password; all log-ins end"""
    user = _own_user(current())
    if not credentials.check_secret(body["current_password"], user.password_hash):
        raise Unauthorized("Current password is wrong")
    users.set_password(user, body["new_password"], cost=settings().password_cost)
    return {"message": "Password changed successfully"}


def _own_user(principal: Principal) -> Any:
    if principal.kind != "user":
        raise Forbidden("Permission denied", "only a logged-in user can do this")
    return users.find_user(principal.name)


@room.route("/api-tokens")
@requires("users:manage")
@room.response(200, schemas.ApiTokenView(many=True))
def list_api_tokens() -> Any:
    """All API tokens, newest first, without their secrets"""
    return api_tokens.list_api_tokens()


@room.route("/api-tokens", methods=["POST"])
@requires("users:manage")
@room.arguments(schemas.NewApiToken)
@room.response(201, schemas.NewApiTokenView)
def create_api_token(body: dict[str, Any]) -> Any:
    """Create an API token; its text is in this answer only"""
    principal = current()
    check_grant(body["permissions"])
    if body["role"] is not None:
        check_grant(roles.permissions_of(body["role"]))
    token, text = api_tokens.create_api_token(
        body.pop("name"), **body, created_by=principal.id if principal.kind == "user" else None
    )
    token.token = text
    return token


@room.route("/api-tokens/<token_id>")
@requires("users:manage")
@room.response(200, schemas.ApiTokenView)
def get_api_token(token_id: str) -> Any:
    """One API token"""
    return api_tokens.find_api_token(token_id)


@room.route("/api-tokens/<token_id>", methods=["DELETE"])
@requires("users:manage")
@room.response(200, schemas.ApiTokenView)
def revoke_api_token(token_id: str) -> Any:
    """Revoke an API token at once and for good"""
    return api_tokens.revoke_api_token(token_id)


@room.route("/audit")
@requires("settings:manage")
@room.arguments(schemas.AuditQuery, location="query")
@room.response(200, schemas.AuditPage)
def list_audit(query: dict[str, Any]) -> dict[str, Any]:
    """Who changed what, newest first"""
    entries, following = audit.page(before_id=query.pop("before"), **query)
    return {"entries": entries, "next": following}
