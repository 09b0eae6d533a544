# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""A deployment on ten lab hosts against bare ansible-playbook: `python -m tests.benchmarks.bench_deployment`.

Both run the same playbook with the same inventory variables, plan, forks and ansible.cfg on freshly reset hosts, which
are enrolled alike before the clock starts.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from patchherd import database
from patchherd.deployments import runner
from patchherd.deployments.patching import Patch
from patchherd.devices.ansible import job_host_vars, known_hosts_lines
from patchherd.devices.registry import find_device
from patchherd.settings import load_settings
from tests.benchmarks.servers import WITH_BYTECODE, python_program
from tests.benchmarks.sheets import Sheet, median, spread
from tests.lab.patchlab import Lab, LabBusy, check_machine
from tests.lab.product import Product, installed_version
from tests.running import Server

DEB, RPM = 5, 5
ROUNDS = 3
RATIO, ALLOWANCE = 1.15, 3.0
LAB_NAMES = [f"bench{number}" for number in range(4)]


def run() -> list[Sheet]:
    """The table; one that says why when this machine cannot run a lab."""
    sheet = Sheet(
        f"Deployment on {DEB} apt and {RPM} dnf hosts",
        ("way", "median s", "lowest-highest", "ratio"),
        f"All missing updates of each host, medians of {ROUNDS} runs each, turn and turn about, hosts on fresh disks"
        " before every run. The hosts run on the same cores as the server. Patchherd: from `POST /api/v1/deployments`"
        " until the API says that it succeeded. Bare: the same playbook, plan, connection variables, forks and"
        " ansible.cfg, from the start of the command to its end.",
    )
    if reasons := check_machine():
        sheet.text = f"Not measured, no lab on this machine: {'; '.join(reasons)}."
        return [sheet]
    lab = _free_lab()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="patchherd-bench-") as directory,
            Server(Path(directory) / "server", lab.gateway, **WITH_BYTECODE) as server,
        ):
            server.log_in()
            samples = _measure(Product(server, lab), Path(directory))
    finally:
        database.close_all()
        lab.down()
    bare, ours = median(samples["bare"]), median(samples["Patchherd"])
    sheet.add("bare `ansible-playbook`", f"{bare:.1f}", spread(samples["bare"]), "1.00")
    sheet.add("Patchherd", f"{ours:.1f}", spread(samples["Patchherd"]), f"{ours / bare:.2f}")
    sheet.want(f"Deployment, with {RATIO} x bare + {ALLOWANCE:.0f} s as limit", ours, RATIO * bare + ALLOWANCE, " s")
    return [sheet]


def _free_lab() -> Lab:
    for name in LAB_NAMES:
        lab = Lab(name, deb=DEB, rpm=RPM)
        try:
            return lab.up()
        except LabBusy:
            continue
    raise RuntimeError(f"all of the labs {', '.join(LAB_NAMES)} are in use")


def _measure(product: Product, directory: Path) -> dict[str, list[float]]:
    ways: dict[str, Callable[[], None]] = {
        "bare": lambda: _run_bare(inputs, directory),
        "Patchherd": lambda: _run_product(product),
    }
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            _reset(product)
            inputs = _write_inputs(product, directory)
            started = time.perf_counter()
            ways[name]()
            samples[name].append(time.perf_counter() - started)
            for host in product.lab.hosts.values():
                found = installed_version(host, "lab-ssl")
                assert found.startswith("2.0"), f"{name} left lab-ssl {found} on {host.name}"
    return samples


def _reset(product: Product) -> None:
    """Hosts on fresh disks, updates on offer, enrolled once more."""
    names = list(product.lab.hosts)
    product.lab.fresh()
    product.lab.publish("v2")
    for device in product.server.get("/api/devices")["devices"]:
        product.server.call("DELETE", f"/api/v1/devices/{device['id']}", 204)
    product.enrol(*names)


def _write_inputs(product: Product, directory: Path) -> Path:
    """The inventory with the plan that a deployment would have, and the pinned host keys."""
    settings = load_settings(product.server.data)
    database.configure(settings.resolved_database_url)
    known_hosts, variables = directory / "known_hosts", {}
    with database.connection():
        devices = [find_device(name) for name in product.lab.hosts]
        known_hosts.write_text(known_hosts_lines(devices))
        for device in devices:
            facts = job_host_vars(device, settings.ssh_key.resolve(), known_hosts)
            plan = [_transition(row) for row in product.missing(str(device.hostname)).values()]
            assert len(plan) >= 7, plan
            variables[device.hostname] = runner.literal({**facts, "patchherd_plan": plan})
    inventory = directory / "hosts.json"
    inventory.write_bytes(msgspec.json.encode({"all": {"hosts": variables}}))
    return inventory


def _transition(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("package", "architecture", "installed", "candidate", "kb")}


def _run_bare(inventory: Path, directory: Path) -> None:
    settings = load_settings(directory / "server")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as private:
        environment = runner._environment(settings, Path(private), "benchmark/0")
        command = [
            python_program("ansible-playbook"), Patch.playbook,
            "-i", str(inventory), "-f", str(settings.forks),
            "-e", '{"patchherd_deployment": 0, "patchherd_dry_run": false, "patchherd_reboot": "never"}',
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def _run_product(product: Product) -> None:
    done = product.run(*product.lab.hosts)
    assert done["state"] == "succeeded", product.explain(done)


if __name__ == "__main__":
    for sheet in run():
        sheet.print()
