# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints beside the device list: tags, history, duplicates, what was deleted."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.database import now
from patchherd.devices import duplicates, history, records, tags
from patchherd.devices.registry import find_device, find_device_or_deleted
from patchherd.devices.views import deleted_views, split_values
from patchherd.errors import invalid
from patchherd.http import Room, settings
from patchherd.identity.access import requires

room = Room("device-records", __name__, description="Tags, history, duplicates and deleted devices")


@room.route("/tags")
@requires("devices:read")
@room.response(200, records.TagCount(many=True))
def list_tags() -> Any:
    """All tags in use, and how many devices have them"""
    return tags.all_tags()


@room.route("/devices/<reference>/tags", methods=["POST"])
@requires("devices:write")
@room.arguments(records.NewTags)
@room.response(200, records.DeviceTags)
def add_tags(body: dict[str, Any], reference: str) -> Any:
    """Hang tags on a device, besides those that it has"""
    return {"tags": tags.add(find_device(reference), body["tags"])}


@room.route("/devices/<reference>/tags/<tag>", methods=["DELETE"])
@requires("devices:write")
@room.response(200, records.DeviceTags)
def remove_tag(reference: str, tag: str) -> Any:
    """Take a tag off a device"""
    return {"tags": tags.remove(find_device(reference), tag)}


@room.route("/devices/<reference>/history")
@requires("devices:read")
@room.arguments(records.HistoryQuery, location="query")
@room.response(200, records.HistoryPage)
def get_history(query: dict[str, Any], reference: str) -> Response:
    """What changed about a device, newest first; also of a deleted one, by id or agent id"""
    kinds = split_values(query.get("type"))
    if unknown := [kind for kind in kinds if kind not in history.TYPES]:
        raise invalid("type", f"known are {', '.join(history.TYPES)}", "query", unknown[0])
    events, following = history.page(
        find_device_or_deleted(reference),
        types=kinds,
        since=query.get("since"),
        before=query.get("before"),
        limit=query["limit"],
    )
    return jsonify({"events": events, "next": following})


@room.route("/devices/duplicates")
@requires("devices:read")
@room.arguments(records.DuplicatesQuery, location="query")
@room.response(200, records.Duplicates)
def list_duplicates(query: dict[str, Any]) -> Response:
    """Devices that share a machine id or an SSH host key: one machine enrolled twice, or clones"""
    return jsonify(duplicates.find_duplicates(query["limit"]))


@room.route("/devices/deleted")
@requires("devices:read")
@room.arguments(records.DeletedQuery, location="query")
@room.response(200, records.DeletedPage)
def list_deleted(query: dict[str, Any]) -> Response:
    """Devices that were deleted or merged, by id"""
    devices, following = deleted_views(settings(), now(), query["after"], query["limit"])
    return jsonify({"devices": devices, "next": following})
