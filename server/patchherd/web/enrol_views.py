# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Enrolment tokens: create one, see the line that uses it, switch it off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue
from marshmallow import ValidationError

from patchherd.enrollment import quota, tokens
from patchherd.enrollment.schemas import NewToken
from patchherd.enrollment.scripts import enrollment_line
from patchherd.errors import ApiError
from patchherd.http import base_url, check_host_header, settings
from patchherd.identity.access import current, requires
from patchherd.web.formats import moment_of_request, sentences
from patchherd.web.room import attempt, room

LIVES = {"3600": "1 hour", "86400": "1 day", "604800": "7 days", "2592000": "30 days", "": "no end"}
"""Seconds that a new token may live."""


@room.get("/enrol")
@requires("settings:manage")
def enrol() -> str:
    """The form and the tokens that exist."""
    return _page()


@room.post("/enrol")
@requires("settings:manage")
def create_token() -> ResponseReturnValue:
    """A new token and, this once, the line that carries its secret."""
    check_host_header()
    form = request.form
    life = form.get("life", "86400")
    principal = current()
    try:
        values: dict[str, Any] = NewToken().load(
            {
                "token_name": form.get("token_name", "").strip(),
                "max_hosts_per_day": form.get("max_hosts_per_day", 100, type=int),
                "allowed_ip_ranges": form.get("allowed_ip_ranges", "").replace(",", " ").split(),
            }
        )
        if life in LIVES and life:
            values["expires_at"] = moment_of_request() + timedelta(seconds=int(life))
        token, secret = tokens.create_token(
            values,
            prefix=settings().credential_prefix,
            cost=settings().token_cost,
            created_by=principal.id if principal.kind == "user" else None,
        )
    except ValidationError as error:
        return _page(problem="; ".join(sentences(error.messages)), form=form), 400
    except ApiError as error:
        return _page(problem=error.message or error.error, form=form), error.status
    with_ssh = bool(form.get("with_ssh"))
    line = enrollment_line(
        settings(), base_url(settings()), token_key=token.token_key, token_secret=secret, with_ssh=with_ssh
    )
    return _page(line=line, created=token, with_ssh=with_ssh)


@room.post("/enrol/<token_id>/<word>")
@requires("settings:manage")
def change_token(token_id: str, word: str) -> ResponseReturnValue:
    """Switch a token on or off, or delete it."""

    def change() -> str:
        if word == "delete":
            tokens.delete_token(token_id)
        elif word in {"activate", "deactivate"}:
            tokens.change_token(token_id, {"is_active": word == "activate"})
        return "/enrol"

    return attempt(change, {"delete": "The token is deleted; hosts that joined with it stay."}.get(word, ""), "/enrol")


def _page(**context: Any) -> str:
    rows = [
        {
            "id": token.uuid,
            "name": token.token_name,
            "key": token.token_key,
            "active": token.is_active,
            "expired": token.expires_at is not None and token.expires_at <= moment_of_request(),
            "expires_at": token.expires_at,
            "last_used_at": token.last_used_at,
            "used": quota.used_today(token),
            "limit": token.max_hosts_per_day,
            "ranges": token.allowed_ip_ranges,
        }
        for token in tokens.list_tokens()
    ]
    return render_template("enrol.html", tokens=rows, lives=LIVES, **{"form": {}, **context})
