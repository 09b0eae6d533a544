# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Changes of groups: what they are called, where they hang, their rule, and who is put into them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from patchherd.database import chunked, now, write_transaction
from patchherd.devices import history, rules
from patchherd.devices.groups import Tree, check_rule, check_weight
from patchherd.devices.models import Device, DeviceGroup, GroupMember
from patchherd.devices.registry import find_group
from patchherd.errors import Conflict
from patchherd.identity import audit
from patchherd.identity.locking import take_turn

GROUPING = 0x70617411
"""Lock of those who change how groups hang together: two changes may be right, and a circle together."""


def create_group(body: dict[str, Any]) -> DeviceGroup:
    """A new group of `name` and, optionally, description, color, parent_id, rule.

    Raises Conflict when the name is taken, NotFound for an unknown parent, BadRequest for a bad rule.
    """
    given = {name: value for name, value in body.items() if value is not None}
    with write_transaction():
        take_turn(GROUPING)
        _refuse_taken(given["name"])
        columns = _columns(given)
        group = DeviceGroup.create(uuid=str(uuid.uuid4()), created_at=now(), **columns)
        _check(group)
        audit.record("group.create", "group", group.uuid, group.name, after=given)
    return group


def change_group(reference: str, body: dict[str, Any]) -> DeviceGroup:
    """Change what the body names. Raises what `create_group` does; Conflict for a name that a rule uses."""
    with write_transaction():
        take_turn(GROUPING)
        group = find_group(reference)
        changes = _columns(body)
        if "name" in changes and changes["name"] != group.name:
            _refuse_taken(changes["name"])
            _refuse_named(group, {group.name}, "renamed")
        before = {name: getattr(group, name) for name in changes if name != "parent"}
        if "parent" in changes:
            before["parent_id"] = group.parent.uuid if group.parent else None
        if changes:
            DeviceGroup.update(**changes).where(DeviceGroup.id == group.id).execute()
        changed = DeviceGroup.get_by_id(group.id)
        _check(changed)
        audit.record("group.update", "group", group.uuid, changed.name, before=before, after=body)
    return changed


def delete_group(reference: str) -> None:
    """Delete a group; its devices stay, and the groups below it. Raises Conflict when a rule names it."""
    with write_transaction():
        take_turn(GROUPING)
        group = find_group(reference)
        _refuse_named(group, {group.name, group.uuid}, "deleted")
        DeviceGroup.delete().where(DeviceGroup.id == group.id).execute()
        audit.record("group.delete", "group", group.uuid, group.name)


def set_members(group: DeviceGroup, devices: Iterable[Device]) -> None:
    """Put exactly these devices into the group; members by rule stay members."""
    wanted = {device.id for device in devices}
    with write_transaction():
        known = {device for (device,) in _put_in(group)}
        _remove(group, known - wanted)
        _add(group, wanted - known)
        audit.record("group.members", "group", group.uuid, group.name, after={"device_ids": sorted(wanted)})


def add_members(group: DeviceGroup, devices: Iterable[Device]) -> None:
    """Put these devices into the group, too."""
    wanted = {device.id for device in devices}
    with write_transaction():
        _add(group, wanted - {device for (device,) in _put_in(group)})
        audit.record("group.add_members", "group", group.uuid, group.name, after={"device_ids": sorted(wanted)})


def remove_member(group: DeviceGroup, device: Device) -> None:
    """Take a device out of a group. Raises Conflict when it was not put in: a rule or a group below holds it."""
    with write_transaction():
        if device.id not in {number for (number,) in _put_in(group)}:
            name = device.hostname or device.friendly_name
            raise Conflict(
                "Not put into this group", f"{name} is no member of {group.name}, or is one by rule or nesting"
            )
        _remove(group, {device.id})
        audit.record("group.remove_member", "group", group.uuid, group.name, before={"device_ids": [device.id]})


def replace_groups(device: Device, groups: Iterable[DeviceGroup]) -> None:
    """Make these the groups that a device is put into."""
    wanted = {group.id: group for group in groups}
    rows = GroupMember.select(GroupMember.group, DeviceGroup.name).join(DeviceGroup).where(GroupMember.device == device)
    known = dict(rows.tuples())
    if set(known) == set(wanted):
        return
    GroupMember.delete().where(GroupMember.device == device).execute()
    for group in wanted:
        GroupMember.create(group=group, device=device)
    left = sorted(name for number, name in known.items() if number not in wanted)
    joined = sorted(group.name for number, group in wanted.items() if number not in known)
    history.note(device.id, "groups_changed", {"added": joined, "removed": left})


def _put_in(group: DeviceGroup) -> Any:
    return GroupMember.select(GroupMember.device).where(GroupMember.group == group).tuples()


def _add(group: DeviceGroup, devices: set[int]) -> None:
    for part in chunked([{"group": group.id, "device": device} for device in sorted(devices)], 2):
        GroupMember.insert_many(part).execute()
    history.note_many(devices, "groups_changed", {"added": [group.name], "removed": []})


def _remove(group: DeviceGroup, devices: set[int]) -> None:
    for part in chunked(sorted(devices), 1):
        GroupMember.delete().where((GroupMember.group == group) & GroupMember.device.in_(part)).execute()
    history.note_many(devices, "groups_changed", {"added": [], "removed": [group.name]})


def _columns(body: dict[str, Any]) -> dict[str, Any]:
    """Columns of a group from a body; what was cleared is empty."""
    columns = {name: value or "" for name, value in body.items() if name not in ("parent_id", "rule")}
    if "rule" in body:
        columns["rule"] = (body["rule"] or "").strip() or None
    if "parent_id" in body:
        columns["parent"] = find_group(body["parent_id"]) if body["parent_id"] not in (None, "") else None
    return columns


def _check(group: DeviceGroup) -> None:
    """Raises BadRequest when the groups, with this one as it is now, make a circle or are too much."""
    tree = Tree.load()
    if group.rule:
        check_rule(tree, group.rule)
    if group.rule or group.parent_id is not None:
        for number in tree.groups:
            check_weight(tree, number)


def _refuse_taken(name: str) -> None:
    if DeviceGroup.select().where(DeviceGroup.name == name).exists():
        raise Conflict("Name already taken", f"a group named {name} exists")


def _refuse_named(group: DeviceGroup, names: set[str], done: str) -> None:
    users = [
        other.name
        for other in DeviceGroup.select().where(DeviceGroup.rule.is_null(False)).order_by(DeviceGroup.name)
        if any(test.field == "group" and names & set(test.values) for test in rules.tests(rules.parse(other.rule)))
    ]
    if users:
        raise Conflict(
            "Group is in use", f"{group.name} cannot be {done}: the rule of {', '.join(users[:10])} names it"
        )
