# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What lets hosts in: enrolment tokens, host credentials, bootstrap tokens."""

from __future__ import annotations

import peewee

from patchherd.database import BaseModel, JsonField, UtcField
from patchherd.devices.models import Device, DeviceGroup
from patchherd.identity.models import User


class EnrollmentToken(BaseModel):
    """May create hosts, up to a number a day; or, with `scopes`, may read by the machine API instead."""

    uuid = peewee.CharField(max_length=36, unique=True)
    token_name = peewee.CharField(max_length=255)
    token_key = peewee.CharField(max_length=64, unique=True)
    secret_hash = peewee.CharField(max_length=60)
    is_active = peewee.BooleanField(default=True)
    max_hosts_per_day = peewee.IntegerField(default=100)
    default_group = peewee.ForeignKeyField(DeviceGroup, null=True, on_delete="SET NULL")
    allowed_ip_ranges = JsonField(default=list)
    expires_at = UtcField(null=True)
    metadata = JsonField(default=dict)
    scopes = JsonField(null=True)
    created_by = peewee.ForeignKeyField(User, null=True, on_delete="SET NULL")
    created_at = UtcField()
    updated_at = UtcField()
    last_used_at = UtcField(null=True)
    quota_day = peewee.IntegerField(default=0)
    """Day of `hosts_created`, in days since 1970 UTC."""
    hosts_created = peewee.IntegerField(default=0)


class HostCredential(BaseModel):
    """What a host shows when it reports."""

    device = peewee.ForeignKeyField(Device, unique=True, on_delete="CASCADE", backref="credentials")
    api_id = peewee.CharField(max_length=40, unique=True)
    key_hash = peewee.CharField(max_length=60)
    created_at = UtcField()
    accepted_hashes = JsonField(default=dict)
    """Opaque hashes of the sections of the last report that was taken."""
    offered_hashes = JsonField(default=dict)
    """Hashes of a ping whose sections were asked for and have not come yet."""


class BootstrapToken(BaseModel):
    """Exchanged once for the credentials of a host, which it also decrypts."""

    token_hash = peewee.CharField(max_length=64, unique=True)
    credential = peewee.ForeignKeyField(HostCredential, on_delete="CASCADE")
    sealed_key = peewee.TextField()
    expires_at = UtcField(index=True)
    used_at = UtcField(null=True)


MODELS = [EnrollmentToken, HostCredential, BootstrapToken]
