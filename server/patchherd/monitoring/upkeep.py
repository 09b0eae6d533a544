# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Drop inventories, messages and records of webhooks that are older than the settings keep them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from patchherd.database import now, write_transaction
from patchherd.monitoring.models import (
    AgentMessage,
    DeviceSoftware,
    InventorySection,
    InventorySnapshot,
    SnapshotSection,
    WebhookDelivery,
)
from patchherd.settings import Settings

BATCH = 2_000


def tidy(settings: Settings) -> dict[str, int]:
    """How many of each went. The newest snapshot of a device stays, and with it what is installed."""
    oldest = now() - timedelta(days=settings.snapshot_days)
    used = SnapshotSection.select(SnapshotSection.section)
    return {
        "snapshots": _drop(InventorySnapshot, InventorySnapshot.last_seen < oldest),
        "inventory_sections": _drop(InventorySection, InventorySection.id.not_in(used)),
        "removed_software": _drop_software(DeviceSoftware.removed_at < oldest),
        "agent_messages": _drop(AgentMessage, AgentMessage.received_at < oldest),
        "webhooks": _drop(WebhookDelivery, WebhookDelivery.created_at < oldest),
    }


def _drop(model: Any, where: Any) -> int:
    """In batches, so that other writers get their turn."""
    total = 0
    while ids := [number for (number,) in model.select(model.id).where(where).limit(BATCH).tuples()]:
        with write_transaction():
            total += model.delete().where(model.id.in_(ids) & where).execute()
    return total


def _drop_software(where: Any) -> int:
    with write_transaction():
        return int(DeviceSoftware.delete().where(where).execute())
