# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The API's description says of every operation by which credentials it can be called; the views' declarations tell."""

from __future__ import annotations

from typing import Any

from apispec import APISpec, BasePlugin
from flask import Flask
from werkzeug.routing import Rule

from patchherd.identity.access import declared_access
from patchherd.identity.permissions import AGENT_DOWNLOAD, AGENT_OPEN, ENROLLMENT_USE, HOST_REPORT


def _header(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name}


SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token of /auth/login, or an API token",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The two halves of an API token, or key and secret of an enrolment token of the API kind",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "patchherd_session",
        "description": "A log-in of the dashboard; changes need the X-CSRF-Token header",
    },
    "hostId": _header("X-API-ID"),
    "hostKey": _header("X-API-KEY"),
    "enrollmentKey": _header("X-Auto-Enrollment-Key"),
    "enrollmentSecret": _header("X-Auto-Enrollment-Secret"),
    "signature": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "Part of the address that an update check answers",
    },
}
_USER: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}, {"cookie": []}]
_AGENT: list[dict[str, list[str]]] = [{"bearer": []}]
"""An API token that may report, or `key:secret` of an enrolment token."""
_LINK: list[dict[str, list[str]]] = [{"signature": []}]
_HOST: list[dict[str, list[str]]] = [{"hostId": [], "hostKey": []}]
_ENROLLMENT: list[dict[str, list[str]]] = [{"enrollmentKey": [], "enrollmentSecret": []}]


class AccessPlugin(BasePlugin):
    """Adds `security`, and `x-permissions`: any one of them is enough."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def init_spec(self, spec: APISpec) -> None:
        for name, scheme in SCHEMES.items():
            spec.components.security_scheme(name, scheme)

    def operation_helper(
        self,
        path: str | None = None,
        operations: dict[str, Any] | None = None,
        *,
        rule: Rule | None = None,
        **kwargs: Any,
    ) -> None:
        if rule is None:
            return
        view: Any = self._app.view_functions[rule.endpoint]
        view_class = getattr(view, "view_class", None)
        for method, operation in (operations or {}).items():
            needed = declared_access(getattr(view_class, method) if view_class else view) or ()
            operation["security"] = _requirements(needed)
            if needed:
                operation["x-permissions"] = list(needed)


def _requirements(needed: tuple[str, ...]) -> list[dict[str, list[str]]]:
    """Alternatives, each of the schemes that it takes together; none for what is public."""
    found = []
    if HOST_REPORT in needed:
        found += _HOST
    if AGENT_OPEN in needed:
        found += _AGENT
    if ENROLLMENT_USE in needed:
        found += _ENROLLMENT
    if AGENT_DOWNLOAD in needed:
        found += _LINK
    if set(needed) - {HOST_REPORT, ENROLLMENT_USE, AGENT_OPEN, AGENT_DOWNLOAD}:
        found += [scheme for scheme in _USER if scheme not in found]
    return found
