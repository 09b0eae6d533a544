# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Codes of verdicts and their evidence as people say them."""

from __future__ import annotations

from typing import Any

REASONS = {
    "held": "On hold on the host",
    "pinned": "Pinned away by a preference",
    "excluded": "Excluded on the host",
    "module": "In a module stream that is not enabled",
    "dependency": "A dependency cannot be met",
    "esm": "Needs Ubuntu Pro",
    "phased": "Offered to machines step by step",
    "hidden": "Hidden on the host",
    "blocked": "Kept back by the host",
    "replaced": "Replaced under another name",
    "wrong_release": "For another release",
    "not_in_view": "Not in the device's content views",
    "disagree": "Host and content view disagree",
    "stale": "The host looked before it was there",
    "superseded": "Replaced by a newer update",
    "build": "Already in the installed build",
    "loop": "Comes back again and again",
    "hotfix": "Installed, and yet offered",
}
"""Every code of packages.reasons."""

STEPS = {
    "report": "Last report",
    "problem": "Problem",
    "installed": "Installed",
    "host": "The host says",
    "views": "Content views",
    "offer": "On offer",
    "advisory": "Advisory",
    "severity": "Severity",
    "age": "Age",
    "search": "The host's search",
    "hotfix": "Hotfixes",
    "build": "Build",
    "supersedence": "Replaced by",
    "view": "Content view",
    "history": "History",
    "verdict": "Verdict",
}
"""Links of an evidence chain (packages.applicability.explain)."""

VERDICTS = {
    "missing": "Missing",
    "unknown": "Unknown",
    "not_installable": "Not to install now",
    "current": "Current",
}
VERDICT_CLASSES = {"missing": "bad", "unknown": "unknown", "not_installable": "half", "current": "good"}


def reason_words(reason: str | None) -> tuple[str, str]:
    """(what it is, details) of a reason "CODE: detail"; what has no known code is all details."""
    code, _, detail = (reason or "").partition(":")
    title = REASONS.get(code.strip())
    return (title, detail.strip()) if title else ("", reason or "")


def step_words(step: str) -> str:
    """The heading of a link of evidence."""
    return STEPS.get(step) or step.replace("_", " ").capitalize()


def witness(row: dict[str, Any]) -> str:
    """Who names a row's candidate."""
    view = f"content view {row['view']}" if row["view"] else "a content view"
    return {"node": "the host", "view": view, "both": f"the host and {view}"}[row["decided_by"]]


def age(row: dict[str, Any]) -> str:
    """For how many days a row has been there."""
    days: int = row["age_days"]
    return "today" if days < 1 else "1 day" if days == 1 else f"{days:,} days"
