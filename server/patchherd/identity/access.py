# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who is this, and may they: the one place that decides.

Every view function says what it needs with `requires` or that it needs nothing with `public`; a hook before each
request reads that, authenticates and refuses. A view without either is closed to everybody.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from flask import Flask, current_app, g, request, session

from patchherd.errors import ApiError, Forbidden, Unauthorized
from patchherd.identity import api_tokens, sessions
from patchherd.identity.permissions import USER_PERMISSIONS
from patchherd.identity.principal import Principal

__all__ = [
    "Principal",
    "check_grant",
    "current",
    "current_or_none",
    "install",
    "public",
    "register_basic",
    "register_bearer",
    "register_scheme",
    "requires",
]

log = structlog.get_logger("patchherd.access")
View = TypeVar("View", bound=Callable[..., Any])

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_ENDPOINTS = frozenset({"api-docs.openapi_json"})
"""Views of libraries, which cannot carry a declaration."""


Authenticate = Callable[[], Principal | None]
"""The principal of the current request; None without a credential of this kind; raises ApiError for a bad one."""

BasicCheck = Callable[[str, str], Principal | None]
"""The same for an HTTP Basic name and secret; None when the name is none of its own."""

BearerCheck = Callable[[str], Principal | None]
"""The same for a Bearer value."""

_schemes: dict[str, tuple[Authenticate, str]] = {}
_basic_checks: list[BasicCheck] = []
_bearer_checks: list[BearerCheck] = []


def register_scheme(permission: str, authenticate: Authenticate, missing: str) -> None:
    """Let views that require `permission` be called with a credential of another room.

    `missing` is the error that a request without any credential gets there.
    """
    _schemes[permission] = (authenticate, missing)


def register_basic(check: BasicCheck) -> None:
    """Let another room recognise HTTP Basic credentials."""
    if check not in _basic_checks:
        _basic_checks.append(check)


def register_bearer(check: BearerCheck) -> None:
    """Let another room recognise Bearer values."""
    if check not in _bearer_checks:
        _bearer_checks.append(check)


def requires(*permissions: str) -> Callable[[View], View]:
    """Declare that a view function needs one of these permissions."""

    def declare(view: View) -> View:
        view.patchherd_access = permissions  # type: ignore[attr-defined]
        return view

    return declare


def public(why: str) -> Callable[[View], View]:
    """Declare that anybody may call a view function, and why."""

    def declare(view: View) -> View:
        view.patchherd_access = ()  # type: ignore[attr-defined]
        view.patchherd_public = why  # type: ignore[attr-defined]
        return view

    return declare


def current() -> Principal:
    """The principal of this request. Raises Unauthorized when there is none."""
    found = current_or_none()
    if found is None:
        raise Unauthorized
    return found


def current_or_none() -> Principal | None:
    """The principal of this request; None when it carries no valid credential of a user or token."""
    if "principal" not in g:
        try:
            g.principal = _authenticate_user()
        except ApiError:
            g.principal = None
    found: Principal | None = g.principal
    return found


def check_grant(permissions: Iterable[str]) -> None:
    """Refuse a request that hands out, or takes over, permissions that its principal lacks. Raises Forbidden."""
    if beyond := (set(permissions) & USER_PERMISSIONS) - current().permissions:
        raise Forbidden("Permission denied", f"needs the permission {sorted(beyond)[0]} itself")


def view_of_request() -> Any:
    """The function that will answer this request; None when no route matches."""
    if request.endpoint is None:
        return None
    view: Any = current_app.view_functions[request.endpoint]
    if (view_class := getattr(view, "view_class", None)) is None:
        return view
    method = request.method.lower()
    return getattr(view_class, method, None) or (view_class.get if method == "head" else None)


def declared_access(view: Any) -> tuple[str, ...] | None:
    """The permissions that a view declares, () for a public one, None when it declares nothing."""
    found: tuple[str, ...] | None = getattr(view, "patchherd_access", None)
    return found


def install(app: Flask) -> None:
    """Check every request to `app`."""

    @app.before_request
    def enforce() -> None:
        view = view_of_request()
        if view is None or request.method == "OPTIONS" or request.endpoint in PUBLIC_ENDPOINTS:
            return
        needed = declared_access(view)
        if needed is None:
            log.error("view declares no permission", endpoint=request.endpoint)
            raise Forbidden
        if not needed:
            return
        try:
            principal = _authenticate(needed)
        except Unauthorized as error:
            # Not "Basic": browsers open a log-in window of their own when they see that.
            error.headers.setdefault("WWW-Authenticate", 'Bearer realm="patchherd"')
            raise
        g.principal = principal
        if principal.permissions.isdisjoint(needed):
            raise Forbidden("Permission denied", f"needs the permission {' or '.join(needed)}")


def _authenticate(needed: tuple[str, ...]) -> Principal:
    missing = "Authentication required"
    for permission in needed:
        if permission in _schemes:
            authenticate, missing = _schemes[permission]
            if principal := authenticate():
                return principal
    principal = _authenticate_user()
    if principal is None:
        raise Unauthorized(missing)
    return principal


def _authenticate_user() -> Principal | None:
    header = request.headers.get("Authorization", "").strip()
    if header:
        kind, _, value = header.partition(" ")
        value = value.strip()
        if kind.lower() == "basic":
            return _authenticate_basic(value)
        if kind.lower() not in {"bearer", "jwt"} or not value:
            raise Unauthorized("Unsupported Authorization header")
        return _authenticate_bearer(value)
    if key := session.get("login"):
        principal = sessions.principal_of_session(str(key))
        if principal is not None:
            _check_forgery()
        return principal
    return None


def _authenticate_bearer(value: str) -> Principal:
    if api_tokens.looks_like(value):
        return api_tokens.authenticate(value)
    for check in _bearer_checks:
        if principal := check(value):
            return principal
    return sessions.authenticate(value)


def _authenticate_basic(value: str) -> Principal:
    try:
        name, separator, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        separator = ""
    if not separator:
        raise Unauthorized("Malformed Authorization header")
    for check in [api_tokens.authenticate_pair, *_basic_checks]:
        if principal := check(name, secret):
            return principal
    raise Unauthorized("Invalid credentials")


def _check_forgery() -> None:
    """A browser sends its cookie along with requests that other sites cause; those must change nothing."""
    if request.method in SAFE_METHODS:
        return
    shown = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if shown and hmac.compare_digest(shown.encode(), str(session.get("csrf", "")).encode()):
        return
    if request.headers.get("HX-Request") == "true" and _same_origin():
        return
    raise Forbidden("Cross-site request refused", "send the X-CSRF-Token header, or HX-Request from the same origin")


def _same_origin() -> bool:
    source = request.headers.get("Origin") or request.headers.get("Referer") or ""
    return urlsplit(source).netloc == request.host
