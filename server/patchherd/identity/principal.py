# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who makes a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """Who makes this request."""

    kind: str
    """user, token, host, enrollment; open (an agent without a credential), link (a signed address)."""
    id: int
    name: str
    permissions: frozenset[str]
    device_id: int | None = None
    reference: str | None = None
    """UUID of the credential, where what it does is bound to it for longer than the row may live: ids come again."""
