# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Which CPUs a thread may use, as the kernel knows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from patchherd import cpus


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_left", set())


def in_a_thread(work: Callable[[], Any]) -> Any:
    """The affinity belongs to a thread; that of the tests stays."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def worker(workers: int, age: int = 1) -> Any:
    return SimpleNamespace(cfg=SimpleNamespace(workers=workers), age=age)


@pytest.mark.parametrize("age", [1, 2, 3])
def test_the_only_worker_stays_on_one_cpu_and_leaves_it_for_long_work(age: int) -> None:
    def work() -> list[set[int]]:
        cpus.post_fork(None, worker(1, age))
        seen = [os.sched_getaffinity(0)]
        with cpus.anywhere():
            seen.append(os.sched_getaffinity(0))
        with pytest.raises(ValueError, match="in between"), cpus.anywhere():
            raise ValueError("in between")
        return [*seen, os.sched_getaffinity(0)]

    every = os.sched_getaffinity(0)
    first, left, last = in_a_thread(work)
    assert len(first) == 1
    assert first <= every
    assert (left, last) == (every, first)


def test_several_workers_use_all_cpus() -> None:
    def work() -> list[set[int]]:
        cpus.post_fork(None, worker(2))
        with cpus.anywhere():
            return [os.sched_getaffinity(0)]

    assert in_a_thread(work) == [os.sched_getaffinity(0)]


def test_what_a_sandbox_forbids_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "not here")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)

    def work() -> set[int]:
        cpus.post_fork(None, worker(1))
        with cpus.anywhere():
            return os.sched_getaffinity(0)

    assert in_a_thread(work) == os.sched_getaffinity(0)
