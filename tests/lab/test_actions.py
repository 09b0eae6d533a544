# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions on real hosts: what runs there, what comes back, and what ends it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import LAB_NAMES
from tests.lab.patchlab import Host, Lab, LabBusy, check_machine
from tests.lab.product import Product
from tests.lab.test_trouble import JOB_MARKS, job_process
from tests.running import Server, wait_for
from tests.services import unavailable

FIVE = ("deb1", "deb2", "deb3", "rpm1", "rpm2")
ROOT = Path(__file__).parents[2]
ENDED = {"succeeded", "failed", "canceled", "skipped"}


@pytest.fixture(scope="module")
def five() -> Iterator[Lab]:
    """Three deb hosts and two rpm hosts."""
    if reasons := check_machine():
        unavailable(f"no lab on this machine: {'; '.join(reasons)}")
    for name in LAB_NAMES:
        lab = Lab(name, deb=3, rpm=2)
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
def fleet(five: Lab, tmp_path: Path) -> Iterator[Product]:
    """A server, and all five hosts enrolled."""
    five.fresh()
    with Server(tmp_path / "server", five.gateway) as server:
        server.log_in()
        product = Product(server, five)
        product.enrol(*FIVE)
        yield product


def bash(product: Product, text: str, *names: str, **more: Any) -> dict[str, dict[str, Any]]:
    """Queue one script for several devices; name -> action."""
    order = {"type": "bash_inline", "payload": text, "device_ids": list(names), **more}
    numbers = product.server.post("/api/v1/actions", order, 201)["actions"]
    return dict(zip(names, (action(product, number) for number in numbers), strict=True))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def action(product: Product, number: int) -> dict[str, Any]:
    return dict(product.server.get(f"/api/v1/actions/{number}"))


def ended(product: Product, number: int, seconds: float = 90) -> dict[str, Any]:
    """The action once it has ended."""

    def look() -> dict[str, Any] | None:
        shown = action(product, number)
        return shown if shown["status"] in ENDED else None

    try:
        found = wait_for(f"action {number} ends", look, seconds, 0.2)
    except AssertionError:
        raise AssertionError(f"{action(product, number)}\n{product.server.log.read_text()[-6000:]}") from None
    assert found is not None
    return found


def runs(host: Host, word: str) -> bool:
    """Whether a process with this word in its command line is on the host."""
    return bool(host.ssh(f"pgrep -f '[{word[0]}]{word[1:]}' || true").stdout.strip())


def profile(product: Product, name: str, *tasks: dict[str, Any]) -> int:
    number = int(product.server.post("/api/v1/profiles", {"name": name}, 201)["id"])
    for place, task in enumerate(tasks):
        body = {"action_type": "bash_inline", "order_index": place, **task}
        product.server.post(f"/api/v1/profiles/{number}/tasks", body, 201)
    return number


def test_five_hosts_give_five_outputs(fleet: Product) -> None:
    text = "hostname; id -u\necho to the error output >&2\nexit 0\n"
    queued = bash(fleet, text, *FIVE)
    for name, row in queued.items():
        done = ended(fleet, row["id"])
        assert (done["status"], done["exit_code"], done["message"]) == ("succeeded", 0, ""), done
        assert done["stdout"] == f"{name}\n0\n"
        assert done["stderr"] == "to the error output\n"
        assert done["started_at"] <= done["completed_at"]
    deployments = {action(fleet, row["id"])["deployment_id"] for row in queued.values()}
    assert len(deployments) == 1, "one run of Ansible carries all five"
    (number,) = deployments
    shown = fleet.finished({"id": number})
    assert (shown["kind"], shown["state"]) == ("action", "succeeded")
    assert all(row["kind"] != "action" for row in fleet.server.get("/api/v1/deployments"))


def test_a_text_arrives_literally(fleet: Product) -> None:
    trap = "/tmp/patchherd-trap"
    hard = "{{ 7 * 7 }} {% raw %} {{ lookup('pipe', 'touch " + trap + '\') }} "double" \\back `id -u` ünï ☃\ttab'
    text = f"cat <<'END'\n{hard}\nEND\nprintf '%s' \"$0\" | grep -c script\n"
    (row,) = bash(fleet, text, "deb1").values()
    done = ended(fleet, row["id"])
    assert done["status"] == "succeeded", done
    assert done["stdout"] == f"{hard}\n1\n"
    assert not Path(trap).exists()
    for output in ("[1, 2]", '{"a": 1}', "True", "null", "{{ x }}"):
        (row,) = bash(fleet, f"printf '%s' '{output}'", "rpm1").values()
        assert ended(fleet, row["id"])["stdout"] == output
    log = fleet.server.log.read_text()
    assert "{{ 7 * 7 }}" not in log
    events = fleet.server.get(f"/api/v1/deployments/{done['deployment_id']}/events?limit=5000")
    assert events
    assert not any("7 * 7" in (event["message"] or "") for event in events)


def test_outputs_are_bounded_and_say_so(fleet: Product) -> None:
    text = "echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last; exit 7"
    (row,) = bash(fleet, text, "deb2").values()
    done = ended(fleet, row["id"])
    assert (done["status"], done["exit_code"], done["message"]) == ("failed", 7, "exit code 7")
    assert done["stdout"].startswith("first\nxxx")
    assert done["stdout"].endswith("xx\nlast\n")
    assert len(done["stdout"]) < 66_000
    assert done["stdout_cut"] == 5_000_012 - 65_536
    assert f"{done['stdout_cut']} bytes are left out here" in done["stdout"]


def test_a_failed_task_stops_its_own_device_only(fleet: Product) -> None:
    number = profile(
        fleet,
        "strict",
        {"name": "first", "payload": "echo 1 >> /tmp/steps"},
        {"name": "picky", "payload": "test ! -e /tmp/bad", "continue_on_error": False},
        {"name": "last", "payload": "echo 3 >> /tmp/steps"},
    )
    fleet.lab["deb2"].ssh("touch /tmp/bad")
    names = ["deb1", "deb2", "rpm1"]
    queued = fleet.server.post(f"/api/v1/profiles/{number}/apply", {"device_ids": names}, 201)
    for action_id in queued["actions"]:
        ended(fleet, action_id)
    shown = fleet.server.get(f"/api/v1/profile-runs/{queued['profile_run_id']}")
    assert (shown["status"], shown["progress"]) == ("failed", 100), shown
    assert shown["counts"] == {"succeeded": 7, "failed": 1, "skipped": 1}
    by_name = {row["name"]: row for row in shown["devices"]}
    assert by_name["deb2"]["counts"] == {"succeeded": 1, "failed": 1, "skipped": 1}
    assert by_name["deb1"]["status"] == by_name["rpm1"]["status"] == "succeeded"
    for name in names:
        steps = fleet.lab[name].ssh("cat /tmp/steps").stdout.split()
        assert steps == (["1"] if name == "deb2" else ["1", "3"])


def test_a_timeout_kills_all_that_a_script_has_started(fleet: Product) -> None:
    text = "setsid sleep 7771 & (sleep 7772 &) ; echo begun; sleep 7773"
    (row,) = bash(fleet, text, "rpm2", timeout_seconds=2).values()
    done = ended(fleet, row["id"])
    assert (done["status"], done["exit_code"]) == ("failed", None), done
    assert done["message"] == "not finished within 2 s, and killed"
    assert done["stdout"] == "begun\n"
    assert not runs(fleet.lab["rpm2"], "sleep 777")


@pytest.mark.parametrize("names", [("deb1",), ("deb1", "rpm1")], ids=["alone", "among-others"])
def test_cancel_ends_a_script_on_its_host_within_seconds(fleet: Product, names: tuple[str, ...]) -> None:
    queued = bash(fleet, "trap '' TERM; setsid sleep 8881 & sleep 8882; sleep 8883; true", *names)
    number = queued["deb1"]["id"]
    for name, row in queued.items():
        wait_for("it runs", lambda row=row: action(fleet, row["id"])["status"] == "running", 60)
        wait_for("it sleeps", lambda name=name: runs(fleet.lab[name], "sleep 8882"), 20)
    began = time.monotonic()
    fleet.server.post(f"/api/v1/actions/{number}/cancel")
    wait_for("it is gone from the host", lambda: not runs(fleet.lab["deb1"], "sleep 888"), 20, 0.05)
    took = time.monotonic() - began
    print(f"\ncancel to the last process gone on the host ({len(names)} hosts): {took:.2f} s")
    assert took < 5
    done = ended(fleet, number, 15)
    assert (done["status"], done["cancel_requested"]) == ("canceled", True), done
    fleet.server.post(f"/api/v1/actions/{number}/cancel")  # once more changes nothing
    if len(names) > 1:
        other = queued["rpm1"]["id"]
        assert action(fleet, other)["status"] == "running"
        assert runs(fleet.lab["rpm1"], "sleep 8882")
        fleet.server.post(f"/api/v1/actions/{other}/cancel")
        assert ended(fleet, other, 15)["status"] == "canceled"
        wait_for("it is gone, too", lambda: not runs(fleet.lab["rpm1"], "sleep 888"), 10)


@pytest.mark.parametrize("victim", ["worker", "job", "ansible"])
def test_a_killed_process_leaves_no_action_running_and_repeats_none(fleet: Product, victim: str) -> None:
    steps = [{"name": str(n), "payload": f"echo {n} >> /tmp/steps; sleep {4 if n == 2 else 0}"} for n in (1, 2, 3)]
    number = profile(fleet, "slow", *steps)
    queued = fleet.server.post(f"/api/v1/profiles/{number}/apply", {"device_ids": ["deb1"]}, 201)["actions"]
    wait_for("the second runs", lambda: action(fleet, queued[1])["status"] == "running", 60)
    wait_for("it has begun on the host", lambda: "2" in fleet.lab["deb1"].ssh("cat /tmp/steps").stdout, 20)
    pid = wait_for("the process runs", lambda: job_process(fleet, JOB_MARKS[victim]))
    assert pid
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    lost = ended(fleet, queued[1], 60)
    print(f"\nkilled {victim}: closed after {time.monotonic() - killed:.1f} s")
    assert lost["status"] == "failed"
    assert "outcome is unknown" in lost["message"]
    first, last = ended(fleet, queued[0]), ended(fleet, queued[2])
    assert first["status"] == "succeeded"
    ran = fleet.lab["deb1"].ssh("cat /tmp/steps").stdout.split()
    if victim == "ansible":  # nobody but Ansible itself ended: that is a failure of the run
        assert last["status"] == "failed"
        assert ran == ["1", "2"]
        return
    assert last["status"] == "succeeded", last
    assert ran == ["1", "2", "3"], "nothing ran twice"


def test_a_host_refuses_a_second_start(fleet: Product, tmp_path: Path) -> None:
    """The announcement of an action can be lost with its worker; then the host is the only one that knows."""
    order = {"id": 1, "run": "script", "once": "one-1", "script_encoded": encoded("echo ran >> /tmp/count")}
    variables = tmp_path / "variables.json"
    variables.write_text(json.dumps({"patchherd_actions": [order]}))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path / "home")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(fleet.lab.inventory), "--limit", "deb3",
               "-e", f"@{variables}", "patchherd.fleet.run_action"]  # fmt: skip
    for expected in (0, 2):
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=False
        )
        assert done.returncode == expected, done.stdout + done.stderr
    assert fleet.lab["deb3"].ssh("cat /tmp/count").stdout == "ran\n"
    assert fleet.lab["deb3"].ssh("stat -c %a /var/lib/patchherd-actions/one-1").stdout.strip() == "600"


def test_a_host_out_of_reach_and_one_that_goes_away(fleet: Product) -> None:
    fleet.lab["deb3"].cut()
    queued = bash(fleet, "sleep 3; echo done", "deb1", "deb3", timeout_seconds=60)
    assert ended(fleet, queued["deb1"]["id"])["status"] == "succeeded"
    gone = ended(fleet, queued["deb3"]["id"], 120)
    assert gone["status"] == "failed"
    assert "unreachable" in gone["message"]
    assert gone["exit_code"] is None
    fleet.lab["deb3"].heal()
    (row,) = bash(fleet, "echo back", "deb3").values()
    assert ended(fleet, row["id"])["stdout"] == "back\n"


def test_actions_of_a_device_wait_for_each_other_and_for_deployments(fleet: Product) -> None:
    numbers = []
    for number in range(4):
        body = {"type": "bash_inline", "payload": f"echo {number} >> /tmp/order; sleep 0.5"}
        numbers.append(fleet.server.post("/api/v1/devices/deb1/actions", body, 201)["id"])
    scan = fleet.server.post("/api/v1/scans", {"devices": ["deb2"]}, 201)
    later = fleet.server.post("/api/v1/devices/deb2/actions", {"type": "bash_inline", "payload": "true"}, 201)["id"]
    for number in numbers:
        assert ended(fleet, number)["status"] == "succeeded"
    assert fleet.lab["deb1"].ssh("cat /tmp/order").stdout.split() == ["0", "1", "2", "3"]
    fleet.finished(scan)
    assert ended(fleet, later)["status"] == "succeeded"


def test_packages_scripts_and_the_agent(fleet: Product) -> None:
    """Software by a file on the host, with and without the right checksum, and the removal of the agent."""
    host = fleet.lab["deb1"]
    control = r"Package: lab-own\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    host.ssh(f"cd /tmp && mkdir -p p/DEBIAN && printf '{control}' > p/DEBIAN/control && dpkg-deb -b p own.deb")
    right = host.ssh("sha256sum /tmp/own.deb").stdout.split()[0]
    host.ssh("printf 'echo installed with \"$@\"\\n' > /tmp/setup.sh")
    base = {"source_type": "local_path", "target_os_type": "linux"}

    def install(name: str, **more: Any) -> dict[str, Any]:
        item = fleet.server.post("/api/v1/software-items", {"name": name, **base, **more}, 201)["id"]
        body = {"type": "install_software", "software_id": item}
        return ended(fleet, fleet.server.post("/api/v1/devices/deb1/actions", body, 201)["id"])

    bad = install("wrong", installer_type="custom", source="/tmp/own.deb", checksum="0" * 64)
    assert bad["status"] == "failed"
    assert "SHA-256 is not the expected one" in bad["message"], bad
    good = install("own", installer_type="custom", source="/tmp/own.deb", checksum=right)
    assert good["status"] == "succeeded", good
    assert host.ssh("dpkg-query -W -f '${Version}' lab-own").stdout == "1.0"
    script = install("setup", installer_type="script", source="/tmp/setup.sh", install_args="--quiet 'two words'")
    assert (script["status"], script["stdout"]) == ("succeeded", "installed with --quiet two words\n"), script
    gone = fleet.server.post("/api/v1/devices/deb1/actions", {"type": "agent_uninstall"}, 201)["id"]
    assert ended(fleet, gone)["status"] == "succeeded"
    assert host.ssh("ls /usr/local/lib/patchherd 2>&1 || true").stdout.strip().endswith("No such file or directory")
