# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Texts that sort as what they stand for: addresses as numbers, versions part by part.

They are stored beside what they are made from. Whoever changes their form writes a migration that makes them anew.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

_PARTS = re.compile(r"[0-9]+|[a-z]+")
MAX_PARTS = 10
KEYED = {"ip_address": "ip_key", "agent_version": "agent_version_key", "os_version_id": "os_version_key"}
"""Column -> column of its key."""


@lru_cache(4096)
def address_key(text: str | None) -> str | None:
    """`4` or `6` and the address in hexadecimal digits; None for what is no address."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    return _key(address)


def network_keys(text: str) -> tuple[str, str]:
    """The keys of the first and the last address of a network, or of one address. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    return _key(network.network_address), _key(network.broadcast_address)


def _key(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"{address.version}{int(address):0{address.max_prefixlen // 4}x}"


@lru_cache(4096)
def version_key(text: str | None) -> str | None:
    """Numbers count as numbers, 1.2 = 1.2.0, and letters come before what they lead to: 1.2rc1 < 1.2 < 1.2.1."""
    parts = _PARTS.findall((text or "").lower())[:MAX_PARTS]
    if not parts:
        return None
    kept: list[str] = []
    for part in reversed(parts):  # zeros count only where another number follows: 1.0.0rc1 leads to 1
        if part.strip("0") or (kept and kept[-1].isdigit()):
            kept.append(part)
    return "".join(map(_part, reversed(kept or ["0"]))) + "1"


def _part(text: str) -> str:
    return f"2{min(int(text[:12]), 99_999_999):08}" if text.isdigit() else f"0{text[:3]}"


def with_keys(columns: dict[str, Any]) -> dict[str, Any]:
    """The same columns of a device, and the keys of those that have one."""
    keys = {KEYED[name]: _MAKERS[name](columns[name]) for name in KEYED if name in columns}
    return {**columns, **keys}


_MAKERS = {"ip_address": address_key, "agent_version": version_key, "os_version_id": version_key}
