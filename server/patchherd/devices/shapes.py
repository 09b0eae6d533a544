# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of what the device endpoints answer, for the API's description."""

from __future__ import annotations

import marshmallow as ma

from patchherd.devices.os_types import OS_TYPES


class Connection(ma.Schema):
    """How Ansible reaches a device."""

    type = ma.fields.String(metadata={"description": "ssh, psrp, winrm or local"})
    port = ma.fields.Integer(allow_none=True)
    user = ma.fields.String(allow_none=True)
    become = ma.fields.Boolean()
    shell = ma.fields.String(allow_none=True)
    python = ma.fields.String(allow_none=True)


class AddressedConnection(Connection):
    address = ma.fields.String(allow_none=True)


class DeviceView(ma.Schema):
    """`state` tells whether it may be worked on, `status` whether its agent is heard of."""

    id = ma.fields.Integer()
    agent_id = ma.fields.String()
    friendly_name = ma.fields.String()
    hostname = ma.fields.String()
    ip_address = ma.fields.String(allow_none=True)
    machine_id = ma.fields.String(allow_none=True)
    os_family = ma.fields.String(allow_none=True, metadata={"description": "debian, redhat or windows"})
    os_id = ma.fields.String(allow_none=True)
    os_name = ma.fields.String(allow_none=True)
    os_version = ma.fields.String(allow_none=True)
    os_type = ma.fields.String(allow_none=True, metadata={"description": ", ".join(OS_TYPES)})
    os_architecture = ma.fields.String(allow_none=True)
    agent_version = ma.fields.String(allow_none=True)
    kernel_running = ma.fields.String(allow_none=True)
    kernel_installed = ma.fields.String(allow_none=True)
    state = ma.fields.String(metadata={"description": "pending or active"})
    status = ma.fields.String(metadata={"description": "online, offline or unknown"})
    last_heartbeat = ma.fields.DateTime(allow_none=True)
    last_report = ma.fields.DateTime(allow_none=True)
    last_check_in = ma.fields.DateTime(allow_none=True, metadata={"description": "the same as last_heartbeat"})
    created_at = ma.fields.DateTime()
    updated_at = ma.fields.DateTime()
    reboot_required = ma.fields.Boolean(allow_none=True)
    reboot_reason = ma.fields.String(allow_none=True)
    groups = ma.fields.List(ma.fields.String(), metadata={"description": "put in, by rule and by nesting"})
    tags = ma.fields.List(ma.fields.String())
    notes = ma.fields.String()
    profile_id = ma.fields.Integer(allow_none=True)
    hardware_summary = ma.fields.String(allow_none=True)
    maintenance = ma.fields.Boolean(metadata={"description": "nothing is deployed to it"})
    maintenance_reason = ma.fields.String(allow_none=True)
    maintenance_until = ma.fields.DateTime(allow_none=True)
    merged_into = ma.fields.Integer(allow_none=True, metadata={"description": "device that this one turned out to be"})
    connection = ma.fields.Nested(AddressedConnection)
    execution = ma.fields.String(metadata={"description": "who runs actions on it: ansible or agent"})
    host_keys = ma.fields.String(metadata={"description": "none, pinned or changed"})


class DeviceDetails(DeviceView):
    facts = ma.fields.Dict(metadata={"description": "what the agent reported besides packages"})
    metadata = ma.fields.Dict(metadata={"description": "what the host said when it enrolled"})
    ssh_host_keys = ma.fields.List(ma.fields.String(), metadata={"description": "pinned"})
