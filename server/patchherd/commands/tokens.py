# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Commands about enrolment tokens and API tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from patchherd.commands import start
from patchherd.commands.context import database_of, print_table
from patchherd.database import now
from patchherd.enrollment import tokens
from patchherd.enrollment.schemas import NewToken
from patchherd.enrollment.scripts import enrollment_line, pin_options
from patchherd.errors import PatchherdError
from patchherd.identity import api_tokens
from patchherd.identity.permissions import HOST_REPORT
from patchherd.settings import Settings


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
        base = (url or settings.public_url or start.last_address(data)).rstrip("/")
        pinned = pin_options(settings, base)
        if pinned:
            _refuse_unnamed(settings, base)
        token, secret = tokens.create_token(values, prefix=settings.credential_prefix, cost=settings.token_cost)
        line = enrollment_line(settings, base, token_key=token.token_key, token_secret=secret, with_ssh=True)
    click.echo(f"token key     {token.token_key}")
    click.echo(f"token secret  {secret}  (shown once)")
    click.echo("\nenrol a Linux machine, as root, and let the server log in by SSH:")
    if pinned:
        click.echo("  # -k skips the authority only, which hosts cannot know yet; the pinned key is enforced.")
        click.echo("  # The script brings the authority along, and all that follows is verified against it.")
    click.echo(f"  {line}")


def _refuse_unnamed(settings: Settings, base: str) -> None:
    """A host that gets the script from an address that the certificate does not name would stop at its next step."""
    from patchherd import tls

    name = urlsplit(base).hostname or ""
    if not tls.covers(settings.tls_directory / "server.crt", name):
        raise PatchherdError(f"{base}: the certificate does not name {name}; set public_url and start the server again")


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


def delete_enrolment_token(data: Path, reference: str) -> None:
    """Delete the token with this key or id. Raises NotFound."""
    with database_of(data):
        deleted = tokens.delete_token(tokens.id_of_key(reference) or reference)
    click.echo(f"deleted {deleted.token_name}")


def create_api_token(data: Path, name: str, role: str, days: int | None) -> None:
    """Create an API token and print it."""
    expires_at = now() + timedelta(days=days) if days else None
    with database_of(data):
        granted: dict[str, Any] = {"permissions": [HOST_REPORT]} if role == "agent" else {"role": role}
        _, text = api_tokens.create_api_token(name, **granted, expires_at=expires_at)
    click.echo(text)


def _day(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else None
