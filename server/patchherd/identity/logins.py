# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who logs in: passwords and lock-out."""

from __future__ import annotations

import secrets
from datetime import timedelta

from patchherd.database import now, write_transaction
from patchherd.errors import TooManyRequests, Unauthorized
from patchherd.http import settings
from patchherd.identity import audit, credentials
from patchherd.identity.models import LoginFailure, User

FAILURE_MEMORY = timedelta(hours=24)
LOCK_TIME = timedelta(minutes=15)

_decoy: dict[int, str] = {}


def check_password(username: str, password: str) -> User:
    """The user with this name and password.

    Raises Unauthorized, or TooManyRequests while the name is locked. Names that nobody has behave alike, in time too.
    """
    name = username.strip().lower()[:64]
    moment = now()
    failure = LoginFailure.get_or_none(LoginFailure.username == name)
    if failure is not None and failure.locked_until is not None and failure.locked_until > moment:
        wait = int((failure.locked_until - moment).total_seconds()) + 1
        raise TooManyRequests(
            "Account locked", f"Too many failed log-ins: try again in {wait} s", headers={"Retry-After": str(wait)}
        )
    user = User.get_or_none(User.username == name)
    right = credentials.check_secret(password, user.password_hash if user else _decoy_hash())
    if user is None or not right or not user.is_active:
        _note_failure(name)
        raise Unauthorized("Invalid username or password")
    if failure is not None:
        LoginFailure.delete().where(LoginFailure.username == name).execute()
    return user


def _decoy_hash() -> str:
    cost = settings().password_cost
    if cost not in _decoy:
        _decoy[cost] = credentials.hash_secret(secrets.token_hex(16), cost)
    return _decoy[cost]


def _note_failure(name: str) -> None:
    moment = now()
    with write_transaction():
        LoginFailure.delete().where(LoginFailure.last_failure < moment - FAILURE_MEMORY).execute()
        LoginFailure.insert(username=name, failures=1, last_failure=moment).on_conflict(
            conflict_target=[LoginFailure.username],
            update={LoginFailure.failures: LoginFailure.failures + 1, LoginFailure.last_failure: moment},
        ).execute()
        locked = (
            LoginFailure.update(locked_until=moment + LOCK_TIME, failures=0)
            .where((LoginFailure.username == name) & (LoginFailure.failures >= settings().login_attempts))
            .execute()
        )
        if locked:
            audit.record("user.lock", "user", None, name)
