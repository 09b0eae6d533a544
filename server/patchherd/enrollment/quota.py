# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""How many hosts a token may still create today (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import peewee

from patchherd.database import now
from patchherd.enrollment.models import EnrollmentToken
from patchherd.errors import TooManyRequests, Unauthorized

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def used_today(token: EnrollmentToken) -> int:
    """Hosts that the token created today."""
    created: int = token.hosts_created
    return created if token.quota_day == _today() else 0


def check(token: EnrollmentToken, wanted: int, *, bulk: bool = False) -> None:
    """Refuse early what cannot work. Raises TooManyRequests; only `consume` decides for good."""
    if used_today(token) + wanted > token.max_hosts_per_day:
        raise exceeded(token, bulk=bulk)


def consume(token: EnrollmentToken, wanted: int, *, bulk: bool = False) -> None:
    """Take `wanted` hosts from today's quota, all or none: one statement, so that parallel requests cannot overdraw it.

    Raises TooManyRequests, or Unauthorized for a token that was deleted or disabled a moment ago.
    """
    used = peewee.Case(None, [(EnrollmentToken.quota_day == _today(), EnrollmentToken.hosts_created)], 0)
    changed = (
        EnrollmentToken.update(hosts_created=used + wanted, quota_day=_today(), last_used_at=now())
        .where(
            (EnrollmentToken.id == token.id)
            & EnrollmentToken.is_active
            & (used + wanted <= EnrollmentToken.max_hosts_per_day)
        )
        .execute()
    )
    if changed != 1:
        left = EnrollmentToken.get_or_none((EnrollmentToken.id == token.id) & EnrollmentToken.is_active)
        if left is None:
            raise Unauthorized("Invalid or inactive token")
        raise exceeded(left, bulk=bulk)


def exceeded(token: EnrollmentToken, *, bulk: bool) -> TooManyRequests:
    """The contract's answer; the quota is full again at midnight UTC."""
    remaining = max(0, token.max_hosts_per_day - used_today(token))
    single = f"Maximum {token.max_hosts_per_day} hosts per day allowed for this token"
    midnight = datetime.combine(now().date() + timedelta(days=1), time.min, UTC)
    return TooManyRequests(
        "Rate limit exceeded",
        f"Only {remaining} hosts remaining in daily quota" if bulk else single,
        headers={"Retry-After": str(int((midnight - now()).total_seconds()) + 1)},
    )


def _today() -> int:
    return (now() - _EPOCH).days
