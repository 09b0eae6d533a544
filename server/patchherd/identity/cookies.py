# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The session cookie of the web pages: signed, not readable by scripts, not sent along by other sites."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask, Request, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

from patchherd.settings import Settings


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, kept to HTTPS wherever the request came by it."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ:  # agents and API clients: nothing to verify
            return self.session_class()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def install(app: Flask, settings: Settings) -> None:
    """Configure the cookie."""
    app.session_interface = Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="patchherd_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
    )
