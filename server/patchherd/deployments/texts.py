# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Texts out of Ansible's events."""

from __future__ import annotations

from typing import Any


def failure_text(event: dict[str, Any]) -> str:
    """What a reader needs to know about a failed, unreachable or warning event."""
    result = (event.get("event_data") or {}).get("res")
    if not isinstance(result, dict):
        return storable(result or event.get("stdout") or "")
    parts = [storable(result.get(key) or "") for key in ("msg", "module_stderr", "stderr")]
    return "\n".join(dict.fromkeys(part.strip() for part in parts if part.strip()))


def storable(value: Any) -> str:
    """A text that both databases can keep: hosts print NUL characters and bytes that are no UTF-8."""
    return str(value).replace("\0", "").encode(errors="replace").decode()
