# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The real action plugin of ansible.windows.win_updates works against the Windows double."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.patchlab import WINDOWS_UPDATES, Lab

Play = Callable[..., dict[str, dict[str, Any]]]
CUMULATIVE, DOTNET = WINDOWS_UPDATES[1]["id"], WINDOWS_UPDATES[2]["id"]


def updates_task(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "ansible.windows.win_updates": options, "ignore_errors": True}


def test_search_and_install_over_a_reboot(fresh_lab: Lab, windows_double: Path, play: Play) -> None:
    fresh_lab.publish("v2")
    host = fresh_lab["win1"]
    boots = host.boots
    results = play("win1", [
        updates_task("search", state="searched", category_names=["*"]),
        updates_task("install", category_names=["SecurityUpdates", "UpdateRollups"], reboot=True),
        {"name": "pending", "ansible.windows.win_reboot_info": {}},
        {"name": "facts", "ansible.windows.setup": {}},
    ], windows_double)

    # the .NET update waits for the cumulative one to be effective
    found = results["search"]["updates"]
    assert set(found) == {update["id"] for update in WINDOWS_UPDATES} - {DOTNET}
    assert found[CUMULATIVE]["kb"] == ["5050002"]
    assert not results["search"]["changed"]

    assert results["install"]["installed_update_count"] == 3
    assert results["install"]["rebooted"]
    assert results["install"]["updates"][DOTNET]["installed"]
    assert host.boots == boots + 1
    assert json.loads(host.ssh("cat /var/lib/fakewin/state.json").stdout)["installed"] \
        == [WINDOWS_UPDATES[0]["id"], CUMULATIVE, DOTNET]
    assert not results["pending"]["reboot_required"]
    assert results["facts"]["ansible_facts"]["ansible_os_family"] == "Windows"


def test_failures_are_told(fresh_lab: Lab, windows_double: Path, play: Play) -> None:
    fresh_lab.publish("broken")
    broken = play("win1", [updates_task("install", category_names=["*"], accept_list=["KB5050009", "KB5050001"])],
                  windows_double)["install"]
    assert broken["failed"]
    assert (broken["installed_update_count"], broken["failed_update_count"]) == (1, 1)
    fresh_lab.publish("gone")
    assert "0x80244019" in play("win1", [updates_task("search", state="searched")], windows_double)["search"]["msg"]


def test_a_module_without_a_double_fails_loudly(lab: Lab, windows_double: Path, play: Play) -> None:
    task = {"name": "service", "ansible.windows.win_service": {"name": "w32time"}, "ignore_errors": True}
    result = play("win1", [task], windows_double)["service"]
    assert result["failed"]
