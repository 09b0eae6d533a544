# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of devices: the Patch Management API's list, and the native ones."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.database import now
from patchherd.devices import changes, registry, views
from patchherd.devices.schemas import DeviceChange, DeviceQuery, LegacyDevices, LegacyQuery, NewDevice
from patchherd.devices.shapes import DeviceDetails, DeviceView
from patchherd.errors import invalid
from patchherd.http import Room, settings
from patchherd.identity.access import requires

legacy = Room("devices-legacy", __name__, description="Devices as the Patch Management API documents them")
room = Room("devices", __name__, description="Devices")


@legacy.route("/devices")
@requires("devices:read")
@legacy.arguments(LegacyQuery, location="query")
@legacy.response(200, LegacyDevices)
def list_legacy_devices(query: dict[str, Any]) -> dict[str, Any]:
    """List registered devices"""
    if "status" in query:
        query["status"] = _legacy_status(query["status"])
    moment = now()
    rows = [views.patch_management_view(row, settings(), moment) for row in views.select_devices(settings(), **query)]
    return {"count": len(rows), "devices": rows}


def _legacy_status(text: str) -> str:
    """The states that clients of the Patch Management API mean: it has two, and calls OFFLINE what never came."""
    meant = {"ONLINE": "online", "OFFLINE": "offline,unknown"}
    try:
        return ",".join(meant[value.upper()] for value in views.split_values(text))
    except KeyError:
        raise invalid("status", "ONLINE or OFFLINE is needed", "query", text) from None


@room.route("/devices")
@requires("devices:read")
@room.arguments(DeviceQuery, location="query")
@room.response(200, DeviceView(many=True), headers={"X-Pagination": {"schema": {"type": "string"}}})
def list_devices(query: dict[str, Any]) -> Response:
    """List devices by id; `X-Pagination` tells where the next page starts"""
    limit = query.pop("limit")
    rows = views.select_devices(settings(), limit=limit + 1, **query)
    page, more = rows[:limit], len(rows) > limit
    response = jsonify(_native(page))
    following = page[-1].id if more else None
    response.headers["X-Pagination"] = settings_json({"limit": limit, "next_after": following})
    return response


@room.route("/devices", methods=["POST"])
@requires("devices:write")
@room.arguments(NewDevice)
@room.response(201, DeviceView)
def create_device(body: dict[str, Any]) -> Response:
    """Add a device by hand, without an agent"""
    device = changes.add_device(body)
    response = jsonify(_native([registry.find_device(device.id)])[0])
    response.status_code = 201
    response.headers["Location"] = f"{settings().api_prefix}/devices/{device.id}"
    return response


@room.route("/devices/<reference>")
@requires("devices:read")
@room.response(200, DeviceDetails)
def get_device(reference: str) -> Response:
    """One device, by id, agent id or host name"""
    device = registry.find_device(reference)
    view = _native([device])[0]
    view["facts"] = device.facts
    view["metadata"] = device.enrolment_metadata
    view["ssh_host_keys"] = device.ssh_host_keys
    return jsonify(view)


@room.route("/devices/<reference>", methods=["PATCH", "PUT"])
@requires("devices:write")
@room.arguments(DeviceChange)
@room.response(200, DeviceView)
def change_device(body: dict[str, Any], reference: str) -> Response:
    """Change what the operator says about a device: name, notes, groups, approval, connection"""
    device = registry.find_device(reference)
    changes.change_device(device, body)
    return jsonify(_native([registry.find_device(device.id)])[0])


@room.route("/devices/<reference>", methods=["DELETE"])
@requires("devices:write")
@room.response(204)
def delete_device(reference: str) -> None:
    """Delete a device: its credentials stop working, its history stays"""
    changes.delete_device(registry.find_device(reference))


@room.route("/devices/<reference>/host-keys/accept", methods=["POST"])
@requires("devices:write")
@room.response(200, DeviceView)
def accept_host_keys(reference: str) -> Response:
    """Trust the SSH host keys that the device reported last"""
    device = registry.find_device(reference)
    changes.accept_host_keys(device)
    return jsonify(_native([registry.find_device(device.id)])[0])


def settings_json(value: dict[str, Any]) -> str:
    return jsonify(value).get_data(as_text=True)


def _native(devices: list[Any]) -> list[dict[str, Any]]:
    return views.native_views(devices, settings(), now())
