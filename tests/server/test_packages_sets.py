# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Package sets: interning, sharing, concurrency."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask

from patchherd import database
from patchherd.database import db, now, write_transaction
from patchherd.devices.registry import create_device
from patchherd.errors import NotFound
from patchherd.packages import sets
from patchherd.packages.models import DevicePackages, PackageSet, PackageVersion
from patchherd.packages.versions import key
from tests.server.queries import queries

TRIPLES = [(f"package{number}", "amd64", f"1:{number}.0-1") for number in range(500)]


@pytest.fixture(autouse=True)
def connected(app: Flask) -> Iterator[None]:
    with database.connection():
        yield


def store(triples: list[sets.Triple], ecosystem: str = "deb") -> int:
    with write_transaction():
        return sets.store_members(ecosystem, sets.intern(ecosystem, set(triples)).values())


def store_and_fail(triples: list[sets.Triple]) -> None:
    with write_transaction():
        store(triples)
        raise InterruptedError


def test_a_set_comes_back_as_it_went_in() -> None:
    odd = [("ü €", "", "1.0~é'\"\\"), ("x", "amd64", "1"), ("x", "i386", "1")]
    odd += [("kernel", "x86_64", "5-1"), ("kernel", "x86_64", "5-2")]
    assert sets.load_set(store(odd)) == sorted(odd)
    assert sets.load_set(store([])) == []


def test_equal_sets_are_one_row_found_by_their_versions() -> None:
    first = store(TRIPLES)
    with queries() as seen:
        assert store(list(reversed(TRIPLES)) + TRIPLES[:3]) == first
    assert [sql.split()[0] for sql in seen if sql.split()[0] in {"SELECT", "INSERT"}] == ["SELECT", "SELECT"]
    assert PackageSet.select().count() == 1


def test_ecosystems_do_not_mix() -> None:
    assert store(TRIPLES[:2], "deb") != store(TRIPLES[:2], "rpm")
    assert PackageVersion.select().count() == 4


def test_few_changes_need_few_statements_and_rows() -> None:
    store(TRIPLES)
    changed = [(name, arch, version + "+b1") for name, arch, version in TRIPLES[:20]] + TRIPLES[20:]
    with queries() as seen:
        store(changed)
    assert len([sql for sql in seen if sql.startswith(("SELECT", "INSERT"))]) <= 6
    assert PackageVersion.select().count() == len(TRIPLES) + 20


def test_sort_keys_are_stored() -> None:
    store(TRIPLES[:1])
    assert bytes(PackageVersion.get().sort_key) == key("deb", TRIPLES[0][2])


def test_what_is_rolled_back_is_not_remembered() -> None:
    with pytest.raises(InterruptedError):
        store_and_fail(TRIPLES[:5])
    assert PackageVersion.select().count() == 0
    assert sets.load_set(store(TRIPLES[:4])) == sorted(TRIPLES[:4])


def test_an_unknown_set_is_an_error() -> None:
    with pytest.raises(NotFound):
        sets.load_set(4711)


def test_devices_with_finds_versions_and_architectures() -> None:
    one, two, three = (create_device(name) for name in ("one", "two", "three"))
    multi = [("libc6", "amd64", "2.36-9"), ("libc6", "i386", "2.36-9")]
    newer = [("libc6", "amd64", "2.36-10"), ("other", "amd64", "1")]
    for device, triples in ((one, multi), (two, newer), (three, TRIPLES)):
        DevicePackages.create(device=device, package_set=store(triples), fingerprint=b"x", reported=1)
    assert sets.devices_with("libc6") == {one.id: multi, two.id: newer[:1]}
    assert sets.devices_with("libc6", architecture="i386") == {one.id: multi[1:]}
    assert sets.devices_with("libc6", version="2.36-10", ecosystem="deb") == {two.id: newer[:1]}
    assert sets.devices_with("libc6", ecosystem="rpm") == {}
    assert sets.devices_with("nothing") == {}
    assert set(sets.device_sets([one.id, two.id, 99])) == {one.id, two.id}


def test_released_sets_go_after_a_while_and_used_ones_stay() -> None:
    device = create_device("one")
    used, released, fresh = store(TRIPLES[:1]), store(TRIPLES[:2]), store(TRIPLES[:3])
    DevicePackages.create(device=device, package_set=used, fingerprint=b"x", reported=1)
    long_ago = now() - timedelta(days=40)
    PackageSet.update(released_at=long_ago).where(PackageSet.id.in_([used, released])).execute()
    PackageSet.update(released_at=now()).where(PackageSet.id == fresh).execute()
    assert sets.drop_unused_sets() == 1
    assert {row.id for row in PackageSet.select()} == {used, fresh}


def test_many_writers_at_once_agree() -> None:
    """Twelve first reports that overlap: no deadlock, no duplicate, each set complete."""
    stored: dict[int, int] = {}
    failures: list[BaseException] = []
    start = threading.Barrier(12)

    def work(number: int) -> None:
        try:
            start.wait(30)
            with database.connection():
                stored[number] = store(TRIPLES[(number % 8) * 10 : 300 + (number % 8) * 10])
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(set(stored.values())) == 8
    for number, set_id in stored.items():
        offset = (number % 8) * 10
        assert sets.load_set(set_id) == sorted(TRIPLES[offset : 300 + offset])
    assert PackageVersion.select().count() == len(TRIPLES[:370])
    assert not db.in_transaction()
