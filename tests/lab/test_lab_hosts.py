# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The hosts are what they say: packages, power, network, disks."""
from __future__ import annotations

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.patchlab import Lab, LabBusy, LabError, check_machine, control
from tests.lab.patchlab.cli import main
from tests.lab.patchlab.lab import sweep_abandoned
from tests.services import unavailable


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.05)


@contextlib.contextmanager
def http_server(address: str, directory: Path) -> Iterator[int]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(directory), **kwargs)

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_families_are_told_by_os_release(lab: Lab) -> None:
    seen = {name: lab[name].ssh(". /etc/os-release; echo $ID; command -v apt-get dnf || :").stdout.split()
            for name in ("deb1", "rpm1")}
    assert seen == {"deb1": ["debian", "/usr/bin/apt-get"], "rpm1": ["rocky", "/usr/bin/dnf"]}


def test_hosts_differ_in_identity_and_have_the_tools_to_enrol(lab: Lab) -> None:
    identities = set()
    for host in lab.hosts.values():
        answer = host.ssh("hostname; cat /etc/machine-id; command -v curl python3").stdout.split()
        assert answer[0] == host.name
        assert answer[2:] == ["/usr/bin/curl", "/usr/bin/python3"]
        identities.add(answer[1])
    assert len(identities) == len(lab.hosts) == 5


def test_hosts_reach_a_server_on_the_gateway_and_the_repository_by_name(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("from the gateway")
    with http_server(lab.gateway, tmp_path) as port:
        assert lab["deb1"].ssh(f"curl -sSf http://{lab.gateway}:{port}/hello").stdout == "from the gateway"
    lab.publish("v1")
    assert "Codename: bookworm" in lab["rpm1"].ssh(
        "curl -sSf http://repo.lab/current/apt/dists/bookworm/InRelease").stdout


def test_only_the_lab_key_opens_root(fresh_lab: Lab, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    host = fresh_lab["deb2"]
    options = [str(stranger) if option == str(fresh_lab.key) else option for option in fresh_lab.ssh_options()]
    command = ["ssh", *options, f"root@{host.ip}", "true"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    public = stranger.with_suffix(".pub").read_text()
    host.ssh(f"echo '{public.strip()}' >> /root/.ssh/authorized_keys")
    subprocess.run(command, check=True)


def test_reboot_gives_a_new_boot_id_and_uptime_and_keeps_the_disk(fresh_lab: Lab) -> None:
    host = fresh_lab["deb1"]
    before = host.boot_id()
    host.ssh("touch /root/kept /run/lost; reboot")
    wait_until(lambda: host.boots and host.path("/run/boot_id").exists()
               and host.path("/run/boot_id").read_text().strip() != before)
    host.wait_ready()
    assert host.boot_id() != before
    assert float(host.ssh("cut -d. -f1 /proc/uptime").stdout) < 60
    assert host.ssh("ls /root/kept /run/lost", check=False).stdout.split() == ["/root/kept"]


def test_reset_restores_the_disk_and_keeps_the_host_key(fresh_lab: Lab) -> None:
    host = fresh_lab["rpm2"]
    host.ssh("rpm -e lab-doc; touch /root/changed")
    host.reset()
    assert host.ssh("rpm -q lab-doc; ls /root").stdout == "lab-doc-1.0-1.el9.noarch\n"


def test_stop_and_start(fresh_lab: Lab) -> None:
    host = fresh_lab["rpm1"]
    host.stop()
    assert host.state == "stopped"
    assert not host.answers()
    host.start()
    assert host.ssh("echo back").stdout == "back\n"


def test_a_frozen_host_accepts_and_never_answers(fresh_lab: Lab) -> None:
    host = fresh_lab["deb2"]
    host.freeze()
    assert not host.answers(timeout=1)
    host.thaw()
    wait_until(host.answers)


def test_a_cut_host_is_unreachable_until_healed(fresh_lab: Lab) -> None:
    host = fresh_lab["deb2"]
    host.cut()
    assert not host.answers(timeout=0.5)
    assert host.state == "running"
    host.heal()
    wait_until(host.answers)
    assert host.boots == fresh_lab["deb2"].boots


def test_a_host_cannot_turn_the_knobs_of_the_machine(lab: Lab) -> None:
    denied = lab["deb1"].ssh("echo 1 > /proc/sys/kernel/panic", check=False)
    assert denied.returncode != 0
    assert "Read-only" in denied.stderr


def test_labs_run_side_by_side_and_leave_nothing(lab: Lab) -> None:
    with Lab("side", deb=1) as side:
        assert side.gateway != lab.gateway
        assert side["deb1"].ssh("hostname").stdout == "deb1\n"
        with pytest.raises(LabBusy):
            Lab("side", deb=1).up()
        directory = side.directory
        pid = side["deb1"].first_pid()
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert "ph-side" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert lab["deb1"].answers(timeout=2)


def test_unknown_names_are_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="no host deb9"):
        lab["deb9"]
    with pytest.raises(LabError, match="no stage v3"):
        lab.publish("v3")
    with pytest.raises(LabError, match="1 to 6 characters"):
        Lab("../etc")


def test_a_killed_lab_takes_its_hosts_along_and_is_swept() -> None:
    if reasons := check_machine():
        unavailable("; ".join(reasons))
    assert main(["--lab", "killed", "up", "--deb=1"]) == 0
    try:
        status = control.call("killed", "status")
        os.kill(status["pid"], signal.SIGKILL)
        address = (status["hosts"]["deb1"]["ip"], 22)
        wait_until(lambda: not accepts(address))
        assert subprocess.run(["ip", "link", "show", "ph-killed"], capture_output=True, check=False).returncode == 0
        sweep_abandoned()
        assert subprocess.run(["ip", "link", "show", "ph-killed"], capture_output=True, check=False).returncode != 0
        assert not Path(status["key"]).parent.exists()
    finally:
        assert main(["--lab", "killed", "down"]) == 0


def accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 0.5).close()
    except OSError:
        return False
    return True


def test_the_command_line_turns_the_same_knobs(capfd: pytest.CaptureFixture[str]) -> None:
    if reasons := check_machine():
        unavailable("; ".join(reasons))
    assert main(["--lab", "cmd", "up", "--deb=1"]) == 0
    try:
        assert "deb1 ansible_host=10." in capfd.readouterr().out
        assert main(["--lab", "cmd", "up", "--rpm=1"]) == 1
        assert "up as" in capfd.readouterr().err
        assert main(["--lab", "cmd", "publish", "v2"]) == 0
        assert main(["--lab", "cmd", "stop", "deb1"]) == 0
        status = control.call("cmd", "status")
        assert (status["stage"], status["hosts"]["deb1"]["state"]) == ("v2", "stopped")
    finally:
        assert main(["--lab", "cmd", "down"]) == 0
    assert main(["--lab", "cmd", "status"]) == 1
    assert "is not up" in capfd.readouterr().err
