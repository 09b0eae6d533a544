# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the inventory endpoint."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.shapes import Connection


class InventoryQuery(ma.Schema):
    """Filters; host names, tags and families may be comma-separated."""

    group = ma.fields.String()
    os_family = ma.fields.String()
    hostname = ma.fields.String()
    tag = ma.fields.String()
    status = ma.fields.String(validate=validate.OneOf(["online", "offline", "unknown"]))
    patch_status = ma.fields.String(validate=validate.OneOf(["missing", "current", "unknown"]))


class InventoryHost(ma.Schema):
    """One host; `address` is null for one that nothing may be done to yet."""

    id = ma.fields.Integer()
    agent_id = ma.fields.String()
    name = ma.fields.String(metadata={"description": "unique in the inventory"})
    hostname = ma.fields.String()
    friendly_name = ma.fields.String()
    address = ma.fields.String(allow_none=True)
    os_family = ma.fields.String(allow_none=True)
    os_id = ma.fields.String(allow_none=True)
    os_name = ma.fields.String(allow_none=True)
    os_version = ma.fields.String(allow_none=True)
    os_major = ma.fields.String(allow_none=True)
    architecture = ma.fields.String(allow_none=True)
    state = ma.fields.String()
    status = ma.fields.String()
    ansible_reachable = ma.fields.Boolean(
        allow_none=True, metadata={"description": "what the last job found, whatever `status` says; null: no job yet"}
    )
    patch_status = ma.fields.String()
    missing = ma.fields.Integer(allow_none=True)
    security = ma.fields.Integer(allow_none=True)
    reboot_required = ma.fields.Boolean(allow_none=True)
    groups = ma.fields.List(ma.fields.String())
    tags = ma.fields.List(ma.fields.String())
    maintenance = ma.fields.Boolean()
    connection = ma.fields.Nested(Connection)
    ssh_host_keys = ma.fields.List(ma.fields.String())


class Inventory(ma.Schema):
    generated_at = ma.fields.DateTime()
    count = ma.fields.Integer()
    hosts = ma.fields.List(ma.fields.Nested(InventoryHost))


class MachineQuery(ma.Schema):
    """Clients in the field send more, which is ignored."""

    class Meta:
        unknown = ma.EXCLUDE

    hostgroup = ma.fields.String(
        load_default="", metadata={"description": "names or ids of groups, comma-separated; any of them"}
    )
    include = ma.fields.String(load_default="", metadata={"description": "stats"})


class MachineGroup(ma.Schema):
    id = ma.fields.String()
    name = ma.fields.String()


class MachineHost(ma.Schema):
    """The fields from os_type on are there with include=stats only; null means unknown, never none."""

    id = ma.fields.String()
    friendly_name = ma.fields.String()
    hostname = ma.fields.String()
    ip = ma.fields.String(allow_none=True)
    host_groups = ma.fields.List(ma.fields.Nested(MachineGroup))
    os_type = ma.fields.String(allow_none=True)
    os_version = ma.fields.String(allow_none=True)
    last_update = ma.fields.DateTime(allow_none=True)
    status = ma.fields.String(metadata={"description": "pending, online or offline"})
    needs_reboot = ma.fields.Boolean(allow_none=True)
    updates_count = ma.fields.Integer(allow_none=True)
    security_updates_count = ma.fields.Integer(allow_none=True)
    total_packages = ma.fields.Integer(allow_none=True)
    patch_status = ma.fields.String(metadata={"description": "missing, current or unknown"})
    patch_reason = ma.fields.String(allow_none=True, metadata={"description": "why it is unknown"})


class MachineHosts(ma.Schema):
    hosts = ma.fields.List(ma.fields.Nested(MachineHost))
    total = ma.fields.Integer()
    filtered_by_groups = ma.fields.List(ma.fields.String())
