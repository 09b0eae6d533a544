# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Semantic versions of agents: their precedence as semver.org 2.0.0 section 11 has it."""

from __future__ import annotations

import re
from typing import Any

_STRICT = re.compile(
    r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_SHORT = re.compile(r"[vV]?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?")


def is_semver(text: str) -> bool:
    """Whether this is a semantic version."""
    return len(text) <= 64 and _STRICT.fullmatch(text) is not None


def precedence(text: str) -> tuple[Any, ...] | None:
    """A key by which semantic versions sort; None for what is none.

    Agents in the field also write `v1.2.3`, `1.2` and `1`, which are taken as 1.2.3, 1.2.0 and 1.0.0.
    """
    text = text.strip()[:64]
    if short := _SHORT.fullmatch(text):
        return (*(int(part or 0) for part in short.groups()), (1,))
    match = _STRICT.fullmatch(text[1:] if text[:1] in {"v", "V"} else text)
    if match is None:
        return None
    major, minor, patch, before = match.groups()
    numbers = int(major), int(minor), int(patch)
    if before is None:
        return (*numbers, (1,))  # a release is newer than all that came before it
    return (*numbers, (0, *(_identifier(part) for part in before.split("."))))


def _identifier(text: str) -> tuple[int, int, str]:
    """Numbers sort by value, and below words."""
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def is_newer(version: str, running: str | None) -> bool:
    """Whether `version` comes after the `running` one. What is no version is older than any: an agent that cannot
    even tell its version is offered a whole one."""
    offered, own = precedence(version), precedence(running or "")
    return offered is not None and (own is None or offered > own)
