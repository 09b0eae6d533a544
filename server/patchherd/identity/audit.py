# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The audit trail: written in the transaction of the change it tells of, each entry sealing the one before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from flask import g, has_request_context, request

from patchherd.database import now, write_transaction
from patchherd.identity.locking import AUDIT_CHAIN, take_turn
from patchherd.identity.models import AuditEntry
from patchherd.identity.principal import Principal

FIRST_SEAL = "0" * 64
SECRET_WORDS = ("password", "secret", "api_key", "private_key", "hash")
_SEALED = (
    "at", "actor_kind", "actor_id", "actor_name", "address", "action", "object_kind", "object_id", "object_name",
    "before", "after",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What a check of the chain found."""

    entries: int
    last_seal: str
    """Keep it elsewhere: entries cut off at the end show only against a copy of this."""
    broken_at: int | None
    """Id of the first entry that does not fit; None when all do."""


def record(
    action: str,
    object_kind: str,
    object_id: str | int | None = None,
    object_name: str | None = None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    actor: Principal | None = None,
) -> None:
    """Append one entry. Call it inside the write transaction of the change, at its end.

    Without `actor` it is the principal of the request, or "system" outside of one. Secrets are masked by field name.
    """
    address = None
    if has_request_context():
        address = request.remote_addr
        actor = actor or g.get("principal")
    values = {
        "at": now().replace(microsecond=0),
        "actor_kind": actor.kind if actor else "system",
        "actor_id": actor.id if actor else None,
        "actor_name": (actor.name if actor else "system")[:255],
        "address": address,
        "action": action,
        "object_kind": object_kind,
        "object_id": None if object_id is None else str(object_id),
        "object_name": object_name and object_name[:255],
        "before": _masked(before),
        "after": _masked(after),
    }
    with write_transaction():
        take_turn(AUDIT_CHAIN)
        last = AuditEntry.select(AuditEntry.seal).order_by(AuditEntry.id.desc()).first()
        AuditEntry.create(**values, seal=_seal(last.seal if last else FIRST_SEAL, values))


def verify() -> Verdict:
    """Recompute the whole chain."""
    seal, count, broken = FIRST_SEAL, 0, None
    for entry in AuditEntry.select().order_by(AuditEntry.id).iterator():
        count += 1
        seal = _seal(seal, {name: getattr(entry, name) for name in _SEALED})
        if seal != entry.seal:
            broken = entry.id
            break
    return Verdict(count, seal, broken)


def page(
    *,
    before_id: int | None = None,
    limit: int = 50,
    action: str | None = None,
    actor: str | None = None,
    object_kind: str | None = None,
    object_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[list[AuditEntry], int | None]:
    """Entries, newest first, older than `before_id`; and the `before_id` of the next page, None on the last one."""
    query = AuditEntry.select().order_by(AuditEntry.id.desc()).limit(limit + 1)
    exact = {"action": action, "actor_name": actor, "object_kind": object_kind, "object_id": object_id}
    for name, value in exact.items():
        if value is not None:
            query = query.where(getattr(AuditEntry, name) == value)
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    if since is not None:
        query = query.where(AuditEntry.at >= since)
    if until is not None:
        query = query.where(AuditEntry.at < until)
    rows = list(query)
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def _seal(previous: str, values: dict[str, Any]) -> str:
    text = msgspec.json.encode([previous, *(values[name] for name in _SEALED)], order="sorted")
    return hashlib.sha256(text).hexdigest()


def _masked(value: Any, name: str = "") -> Any:
    if any(word in name for word in SECRET_WORDS):
        return "***"
    if isinstance(value, dict):
        return {str(key): _masked(item, str(key).lower()) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    return value
