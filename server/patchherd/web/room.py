# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The blueprint of the pages, and what they have in common: content security, errors, log-in, live parts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from flask import Blueprint, Flask, Response, flash, g, make_response, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from patchherd import __version__
from patchherd.errors import ApiError
from patchherd.identity.access import current_or_none
from patchherd.web import assets, formats

log = structlog.get_logger("patchherd.web")

room = Blueprint("web", __name__, template_folder="templates")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
MACHINE_PATHS = re.compile(r"^/(api|static|healthz|readyz|metrics)(/|$)")
"""Their clients read JSON or text, whatever they accept."""

JsonErrors = Callable[[HTTPException], Any]


def install(app: Flask, json_errors: JsonErrors) -> None:
    """Register the pages. `json_errors` answers what is wrong on machine paths."""
    app.register_blueprint(room)

    @app.errorhandler(404)
    @app.errorhandler(405)
    def answer_lost(error: HTTPException) -> Any:
        # No blueprint is in charge of an address that nothing answers.
        return json_errors(error) if MACHINE_PATHS.match(request.path) else answer_http(error)

    @app.after_request
    def protect(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response


# -- what templates know ---------------------------------------------------------------------------------------------


@room.app_context_processor
def common() -> dict[str, Any]:
    principal = None if g.get("page_without_user") else current_or_none()
    permissions = principal.permissions if principal else frozenset()
    return {
        "asset": assets.url,
        "principal": principal,
        "may": lambda permission: permission in permissions,
        "csrf_token": session.get("csrf", ""),
        "version": __version__,
    }


@room.app_template_global()
def csrf() -> Markup:
    """The field by which a form proves that it comes from these pages."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(session.get("csrf", ""))


for _name in ("ago", "took", "count", "shares"):
    room.add_app_template_global(getattr(formats, _name), _name)
room.add_app_template_filter(formats.ago, "ago")


# -- live parts ------------------------------------------------------------------------------------------------------


def live(element: str, template: str, url: str, seconds: int, *, sync: str = "", **context: Any) -> Markup:
    """A part of a page that asks for its successor at `url` every so many seconds (0: it is final)."""
    inner = render_template(template, **context)
    digest = hashlib.sha256(f"{seconds} {url} {inner}".encode()).hexdigest()[:16]
    values = {"element": element, "url": url, "seconds": seconds, "sync": sync, "digest": digest}
    # Both templates escape; what is marked safe here is their output.
    return Markup(render_template("_live.html", inner=Markup(inner), **values))  # noqa: S704


def answer_live(part: Markup) -> ResponseReturnValue:
    """A part by itself; 204 when the browser already shows exactly this, so that nothing on the page moves."""
    seen = request.headers.get("X-Seen", "")
    if seen.isalnum() and f'"X-Seen": "{seen}"' in part:
        return "", 204
    return str(part)


def with_query(path: str, **values: Any) -> str:
    """`path?query` of the values that are not empty."""
    query = urlencode({name: value for name, value in values.items() if value not in ("", None, 0)})
    return f"{path}?{query}" if query else path


# -- errors ----------------------------------------------------------------------------------------------------------


@room.errorhandler(ApiError)
def answer_error(error: ApiError) -> ResponseReturnValue:
    if error.status == 401:
        return ask_for_login()
    return error_page(error.status, error.error, error.message or "", error.headers)


@room.errorhandler(429)
@room.errorhandler(HTTPException)
def answer_http(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    text = {
        404: "There is nothing at this address.",
        405: "This address answers only to what a button of the dashboard sends.",
        429: "Too many failed attempts from this address. Wait a minute, then try again.",
    }.get(error.code or 500, error.description or "")
    return error_page(error.code or 500, error.name, text)


@room.errorhandler(Exception)
def answer_fault(error: Exception) -> ResponseReturnValue:
    log.exception("request failed", method=request.method, path=request.path)
    g.page_without_user = True  # who it is may be what cannot be found out
    return error_page(500, "Internal server error", "The server's log has the details.")


def error_page(status: int, title: str, text: str, headers: dict[str, str] | None = None) -> Response:
    response = make_response(render_template("error.html", status=status, title=title, text=text), status)
    response.headers.update(headers or {})
    return response


def ask_for_login() -> ResponseReturnValue:
    """To the log-in page, and back afterwards; a live part sends the whole page there."""
    if request.headers.get("HX-Request") == "true":
        shown = urlsplit(request.headers.get("HX-Current-URL", ""))
        back = shown.path + (f"?{shown.query}" if shown.query else "")
        return "", 401, {"HX-Redirect": with_query("/login", next=local_path(back))}
    wanted = request.full_path.rstrip("?") if request.method in {"GET", "HEAD"} else "/"
    return redirect(with_query("/login", next=local_path(wanted) if wanted != "/" else ""), 303)


def local_path(text: str) -> str:
    """`text` when it is a path of this server, else nothing: a log-in must not lead to somebody else's page."""
    if not text.startswith("/") or text.startswith(("//", "/login")) or re.search(r"[\\\x00-\x20\x7f]", text):
        return ""
    parts = urlsplit(text)
    return "" if parts.scheme or parts.netloc else text


# -- actions ---------------------------------------------------------------------------------------------------------


def attempt(action: Callable[[], str], done: str, back: str) -> ResponseReturnValue:
    """Do what a button asks for. `action` returns the page of its result; a refusal leads `back` and says why."""
    try:
        target = action()
    except ApiError as error:
        flash(f"{error.error}: {error.message}"[:600] if error.message else error.error, "bad")
        return redirect(back, 303)
    if done:
        flash(done, "ok")
    return redirect(target, 303)
