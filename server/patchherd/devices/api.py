# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of devices."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.database import now
from patchherd.devices import changes, pages, registry, views
from patchherd.devices.schemas import DeviceChange, DeviceQuery, ExportQuery, NewDevice
from patchherd.devices.shapes import DeviceDetails, DeviceView
from patchherd.http import Room, paged, settings
from patchherd.identity.access import requires

room = Room("devices", __name__, description="Devices")
_PAGINATION = {"X-Pagination": {"schema": {"type": "string"}}}
_FILE = {"schema": {"type": "string"}}


@room.route("/devices")
@requires("devices:read")
@room.arguments(DeviceQuery, location="query")
@room.response(200, DeviceView(many=True), headers=_PAGINATION)
def list_devices(query: dict[str, Any]) -> Response:
    """List devices, by id unless `sort` says otherwise; `X-Pagination` has the total and where the next page starts"""
    limit, after = query.pop("limit"), query.pop("after", None)
    sort, fields = _sort_and_fields(query)
    page = pages.device_page(settings(), query, sort=sort, fields=fields, after=after, limit=limit)
    return paged(page.rows, limit=limit, total=page.total, following=page.following)


@room.route("/devices/export")
@requires("devices:read")
@room.arguments(ExportQuery, location="query")
@room.response(200, content_type="text/csv")
@room.doc(responses={"200": {"content": {"text/csv": _FILE, "application/jsonl": _FILE}}})
def export_devices(query: dict[str, Any]) -> Response:
    """All devices that fit as a file, CSV or one JSON object a line"""
    format_ = query.pop("format_")
    sort, fields = _sort_and_fields(query)
    response = Response(pages.export(settings(), format_, query, sort, fields))
    response.headers["Content-Type"] = "text/csv; charset=utf-8" if format_ == "csv" else "application/jsonl"
    response.headers["Content-Disposition"] = f'attachment; filename="devices-{now():%Y-%m-%d}.{format_}"'
    return response


def _sort_and_fields(query: dict[str, Any]) -> tuple[list[str], list[str]]:
    return views.split_values(query.pop("sort", "")), views.split_values(query.pop("fields_", ""))


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


def _native(devices: list[Any]) -> list[dict[str, Any]]:
    return views.native_views(devices, settings(), now())
