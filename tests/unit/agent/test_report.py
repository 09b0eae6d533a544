# SPDX-License-Identifier: Apache-2.0
"""The report of the machine the tests run on, compared with what its own tools say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import AGENT_FILE

needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt to compare with")
# The oldest Python the agent supports, the system's and a new one, as far as they are here.
INTERPRETERS = ["/usr/bin/python3", *(str(path) for version in ("3.6", "3.13")
                                      for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))]


def dry_run(*arguments: str, interpreter: str = sys.executable, **options: Any) -> dict[str, Any]:
    command = [interpreter, str(AGENT_FILE), "--dry-run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return dry_run("--refresh", "never")


@needs_apt
def test_report_of_this_machine_is_what_dpkg_and_apt_say(report: dict[str, Any]) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    listed = subprocess.run(["apt", "list", "--upgradable"], capture_output=True, text=True, env=environment).stdout
    upgradable = set(re.findall(r"^(\S+?)/\S+ (\S+) (\S+) \[upgradable from: (\S+)\]", listed, re.M))
    status = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Architecture} ${Version} ${db:Status-Abbrev}\n"],
                            capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in status.splitlines()]
    installed = {tuple(row[:3]) for row in rows if len(row) == 4 and row[3][1] == "i"}

    assert {(p["name"], p["architecture"], p["currentVersion"]) for p in report["packages"]} == installed
    assert {(p["name"], p["availableVersion"], p["architecture"], p["currentVersion"])
            for p in report["packages"] if p["needsUpdate"]} == upgradable
    for package in report["packages"]:
        assert package["needsUpdate"] is ("availableVersion" in package) is ("origins" in package)
        if package["needsUpdate"]:
            assert package["origins"], package


@needs_apt
def test_report_has_every_field(report: dict[str, Any]) -> None:
    assert report["reportVersion"] == 1
    assert report["hostname"] == os.uname().nodename
    assert report["kernelVersion"] == os.uname().release
    assert report["bootId"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert report["ecosystem"] == "deb"
    assert report["packageManager"] == "apt"
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert memory is not None
    assert report["ramInstalled"] == round(int(memory.group(1)) / 1048576, 2)
    assert any(disk["mountPoint"] == "/" for disk in report["diskDetails"])
    assert isinstance(report["needsReboot"], bool)
    assert report["executionTime"] > 0
    assert set(report) >= {
        "agentVersion", "ip", "machineId", "architecture", "osType", "osVersion", "osId", "osIdLike", "osVersionId",
        "osCodename", "repositories", "metadataUpdated", "problems", "cpuModel", "cpuCores", "swapSize", "gatewayIp",
        "dnsServers", "networkInterfaces", "installedKernelVersion", "selinuxStatus", "systemUptime", "loadAverage",
        "rebootReason", "servicesToRestart", "sshHostKeys"}
    if report["metadataUpdated"] is None:
        assert report["problems"]


@needs_apt
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_every_python_here_gives_the_same_packages(interpreter: str, report: dict[str, Any]) -> None:
    other = dry_run("--refresh", "never", interpreter=interpreter)
    for key in ("packages", "repositories", "problems", "sshHostKeys"):
        assert other[key] == report[key]


def test_interfaces_without_the_ip_command_are_the_same(agent: ModuleType) -> None:
    if shutil.which("ip") is None:
        pytest.skip("no ip command to compare with")
    code, out, _err = agent.run(["ip", "-j", "addr"])
    assert code == 0

    def addresses(interfaces: list[dict[str, Any]]) -> dict[str, Any]:
        return {i["name"]: (i["mac"], sorted((a["family"], a["address"], a["netmask"]) for a in i["addresses"]))
                for i in interfaces}

    assert addresses(agent.interfaces_from_kernel()) == addresses(agent.interfaces_from_ip(out))


def test_default_route_with_the_lowest_metric_wins(agent: ModuleType) -> None:
    table = ("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
             "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
             "eth0\t00000000\tFE01A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
             "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n")
    assert agent.default_route(table) == ("eth0", "192.168.1.254")
    assert agent.default_route(table.splitlines()[0]) == (None, "")


def test_a_child_that_hangs_is_ended_with_its_children(agent: ModuleType) -> None:
    code, out, err = agent.run(["sh", "-c", "sleep 300 & echo $!; wait"], timeout=1)
    assert code == 124
    assert "no answer within 1 s" in err
    status = Path(f"/proc/{out.strip()}/status")
    deadline = time.monotonic() + 10
    while status.exists() and "Z (zombie)" not in status.read_text():
        assert time.monotonic() < deadline, "the grandchild is still there"
        time.sleep(0.02)
    assert agent.run(["/nonexistent/command"])[0] == 127


def test_a_file_that_is_right_already_is_not_written(agent: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "unit"
    assert agent.replace_text(str(path), "one\n") is True
    before = path.stat()
    assert before.st_mode & 0o777 == 0o644
    assert agent.replace_text(str(path), "one\n") is False
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert agent.replace_text(str(path), "two\n") is True
    assert path.read_text() == "two\n"


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A temporary directory that every user can read; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@needs_apt
def test_an_ordinary_user_refreshes_lists_of_his_own(open_directory: Path) -> None:
    """With a source that is local, so that the test needs no network; the system's lists stay as they are."""
    if os.geteuid() != 0:
        pytest.skip("only root can run the agent as another user")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("mount namespaces are not allowed here")
    archive = open_directory / "archive"
    archive.mkdir()
    (archive / "Packages").write_text("Package: bash\nVersion: 9999\nArchitecture: all\nFilename: ./bash.deb\nSize: 1\n"
                                      f"SHA256: {'0' * 64}\nDescription: x\n\n")
    content = (archive / "Packages").read_bytes()
    (archive / "Release").write_text("Origin: Test\nSuite: test\nCodename: testing\n"
                                     "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
                                     f"SHA256:\n {hashlib.sha256(content).hexdigest()} {len(content)} Packages\n")
    sources = open_directory / "sources.list.d"
    sources.mkdir()
    home = open_directory / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    agent = open_directory / "agent.py"
    shutil.copy(AGENT_FILE, agent)
    before = os.stat("/var/lib/apt/lists").st_mtime

    def report(*urls: str) -> dict[str, Any]:
        (sources / "test.list").write_text("".join(f"deb [trusted=yes] {url} ./\n" for url in urls))
        script = ('mount --bind "$1" /etc/apt/sources.list.d || exit 1; '
                  '[ ! -e /etc/apt/sources.list ] || mount --bind /dev/null /etc/apt/sources.list || exit 1; '
                  'exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$2" '
                  '/usr/bin/python3 "$3" --dry-run --refresh always')
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", str(sources), str(home), str(agent)],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    good = report(f"copy:{archive}")
    assert good["problems"] == []
    assert good["metadataUpdated"] is not None
    (bash,) = (p for p in good["packages"] if p["name"] == "bash")
    assert bash["availableVersion"] == "9999"
    assert bash["origins"][0]["origin"] == "Test"

    partly = report(f"copy:{archive}", f"copy:{open_directory}/absent")
    assert partly["metadataUpdated"] is None
    assert any(problem.startswith("no package metadata for") for problem in partly["problems"])
    assert any("apt-get update failed" in problem for problem in partly["problems"])

    shutil.rmtree(archive)
    again = report(f"copy:{archive}")
    assert again["metadataUpdated"] == good["metadataUpdated"], "a failed refresh must not look like a new one"
    assert again["problems"]
    assert os.stat("/var/lib/apt/lists").st_mtime == before
