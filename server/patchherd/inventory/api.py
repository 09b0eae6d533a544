# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The endpoint behind the Ansible inventory plugin: every host in one answer."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from patchherd.http import Room, settings
from patchherd.identity.access import requires
from patchherd.inventory.hosts import all_hosts, encode
from patchherd.inventory.schemas import Inventory, InventoryQuery

room = Room("inventory", __name__, description="The Ansible view of devices")


@room.route("/inventory")
@requires("devices:read")
@room.arguments(InventoryQuery, location="query")
@room.response(200, Inventory)
@room.alt_response(304, description="Not changed since the ETag of If-None-Match", success=True)
def get_inventory(query: dict[str, Any]) -> Response:
    """All hosts with groups, state and connection facts; ETag / If-None-Match"""
    body, etag = encode(all_hosts(settings(), **query))
    response = Response(body, mimetype="application/json")
    response.set_etag(etag)
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response
