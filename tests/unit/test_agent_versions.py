# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Order of versions: semantic ones of agents, and those of programs, which follow no rule."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchherd.monitoring.semver import is_newer, is_semver, precedence
from patchherd.monitoring.software import clean_date
from patchherd.packages.versions import loose_key

LOOSE = [
    "0", "0.0.1", "0.9", "1.0-alpha", "1.0-a2", "1.0-beta1", "1.0-b2", "1.0-rc1", "1.0", "1.0.1", "1.0.2", "1.0.2a",
    "1.0.2k", "1.1", "1.9.0", "1.10.0", "1.10.1", "2.0-dev", "2", "8.0_391", "8.0_401", "15.x", "20.0.1",
    "119.0.6045.200", "120.0.6099.99", "120.0.6099.109", "120.0.6100.0",
    "2023.12.31", "2024.1.2", "2024.01.15", "20240115",
]  # fmt: skip
"""From old to new."""
EQUAL = [("2", "2.0"), ("2.0", "2.0.0.0"), ("v1.2", "1.2"), ("1.02", "1.2"), ("1.0-RC1", "1.0-rc1"), ("1_2", "1.2"),
         (" 1.2 ", "1.2"), ("2024-01-15", "2024.1.15"), ("1.0.0-rc1", "1-rc1")]  # fmt: skip

# semver.org 2.0.0, section 11, and around it
SEMANTIC = [
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
    "1.0.0", "1.0.1", "1.2.0", "1.9.0", "1.10.0", "1.11.0-1", "1.11.0-9", "1.11.0-10", "1.11.0-a", "1.11.0", "2.0.0",
]  # fmt: skip


def test_programs_from_old_to_new() -> None:
    for older, newer in itertools.combinations(LOOSE, 2):
        assert loose_key(older) < loose_key(newer), (older, newer)


@pytest.mark.parametrize(("first", "second"), EQUAL)
def test_programs_of_equal_version(first: str, second: str) -> None:
    assert loose_key(first) == loose_key(second)


def test_letters_that_mean_a_release_only_in_their_place() -> None:
    assert loose_key("1.0") < loose_key("1.0a"), "a patch level"
    assert loose_key("1.0b2") > loose_key("1.0")
    assert loose_key("1.0-a1") < loose_key("1.0"), "an alpha"
    assert loose_key("1.0 beta 3") < loose_key("1.0")


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=5), st.lists(st.integers(0, 10**12), min_size=1, max_size=5)
)
def test_numbers_compare_by_value(first: list[int], second: list[int]) -> None:
    def stripped(numbers: list[int]) -> list[int]:
        return numbers[: max((place for place, number in enumerate(numbers, 1) if number), default=0)]

    keys = [loose_key(".".join(map(str, numbers))) for numbers in (first, second)]
    assert (keys[0] < keys[1]) == (stripped(first) < stripped(second))
    assert (keys[0] == keys[1]) == (stripped(first) == stripped(second))


@given(st.text(max_size=100))
def test_any_text_has_a_key(text: str) -> None:
    assert loose_key(text).endswith(b"\x02")
    assert len(loose_key(text)) < 1500


def test_semantic_precedence() -> None:
    assert all(is_semver(text) for text in SEMANTIC)
    for older, newer in itertools.combinations(SEMANTIC, 2):
        assert is_newer(newer, older), (older, newer)
        assert not is_newer(older, newer), (older, newer)
    assert precedence("1.0.0+build.1") == precedence("1.0.0+build.2") == precedence("1.0.0")


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "a.b.c", "1.0.0 ", "1.0.0\n",
     "1.0.0-ü", "../1.0.0", "1.0.0-" + "a" * 70],
)  # fmt: skip
def test_what_is_no_semantic_version(text: str) -> None:
    assert not is_semver(text)


@pytest.mark.parametrize(
    ("running", "newer"),
    [("v1.1.0", False), ("1.1", False), ("1", True), ("V1.2", False), ("1.1.0-rc.1", True), ("1.1.0+x", False),
     ("unknown", True), ("", True), (None, True), ("²", True), ("1.1.0.7", True), ("9" * 500, True),
     ("1.2.0-rc.1", False)],
)  # fmt: skip
def test_what_agents_run(running: str | None, newer: bool) -> None:
    assert is_newer("1.1.0", running) is newer


@pytest.mark.parametrize(
    ("text", "day"),
    [("20240115", "2024-01-15"), ("2024-01-15", "2024-01-15"), ("2024-01-15T10:00:00", "2024-01-15"),
     ("20241301", None), ("15.01.2024", None), ("", None), (None, None), (20240115, "2024-01-15"),
     ([], None), ("x" * 1000, None)],
)  # fmt: skip
def test_dates_of_installation(text: object, day: str | None) -> None:
    assert clean_date(text) == day
