# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Values as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import g
from markupsafe import Markup

from patchherd.database import now

DAY = 86_400


def moment_of_request() -> datetime:
    """The same "now" for everything on one page."""
    if "moment" not in g:
        g.moment = now()
    found: datetime = g.moment
    return found


def ago(moment: datetime | None, never: str = "never") -> Markup | str:
    """`5 min ago` as a time element whose title is the exact time."""
    if moment is None:
        return never
    seconds = (moment_of_request() - moment).total_seconds()
    if seconds < 60:
        text = "just now" if seconds > -60 else f"in {span(-seconds)}"
    elif seconds < 30 * DAY:
        text = f"{span(seconds)} ago"
    else:
        text = f"{moment:%Y-%m-%d}"
    exact = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact, text)


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for size, unit in ((DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def took(start: datetime | None, end: datetime | None) -> str:
    """How long something ran or has been running; a dash before it starts. Whole seconds below ten minutes."""
    if start is None:
        return "-"
    seconds = max(0, int(((end or moment_of_request()) - start).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h {seconds % 3600 // 60} min"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 device`, `2,000 devices`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shares(parts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Sections of a bar 100 wide: (class, number) pairs -> class, number, x, width; empty ones left out."""
    total = sum(number for _, number in parts)
    out, x = [], 0.0
    for kind, number in parts:
        if number:
            width = 100 * number / total
            out.append({"kind": kind, "number": number, "x": round(x, 3), "width": round(width, 3)})
            x += width
    return out


def sentences(messages: Any) -> list[str]:
    """All sentences in marshmallow's nested messages."""
    if isinstance(messages, str):
        return [messages]
    values = messages.values() if isinstance(messages, dict) else messages
    return [text for value in values for text in sentences(value)]
