# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Which client addresses a token may be used from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_range(text: str) -> Network:
    """The network of one address or CIDR range; IPv4-mapped IPv6 becomes IPv4. Raises ValueError."""
    network = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def is_allowed(address: str | None, ranges: Iterable[str]) -> bool:
    """Whether `address` lies in one of `ranges`; no ranges allow every address, an unreadable address none."""
    networks = [parse_range(text) for text in ranges]
    if not networks:
        return True
    try:
        client = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    client = getattr(client, "ipv4_mapped", None) or client
    return any(client in network for network in networks)
