# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Items that were read before: what is remembered must never change what a report means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchherd import database
from patchherd.devices.registry import create_device
from patchherd.errors import BadRequest
from patchherd.packages import memory, verdicts
from patchherd.packages.evaluate import evaluate
from patchherd.packages.items import MAX_PACKAGES
from patchherd.packages.models import PackageVersion
from patchherd.packages.reports import receive_report
from patchherd.packages.sets import device_sets, load_set


@pytest.fixture(autouse=True)
def connected(app: Flask) -> Iterator[None]:
    with database.connection():
        yield


def item(name: str, version: str, candidate: str | None = None, **more: Any) -> dict[str, Any]:
    offered = {"availableVersion": candidate} if candidate else {}
    return {"name": name, "currentVersion": version, "needsUpdate": bool(candidate), **offered, **more}


def text(*items: dict[str, Any]) -> bytes:
    return json.dumps(items).encode()


def meaning(items: list[memory.KnownItem]) -> tuple[list[Any], list[Any]]:
    return [known.triple for known in items], evaluate("deb", items)


names = st.sampled_from(["bash", "linux-image", "openssl", "zlib"])
versions = st.sampled_from(["1", "1.1", "1:0.9", "2~rc1", "2", ""])
packages = st.builds(
    item,
    names,
    versions,
    st.none() | versions,
    held=st.sampled_from([None, True]),
    broken=st.sampled_from([None, "half-configured"]),
    architecture=st.sampled_from([None, "amd64", "i386"]),
    isSecurityUpdate=st.booleans(),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(st.lists(packages, max_size=8), max_size=3), last=st.lists(packages, max_size=8))
def test_what_was_read_before_changes_nothing(
    before: list[list[dict[str, Any]]], last: list[dict[str, Any]]
) -> None:
    memory._memory.forget()
    alone = meaning(memory.read_items("deb", text(*last)))
    memory._memory.forget()
    for earlier in before:
        meaning(memory.read_items("deb", text(*earlier)))
    assert meaning(memory.read_items("deb", text(*last))) == alone


pieces = st.sampled_from(["},{", "}, {", "[{", "}]", '"', "\\", "[", "]", "},", "bash", '"name": "bash"', "ü"])
nasty = st.lists(pieces, min_size=1, max_size=4).map("".join)
origins = st.lists(st.builds(lambda label: {"origin": label, "label": "x"}, nasty), max_size=3)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.lists(st.builds(item, names | nasty, versions, versions, origins=origins, note=nasty), max_size=6),
    before=st.lists(st.builds(item, names | nasty, versions, versions, origins=origins), max_size=6),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
)
def test_a_list_that_was_cut_is_the_list_that_was_parsed(
    found: list[dict[str, Any]], before: list[dict[str, Any]], separators: tuple[str, str]
) -> None:
    body, known = (json.dumps(each, separators=separators).encode() for each in (found, before))
    memory._memory.forget()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "_recognise", lambda *_: None)
        parsed = meaning(memory.read_items("deb", body))
    memory._memory.forget()
    memory.read_items("deb", known)
    for _ in range(2):
        assert meaning(memory.read_items("deb", body)) == parsed


def test_what_agents_write_is_cut_and_not_parsed() -> None:
    origins = [{"origin": "Debian", "label": "Debian"}, {"origin": "Debian", "label": "Debian-Security"}]
    items = [item("a", "1"), item("b", "1", "2", origins=origins), item("c", "1", "2", origins=origins), item("d", "1")]
    for separators in ((",", ":"), (", ", ": ")):
        memory._memory.forget()
        body = json.dumps(items, separators=separators).encode()
        found = memory._recognise(body, *memory._memory.of("deb"))
        assert found is not None
        assert [known.identity[0] for known in found] == ["a", "b", "c", "d"]
        assert memory._recognise(body, *memory._memory.of("deb")) == found


def test_ecosystems_do_not_share_items() -> None:
    body = text(item("a", "1.10~1", "1.10"))
    deb = evaluate("deb", memory.read_items("deb", body))
    rpm = evaluate("rpm", memory.read_items("rpm", body))
    assert [found.ecosystem for found in deb + rpm] == ["deb", "rpm"]


def test_only_a_bounded_number_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMIT", 100)
    memory._memory.forget()
    for number in range(1000):
        memory.read_items("deb", text(item("kept", "1"), item(f"p{number}", "1")))
    generations = [memory._memory.young, memory._memory.old]
    assert sum(len(items) for generation in generations for items in generation.values()) <= 102
    kept = text(item("kept", "1"))[2:-2]
    assert any(kept in items for generation in generations for items in generation.values()), "often used, so kept"


def test_a_huge_item_is_not_remembered() -> None:
    memory._memory.forget()
    memory.read_items("deb", text(item("a", "1", note="x" * memory.LONGEST)))
    assert not memory._memory.young["deb"]


def test_no_host_can_speak_for_another_by_an_equal_digest() -> None:
    memory._memory.forget()
    mine, other = text(item("openssl", "1", "2")), text(item("openssl", "2"))
    for body in (mine, other, mine):
        assert meaning(memory.read_list("deb", b"the same", body).items) == meaning(memory.read_items("deb", body))


def test_a_list_is_read_once_and_judged_by_its_ecosystem() -> None:
    memory._memory.forget()
    body = text(item("a", "1.10~1", "1.10"))
    deb = memory.read_list("deb", b"digest", body)
    assert memory.read_list("deb", b"digest", bytes(bytearray(body))) is deb
    assert memory.read_list("rpm", b"digest", body) is not deb


def test_only_so_much_of_lists_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIST_BYTES", 4000)
    memory._memory.forget()
    often = memory.read_list("deb", b"often", text(item("often", "1")))
    for number in range(200):
        memory.read_list("deb", b"%d" % number, text(*(item(f"p{number}-{one}", "1") for one in range(5))))
        assert memory.read_list("deb", b"often", often.text) is often
    assert sum(len(known.text) for known in memory._memory._lists.values()) == memory._memory._list_bytes <= 4000
    huge = text(*(item(f"q{number}", "1") for number in range(100)))
    assert memory.read_list("deb", b"huge", huge) is not memory.read_list("deb", b"huge", huge)


def test_hosts_with_one_list_have_their_own_rows() -> None:
    first, second = create_device("first"), create_device("second")
    body = {"hostname": "h", "ecosystem": "deb", "packages": [item("a", "1", "2"), item("b", "1")]}
    for device in (first, second):
        receive_report(device.id, body)
    receive_report(first.id, {**body, "packages": [item("a", "2"), item("b", "1")]})
    receive_report(second.id, {**body, "metadataUpdated": None})
    rows = verdicts.rows_of([first.id, second.id])
    assert [row[4] for row in rows[second.id]] == ["a"]
    assert not rows[first.id]
    assert load_set(device_sets([second.id])[second.id]) == [("a", "", "1"), ("b", "", "1")]


def test_ids_of_a_report_that_was_rolled_back_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    device, body = create_device("host"), {"hostname": "h", "ecosystem": "deb", "packages": [item("a", "1")]}

    def fail(*args: Any) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "apply", fail)
        with pytest.raises(InterruptedError):
            receive_report(device.id, body)
    assert not PackageVersion.select().count()
    other = {**body, "packages": [item("b", "1")]}
    receive_report(create_device("other").id, other)  # takes the id that was rolled back
    receive_report(device.id, body)
    assert load_set(device_sets([device.id])[device.id]) == [("a", "", "1")]


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ({"name": "b", "currentVersion": "1"}, "packages[1].needsUpdate"),
        ({"name": "", "currentVersion": "1", "needsUpdate": False}, "packages[1].name"),
        ({"name": "b", "currentVersion": 1, "needsUpdate": False}, "packages[1].currentVersion"),
    ],
)
def test_an_error_names_the_item_also_among_known_ones(broken: dict[str, Any], place: str) -> None:
    memory.read_items("deb", text(item("a", "1")))
    with pytest.raises(BadRequest) as caught:
        memory.read_items("deb", text(item("a", "1"), broken))
    assert caught.value.body()["errors"][0]["path"] == place


def test_too_many_items_are_refused_before_any_is_read() -> None:
    memory._memory.forget()
    body = text(*[item(f"p{number}", "1") for number in range(MAX_PACKAGES + 1)])
    with pytest.raises(BadRequest, match="at most"):
        memory.read_items("deb", body)
    assert not memory._memory.young.get("deb")
