# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Create, change and remove users. One active administrator always remains."""

from __future__ import annotations

import re
import uuid
from typing import Any

from patchherd.database import now, write_transaction
from patchherd.errors import BadRequest, Conflict, NotFound, invalid
from patchherd.identity import audit, credentials
from patchherd.identity.locking import USERS, take_turn
from patchherd.identity.models import LoginFailure, LoginSession, User
from patchherd.identity.roles import check_role
from patchherd.settings import MIN_PASSWORD_LENGTH, WELL_KNOWN_SECRETS

_NAME = re.compile(r"^[a-z0-9][a-z0-9._@-]{0,63}$")


def create_user(username: str, password: str, *, cost: int, role: str = "admin", **profile: Any) -> User:
    """A new user; `profile`: first_name, last_name, email; `cost`: of the password hash (settings.password_cost).

    Raises BadRequest for a bad name, role or password, Conflict for a taken name.
    """
    name = username.strip().lower()
    if not _NAME.match(name):
        raise invalid("username", "1 to 64 letters, digits and . _ @ - are needed", value=username)
    _check_strength(password)
    password_hash = credentials.hash_secret(password, cost)
    moment = now()
    with write_transaction():
        take_turn(USERS)
        check_role(role)
        if User.select().where(User.username == name).exists():
            raise Conflict("Username already taken", f"a user {name} exists")
        user = User.create(
            uuid=str(uuid.uuid4()),
            username=name,
            role=role,
            password_hash=password_hash,
            created_at=moment,
            updated_at=moment,
            **profile,
        )
        audit.record("user.create", "user", user.uuid, name, after={"role": role})
    return user


def create_first_user(username: str, password: str, *, cost: int, **profile: Any) -> User:
    """The first administrator. Raises BadRequest when there is any user already."""
    with write_transaction():
        take_turn(USERS)
        if has_users():
            raise BadRequest("Setup already done", "there is a user already: log in instead")
        return create_user(username, password, cost=cost, role="admin", **profile)


def has_users() -> bool:
    return bool(User.select().exists())


def list_users() -> list[User]:
    """All users by name."""
    return list(User.select().order_by(User.username))


def find_user(reference: str) -> User:
    """The user with this UUID or name. Raises NotFound."""
    user = User.get_or_none((User.uuid == reference) | (User.username == reference.lower()))
    if user is None:
        raise NotFound("User not found")
    return user


def set_password(user: User, password: str, *, cost: int) -> None:
    """Change a password and end all log-ins of the user. Raises BadRequest for a weak one."""
    _check_strength(password)
    password_hash = credentials.hash_secret(password, cost)
    with write_transaction():
        User.update(password_hash=password_hash, updated_at=now()).where(User.id == user.id).execute()
        LoginSession.delete().where(LoginSession.user == user.id).execute()
        LoginFailure.delete().where(LoginFailure.username == user.username).execute()
        audit.record("user.password", "user", user.uuid, user.username)


def change_user(user: User, changes: dict[str, Any]) -> User:
    """Change role, is_active, first_name, last_name, email. Raises Conflict when no active administrator remains."""
    with write_transaction():
        take_turn(USERS)
        if "role" in changes:
            check_role(changes["role"])
        if changes.get("role", "admin") != "admin" or changes.get("is_active") is False:
            _keep_an_admin(user)
        before = {key: getattr(user, key) for key in changes}
        User.update(**changes, updated_at=now()).where(User.id == user.id).execute()
        if changes.get("is_active") is False:
            LoginSession.delete().where(LoginSession.user == user.id).execute()
        audit.record("user.update", "user", user.uuid, user.username, before=before, after=changes)
    return find_user(user.uuid)


def delete_user(user: User) -> None:
    """Remove a user and their log-ins; their API tokens stay. Raises Conflict for the last active administrator."""
    with write_transaction():
        take_turn(USERS)
        _keep_an_admin(user)
        User.delete().where(User.id == user.id).execute()
        audit.record("user.delete", "user", user.uuid, user.username, before={"role": user.role})


def _keep_an_admin(leaving: User) -> None:
    others = User.select().where((User.role == "admin") & User.is_active & (User.id != leaving.id))
    if not others.exists():
        raise Conflict("Last administrator", "one active administrator must remain")


def _check_strength(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH or password.lower() in WELL_KNOWN_SECRETS:
        raise invalid("password", f"at least {MIN_PASSWORD_LENGTH} characters and no well-known one are needed")
    if len(password.encode()) > credentials.MAX_BCRYPT_BYTES:
        raise invalid("password", f"at most {credentials.MAX_BCRYPT_BYTES} bytes are possible")
