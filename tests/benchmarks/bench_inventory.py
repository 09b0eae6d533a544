# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The inventory of 1,000 and 10,000 devices: `python -m tests.benchmarks.bench_inventory`."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from tests.benchmarks.fleet import create_fleet
from tests.benchmarks.load import Call, Client
from tests.benchmarks.servers import ROOT, api_processes, empty_databases, product, python_program
from tests.benchmarks.sheets import Sheet, median
from tests.running import Server

SIZES = (1_000, 10_000)
ROUNDS = 7
ANSIBLE_ROUNDS = 3
MIB = 2**20


def run() -> list[Sheet]:
    """The endpoint on each kind of database, the plugin on SQLite."""
    endpoint = Sheet(
        "`GET /api/v1/inventory`",
        ("database", "devices", "MiB", "request", "median ms", "server CPU ms", "API peak RSS MiB"),
        f"One connection, medians of {ROUNDS} requests. The peak is that of the API process after them, from its"
        " start on.",
    )
    plugin = Sheet(
        "`ansible-inventory --list`",
        ("devices", "inventory", "median s", "CPU s", "peak RSS MiB", "time / script"),
        f"Medians of {ANSIBLE_ROUNDS} runs. The script is an executable inventory that prints the same list from a"
        " file; what it takes is Ansible's own share.",
    )
    for size in SIZES:
        with empty_databases() as databases:
            for kind, environment in databases:
                with product(PATCHHERD_PROCESSES="1", **environment) as server:
                    create_fleet(size)
                    _measure_endpoint(endpoint, kind, size, server)
                    if kind == "SQLite":
                        _measure_plugin(plugin, size, server)
    return [endpoint, plugin]


def _measure_endpoint(sheet: Sheet, kind: str, size: int, server: Server) -> None:
    [process] = api_processes(server)
    headers = {"Authorization": str(server.session.headers["Authorization"])}
    whole = Call("GET", "/api/v1/inventory", headers=headers)
    with Client(server.url) as client:
        _, answer, body = client.send(whole)
        assert json.loads(body)["count"] == size
        known = {**headers, "If-None-Match": str(answer.headers["ETag"])}
        calls = {"whole": whole, "not modified (304)": Call("GET", "/api/v1/inventory", headers=known, status=304)}
        for name, call in calls.items():
            walls, cpus = [], []
            for _ in range(ROUNDS):
                before = _cpu_seconds(process)
                walls.append(client.send(call)[0])
                cpus.append((_cpu_seconds(process) - before) * 1e3)
            peak = _peak_rss(process.pid) / MIB
            weight = f"{len(body) / MIB:.1f}" if call is whole else "0.0"
            sheet.add(kind, f"{size:,}", weight, name, f"{median(walls):.0f}", f"{median(cpus):.0f}", f"{peak:.0f}")


def _measure_plugin(sheet: Sheet, size: int, server: Server) -> None:
    token = server.command("api-token", "create", "bench", "--role", "viewer").stdout.strip()
    with tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory:
        place = Path(directory)
        source, script = place / "fleet.patchherd.yml", place / "script"
        source.write_text("plugin: patchherd.fleet.devices\n")
        environment = {
            **os.environ, "PATCHHERD_URL": server.url, "PATCHHERD_TOKEN": token, "ANSIBLE_HOME": str(place / "ansible"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "HOME": str(place),
        }  # fmt: skip
        listed, _ = _list(source, environment)
        assert len(json.loads(listed)["_meta"]["hostvars"]) == size
        (place / "list.json").write_bytes(listed)
        script.write_text(f"#!/bin/sh\ncat {place}/list.json\n")
        script.chmod(0o755)
        cached = place / "cached.patchherd.yml"
        cached.write_text(
            "plugin: patchherd.fleet.devices\ncache: true\ncache_plugin: ansible.builtin.jsonfile\n"
            f"cache_connection: {place}/cache\n"
        )
        _list(cached, environment)  # fills the cache
        samples = {
            name: [_list(path, environment)[1] for _ in range(ANSIBLE_ROUNDS)]
            for name, path in (("script", script), ("plugin", source), ("plugin, cached answer", cached))
        }
    floor = median([wall for wall, _, _ in samples["script"]])
    for name, rounds in samples.items():
        wall, cpu, peak = (median(column) for column in zip(*rounds, strict=True))
        sheet.add(f"{size:,}", name, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{wall / floor:.2f}")


def _list(source: Path, environment: dict[str, str]) -> tuple[bytes, tuple[float, float, float]]:
    """What `ansible-inventory --list` prints; its seconds, CPU seconds and highest RSS in MiB."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        started, peak = time.perf_counter(), 0
        before = os.times()
        command = [python_program("ansible-inventory"), "-i", str(source), "--list"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=errors)
        while process.poll() is None:
            peak = max(peak, _peak_rss(process.pid))
            time.sleep(0.02)
        wall, after = time.perf_counter() - started, os.times()
        errors.seek(0)
        assert process.returncode == 0, errors.read()[-2000:]
        out.seek(0)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return out.read(), (wall, cpu, peak / MIB)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak_rss(pid: int) -> int:
    """The highest RSS that a process ever had, in bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
