# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""How bad a missing update is, and who says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from patchherd.packages.items import Advisory, Item, Origin, Texts

SEVERITIES = ("Critical", "Important", "Moderate", "Low", "Optional")
"""Worst first."""

_WORDS = {
    "critical": "Critical", "important": "Important", "high": "Important", "moderate": "Moderate",
    "medium": "Moderate", "low": "Low", "negligible": "Low",
}  # fmt: skip

_REBOOT_NAMES = frozenset(
    {
        "dbus", "dbus-broker", "dbus-daemon", "glibc", "intel-microcode", "amd64-microcode", "libc6", "linux-firmware",
        "microcode_ctl", "systemd", "kernel", "kernel-core", "kernel-rt", "kernel-rt-core", "kernel-uek", "linux-base",
    }
)  # fmt: skip


class Rating(NamedTuple):
    """Severity, its source (advisory, msrc, unrated, none) and whether the update is a security update."""

    severity: str
    source: str
    security: bool


def normalised(word: str | None) -> str | None:
    """A vendor's severity word as one of SEVERITIES; None for words that rate nothing."""
    return _WORDS.get((word or "").strip().lower())


def rate(items: Iterable[Item]) -> Rating:
    """The rating of one candidate from the items that name it."""
    security = False
    words: list[tuple[str | None, str]] = []
    for item in items:
        fixes = [advisory for advisory in item.advisories or () if _is_security(advisory)]
        if fixes or item.is_security_update or any(map(is_security_archive, item.origins or ())):
            security = True
        words += [(normalised(advisory.severity), "advisory") for advisory in fixes]
        if item.is_windows_update:
            msrc = normalised(item.wua_severity)
            words.append((msrc, "msrc"))
            security = security or msrc is not None or "Security Updates" in texts(item.wua_categories)
    if not security:
        return Rating("Optional", "none", False)
    for severity in SEVERITIES:
        for word, source in words:
            if word == severity:
                return Rating(severity, source, True)
    return Rating("Important", "unrated", True)


def word_of(severity: str, source: str, advisories: Iterable[Mapping[str, Any]]) -> str | None:
    """The source's own word for a severity: "important", "medium"; None when it has none.

    `advisories`: those of the verdict. Of an update that is unrated, a word that rates nothing, as "not yet assigned".
    """
    if source == "none":
        return None
    words = [
        (normalised(advisory["severity"]), advisory.get("word") or advisory["severity"])
        for advisory in advisories
        if (advisory["type"] or "").lower() == "security"
    ]
    wanted = None if source == "unrated" else severity
    found = next((word for rated, word in words if word and rated == wanted), None)
    return found or (severity if source == "msrc" else None)  # Microsoft's own words are these


def _is_security(advisory: Advisory) -> bool:
    return (advisory.type or "").lower() == "security"


def is_security_archive(origin: Origin) -> bool:
    """Whether a distribution publishes its security fixes in this release; a repository's name alone proves nothing."""
    if origin.label == "Debian-Security":
        return True
    suites = (origin.suite or "", origin.codename or "")
    vendors = {"Debian", "Ubuntu", "UbuntuESM", "UbuntuESMApps"}
    return origin.origin in vendors and any(suite.endswith("-security") for suite in suites)


def texts(value: Texts) -> list[str]:
    """A text, a comma-separated text or a list as a list of texts without blanks."""
    if value is None:
        return []
    values = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in values if str(part).strip()]


def reboot_suggested(name: str) -> bool:
    """Whether this Linux package takes full effect only after a reboot."""
    return name in _REBOOT_NAMES or name.startswith(("linux-image-", "kernel-core", "kernel-modules"))
