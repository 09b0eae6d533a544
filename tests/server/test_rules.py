# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The rule language: what the databases select is what the rule says, and what is no rule is refused with its place."""

from __future__ import annotations

import fnmatch
import ipaddress
import operator
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchherd import database
from patchherd.database import now
from patchherd.devices import rules
from patchherd.devices.conditions import all_of
from patchherd.devices.groups import Resolver, Tree
from patchherd.devices.keys import address_key, network_keys, version_key, with_keys
from patchherd.devices.models import Device, DeviceGroup, DeviceTag, GroupMember
from patchherd.settings import Settings
from tests.server.api import Api
from tests.server.queries import queries

MOMENT = now().replace(microsecond=0)
TEXTS = ["web-1", "WEB-2", "db", "a%b", "a_b", "a!b", "Ä-1", "ä-1", "", "debian", "x*y", "quote\"'\\"]
ADDRESSES = ["10.0.0.1", "10.0.16.9", "10.1.2.3", "192.0.2.255", "2001:db8::1", "2001:db8:0:1::", "fe80::1", None]
NETWORKS = ["10.0.0.0/8", "10.0.0.0/20", "10.0.0.1", "2001:db8::/32", "2001:DB8:0:0::/64", "::/0", "0.0.0.0/0"]
VERSIONS = ["1", "1.0", "1.2", "1.10.0", "1.10rc1", "2.0.0", "22.04", "9", "10.0.20348", "???", None]
TAGS = ["prod", "dmz", "tier:1", "a_b"]
GROUPS = ["Static", "Nested", "By rule", "Nobody"]
AGES = [1, 59, 3_600, 86_400, 700_000]


# -- the same in Python ----------------------------------------------------------------------------------------------

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}


def fold(text: str) -> str:
    return re.sub("[A-Z]", lambda match: match.group().lower(), text)


def like(text: str, pattern: str) -> bool:
    parts = [".*" if sign == "*" else "." if sign == "?" else re.escape(sign) for sign in fold(pattern)]
    return re.fullmatch("".join(parts), fold(text), re.DOTALL) is not None


def holds(node: rules.Node, world: World, device: Device) -> bool | None:
    """Kleene's logic: None is unknown."""
    if isinstance(node, rules.Not):
        value = holds(node.part, world, device)
        return None if value is None else not value
    if isinstance(node, rules.Test):
        return compare(node, world, device)
    values = [holds(part, world, device) for part in node.parts]
    decisive = isinstance(node, rules.Some)
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def compare(test: rules.Test, world: World, device: Device) -> bool | None:
    if test.operator in ("!=", "not in", "!~"):
        positive = {"!=": "==", "not in": "in", "!~": "~"}[test.operator]
        value = compare(rules.Test(test.field, positive, test.values, 0), world, device)
        return None if value is None else not value
    kind, wanted = rules.FIELDS[test.field], test.values
    if kind == "tag":
        tags = world.tags[device.id]
        if wanted == (None,):
            return not tags
        matches = like if test.operator == "~" else lambda tag, value: tag == fold(value)
        return any(matches(tag, str(value)) for tag in tags for value in wanted)
    if kind == "group":
        return any(device.id in world.groups[str(name)] for name in wanted)
    value = world.shown(device, test.field)
    if wanted == (None,):
        return value is None
    if value is None:
        return None
    if test.operator == "~":
        return like(value, str(wanted[0]))
    if kind == "address":
        networks = [ipaddress.ip_network(str(text), strict=False) for text in wanted]
        return any(ipaddress.ip_address(value) in network for network in networks)
    if kind == "age":
        return bool(COMPARE[test.operator]((MOMENT - value).total_seconds(), wanted[0]))
    if kind == "version":
        key = version_key(value)
        if key is None:
            return None
        if test.operator == "in":
            return key in [version_key(str(text)) for text in wanted]
        return bool(COMPARE[test.operator](key, version_key(str(wanted[0]))))
    if kind in ("text", "choice"):
        return fold(value) in [fold(str(text)) for text in wanted]
    return value in wanted if test.operator == "in" else bool(COMPARE[test.operator](value, wanted[0]))


class World:
    """Devices of all kinds, tagged and in groups."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tags: dict[int, list[str]] = {}
        moments = [None, *(MOMENT - timedelta(seconds=age + drift) for age in AGES for drift in (-1, 0, 1))]
        rows = []
        for n in range(120):

            def pick(values: list[Any], step: int, n: int = n) -> Any:
                return values[(n * step + n // len(values)) % len(values)]

            rows.append(with_keys({
                "uuid": f"{n:036}", "friendly_name": TEXTS[n % len(TEXTS)] or "f", "notes": pick(TEXTS, 5),
                "created_at": pick(moments[1:], 7), "updated_at": MOMENT, "approved": n % 5 > 0,
                "machine_id": pick([*TEXTS, None], 3), "hostname": pick([*TEXTS[:7], None], 1),
                "ip_address": pick(ADDRESSES, 3), "os_family": pick(["debian", "redhat", "windows", None], 1),
                "os_id": pick(["debian", "rocky", None], 1), "os_name": pick([*TEXTS, None], 7), "os_version": None,
                "os_version_id": pick(VERSIONS, 3), "agent_version": pick(VERSIONS, 7),
                "kernel_running": pick(["6.1.0-1", None], 1), "os_architecture": pick(["x86_64", "aarch64", None], 2),
                "reboot_required": pick([True, False, None], 1), "last_heartbeat": pick(moments, 3),
                "last_report": pick(moments, 5), "evaluated_at": pick(moments, 1), "metadata_updated": pick(moments, 2),
                "missing": pick([0, 1, 7, None], 1), "missing_security": pick([0, 2, 0, None], 1),
                "maintenance": n % 3 == 0, "maintenance_until": pick([None, *moments[-3:], MOMENT + timedelta(1)], 1),
            }))  # fmt: skip
        Device.insert_many(rows).execute()
        self.devices = list(Device.select().order_by(Device.id))
        DeviceTag.insert_many(
            [{"device": d, "tag": tag} for n, d in enumerate(self.devices) for k, tag in enumerate(TAGS) if n >> k & 1]
        ).execute()
        for device in self.devices:
            self.tags[device.id] = [row.tag for row in device.tags]
        ids = {name: DeviceGroup.create(uuid=name, name=name, created_at=MOMENT).id for name in GROUPS}
        DeviceGroup.update(parent=ids["Nested"]).where(DeviceGroup.id == ids["Static"]).execute()
        DeviceGroup.update(rule='os_family == "debian" or group == "Nested"').where(
            DeviceGroup.id == ids["By rule"]
        ).execute()
        static = {device.id for device in self.devices[::4]}
        GroupMember.insert_many([{"group": ids["Static"], "device": device} for device in static]).execute()
        debian = {device.id for device in self.devices if device.os_family == "debian"}
        self.groups = {"Static": static, "Nested": static, "By rule": static | debian, "Nobody": set()}

    def shown(self, device: Device, field: str) -> Any:
        """What the API shows for a field."""
        stale = MOMENT - timedelta(hours=self.settings.stale_hours)
        known = device.missing is not None and all(
            moment is not None and moment >= stale for moment in (device.evaluated_at, device.metadata_updated)
        )
        if field == "hostname":
            return device.friendly_name if device.hostname is None else device.hostname
        if field in ("missing", "missing_security"):
            return getattr(device, field) if known else None
        if field == "patch_status":
            return ("missing" if device.missing else "current") if known else "unknown"
        if field == "status":
            if device.last_heartbeat is None:
                return "unknown"
            fresh = MOMENT - device.last_heartbeat <= timedelta(seconds=self.settings.online_seconds)
            return "online" if fresh else "offline"
        if field == "state":
            return "active" if device.approved and device.last_report is not None else "pending"
        if field == "maintenance":
            return device.maintenance and (device.maintenance_until is None or device.maintenance_until > MOMENT)
        names = {"created_age": "created_at", "report_age": "last_report", "heartbeat_age": "last_heartbeat"}
        return getattr(device, names.get(field, field))

    def selected(self, rule: str) -> set[int]:
        """The devices that the database selects."""
        tree = Tree({**Tree.load().groups, 0: DeviceGroup(id=0, uuid="", name="", rule=rule)})
        condition = Resolver(self.settings, tree, MOMENT).members(0)
        return {number for (number,) in Device.select(Device.id).where(condition).tuples()}


@pytest.fixture
def world(app: Flask, app_settings: Settings) -> Iterator[World]:
    with database.connection():
        yield World(app_settings)


# -- generated rules -------------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


VALUES: dict[str, st.SearchStrategy[str]] = {
    "text": st.sampled_from([*TEXTS, "redhat", "x86_64", "6.1.0-1"]).map(quoted),
    "tag": st.sampled_from([*TAGS, "PROD", "none"]).map(quoted),
    "group": st.sampled_from(GROUPS).map(quoted),
    "address": st.sampled_from(NETWORKS).map(quoted),
    "version": st.sampled_from([text for text in VERSIONS if text and text != "???"]).flatmap(
        lambda text: st.sampled_from([quoted(text), text if "r" not in text else quoted(text)])
    ),
    "number": st.integers(-1, 8).map(str),
    "age": st.sampled_from(["1s", "59s", "60m", "1h", "24h", "1d", "1w"]),
    "flag": st.sampled_from(["true", "false"]),
}  # fmt: skip
PATTERNS = st.sampled_from(
    ["*", "web-*", "WEB-?", "a%b", "a_b", "a!*", "?", "*b*", "10.0.*", "2001:*", "1.*", "x\\*y", "ä*", "p*d", "**"]
).map(quoted)


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    field = draw(st.sampled_from(sorted(rules.FIELDS)))
    kind = rules.FIELDS[field]
    if kind == "flag" and draw(st.booleans()):
        return field
    sign = draw(st.sampled_from(rules.OPERATORS[kind]))
    values = VALUES[kind] if kind in VALUES else st.sampled_from(rules.CHOICES[field]).map(quoted)
    if sign in rules.EQUALITY and field not in rules.NEVER_NULL and (kind == "age" or draw(st.integers(0, 4)) == 0):
        return f"{field} {sign} null"
    if sign in rules.PATTERN:
        return f"{field} {sign} {draw(PATTERNS)}"
    if sign in rules.MEMBERSHIP:
        return f"{field} {sign} ({', '.join(draw(st.lists(values, min_size=1, max_size=3)))})"
    return f"{field}{draw(st.sampled_from([' ', '']))}{sign} {draw(values)}"


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        parts.map(lambda found: "(" + " and ".join(found) + ")"),
        parts.map(lambda found: "(" + " OR ".join(found) + ")"),
        inner.map(lambda one: f"not ({one})"),
    )


RULES = st.recursive(comparisons(), combined, max_leaves=6)
PATIENT = settings(
    max_examples=400, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def test_the_databases_select_what_the_rule_says(world: World) -> None:
    @PATIENT
    @given(RULES)
    def check(rule: str) -> None:
        tree = rules.parse(rule)
        wanted = {device.id for device in world.devices if holds(tree, world, device)}
        assert world.selected(rule) == wanted, rule

    check()


def test_each_operator_of_each_field(world: World) -> None:
    """Every one with a value that some devices have: each row must divide the devices."""
    rows = [
        'hostname == "web-1"', 'hostname ~ "WEB-*"', 'hostname in ("db", "nobody")', 'ip_address == "10.0.0.1"',
        'ip_address in ("10.0.0.0/20", "2001:db8::/48")', 'ip_address ~ "10.*"', "ip_address == null",
        "agent_version >= 1.2", 'agent_version < "1.10"', 'agent_version > "1.10rc1"', 'os_version_id == "1.0.0"',
        "missing_security > 0", "missing == null", "missing in (0, 7)", "reboot_required", "not reboot_required",
        "reboot_required == null", "maintenance", 'status == "online"', 'status != "unknown"', 'state == "pending"',
        'patch_status in ("current", "unknown")', 'tag == "Prod"', 'tag ~ "tier:*"', "tag == null", 'tag != "dmz"',
        'group == "Nested"', 'group not in ("Static", "By rule")', "report_age > 1h", "heartbeat_age <= 1d",
        "created_age < 59s", "report_age == null", 'notes ~ "*!*"', "approved == false",
    ]  # fmt: skip
    everybody = len(world.devices)
    for rule in rows:
        found = world.selected(rule)
        assert 0 < len(found) < everybody, rule
        assert found == {device.id for device in world.devices if holds(rules.parse(rule), world, device)}, rule


def test_what_is_unknown_is_neither_true_nor_false(world: World) -> None:
    more, not_more, unknown = map(world.selected, ("missing > 0", "not missing > 0", "missing == null"))
    assert unknown
    assert not (more | not_more) & unknown
    assert more | not_more | unknown == {device.id for device in world.devices}


def test_the_deepest_and_longest_rules_reach_the_database(world: World) -> None:
    deep = "not (" * (rules.MAX_DEPTH // 2) + 'hostname ~ "web*"' + ")" * (rules.MAX_DEPTH // 2)
    assert world.selected(deep)
    towers = '((((((((((tag in ("prod", "dmz")))))))))))'.replace("((((((((((t", "(" * rules.MAX_DEPTH + "t", 1)
    assert world.selected(towers.replace(")" * 11, ")" * (rules.MAX_DEPTH + 1)))
    wide = " or ".join(['ip_address=="10.0.0.0/8"'] * 70)
    assert len(wide) <= rules.MAX_LENGTH
    assert world.selected(wide)
    assert all_of([Device.id > 0] * 1000) is not None
    assert Device.select().where(all_of([Device.id > 0] * 5000)).count() == len(world.devices)


# -- what is no rule -------------------------------------------------------------------------------------------------

REFUSED = [
    ("", 1, "a field is expected, not the end"),
    ("hostnme == 'x'", 1, "no field hostnme; did you mean hostname?"),
    ("approved and misssing > 0", 14, "did you mean missing?"),
    ("missing >", 10, "a whole number is expected, not the end"),
    ("missing > 'x'", 11, "a whole number is expected, not 'x'"),
    ("missing > 1.5", 11, "a whole number is expected"),
    ("missing > 99999999999", 11, "too large"),
    ("missing = 1", 9, "= is no operator; use =="),
    ("missing > 1 & approved", 13, "use ==, !=, and"),
    ("missing", 1, "missing needs one of"),
    ("hostname > 'a'", 10, "hostname does not take >"),
    ("status == 'onlin'", 11, "did you mean online?"),
    ("reboot_required == 1", 20, "true or false is expected"),
    ("status == null", 11, "null is not possible"),
    ("tag in ()", 9, "a text in quotes is expected, not )"),
    ("tag in ('a'", 12, ") is expected, not the end"),
    ("(approved", 10, ") is expected"),
    ("approved)", 9, "or the end is expected, not )"),
    ("approved approved", 10, "and, or, or the end is expected"),
    ("hostname == \"web", 13, "no closing quote"),
    ("hostname == web", 13, "a text in quotes is expected, not web"),
    ("ip_address == '10.0.0.0/99'", 15, "an IP address or a network"),
    ("report_age > 7", 14, "a time like 30m"),
    ("report_age > 99999999w", 14, "too long"),
    ("report_age == 7d", 15, "goes with null only"),
    ("agent_version > 'x y'  or missing > 5x", 37, "a number ends in something else"),
    ("agent_version > '..'", 17, "a version is expected"),
    ("hostname == 'a\tb'", 13, "control characters"),
    ("hostname == '" + "x" * 256 + "'", 13, "at most 255 characters"),
    ("not " * 30 + "approved", 45, "nested more than 10"),
    ("(" * 30 + "approved" + ")" * 30, 12, "nested more than 10"),
    ("missing in (" + ",".join("1" * 1 for _ in range(300)) + ")", 413, "at most 200 values"),
    ("and", 1, "a field is expected, not and"),
    ("__class__ == 'x'", 1, "no field __class__"),
    ("hostname.__class__ == 'x'", 9, "'.' is not expected"),
    ("approved" + " " * 2000, 2001, "at most 2000 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "position", "message"), REFUSED)
def test_what_is_no_rule_is_refused_with_its_place(text: str, position: int, message: str) -> None:
    with pytest.raises(rules.RuleError) as caught:
        rules.parse(text)
    assert message in str(caught.value)
    assert caught.value.position == position


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_garbage_is_a_400_and_never_a_fault(api: Api) -> None:
    pieces = st.lists(
        st.one_of(
            st.sampled_from([*rules.FIELDS, "and", "or", "not", "in", "(", ")", ",", "==", "~", "null", "'", '"']),
            st.text(max_size=5), comparisons(), st.integers().map(str),
        ), max_size=12,
    ).map(" ".join)  # fmt: skip

    @settings(PATIENT, max_examples=300)
    @given(st.one_of(st.text(max_size=60), pieces))
    def check(text: str) -> None:
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            return
        answer = api.post("/host-groups/preview", {"rule": text})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json["errors"][0]["path"] == "rule"

    check()


def test_a_nasty_pattern_does_not_take_long(world: World) -> None:
    Device.update(notes="a" * 10_000).execute()
    started = time.monotonic()
    assert world.selected('notes ~ "' + "*a" * 100 + '*b"') == set()
    assert time.monotonic() - started < 10


# -- keys ------------------------------------------------------------------------------------------------------------


def test_versions_sort_as_people_mean_them() -> None:
    ordered = [
        "0.9",
        "1.0.0-alpha",
        "1.0.0-beta",
        "1.0.0-rc.1",
        "1.0.0-rc.2",
        "1.0.0",
        "1.0.1",
        "1.2",
        "1.10",
        "2",
        "12.1",
    ]
    assert sorted(set(ordered), key=lambda text: str(version_key(text))) == ordered
    assert version_key("1.2") == version_key("1.2.0") == version_key("1.2.00") != version_key("1.0.2")
    assert version_key("22.04") == version_key("22.4")
    assert version_key("") is version_key(None) is version_key("(?)") is None
    assert len(str(version_key("9" * 5000 + ".1" * 500 + "x" * 5000))) <= 128


@given(st.ip_addresses(), st.integers(0, 128))
def test_addresses_are_in_their_networks_and_nowhere_else(address: Any, length: int) -> None:
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    low, high = network_keys(str(network))
    assert low <= str(address_key(str(address))) <= high
    for outside in (int(network.network_address) - 1, int(network.broadcast_address) + 1):
        if 0 <= outside < 2**address.max_prefixlen:
            assert not low <= str(address_key(str(type(address)(outside)))) <= high


def test_one_query_whatever_the_rule(world: World) -> None:
    with queries() as sent:
        world.selected('os_family == "debian" and group == "By rule" and tag ~ "p*" and ip_address == "10.0.0.0/8"')
    assert len(sent) == 2, sent  # the groups, the devices
    assert fnmatch.fnmatch(sent[1].lower(), "select*with*in_group_*")


def test_every_field_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    assert not [field for field in rules.FIELDS if f"`{field}`" not in text]
