# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Who is in which group: the one place that knows.

Members of a group are the devices that were put into it, those that its rule holds for, and the members of the groups
below it. Nothing of this is stored but the first, so nothing can be out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from patchherd.database import chunked, db, now
from patchherd.devices import rules
from patchherd.devices.conditions import any_of
from patchherd.devices.models import Device, DeviceGroup, GroupMember
from patchherd.devices.rule_sql import Compiler
from patchherd.errors import BadRequest, invalid
from patchherd.settings import Settings

MAX_WEIGHT = 5_000
"""Values in one statement: SQLite takes a million bytes of SQL."""
MAX_COLUMNS = 500
MANY = 1_000
"""From so many devices on it is cheaper to ask for all."""


@dataclass
class Tree:
    """All groups and how they hang together, read by one query."""

    groups: dict[int, DeviceGroup]
    """By name."""

    @classmethod
    def load(cls) -> Tree:
        return cls({group.id: group for group in DeviceGroup.select().order_by(DeviceGroup.name)})

    def __post_init__(self) -> None:
        self.names = {group.uuid: group.id for group in self.groups.values()}
        self.names |= {
            group.name: group.id for group in self.groups.values()
        }  # what is called like a UUID, by its name
        self._needed: dict[int, list[int]] = {}
        self.children: dict[int, list[int]] = {}
        for group in self.groups.values():
            if group.parent_id is not None:
                self.children.setdefault(group.parent_id, []).append(group.id)

    def named(self, group: int) -> list[int]:
        """The groups that the rule of a group names."""
        found = [self.names.get(name) for test in self._tests(group) for name in test.values if test.field == "group"]
        return [number for number in found if number is not None]

    def _tests(self, group: int) -> Iterator[rules.Test]:
        text = self.groups[group].rule
        return rules.tests(rules.parse(text)) if text else iter(())

    def below(self, group: int) -> list[int]:
        """The group and all groups below it."""
        found = {group: None}
        queue = [group]
        for number in queue:
            fresh = [child for child in self.children.get(number, ()) if child not in found]
            found |= dict.fromkeys(fresh)
            queue += fresh
        return list(found)

    def above(self, group: int) -> list[int]:
        """The group and all groups above it."""
        found = [group]
        while (parent := self.groups[found[-1]].parent_id) is not None and parent not in found:
            found.append(parent)
        return found

    def needed(self, group: int) -> list[int]:
        """The groups that rules in or below a group name, in an order in which each needs only those before it.

        Raises BadRequest for a circle, and names it.
        """
        if group not in self._needed:
            order: dict[int, None] = {}
            self._visit(group, [], order, set())
            self._needed[group] = list(order)
        return self._needed[group]

    def _visit(self, group: int, path: list[int], order: dict[int, None], done: set[int]) -> None:
        if group in path:
            circle = [*path[path.index(group) :], group]
            raise BadRequest("Circle of groups", " > ".join(self.groups[number].name for number in circle))
        if group in done:
            return
        named = self.named(group)
        for other in [*named, *self.children.get(group, ())]:
            self._visit(other, [*path, group], order, done)
            if other in named:
                order[other] = None
        done.add(group)

    def all_needed(self, groups: Iterable[int]) -> list[int]:
        """What `needed` says of several groups, each once."""
        return list(dict.fromkeys(number for group in groups for number in self.needed(group)))

    def weight(self, groups: Iterable[int], tables: Iterable[int]) -> int:
        """Values in a statement with the rules of these groups, and tables of the members of those."""
        inside = [number for table in tables for number in self.below(table)]
        return sum(len(test.values) + 1 for group in [*groups, *inside] for test in self._tests(group))


class Resolver:
    """Conditions of groups at one moment."""

    def __init__(self, settings: Settings, tree: Tree, moment: datetime | None = None) -> None:
        self.tree = tree
        self.compiler = Compiler(settings, moment or now(), self._named_condition)

    def _named_condition(self, name: str) -> Any:
        number = self.tree.names.get(name)
        if number is None:  # a rule cannot be stored so, and its groups cannot be deleted or renamed
            return peewee.SQL("1 = 0")
        return peewee.NodeList((Device.id, peewee.SQL(f'IN (SELECT "id" FROM "{_table(number)}")')))  # noqa: S608

    def rule(self, text: str) -> Any:
        """The condition of one rule; the query needs the tables of the groups that it names."""
        return self.compiler.condition(rules.parse(text))

    def tables(self, groups: Iterable[int], among: Any = None) -> list[peewee.CTE]:
        """Tables of the WITH clause that conditions of these groups refer to; `among`: of devices that meet this."""
        found = []
        for group in self.tree.all_needed(groups):
            members = Device.select(Device.id).where(self.full(group))
            members = members if among is None else members.where(among)
            found.append(members.cte(_table(group), columns=("id",)))
        return found

    def full(self, group: int) -> Any:
        """Put in, by rule, or by a group below."""
        below = self.tree.below(group)
        put_in = GroupMember.select(GroupMember.device).where(GroupMember.group.in_(below))
        texts = [self.tree.groups[number].rule for number in below]
        return any_of([Device.id.in_(put_in), *(self.rule(text) for text in texts if text)])

    def members(self, group: int) -> Any:
        """The condition for the members of a group, good for any query on devices."""
        condition, tables = self.full(group), self.tables([group])
        if not tables:
            return condition
        return Device.id.in_(Device.select(Device.id).where(condition).with_cte(*tables))


def _table(group: int) -> str:
    return f"in_group_{group:d}"


def is_member(settings: Settings, group: DeviceGroup, tree: Tree | None = None) -> Any:
    """The condition on `Device` that is true for the members of a group; deleted devices are not left out."""
    return Resolver(settings, tree or Tree.load()).members(group.id)


def memberships(settings: Settings, device_ids: Iterable[int] | None = None) -> dict[int, list[DeviceGroup]]:
    """Device id -> its groups by name, of at least these or of all devices.

    Three queries, and one more for every few thousand values in rules.
    """
    tree = Tree.load()
    wanted = None if device_ids is None else list(device_ids)
    if wanted is not None and len(wanted) > MANY:
        wanted = None
    direct: dict[int, set[int]] = {}
    if tree.groups:
        for part in [None] if wanted is None else chunked(wanted, 2):
            for group, device in _put_in(part):
                direct.setdefault(device, set()).add(group)
            for group, device in _by_rule(settings, tree, part):
                direct.setdefault(device, set()).add(group)
    above = {group: tree.above(group) for group in tree.groups}
    rank = {group: number for number, group in enumerate(tree.groups)}
    known: dict[frozenset[int], list[DeviceGroup]] = {}  # devices of the same groups are many
    found = {}
    for device, groups in direct.items():
        key = frozenset(groups)
        if key not in known:
            every = sorted(
                {number for group in groups if group in above for number in above[group]}, key=rank.__getitem__
            )
            known[key] = [tree.groups[number] for number in every]
        found[device] = known[key]
    return found


def _put_in(devices: list[int] | None) -> Iterator[tuple[int, int]]:
    rows = GroupMember.select(GroupMember.group, GroupMember.device)
    yield from db.execute(rows if devices is None else rows.where(GroupMember.device.in_(devices)))


def _by_rule(settings: Settings, tree: Tree, devices: list[int] | None) -> Iterator[tuple[int, int]]:
    """(group, device) of every rule that holds: one query for as many rules as one statement can carry."""
    resolver = Resolver(settings, tree)
    for groups in _portions(tree):
        holds = [peewee.Case(None, ((resolver.rule(tree.groups[group].rule), 1),), 0) for group in groups]
        query = Device.select(Device.id, *holds).where(Device.deleted_at.is_null())
        tables = resolver.tables(groups)
        if devices is not None:
            query = query.where(_ASKED)
            asked = Device.select(Device.id).where(Device.id.in_(devices)).cte("asked", columns=("id",))
            tables = [asked, *resolver.tables(groups, _ASKED)]
        if tables:
            query = query.with_cte(*tables)
        for device, *held in db.execute(query):
            yield from ((group, device) for group, holds_there in zip(groups, held, strict=True) if holds_there)


_ASKED = peewee.NodeList((Device.id, peewee.SQL('IN (SELECT "id" FROM "asked")')))


def _portions(tree: Tree) -> Iterator[list[int]]:
    """Groups with a rule, as many at a time as one statement can carry."""
    portion: list[int] = []
    tables: set[int] = set()
    weight = 0
    for group in (number for number, group in tree.groups.items() if group.rule):
        more = set(tree.needed(group)) - tables
        weight += tree.weight([group], more)
        if portion and (len(portion) >= MAX_COLUMNS or weight > MAX_WEIGHT):
            yield portion
            portion, more = [], set(tree.needed(group))
            tables, weight = set(), tree.weight([group], more)
        portion.append(group)
        tables |= more
    if portion:
        yield portion


def group_names(settings: Settings, device_ids: Iterable[int]) -> dict[int, list[str]]:
    """Device id -> names of its groups."""
    return {device: [group.name for group in groups] for device, groups in memberships(settings, device_ids).items()}


def members(settings: Settings, group: DeviceGroup) -> list[Device]:
    """The devices of a group by name, without deleted ones; each tells by `is_static` whether it was put in."""
    living = Device.select().where(Device.deleted_at.is_null() & is_member(settings, group))
    put_in = {device for (device,) in GroupMember.select(GroupMember.device).where(GroupMember.group == group).tuples()}
    found = list(living.order_by(Device.friendly_name, Device.id))
    for device in found:
        device.is_static = device.id in put_in
    return found


def with_count(settings: Settings, group: DeviceGroup) -> DeviceGroup:
    """The group with `host_count`."""
    group.host_count = Device.select().where(Device.deleted_at.is_null() & is_member(settings, group)).count()
    return group


def list_groups(settings: Settings) -> list[DeviceGroup]:
    """All groups by name, each with `host_count`."""
    tree = Tree.load()
    counts = dict.fromkeys(tree.groups, 0)
    living = {device for (device,) in Device.select(Device.id).where(Device.deleted_at.is_null()).tuples()}
    for device, groups in memberships(settings).items():
        for group in groups if device in living else ():
            counts[group.id] += 1
    for group in tree.groups.values():
        group.host_count = counts.get(group.id, 0)
    return list(tree.groups.values())


def preview(settings: Settings, text: str, limit: int) -> dict[str, Any]:
    """How many devices a rule holds for now, and the first of them by id. Raises BadRequest as storing it would."""
    tree = Tree.load()
    check_rule(tree, text)
    tree = Tree({**tree.groups, 0: DeviceGroup(id=0, uuid="", name="", rule=text)})
    check_weight(tree, 0)
    found = Device.select().where(Device.deleted_at.is_null() & Resolver(settings, tree).members(0))
    return {"count": found.count(), "devices": list(found.order_by(Device.id).limit(limit))}


def check_weight(tree: Tree, group: int) -> None:
    """Raises BadRequest when the rules behind a group are more than one statement can carry, or go in a circle."""
    if tree.weight(tree.below(group), tree.needed(group)) > MAX_WEIGHT:
        named = tree.groups[group].name or "this rule"
        raise invalid("rule", f"{named} has, with the groups in it, more than {MAX_WEIGHT} values")


def check_rule(tree: Tree, text: str) -> None:
    """Raises BadRequest about the field `rule`: for what is no rule, or names a group that is not there."""
    try:
        tests = list(rules.tests(rules.parse(text)))
        for test in tests:
            for name in test.values if test.field == "group" else ():
                if name not in tree.names:
                    known = [group.name for group in tree.groups.values()]
                    raise rules.RuleError(test.position, f"no group {str(name)[:80]}{rules.nearest(str(name), known)}")
    except rules.RuleError as exc:
        raise invalid("rule", str(exc), value=text) from exc
