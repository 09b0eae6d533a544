# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The endpoint that monitoring and inventory programs in the field read hosts from.

They show an enrolment token of the API kind by HTTP Basic; API tokens and log-ins serve as well.
"""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.devices.views import split_values
from patchherd.errors import invalid
from patchherd.http import Room, settings
from patchherd.identity.access import requires
from patchherd.inventory import schemas
from patchherd.inventory.machine import list_hosts

room = Room("machine-api", __name__, description="Hosts for programs, by HTTP Basic")


@room.route("/hosts")
@requires("devices:read")
@room.arguments(schemas.MachineQuery, location="query")
@room.response(200, schemas.MachineHosts)
def get_hosts(query: dict[str, Any]) -> Response:
    """Hosts with address and groups; `include=stats` adds updates, packages and state"""
    wanted = split_values(query["include"])
    if unknown := [name for name in wanted if name != "stats"]:
        raise invalid("include", "only stats can be included", "query", unknown[0])
    return jsonify(list_hosts(settings(), query["hostgroup"], stats="stats" in wanted))
