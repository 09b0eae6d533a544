# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The exception tree of the server, and the one error body that clients see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class PatchherdError(Exception):
    """Base of all errors that Patchherd raises on purpose."""


class SettingsError(PatchherdError):
    """A setting is missing, malformed or not safe."""


class ApiError(PatchherdError):
    """An answer to a client: HTTP status, short error, optional detail, optional field errors.

    `errors` rows come from `field_error`. `headers` are added to the response.
    """

    status = 500
    error = "Internal server error"

    def __init__(
        self,
        error: str | None = None,
        message: str | None = None,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.error = error or type(self).error
        self.message = message
        self.errors = errors
        self.headers = headers or {}
        super().__init__(message or self.error)

    def body(self) -> dict[str, Any]:
        return error_body(self.error, self.message, self.errors)


class BadRequest(ApiError):
    status, error = 400, "Bad request"


class Unauthorized(ApiError):
    status, error = 401, "Authentication required"


class Forbidden(ApiError):
    status, error = 403, "Permission denied"


class NotFound(ApiError):
    status, error = 404, "Not found"


class Conflict(ApiError):
    status, error = 409, "Conflict"


class Gone(ApiError):
    status, error = 410, "Gone"


class TooLarge(ApiError):
    status, error = 413, "Request body too large"


class TooManyRequests(ApiError):
    status, error = 429, "Rate limit exceeded"


class Unavailable(ApiError):
    status, error = 503, "Server is busy, try again"


def field_error(path: str, msg: str, location: str = "body", value: Any = None) -> dict[str, Any]:
    """One row of `errors`: which field broke which rule. Clients read either `param` or `path`."""
    row: dict[str, Any] = {"msg": msg, "param": path, "path": path, "location": location, "type": "field"}
    if isinstance(value, str | int | float | bool):
        row["value"] = value if not isinstance(value, str) else value[:200]
    return row


def invalid(path: str, msg: str, location: str = "body", value: Any = None) -> BadRequest:
    """A 400 about one field."""
    return BadRequest("Validation failed", f"{path}: {msg}", errors=[field_error(path, msg, location, value)])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the nearest of the known names; empty when none is near."""
    near = difflib.get_close_matches(name[:100], list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def error_body(error: str, message: str | None = None, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The error body: `error`, `message` and `errors` where there are any, `detail` = message or error."""
    body: dict[str, Any] = {"error": error}
    if message:
        body["message"] = message
    if errors:
        body["errors"] = errors
    body["detail"] = message or error
    return body
