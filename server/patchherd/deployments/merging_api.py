# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoint: make one device of several, none of which may be busy with a deployment."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.database import now
from patchherd.deployments.merging import merge_devices
from patchherd.devices.records import MergeBody
from patchherd.devices.shapes import DeviceView
from patchherd.devices.views import native_views
from patchherd.http import Room, settings
from patchherd.identity.access import requires

room = Room("device-merge", __name__, description="Duplicate devices become one")


@room.route("/devices/<reference>/merge", methods=["POST"])
@requires("devices:write")
@room.arguments(MergeBody)
@room.response(200, DeviceView)
def merge(body: dict[str, Any], reference: str) -> Response:
    """Merge other devices into this one, which keeps its credentials"""
    device = merge_devices(reference, body["from_"])
    return jsonify(native_views([device], settings(), now())[0])
