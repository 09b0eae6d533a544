# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What monitoring agents report, kept with its history, and what they are offered.

What is current carries no time of its own: `MonitoringAgent` has one for all of it, so that a report without news
changes one row here, however much it repeats.
"""

from __future__ import annotations

import peewee

from patchherd.database import BaseModel, JsonField, UtcField
from patchherd.devices.models import Device

NAME_LENGTH = 255
VERSION_LENGTH = 100


class MonitoringAgent(BaseModel):
    """The agent of a device, and whose credential may speak for it."""

    device = peewee.ForeignKeyField(Device, primary_key=True, on_delete="CASCADE")
    owner_kind = peewee.CharField(max_length=16)
    """token, enrollment, host, open (no credential: the address decides)."""
    owner_id = peewee.BigIntegerField()
    name_key = peewee.CharField(max_length=NAME_LENGTH)
    """The host name that it registered with, in lower case."""
    serial = peewee.CharField(max_length=255, null=True)
    """Machine id or serial number that it registered with."""
    address = peewee.CharField(max_length=64, null=True)
    """Where it was heard of last."""
    registered_at = UtcField()
    sealed_secret = peewee.TextField()
    """What webhooks to it are signed with, encrypted."""
    seen_at = UtcField(null=True)
    """When its last inventory came: until then the newest snapshot was true."""
    software_seen_at = UtcField(null=True)
    """The same for its list of software."""
    sections = JsonField(default=dict)
    """Section -> digest of its content in the newest snapshot."""
    readings = JsonField(default=dict)
    """Section -> values that change all the time (free memory…), as last reported."""

    class Meta:
        indexes = ((("owner_kind", "owner_id", "name_key"), False),)


class InventorySection(BaseModel):
    """The content of one section; devices and snapshots with the same content share one row."""

    digest = peewee.BlobField(unique=True)
    size = peewee.IntegerField()
    """Bytes of its JSON text."""
    packed = peewee.BlobField()
    """The JSON text, compressed by zlib."""


class InventorySnapshot(BaseModel):
    """What was known of a device from `first_seen` to `last_seen`."""

    device = peewee.ForeignKeyField(Device, on_delete="CASCADE")
    first_seen = UtcField(index=True)
    last_seen = UtcField(null=True)
    """Null for the newest one of a device."""
    agent_version = peewee.CharField(max_length=64, null=True)


class SnapshotSection(BaseModel):
    """One section of one snapshot."""

    snapshot = peewee.ForeignKeyField(InventorySnapshot, on_delete="CASCADE", index=False)
    name = peewee.CharField(max_length=64)
    section = peewee.ForeignKeyField(InventorySection, on_delete="RESTRICT")

    class Meta:
        primary_key = peewee.CompositeKey("snapshot", "name")


class SoftwareTitle(BaseModel):
    """One version of one program, interned: one integer wherever it is installed."""

    name = peewee.CharField(max_length=NAME_LENGTH)
    name_key = peewee.CharField(max_length=NAME_LENGTH)
    """The name in lower case, for searching."""
    vendor = peewee.CharField(max_length=NAME_LENGTH)
    """Empty when the agent does not tell."""
    version = peewee.CharField(max_length=VERSION_LENGTH)
    """Empty when the agent does not tell."""
    sort_key = peewee.BlobField()
    """`packages.versions.loose_key` of the version: newer is greater, byte by byte."""

    class Meta:
        indexes = ((("name", "version", "vendor"), True), (("name_key", "sort_key"), False))


class DeviceSoftware(BaseModel):
    """A program on a device, now or in the past."""

    device = peewee.ForeignKeyField(Device, on_delete="CASCADE", index=False)
    title = peewee.ForeignKeyField(SoftwareTitle, on_delete="RESTRICT", index=False)
    install_date = peewee.CharField(max_length=10, null=True)
    """YYYY-MM-DD."""
    first_seen = UtcField()
    last_seen = UtcField(null=True)
    """Null while it is installed."""
    removed_at = UtcField(null=True)
    """When a list without it came; null while it is installed."""

    class Meta:
        primary_key = peewee.CompositeKey("device", "title")
        # Who has a title, and how many, is answered from the index alone.
        indexes = ((("title", "removed_at", "device"), False),)


class AgentMessage(BaseModel):
    """A line of an agent's log, or an error that it told of."""

    device = peewee.ForeignKeyField(Device, on_delete="CASCADE", index=False)
    kind = peewee.CharField(max_length=8)
    """log, error."""
    level = peewee.CharField(max_length=16)
    message = peewee.TextField()
    details = JsonField(default=dict)
    at = UtcField()
    """By the agent's clock."""
    received_at = UtcField(index=True)

    class Meta:
        indexes = ((("device", "id"), False),)


class AgentRelease(BaseModel):
    """A version of the agent that this server hands out; the file is called by its digest."""

    version = peewee.CharField(max_length=64)
    platform = peewee.CharField(max_length=16)
    """windows, linux, any."""
    changelog = peewee.TextField(default="")
    file_name = peewee.CharField(max_length=255)
    sha256 = peewee.CharField(max_length=64)
    size = peewee.BigIntegerField()
    published_by = peewee.CharField(max_length=255)
    published_at = UtcField()
    withdrawn_at = UtcField(null=True)


class WebhookDelivery(BaseModel):
    """One call of the server to an agent, and what came of it."""

    device = peewee.ForeignKeyField(Device, on_delete="CASCADE", index=False)
    type = peewee.CharField(max_length=16)
    """update, collect."""
    address = peewee.CharField(max_length=64)
    port = peewee.IntegerField()
    requested_by = peewee.CharField(max_length=255)
    created_at = UtcField(index=True)
    status = peewee.IntegerField(null=True)
    """HTTP status of the agent's answer; null without one."""
    duration_ms = peewee.IntegerField(null=True)
    """Null while it is under way."""
    error = peewee.CharField(max_length=500, null=True)

    class Meta:
        indexes = ((("device", "id"), False),)


MODELS = [
    MonitoringAgent, InventorySection, InventorySnapshot, SnapshotSection, SoftwareTitle, DeviceSoftware, AgentMessage,
    AgentRelease, WebhookDelivery,
]  # fmt: skip
