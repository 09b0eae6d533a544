# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of devices that the Patch Management API documents."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.devices import patch_management
from patchherd.devices.schemas import LegacyOutageQuery, LegacyQuery
from patchherd.devices.selection import split_values
from patchherd.devices.shapes import LegacyDevices, LegacyHeartbeats, LegacyOutages
from patchherd.errors import invalid
from patchherd.http import Room, settings
from patchherd.identity.access import requires

room = Room("devices-legacy", __name__, description="Devices as the Patch Management API documents them")


@room.route("/devices")
@requires("devices:read")
@room.arguments(LegacyQuery, location="query")
@room.response(200, LegacyDevices)
def list_devices(query: dict[str, Any]) -> Response:
    """List registered devices"""
    _translate_status(query)
    return Response(patch_management.encode_devices(settings(), query), mimetype="application/json")


@room.route("/heartbeat/status")
@requires("devices:read")
@room.arguments(LegacyQuery, location="query")
@room.response(200, LegacyHeartbeats)
def get_heartbeats(query: dict[str, Any]) -> Response:
    """When each agent was heard of"""
    _translate_status(query)
    return jsonify(patch_management.heartbeats(settings(), query))


@room.route("/outages")
@requires("devices:read")
@room.arguments(LegacyOutageQuery, location="query")
@room.response(200, LegacyOutages)
def get_outages(query: dict[str, Any]) -> Response:
    """When devices did not report, newest first"""
    return jsonify(patch_management.outages(query, query.pop("limit")))


def _translate_status(query: dict[str, Any]) -> None:
    """Name the states that clients of the Patch Management API mean: it has two, and calls OFFLINE what never came."""
    text = query.get("status", "")
    meant = {"ONLINE": "online", "OFFLINE": "offline,unknown"}
    try:
        query["status"] = ",".join(meant[value.upper()] for value in split_values(text))
    except KeyError:
        raise invalid("status", "ONLINE or OFFLINE is needed", "query", text) from None
