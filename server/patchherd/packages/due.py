# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Devices that are to be evaluated anew."""

from __future__ import annotations

from collections.abc import Iterable

from patchherd.database import chunked, now
from patchherd.packages.models import EvaluationDue


def ask_for(device_ids: Iterable[int], *, anew: bool = False) -> None:
    """Have these devices evaluated in the background. Call it in the transaction that gives the reason.

    By default the reason is about content views, and devices that have none are left out; `anew`: they are not.
    """
    due, moment = EvaluationDue, now()
    rows = [{"device": number, "asked_at": moment, "anew": anew} for number in device_ids]
    kept = [due.asked_at, due.anew] if anew else [due.asked_at]
    for part in chunked(rows, 3):
        due.insert_many(part).on_conflict(conflict_target=[due.device], preserve=kept).execute()
