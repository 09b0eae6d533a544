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


class AnsibleContact(ma.Schema):
    """What Ansible found when it was last sent to a device, whatever the agent says; null: it never was."""

    checked_at = ma.fields.DateTime(allow_none=True)
    reachable = ma.fields.Boolean(allow_none=True)
    message = ma.fields.String(allow_none=True, metadata={"description": "why it could not be reached"})


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
    patch_status = ma.fields.String(metadata={"description": "missing, current or unknown"})
    patch_reason = ma.fields.String(allow_none=True, metadata={"description": "why it is unknown"})
    missing = ma.fields.Integer(allow_none=True, metadata={"description": "null while that is unknown"})
    missing_security = ma.fields.Integer(allow_none=True)
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
    ansible = ma.fields.Nested(AnsibleContact)


class DeviceDetails(DeviceView):
    facts = ma.fields.Dict(metadata={"description": "what the agent reported besides packages"})
    metadata = ma.fields.Dict(metadata={"description": "what the host said when it enrolled"})
    ssh_host_keys = ma.fields.List(ma.fields.String(), metadata={"description": "pinned"})


class LegacyDevice(ma.Schema):
    """`last_seen` is the same as `last_heartbeat`; times are RFC 1123."""

    agent_id = ma.fields.String()
    agent_version = ma.fields.String(allow_none=True)
    hostname = ma.fields.String(allow_none=True)
    id = ma.fields.Integer()
    ip_address = ma.fields.String(allow_none=True)
    last_heartbeat = ma.fields.String(allow_none=True)
    last_seen = ma.fields.String(allow_none=True)
    os_architecture = ma.fields.String(allow_none=True)
    os_name = ma.fields.String(allow_none=True)
    os_version = ma.fields.String(allow_none=True)
    status = ma.fields.String(metadata={"description": "ONLINE or OFFLINE"})
    updated_at = ma.fields.String(allow_none=True)


class LegacyDevices(ma.Schema):
    count = ma.fields.Integer()
    devices = ma.fields.List(ma.fields.Nested(LegacyDevice))


class OutageView(ma.Schema):
    """An interval in which a device was silent although the server watched."""

    id = ma.fields.Integer()
    device_id = ma.fields.Integer()
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    down_start = ma.fields.DateTime(metadata={"description": "last sign of life, or when the server watched again"})
    down_end = ma.fields.DateTime(allow_none=True, metadata={"description": "null: still silent"})
    duration_seconds = ma.fields.Integer()


class UnwatchedView(ma.Schema):
    start = ma.fields.DateTime()
    end = ma.fields.DateTime()


class LegacyOutage(ma.Schema):
    """Times are RFC 1123; `down_end` is null while the device is still silent."""

    id = ma.fields.Integer()
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    down_start = ma.fields.String()
    down_end = ma.fields.String(allow_none=True)
    duration_seconds = ma.fields.Integer()


class LegacyUnwatched(ma.Schema):
    start = ma.fields.String()
    end = ma.fields.String()


class LegacyOutages(ma.Schema):
    """The newest `count` of `total`; `unwatched`: when the server was away, which no outage includes."""

    count = ma.fields.Integer()
    total = ma.fields.Integer()
    outages = ma.fields.List(ma.fields.Nested(LegacyOutage))
    unwatched = ma.fields.List(ma.fields.Nested(LegacyUnwatched))


class LegacyHeartbeat(ma.Schema):
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    last_heartbeat = ma.fields.String(allow_none=True)
    server_time = ma.fields.String()
    time_ago = ma.fields.String(metadata={"description": "in words; never, without a heartbeat"})
    seconds_ago = ma.fields.Integer(allow_none=True)
    status = ma.fields.String(metadata={"description": "ONLINE or OFFLINE"})


class LegacyHeartbeats(ma.Schema):
    """One row an agent. Asked for exactly one agent, its fields stand beside `agents`, too."""

    count = ma.fields.Integer()
    server_time = ma.fields.String()
    agents = ma.fields.List(ma.fields.Nested(LegacyHeartbeat))
    agent_id = ma.fields.String()
    hostname = ma.fields.String()
    last_heartbeat = ma.fields.String(allow_none=True)
    time_ago = ma.fields.String()
    seconds_ago = ma.fields.Integer(allow_none=True)
    status = ma.fields.String()
