# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of missing patches and deployments that systems behind the Patch Management API have."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response, jsonify

from patchherd.deployments import legacy_schemas as schemas
from patchherd.deployments import patch_management
from patchherd.deployments.queue import wake_worker
from patchherd.devices.selection import split_values
from patchherd.http import Room, json_body, loaded, settings
from patchherd.identity.access import current, requires
from patchherd.packages.schemas import LegacyMissingQuery

room = Room(
    "patches-legacy", __name__, description="Patches as clients of the Patch Management API read and deploy them"
)

_ITEM = {
    "type": "object",
    "required": ["agent_id", "patch_file"],
    "properties": {
        "agent_id": {"type": "string"},
        "patch_file": {"type": "string", "description": "KB, package, package=version or file name of a missing patch"},
    },
}
_ITEMS = {
    "required": True,
    "content": {"application/json": {"schema": {"oneOf": [_ITEM, {"type": "array", "minItems": 1, "items": _ITEM}]}}},
}


@room.route("/patches/missing")
@requires("devices:read")
@room.arguments(LegacyMissingQuery, location="query")
@room.response(200, schemas.LegacyMissing)
def list_missing(query: dict[str, Any]) -> Response:
    """Missing patches of all devices; those whose state is not known are in `unknown`"""
    return Response(patch_management.missing_patches(settings(), query), mimetype="application/json")


@room.route('/patches/missing/<any("windows", "ubuntu", "rhel"):system>')
@requires("devices:read")
@room.arguments(LegacyMissingQuery, location="query")
@room.response(200, schemas.LegacyMissing)
def list_missing_of_system(query: dict[str, Any], system: str) -> Response:
    """The same for one kind of system: windows, ubuntu (all with apt) or rhel (all with dnf)"""
    return Response(patch_management.missing_patches(settings(), query, system), mimetype="application/json")


@room.route("/patches/deploy", methods=["POST"])
@requires("deployments:run")
@room.doc(requestBody=_ITEMS)
@room.response(200, schemas.LegacyScheduled)
def deploy() -> Response:
    """Deploy one missing patch, or a list of them: all or none"""
    body = json_body()
    items = loaded(schemas.DeployItem(many=True), body if isinstance(body, list) else [body])
    wake = partial(wake_worker, settings())
    return jsonify(patch_management.schedule(settings(), wake, current().name, items))


@room.route("/patches/deploy/status")
@requires("deployments:read")
@room.arguments(schemas.DeployStatusQuery, location="query")
@room.response(200, schemas.LegacyProgress)
def get_deploy_status(query: dict[str, Any]) -> Response:
    """How far the newest deployment is on each agent; with its patches when agents or a deployment are named"""
    agents = split_values(query.get("agent_id"))
    return jsonify(patch_management.progress(agents, query.get("deployment_id")))
