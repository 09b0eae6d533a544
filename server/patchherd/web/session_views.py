# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Logging in and out in a browser, static files, the API's documentation."""

from __future__ import annotations

from flask import Response, abort, redirect, render_template, request, send_from_directory, session
from flask.typing import ResponseReturnValue

from patchherd.errors import Forbidden, TooManyRequests, Unauthorized
from patchherd.identity import logins, sessions
from patchherd.identity.access import current_or_none, public, requires
from patchherd.identity.permissions import USER_PERMISSIONS
from patchherd.identity.ratelimit import limited
from patchherd.web import assets
from patchherd.web.room import local_path, room


@room.get("/login")
@public("this is how one gets in")
def login() -> ResponseReturnValue:
    """The log-in form; who is logged in goes on."""
    following = local_path(request.args.get("next", ""))
    if current_or_none() is not None:
        return redirect(following or "/")
    return render_template("login.html", next=following)


@room.post("/login")
@public("this is how one gets in")
@limited
def log_in() -> ResponseReturnValue:
    """Check name and password, open the session cookie."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("Cross-site request refused", "Log in on this server's own page.")
    following = local_path(request.form.get("next", ""))
    name = request.form.get("username", "")
    try:
        user = logins.check_password(name, request.form.get("password", ""))
    except (Unauthorized, TooManyRequests) as error:
        page = render_template("login.html", next=following, username=name[:64], error=error.message or error.error)
        return page, error.status, error.headers
    sessions.open_cookie(user)
    return redirect(following or "/", 303)


@room.post("/logout")
@requires(*sorted(USER_PERMISSIONS))
def log_out() -> ResponseReturnValue:
    """End this log-in."""
    sessions.end_session(str(session.get("login")))
    session.clear()
    return redirect("/login", 303)


@room.get("/docs")
@public("it shows the API's public description")
def docs() -> ResponseReturnValue:
    """Swagger UI."""
    return render_template("docs.html")


@room.get("/static/<version>/<path:name>")
@public("style sheets, scripts and fonts hold no data")
def static_file(version: str, name: str) -> Response:
    """A file of the dashboard; its address changes with its content."""
    if version != assets.version() or name not in assets.names():
        abort(404)
    suffix = "." + name.rpartition(".")[2]
    response = send_from_directory(assets.STATIC, name, mimetype=assets.TYPES[suffix], etag=False)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
