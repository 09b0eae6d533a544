# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: host groups."""

from __future__ import annotations

from typing import Any

from patchherd.devices import group_changes, groups
from patchherd.devices.registry import find_device, find_devices, find_group
from patchherd.enrollment import schemas
from patchherd.http import Room, settings
from patchherd.identity.access import requires
from patchherd.identity.schemas import MessageView

room = Room("host-groups", __name__, description="Groups of hosts")


@room.route("/host-groups")
@requires("devices:read")
@room.response(200, schemas.GroupView(many=True))
def list_groups() -> Any:
    """All host groups by name"""
    return groups.list_groups(settings())


@room.route("/host-groups", methods=["POST"])
@requires("devices:write")
@room.arguments(schemas.NewGroup)
@room.response(201, schemas.GroupView)
def create_group(body: dict[str, Any]) -> Any:
    """Create a host group, with a rule if devices shall be in it by what they are"""
    return groups.with_count(settings(), group_changes.create_group(body))


@room.route("/host-groups/preview", methods=["POST"])
@requires("devices:read")
@room.arguments(schemas.RuleBody)
@room.response(200, schemas.RulePreview)
def preview_rule(body: dict[str, Any]) -> Any:
    """The devices that a rule holds for now, without storing it"""
    return groups.preview(settings(), body["rule"], body["limit"])


@room.route("/host-groups/<group_id>")
@requires("devices:read")
@room.response(200, schemas.GroupView)
def get_group(group_id: str) -> Any:
    """One host group"""
    return groups.with_count(settings(), find_group(group_id))


@room.route("/host-groups/<group_id>", methods=["PUT", "PATCH"])
@requires("devices:write")
@room.arguments(schemas.GroupChange)
@room.response(200, schemas.GroupView)
def change_group(body: dict[str, Any], group_id: str) -> Any:
    """Change name, description, colour, parent or rule of a host group"""
    return groups.with_count(settings(), group_changes.change_group(group_id, body))


@room.route("/host-groups/<group_id>", methods=["DELETE"])
@requires("devices:write")
@room.response(200, MessageView)
def delete_group(group_id: str) -> dict[str, str]:
    """Delete a host group; its hosts stay"""
    group_changes.delete_group(group_id)
    return {"message": "Host group deleted successfully"}


@room.route("/host-groups/<group_id>/hosts")
@requires("devices:read")
@room.response(200, schemas.MemberView(many=True))
def list_members(group_id: str) -> Any:
    """The hosts of a group, whatever makes them members"""
    return groups.members(settings(), find_group(group_id))


@room.route("/host-groups/<group_id>/hosts", methods=["PUT"])
@requires("devices:write")
@room.arguments(schemas.GroupMembers)
@room.response(200, schemas.MemberView(many=True))
def set_members(body: dict[str, Any], group_id: str) -> Any:
    """Put exactly these hosts into a group; members by rule stay"""
    group = find_group(group_id)
    group_changes.set_members(group, _hosts(body))
    return groups.members(settings(), group)


@room.route("/host-groups/<group_id>/hosts", methods=["POST"])
@requires("devices:write")
@room.arguments(schemas.GroupMembers)
@room.response(200, schemas.MemberView(many=True))
def add_members(body: dict[str, Any], group_id: str) -> Any:
    """Put these hosts into a group, too"""
    group = find_group(group_id)
    group_changes.add_members(group, _hosts(body))
    return groups.members(settings(), group)


@room.route("/host-groups/<group_id>/hosts/<reference>", methods=["DELETE"])
@requires("devices:write")
@room.response(204)
def remove_member(group_id: str, reference: str) -> None:
    """Take a host out of a group"""
    group_changes.remove_member(find_group(group_id), find_device(reference))


def _hosts(body: dict[str, Any]) -> list[Any]:
    return find_devices(body["host_ids"])
