# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What was made of views, in memory for as long as they have not changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

from patchherd.database import db

Made = TypeVar("Made")


class Remembered(Generic[Made]):
    """One value for each view, and the state of the view that it is true for; those not asked for go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._known: OrderedDict[tuple[Any, int], tuple[Hashable, Made]] = OrderedDict()

    def get(self, view_id: int, state: Hashable, make: Callable[[], Made]) -> Made:
        """The value for this state of the view, made now if that is not known."""
        place = (db.obj, view_id)
        with self._lock:
            known = self._known.get(place)
            if known is not None and known[0] == state:
                self._known.move_to_end(place)
                return known[1]
        made = make()  # without the lock: two who ask at once may both make it
        with self._lock:
            self._known[place] = (state, made)
            self._known.move_to_end(place)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return made

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._known.clear()
