# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Let something happen in the middle of something else, always at the same place: for races."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def before_next(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, work: Callable[[], object]) -> None:
    """Do `work` when the next call of a module's function begins; later calls are as ever."""
    real = getattr(module, name)

    def once(*args: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        work()
        return real(*args)

    monkeypatch.setattr(module, name, once)


def after_next(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, work: Callable[[], object]) -> None:
    """Do `work` when the next call of a module's function has ended, before anybody has its result."""
    real = getattr(module, name)

    def once(*args: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        result = real(*args)
        work()
        return result

    monkeypatch.setattr(module, name, once)
