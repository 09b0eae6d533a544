# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Logging in and out: passwords, lock-out, access tokens and session cookies."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

import jwt
from flask import session

from patchherd.database import now, write_transaction
from patchherd.errors import TooManyRequests, Unauthorized
from patchherd.http import settings
from patchherd.identity import audit, credentials
from patchherd.identity.models import LoginFailure, LoginSession, User
from patchherd.identity.permissions import ROLES
from patchherd.identity.principal import Principal

ALGORITHM = "HS256"
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
        LoginFailure.update(locked_until=moment + LOCK_TIME, failures=0).where(
            (LoginFailure.username == name) & (LoginFailure.failures >= settings().login_attempts)
        ).execute()


def start_session(user: User, life: timedelta) -> LoginSession:
    """Note a log-in that is good for `life`."""
    moment = now()
    with write_transaction():
        LoginSession.delete().where(LoginSession.expires_at < moment).execute()
        login = LoginSession.create(
            key=secrets.token_urlsafe(32), user=user, created_at=moment, expires_at=moment + life
        )
        User.update(last_login_at=moment).where(User.id == user.id).execute()
        audit.record("user.login", "user", user.uuid, user.username, actor=principal_of(user))
    return login


def end_session(key: str) -> None:
    """Log out; the session's cookie and access token are worth nothing from now on."""
    LoginSession.delete().where(LoginSession.key == key).execute()


def issue_access_token(user: User) -> tuple[str, int]:
    """A new log-in as a signed access token, and its life in seconds."""
    life = timedelta(minutes=settings().access_token_minutes)
    login = start_session(user, life)
    claims = {"sub": user.uuid, "sid": login.key, "iat": login.created_at, "exp": login.expires_at}
    return jwt.encode(claims, _signing_key(), ALGORITHM), int(life.total_seconds())


def open_cookie(user: User) -> str:
    """A new log-in in this browser's session cookie; returns the anti-forgery token of its pages."""
    login = start_session(user, timedelta(hours=settings().session_hours))
    session.clear()
    session.permanent = True
    session["login"] = login.key
    session["csrf"] = secrets.token_urlsafe(32)
    return str(session["csrf"])


def authenticate(token: str) -> Principal:
    """The principal of an access token. Raises Unauthorized."""
    principal = principal_of_session(session_key(token))
    if principal is None:
        raise Unauthorized("Invalid token")
    return principal


def session_key(token: str) -> str:
    """The log-in that an access token names. Raises Unauthorized for a forged, expired or malformed one."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token, _signing_key(), [ALGORITHM], options={"require": ["sub", "sid", "exp"]}
        )
    except jwt.ExpiredSignatureError as exc:
        raise Unauthorized("Token expired") from exc
    except jwt.PyJWTError as exc:
        raise Unauthorized("Invalid token") from exc
    return str(claims["sid"])


def principal_of_session(key: str) -> Principal | None:
    """The user of a log-in that has neither ended nor expired; None otherwise."""
    user = (
        User.select()
        .join(LoginSession)
        .where((LoginSession.key == key) & (LoginSession.expires_at > now()) & User.is_active)
        .first()
    )
    return principal_of(user) if user else None


def principal_of(user: User) -> Principal:
    return Principal("user", user.id, user.username, ROLES.get(user.role, frozenset()))


def _signing_key() -> bytes:
    # A key of its own: what signs cookies must not sign access tokens.
    return hashlib.sha256(f"access-token:{settings().secret_key}".encode()).digest()
