# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: host groups."""

from __future__ import annotations

from typing import Any

from patchherd.database import write_transaction
from patchherd.devices import registry
from patchherd.enrollment import schemas
from patchherd.http import Room
from patchherd.identity import audit
from patchherd.identity.access import requires
from patchherd.identity.schemas import MessageView

room = Room("host-groups", __name__, description="Groups of hosts")


@room.route("/host-groups")
@requires("devices:read")
@room.response(200, schemas.GroupView(many=True))
def list_groups() -> Any:
    """All host groups by name"""
    return registry.list_groups()


@room.route("/host-groups", methods=["POST"])
@requires("devices:write")
@room.arguments(schemas.NewGroup)
@room.response(201, schemas.GroupView)
def create_group(body: dict[str, Any]) -> Any:
    """Create a host group"""
    given = {key: value for key, value in body.items() if value is not None}
    with write_transaction():
        group = registry.create_group(**given)
        audit.record("group.create", "group", group.uuid, group.name, after=given)
    group.host_count = 0
    return group


@room.route("/host-groups/<group_id>")
@requires("devices:read")
@room.response(200, schemas.GroupView)
def get_group(group_id: str) -> Any:
    """One host group"""
    return _counted(registry.find_group(group_id))


@room.route("/host-groups/<group_id>", methods=["PUT", "PATCH"])
@requires("devices:write")
@room.arguments(schemas.GroupChange)
@room.response(200, schemas.GroupView)
def change_group(body: dict[str, Any], group_id: str) -> Any:
    """Change name, description or colour of a host group"""
    changes = {key: value or "" for key, value in body.items()}
    with write_transaction():
        group = registry.find_group(group_id)
        changed = registry.change_group(group, changes)
        before = {key: getattr(group, key) for key in changes}
        audit.record("group.update", "group", group.uuid, changed.name, before=before, after=changes)
    return _counted(changed)


@room.route("/host-groups/<group_id>", methods=["DELETE"])
@requires("devices:write")
@room.response(200, MessageView)
def delete_group(group_id: str) -> dict[str, str]:
    """Delete a host group; its hosts stay"""
    with write_transaction():
        group = registry.find_group(group_id)
        registry.delete_group(group)
        audit.record("group.delete", "group", group.uuid, group.name)
    return {"message": "Host group deleted successfully"}


@room.route("/host-groups/<group_id>/hosts")
@requires("devices:read")
@room.response(200, schemas.MemberView(many=True))
def list_members(group_id: str) -> Any:
    """The hosts of a group"""
    return registry.members(registry.find_group(group_id))


@room.route("/host-groups/<group_id>/hosts", methods=["PUT"])
@requires("devices:write")
@room.arguments(schemas.GroupMembers)
@room.response(200, schemas.MemberView(many=True))
def set_members(body: dict[str, Any], group_id: str) -> Any:
    """Make exactly these hosts the members of a group"""
    with write_transaction():
        group = registry.find_group(group_id)
        wanted = [registry.find_device(reference).id for reference in body["host_ids"]]
        registry.set_members(group, wanted)
        audit.record("group.members", "group", group.uuid, group.name, after={"device_ids": wanted})
    return registry.members(group)


def _counted(group: Any) -> Any:
    group.host_count = len(registry.members(group))
    return group
