# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Slow down guessing: failed authentications per client address on the views that hand out access.

Only refused requests count, so a fleet behind one address is never held up by its own numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, request
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded

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
    limiter = Limiter(
        lambda: request.remote_addr or "unknown",
        app=app,
        storage_uri="memory://",
        strategy="moving-window",
        application_limits=[
            ApplicationLimit(
                settings.auth_rate_limit,
                exempt_when=lambda: not getattr(view_of_request(), "patchherd_limited", False),
                deduct_when=_refused,
            )
        ],
    )

    @app.errorhandler(RateLimitExceeded)
    def answer(error: RateLimitExceeded) -> Response:
        limit = limiter.current_limit
        wait = max(1, int(limit.reset_at - time.time()) + 1) if limit else 60
        refusal = TooManyRequests("Rate limit exceeded", f"Too many failed attempts: try again in {wait} s")
        response = app.response_class(app.json.dumps(refusal.body()), 429, mimetype="application/json")
        response.headers["Retry-After"] = str(wait)
        return response


def _refused(response: Response) -> bool:
    return response.status_code in {401, 403}
