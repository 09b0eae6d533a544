# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Commands about enrolment tokens and API tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from patchherd.commands import start
from patchherd.commands.context import database_of, print_table
from patchherd.database import now
from patchherd.enrollment import tokens
from patchherd.enrollment.schemas import NewToken
from patchherd.errors import PatchherdError
from patchherd.identity import api_tokens


def create_enrolment_token(
    data: Path,
    name: str,
    url: str | None,
    *,
    max_hosts_per_day: int,
    group: str | None,
    allow: tuple[str, ...],
    expires_at: str | None,
) -> None:
    """Create a token and print key, secret and the line that enrols a Linux machine."""
    body: dict[str, Any] = {
        "token_name": name,
        "max_hosts_per_day": max_hosts_per_day,
        "allowed_ip_ranges": list(allow),
        "expires_at": expires_at,
    }
    if errors := NewToken().validate(body):
        raise PatchherdError("; ".join(f"{field}: {' '.join(map(str, rules))}" for field, rules in errors.items()))
    values = NewToken().load(body)
    if group:
        values["default_host_group_id"] = group
    with database_of(data) as settings:
        token, secret = tokens.create_token(values, prefix=settings.credential_prefix, cost=settings.token_cost)
        base = (url or settings.public_url or start.last_address(data)).rstrip("/")
        query = urlencode({"type": "direct-host", "token_key": token.token_key, "token_secret": secret})
        script = f"{base}{settings.api_prefix}/auto-enrollment/script?{query}"
    click.echo(f"token key     {token.token_key}")
    click.echo(f"token secret  {secret}  (shown once)")
    click.echo("\nenrol a Linux machine, as root, and let the server log in by SSH:")
    click.echo(f"  curl -fsS '{script}' | sh -s -- --with-ssh")


def list_enrolment_tokens(data: Path) -> None:
    """Print all enrolment tokens, newest first."""
    with database_of(data):
        rows = [
            [
                row.token_name,
                row.token_key,
                row.is_active,
                row.max_hosts_per_day,
                _day(row.last_used_at),
                _day(row.expires_at),
            ]
            for row in tokens.list_tokens()
        ]
    print_table(["name", "key", "active", "hosts a day", "last used", "expires"], rows)


def create_api_token(data: Path, name: str, role: str, days: int | None) -> None:
    """Create an API token and print it."""
    expires_at = now() + timedelta(days=days) if days else None
    with database_of(data):
        _, text = api_tokens.create_api_token(name, role=role, expires_at=expires_at)
    click.echo(text)


def _day(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else None
