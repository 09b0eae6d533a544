# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Slow down guessing: failed authentications per client address on the views that hand out access.

Only refused requests count, so a fleet behind one address is never held up by its own numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import limits
from flask import Flask, Response, request
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from patchherd.errors import TooManyRequests
from patchherd.identity.access import view_of_request
from patchherd.settings import Settings

View = TypeVar("View", bound=Callable[..., Any])


def limited(view: View) -> View:
    """Declare that refusals by this view function count against the client address."""
    view.patchherd_limited = True  # type: ignore[attr-defined]
    return view


def install(app: Flask, settings: Settings) -> None:
    """Count in this process's memory; several processes therefore allow so many times more."""
    limit = limits.parse(settings.auth_rate_limit)
    refusals = MovingWindowRateLimiter(MemoryStorage())

    @app.before_request
    def refuse() -> None:
        if _is_limited() and not refusals.test(limit, _client()):
            reset_at = refusals.get_window_stats(limit, _client()).reset_time
            wait = max(1, int(reset_at - time.time()) + 1)
            raise TooManyRequests(
                "Rate limit exceeded",
                f"Too many failed attempts: try again in {wait} s",
                headers={"Retry-After": str(wait)},
            )

    @app.after_request
    def count(response: Response) -> Response:
        if response.status_code in {401, 403} and _is_limited():
            refusals.hit(limit, _client())
        return response


def _is_limited() -> bool:
    return getattr(view_of_request(), "patchherd_limited", False)


def _client() -> str:
    return request.remote_addr or "unknown"
