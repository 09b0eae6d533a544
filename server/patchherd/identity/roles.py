# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Roles: the built-in ones, and those that operators make of named permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import peewee

from patchherd.database import now, write_transaction
from patchherd.errors import Conflict, NotFound, invalid
from patchherd.identity import audit
from patchherd.identity.locking import USERS, take_turn
from patchherd.identity.models import Role, User
from patchherd.identity.permissions import ROLES, USER_PERMISSIONS

_NAME = re.compile(r"^[a-z0-9][a-z0-9 ._-]{0,62}[a-z0-9]$")
_DESCRIPTIONS = {
    "admin": "Everything",
    "operator": "Devices, deployments and automation",
    "viewer": "Look, change nothing",
}


@dataclass(frozen=True)
class RoleFacts:
    """A role as it is shown."""

    name: str
    description: str
    permissions: list[str]
    built_in: bool
    users: int


def permissions_of(name: str) -> frozenset[str]:
    """What a role allows; nothing for an unknown one."""
    if name in ROLES:
        return ROLES[name]
    role = Role.get_or_none(Role.name == name)
    return frozenset(role.permissions) & USER_PERMISSIONS if role else frozenset()


def check_role(name: str) -> str:
    """`name` when there is such a role. Raises BadRequest."""
    if name not in ROLES and not Role.select().where(Role.name == name).exists():
        raise invalid("role", "no such role", value=name)
    return name


def list_roles() -> list[RoleFacts]:
    """The built-in roles, then the others by name."""
    counted = User.select(User.role, peewee.fn.COUNT(User.id)).group_by(User.role).tuples()
    users: dict[str, int] = dict(counted)
    built_in = [
        RoleFacts(name, _DESCRIPTIONS[name], sorted(allowed), True, users.get(name, 0))
        for name, allowed in ROLES.items()
    ]
    return built_in + [
        RoleFacts(role.name, role.description, role.permissions, False, users.get(role.name, 0))
        for role in Role.select().order_by(Role.name)
    ]


def find_role(name: str) -> RoleFacts:
    """One role. Raises NotFound."""
    for role in list_roles():
        if role.name == name:
            return role
    raise NotFound("Role not found")


def create_role(name: str, permissions: Iterable[str], description: str = "") -> RoleFacts:
    """A new role. Raises BadRequest for a bad name or permission, Conflict for a taken name."""
    if not _NAME.match(name):
        raise invalid("name", "2 to 64 lower-case letters, digits, blanks and . _ - are needed", value=name)
    allowed = _checked(permissions)
    moment = now()
    with write_transaction():
        take_turn(USERS)
        if name in ROLES or Role.select().where(Role.name == name).exists():
            raise Conflict("Role already exists", f"a role {name} exists")
        Role.create(name=name, description=description, permissions=allowed, created_at=moment, updated_at=moment)
        audit.record("role.create", "role", name, name, after={"permissions": allowed, "description": description})
    return find_role(name)


def change_role(name: str, changes: dict[str, Any]) -> RoleFacts:
    """Change permissions or description; holds for its users from their next request on.

    Raises NotFound, BadRequest, Conflict for a built-in role.
    """
    if "permissions" in changes:
        changes = {**changes, "permissions": _checked(changes["permissions"])}
    with write_transaction():
        role = _own(name)
        before = {key: getattr(role, key) for key in changes}
        Role.update(**changes, updated_at=now()).where(Role.name == name).execute()
        audit.record("role.update", "role", name, name, before=before, after=changes)
    return find_role(name)


def delete_role(name: str) -> None:
    """Delete a role. Raises NotFound, and Conflict for a built-in one or while users have it."""
    with write_transaction():
        take_turn(USERS)
        role = _own(name)
        users = [user.username for user in User.select(User.username).where(User.role == name).limit(5)]
        if users:
            raise Conflict("Role is in use", f"users with it: {', '.join(users)}")
        Role.delete().where(Role.name == name).execute()
        audit.record("role.delete", "role", name, name, before={"permissions": role.permissions})


def _own(name: str) -> Role:
    if name in ROLES:
        raise Conflict("Role is built in", "make a role of your own instead")
    role = Role.get_or_none(Role.name == name)
    if role is None:
        raise NotFound("Role not found")
    return role


def _checked(permissions: Iterable[str]) -> list[str]:
    allowed = sorted(set(permissions))
    if unknown := [permission for permission in allowed if permission not in USER_PERMISSIONS]:
        raise invalid("permissions", f"unknown permission {unknown[0]}")
    if not allowed:
        raise invalid("permissions", "at least one permission is needed")
    return allowed
