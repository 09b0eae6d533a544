# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoint: bring a deleted device back."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.database import now
from patchherd.devices.records import RestoreBody, RestoredDevice
from patchherd.devices.views import native_views
from patchherd.enrollment.restoring import restore
from patchherd.http import Room, settings
from patchherd.identity.access import requires

room = Room("device-restore", __name__, description="Deleted devices come back")


@room.route("/devices/<reference>/restore", methods=["POST"])
@requires("devices:write")
@room.arguments(RestoreBody)
@room.response(200, RestoredDevice)
def restore_device(body: dict[str, Any], reference: str) -> Response:
    """Bring a deleted device back, by id or agent id"""
    device, credentials, reason = restore(settings(), reference, body["credentials"])
    view = native_views([device], settings(), now())[0]
    return jsonify({**view, "credentials": credentials, "credentials_reason": reason})
