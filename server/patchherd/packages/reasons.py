# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Why an update that is there is not simply missing. A verdict's reason begins with a code: "CODE: detail"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

HOST_REASONS = ("held", "pinned", "excluded", "module", "dependency", "esm", "phased", "hidden", "blocked")
"""What hosts say; the last one stands for what a newer agent may say."""
VIEW_REASONS = ("wrong_release", "not_in_view", "disagree", "stale")
"""What follows from content views besides (see `applicability.merge`)."""
WINDOWS_REASONS = ("superseded", "build", "loop", "hotfix")
"""What follows from what is known of Windows updates (see `applicability.windows`)."""
REPLACED = "replaced"
"""The package goes on under another name."""
REASONS = (*HOST_REASONS, REPLACED, *VIEW_REASONS, *WINDOWS_REASONS)

DETAIL_LENGTH = 300


def blocked_reason(code: str, detail: str | None) -> str:
    """The reason of a verdict from an agent's word and its details."""
    text = " ".join((detail or "").split())
    if code not in HOST_REASONS:
        code, text = "blocked", f"{' '.join(code.split())[:32]} {text}".strip()
    return f"{code}: {text[:DETAIL_LENGTH]}" if text else code


def replaced_reason(replaced_by: str) -> str:
    """The reason of a verdict on a package that others replace; see `Finding.replaced_by`."""
    return f"{REPLACED}: by {replacements(msgspec.json.decode(replaced_by), ' and ')}"


def replacements(replaced_by: Iterable[dict[str, Any]] | None, between: str = ", ") -> str:
    """What takes a package's place, names and versions; empty when nothing does."""
    return between.join(f"{new['name']} {new['version']}" for new in replaced_by or ())


def has_code(reason: str | None, codes: list[str]) -> bool:
    """Whether a verdict's reason begins with one of the codes."""
    return reason is not None and reason.partition(":")[0] in codes
