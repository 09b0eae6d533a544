# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need real hosts: lab, fresh_lab, windows_double, play."""
from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

from tests.lab.patchlab import Lab, LabBusy, check_machine
from tests.lab.product import Product
from tests.lab.winstub import make_winstub
from tests.running import Server
from tests.services import unavailable

LAB_NAMES = [f"test{number}" for number in range(10)]
# The first test waits for the file trees to be built, when they are not cached.
TIMEOUT_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two deb hosts, two rpm hosts, one Windows double, in whatever state the test before left them."""
    if reasons := check_machine():
        unavailable(f"no lab on this machine: {'; '.join(reasons)}")
    for name in LAB_NAMES:
        lab = Lab(name, deb=2, rpm=2, win=1)
        try:
            lab.up()
        except LabBusy:
            continue
        break
    else:
        unavailable(f"no lab: all of {', '.join(LAB_NAMES)} are in use")
    yield lab
    lab.down()


@pytest.fixture
def fresh_lab(lab: Lab) -> Lab:
    """The lab at stage v1, all hosts on fresh disks."""
    lab.fresh()
    return lab


@pytest.fixture(scope="session")
def windows_double(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collections path whose ansible.windows works on the win hosts of the lab."""
    places = [*os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":"), sysconfig.get_path("purelib"),
              str(Path.home() / ".ansible/collections"), "/usr/share/ansible/collections"]
    for place in filter(None, places):
        real = Path(place) / "ansible_collections/ansible/windows"
        if (real / "plugins/action/win_updates.py").is_file():
            return make_winstub(real, tmp_path_factory.mktemp("collections"))
    unavailable("the ansible.windows collection is not installed")


@pytest.fixture
def play(lab: Lab, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """play(host, tasks, collections=None): run Ansible tasks on a host, {task name: result}, failures included."""
    def run(host: str, tasks: list[dict[str, Any]], collections: Path | None = None) -> dict[str, dict[str, Any]]:
        variables = {"ANSIBLE_COLLECTIONS_PATH": str(collections or tmp_path), "ANSIBLE_HOME": str(tmp_path / "home"),
                     "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
        private = tmp_path / "runner"
        private.mkdir(exist_ok=True)
        done = ansible_runner.run(private_data_dir=str(private), inventory=str(lab.inventory), quiet=True,
                                  playbook=[{"hosts": host, "gather_facts": False, "tasks": tasks}], envvars=variables)
        results = {}
        for event in done.events:
            if event["event"] in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
                # the kind of the event tells a failure, the result alone does not
                data, failed = event["event_data"], event["event"] != "runner_on_ok"
                results[data["task"]] = {**data["res"], "failed": failed}
        assert results, done.stdout.read()
        return results
    return run


@pytest.fixture
def product(fresh_lab: Lab, tmp_path: Path) -> Iterator[Product]:
    """A server of its own on the lab's gateway, no host enrolled."""
    with Server(tmp_path / "server", fresh_lab.gateway) as server:
        server.log_in()
        yield Product(server, fresh_lab)


@pytest.fixture
def windows_product(fresh_lab: Lab, tmp_path: Path, windows_double: Path) -> Iterator[Product]:
    """The same with the Windows double in place of ansible.windows."""
    with Server(tmp_path / "server", fresh_lab.gateway, PATCHHERD_COLLECTIONS_PATH=str(windows_double)) as server:
        server.log_in()
        yield Product(server, fresh_lab)
