# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: users and roles. Nobody gives, or takes over, more than they may do themselves."""

from __future__ import annotations

from typing import Any

from patchherd.http import Room, settings
from patchherd.identity import roles, schemas, sessions, users
from patchherd.identity.access import check_grant, requires
from patchherd.identity.permissions import PERMISSIONS

room = Room("users", __name__, description="Users and roles")


@room.route("/users")
@requires("users:manage")
@room.response(200, schemas.UserView(many=True))
def list_users() -> Any:
    """All users by name"""
    return users.list_users()


@room.route("/users", methods=["POST"])
@requires("users:manage")
@room.arguments(schemas.NewUser)
@room.response(201, schemas.UserView)
def create_user(body: dict[str, Any]) -> Any:
    """Create a user"""
    check_grant(roles.permissions_of(body["role"]))
    return users.create_user(body.pop("username"), body.pop("password"), cost=settings().password_cost, **body)


@room.route("/users/<user_id>")
@requires("users:manage")
@room.response(200, schemas.UserView)
def get_user(user_id: str) -> Any:
    """One user"""
    return users.find_user(user_id)


@room.route("/users/<user_id>", methods=["PATCH"])
@requires("users:manage")
@room.arguments(schemas.UserChange)
@room.response(200, schemas.UserView)
def change_user(body: dict[str, Any], user_id: str) -> Any:
    """Change role, profile, activity or password of a user"""
    user = users.find_user(user_id)
    check_grant(roles.permissions_of(user.role) | roles.permissions_of(body.get("role", user.role)))
    password = body.pop("password", None)
    if body:
        user = users.change_user(user, body)
    if password is not None:
        users.set_password(user, password, cost=settings().password_cost)
    return user


@room.route("/users/<user_id>", methods=["DELETE"])
@requires("users:manage")
@room.response(204)
def delete_user(user_id: str) -> None:
    """Remove a user"""
    user = users.find_user(user_id)
    check_grant(roles.permissions_of(user.role))
    users.delete_user(user)


@room.route("/users/<user_id>/sessions", methods=["DELETE"])
@requires("users:manage")
@room.response(200, schemas.MessageView)
def revoke_sessions(user_id: str) -> dict[str, str]:
    """End all log-ins of a user"""
    user = users.find_user(user_id)
    check_grant(roles.permissions_of(user.role))
    return {"message": f"Ended {sessions.revoke_sessions(user)} log-ins"}


@room.route("/permissions")
@requires("users:manage")
@room.response(200, schemas.PermissionView(many=True))
def list_permissions() -> Any:
    """The permissions that roles are made of"""
    return [{"name": name, "description": text} for name, text in PERMISSIONS.items()]


@room.route("/roles")
@requires("users:manage")
@room.response(200, schemas.RoleView(many=True))
def list_roles() -> Any:
    """The built-in roles, then the others by name"""
    return roles.list_roles()


@room.route("/roles", methods=["POST"])
@requires("users:manage")
@room.arguments(schemas.NewRole)
@room.response(201, schemas.RoleView)
def create_role(body: dict[str, Any]) -> Any:
    """Make a role of named permissions"""
    check_grant(body["permissions"])
    return roles.create_role(**body)


@room.route("/roles/<name>")
@requires("users:manage")
@room.response(200, schemas.RoleView)
def get_role(name: str) -> Any:
    """One role"""
    return roles.find_role(name)


@room.route("/roles/<name>", methods=["PATCH"])
@requires("users:manage")
@room.arguments(schemas.RoleChange)
@room.response(200, schemas.RoleView)
def change_role(body: dict[str, Any], name: str) -> Any:
    """Change permissions or description of a role that is not built in"""
    check_grant(roles.permissions_of(name) | set(body.get("permissions", ())))
    return roles.change_role(name, body)


@room.route("/roles/<name>", methods=["DELETE"])
@requires("users:manage")
@room.response(204)
def delete_role(name: str) -> None:
    """Delete a role that no user has"""
    check_grant(roles.permissions_of(name))
    roles.delete_role(name)
