# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Structured logs: one JSON object a line (or readable text), without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from patchherd.settings import Settings

REDACTED = "[redacted]"
_NAMES = r"password|passwd|secret|token|api[-_]?key|authorization|cookie|private[-_]?key"
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
# name=value and "name": "value"; an authentication scheme with its value; a password in a URL; an API token.
_SECRET_VALUE = re.compile(
    rf"(?i)(?P<name>\b[\w-]*(?:{_NAMES})[\w-]*[\"']?\s*[=:]\s*)"
    r"(?:(?:bearer|jwt|basic)\s+)?(?:\"[^\"]*\"?|'[^']*'?|[^\s\"'&,;}]+)"
    r"|\b(?P<scheme>(?:bearer|jwt|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<url>://[^\s:/@]*:)[^\s@/]+(?=@)"
    r"|\bpht_[A-Za-z0-9_.-]{8,}"
)


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: values of secret-sounding keys, and credentials inside texts, never leave the process."""
    for name, value in event.items():
        event[name] = REDACTED if name != "event" and _is_secret(name) else _clean(value)
    return event


def _is_secret(name: Any) -> bool:
    return isinstance(name, str) and bool(_SECRET_NAME.search(name))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_VALUE.sub(_kept, value)
    if isinstance(value, bytes):
        return _clean(value.decode(errors="replace"))
    if isinstance(value, Mapping):
        return {key: REDACTED if _is_secret(key) else _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return value if isinstance(value, int | float | None) else _clean(str(value))


def _kept(match: re.Match[str]) -> str:
    """What of a match says where the secret stood."""
    return f"{match['name'] or match['scheme'] or match['url'] or ''}{REDACTED}"


def configure(settings: Settings) -> None:
    """Log to standard error in the configured format, the standard library's loggers included."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING if level >= logging.INFO else level))
