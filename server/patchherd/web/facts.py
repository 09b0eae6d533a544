# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What a host says about its hardware, as short lines. Hosts send any JSON here: whatever does not fit is left out."""

from __future__ import annotations

from typing import Any

LIMIT = 20
"""Entries of a list that are shown."""


def hardware(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, text) pairs of what is known."""
    cores, model = _text(facts.get("cpuCores")), _text(facts.get("cpuModel"))
    lines = [
        ("Processor", " · ".join(filter(None, [model, cores and f"{cores} cores"]))),
        ("Memory", _gib(facts.get("ramInstalled"))),
        ("Swap", _gib(facts.get("swapSize"))),
        ("Uptime", _text(facts.get("systemUptime"))),
        ("Load", ", ".join(_text(value) for value in _list(facts.get("loadAverage")))),
        ("Gateway", _text(facts.get("gatewayIp"))),
        ("DNS", ", ".join(_text(value) for value in _list(facts.get("dnsServers")))),
        ("SELinux", _text(facts.get("selinuxStatus"))),
    ]
    return [(label, text) for label, text in lines if text]


def disks(facts: dict[str, Any]) -> list[dict[str, str]]:
    """device, mount, size, used of each disk."""
    rows = [disk for disk in _list(facts.get("diskDetails")) if isinstance(disk, dict)]
    return [
        {
            "device": _text(disk.get("device") or disk.get("name")),
            "mount": _text(disk.get("mountPoint") or disk.get("mountpoint")),
            "size": _text(disk.get("size")),
            "used": _text(disk.get("used")),
        }
        for disk in rows
    ]


def networks(facts: dict[str, Any]) -> list[dict[str, str]]:
    """name, mac, addresses of each interface."""
    rows = [card for card in _list(facts.get("networkInterfaces")) if isinstance(card, dict)]
    out = []
    for card in rows:
        addresses = [_text(item.get("address")) for item in _list(card.get("addresses")) if isinstance(item, dict)]
        out.append(
            {
                "name": _text(card.get("name")),
                "mac": _text(card.get("mac") or card.get("macAddress")),
                "addresses": ", ".join(filter(None, addresses)) or _text(card.get("ip")),
            }
        )
    return out


def problems(facts: dict[str, Any]) -> list[str]:
    """What limits the truth of the last report, in the agent's words."""
    return [text for value in _list(facts.get("problems")) if (text := _text(value, 1000))]


def to_restart(facts: dict[str, Any]) -> list[str]:
    """Services that still run code which an update has replaced."""
    return [text for value in _list(facts.get("servicesToRestart"), 100) if (text := _text(value))]


def repositories(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """name, url, enabled of each package source."""
    rows = [row for row in _list(facts.get("repositories"), 100) if isinstance(row, dict)]
    return [
        {
            "name": _text(row.get("name")),
            "url": _text(row.get("url")),
            "detail": " ".join(filter(None, [_text(row.get("distribution")), _text(row.get("components"))])),
            "enabled": row.get("isEnabled") is not False,
        }
        for row in rows
    ]


def _list(value: Any, limit: int = LIMIT) -> list[Any]:
    return value[:limit] if isinstance(value, list) else []


def _text(value: Any, limit: int = 200) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()[:limit]


def _gib(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        return ""
    return f"{value:.1f} GiB"
