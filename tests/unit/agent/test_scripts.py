# SPDX-License-Identifier: Apache-2.0
"""The scripts that hosts run: rendered, checked, and run for real on a private view of this machine's file system."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import AGENT_FILE, ROOT, Server

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
HOSTILE = ["$(touch /tmp/pwned)", "`id`", "it's \"quoted\" \\ and \\n", "a\nb\n'; id; '", "$HOME ${PATH} $$",
           "!#&|;<>()*?[]~", "'", "-n -e", "\té ü 日本", "{{ 7 * 7 }} {% raw %}"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeKeyForTheTestsOnlyxxxxxxxxxxxxxxxxxxxxx patchherd"
SECRETS = {"token_key": "patchmon_ae_0123456789abcdef", "token_secret": "5ec2e7" * 8}

# Writes go to overlays that vanish with the mount namespace; a systemd or cron of this machine is not seen.
NAMESPACE = """
mount -t tmpfs none "$1" || exit 90
for directory in etc root usr/local var/lib; do
    mkdir -p "$1/$directory/upper" "$1/$directory/work"
    mount -t overlay overlay -o "lowerdir=/$directory,upperdir=$1/$directory/upper,workdir=$1/$directory/work" \\
        "/$directory" || exit 91
done
mount -t tmpfs none /run || exit 92
rm -rf /etc/cron.d /etc/patchherd /usr/local/lib/patchherd /var/lib/patchherd /root/.ssh
mkdir -p /root/.ssh && printf 'ssh-rsa AAAA somebody' > /root/.ssh/authorized_keys
"""


def test_the_agent_the_server_hands_out_is_the_collection_s() -> None:
    link = ROOT / "server/patchherd/enrollment/agent/patchherd_agent.py"
    assert link.is_symlink()
    assert link.resolve() == AGENT_FILE


def scripts(render: Callable[..., str], **values: Any) -> dict[str, str]:
    return {"direct_host": render("direct_host.sh.j2", **{**SECRETS, **values}),
            "install": render("install.sh.j2", **{"bootstrap_token": "b00t", **values})}


@pytest.mark.parametrize("values", [{}, {"force": True, "ca_certificate": "-----BEGIN\nEND-----\n"},
                                    {"server_url": HOSTILE[3], "api_version": HOSTILE[1]}])
def test_rendered_scripts_are_clean_under_shellcheck(render: Callable[..., str], values: dict[str, Any]) -> None:
    for name, text in scripts(render, **values).items():
        # SC2016 suspects that a value with a backtick was meant to be expanded; that it is not is the point.
        command = [SHELLCHECK, "--shell=sh", "--exclude=SC2016", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stdout}"


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_arrive_as_they_are(render: Callable[..., str], shell: str, value: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    every = dict.fromkeys(("server_url", "token_key", "token_secret", "bootstrap_token", "ca_certificate",
                           "api_version"), value)
    names = {"direct_host": ["PATCHMON_URL", "AUTO_ENROLLMENT_KEY", "AUTO_ENROLLMENT_SECRET", "CA_CERTIFICATE",
                             "API_VERSION"],
             "install": ["PATCHMON_URL", "BOOTSTRAP_TOKEN", "CA_CERTIFICATE", "API_VERSION"]}
    for name, text in scripts(render, **every).items():
        head, _separator, _rest = text.rpartition('main "$@"')
        printed = "".join(f"printf '%s\\0' \"${variable}\"\n" for variable in names[name])
        done = subprocess.run([shell], input=head + printed, capture_output=True, text=True,
                              env={"PATH": os.environ["PATH"]})
        assert done.stdout.split("\0")[:-1] == [value] * len(names[name]), done.stderr


def test_a_script_cut_anywhere_does_nothing(render: Callable[..., str]) -> None:
    for text in scripts(render).values():
        for end in range(0, text.rindex("main"), 97):
            done = subprocess.run(["sh"], input=text[:end], capture_output=True, text=True)
            assert done.stdout == ""


class Enrolment:
    """A server that knows one host, and a way to run scripts against it."""

    def __init__(self, server: Server, work: Path) -> None:
        self.server, self.work = server, work
        content = AGENT_FILE.read_bytes()
        credentials = {"api_id": "patchmon_0123456789abcdef", "api_key": "5ecret" * 10}
        server.routes = {
            "POST /api/v1/auto-enrollment/enroll": (201, {"message": "Host enrolled", "host": credentials}, {}),
            "POST /api/v1/hosts/bootstrap/exchange": (
                200, {"apiId": credentials["api_id"], "apiKey": credentials["api_key"]}, {}),
            "GET /api/v1/hosts/agent/version": (200, {"hash": hashlib.sha256(content).hexdigest()}, {}),
            "GET /api/v1/hosts/agent/download": (200, content, {}),
            "GET /api/v1/hosts/ssh-key": (200, KEY.encode() + b"\n", {}),
            "POST /api/v1/hosts/update": (200, {"message": "Host updated successfully"}, {}),
            "POST /api/v1/hosts/ping": (200, {"message": "success", "hashGate": True}, {}),
        }
        self.credentials = credentials

    def run(self, script: str, *steps: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run shell steps in the namespace; `run [options]` in them runs the script as a pipe into sh does."""
        path = self.work / "script.sh"
        path.write_text(script)
        mount = self.work / "mount"
        mount.mkdir(exist_ok=True)
        program = NAMESPACE + f'run() {{ sh -s -- "$@" <{path}; echo "exit $?"; }}\n' + "\n".join(steps)
        return subprocess.run(["unshare", "--mount", "sh", "-c", program, "sh", str(mount)], capture_output=True,
                              text=True, timeout=120, env={"PATH": os.environ["PATH"], "HOME": "/root", **environment})


@pytest.fixture
def enrolment(make_server: Callable[..., Server], tmp_path: Path) -> Enrolment:
    if os.geteuid() != 0:
        pytest.skip("only root can enrol a host")
    if shutil.which("apt-get") is None and shutil.which("dnf") is None:
        pytest.skip("the agent knows neither package manager of this machine")
    (tmp_path / "probe").mkdir()
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", str(tmp_path / "probe")],
                           capture_output=True, text=True)
    if probe.returncode in (1, 90, 91, 92):
        pytest.skip(f"mount namespaces or overlays are not allowed here: {probe.stderr.strip()}")
    return Enrolment(make_server(), tmp_path)


def test_direct_host_enrols_installs_and_reports(enrolment: Enrolment, render: Callable[..., str]) -> None:
    script = render("direct_host.sh.j2", **SECRETS, server_url=enrolment.server.url + "/")
    done = enrolment.run(
        script, "run --with-ssh", "run --with-ssh", "stat -c '%a %n' /etc/patchherd/agent.json /root/.ssh /root/.ssh/*",
        "cat /etc/patchherd/agent.json; echo; cat /root/.ssh/authorized_keys",
        "/usr/bin/python3 /usr/local/lib/patchherd/patchherd_agent.py --once",
        "/usr/bin/python3 /usr/local/lib/patchherd/patchherd_agent.py uninstall",
        "ls /etc/patchherd /usr/local/lib/patchherd /var/lib/patchherd 2>&1",
        HOST_PREFIX="prod-", FRIENDLY_NAME='we"b\\ $(id)')
    out = done.stdout
    assert out.count("exit 0") == 2, out + done.stderr
    assert "Successfully Enrolled:  1\nAlready Enrolled:       0\nFailed:                 0\n" in out
    assert "already enrolled" in out
    assert "Successfully Enrolled:  0\nAlready Enrolled:       1\nFailed:                 0\n" in out
    assert "600 /etc/patchherd/agent.json" in out
    assert "700 /root/.ssh\n600 /root/.ssh/authorized_keys" in out
    config = json.loads(out[out.index("{"):out.index("}") + 1])
    assert config == {"server": enrolment.server.url, "api_version": "v1", **enrolment.credentials}
    assert out.count(KEY) == 1
    assert f"ssh-rsa AAAA somebody\n{KEY}\n" in out, "a last line without newline stays whole"
    assert "patchherd: sent ping" in out
    assert out.count("No such file") == 3, "uninstall leaves nothing"

    requests = {request["path"].removeprefix("/api/v1"): request for request in enrolment.server.requests}
    assert enrolment.server.paths().count("/api/v1/auto-enrollment/enroll") == 1
    enroll = requests["/auto-enrollment/enroll"]
    assert enroll["headers"]["x-auto-enrollment-key"] == SECRETS["token_key"]
    assert enroll["headers"]["x-auto-enrollment-secret"] == SECRETS["token_secret"]
    assert enroll["body"]["friendly_name"] == 'prod-we"b\\ $(id)'
    machine_id = Path("/etc/machine-id").read_text().strip() if Path("/etc/machine-id").exists() else ""
    assert enroll["body"].get("machine_id", "") == machine_id
    for path in ("/hosts/agent/version", "/hosts/agent/download", "/hosts/ssh-key", "/hosts/update"):
        assert requests[path]["headers"]["x-api-key"] == enrolment.credentials["api_key"]
    assert requests["/hosts/update"]["body"]["reportVersion"] == 1
    assert requests["/hosts/update"]["body"]["packages"]


def test_secrets_are_on_no_command_line(enrolment: Enrolment, render: Callable[..., str]) -> None:
    """Each program the script starts is recorded with its arguments by a stand-in that then runs the real one."""
    log, stubs = enrolment.work / "argv", enrolment.work / "bin"
    stubs.mkdir()
    for name in ("curl", "python3", "sed", "tr", "grep", "cat", "mkdir", "mktemp", "cp", "mv", "chmod", "rm", "printf"):
        stub = stubs / name
        stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>{log}\nexec {shutil.which(name)} "$@"\n')
        stub.chmod(0o755)
    script = render("direct_host.sh.j2", **SECRETS, server_url=enrolment.server.url)
    done = enrolment.run(script, "run --with-ssh", PATH=f"{stubs}:{os.environ['PATH']}", DEBUG="true")
    assert "exit 0" in done.stdout, done.stdout + done.stderr
    seen = log.read_text()
    assert seen.count("curl ") == 4
    for secret in (*SECRETS.values(), enrolment.credentials["api_key"]):
        assert secret not in seen
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize(("status", "body", "expected"), [
    (401, {"error": "Invalid token secret"}, "HTTP 401): Invalid token secret"),
    (429, {"error": "Rate limit exceeded", "message": "Maximum 5"}, "HTTP 429): Rate limit exceeded - Maximum 5"),
    (400, {"errors": [{"msg": "friendly_name is required"}]}, "HTTP 400): friendly_name is required"),
    (502, b"<html>Bad gateway</html>", "HTTP 502): no reason given")])
def test_a_refused_enrolment_is_a_failure_with_its_reason(
    enrolment: Enrolment, render: Callable[..., str], status: int, body: Any, expected: str
) -> None:
    enrolment.server.routes["POST /api/v1/auto-enrollment/enroll"] = (status, body, {})
    script = render("direct_host.sh.j2", **SECRETS, server_url=enrolment.server.url)
    done = enrolment.run(script, "run", "ls /etc/patchherd")
    assert "Successfully Enrolled:  0\nAlready Enrolled:       0\nFailed:                 1\nexit 1" in done.stdout
    assert expected in done.stderr
    assert "cannot access '/etc/patchherd'" in done.stderr


def test_a_host_the_server_knows_is_already_enrolled(enrolment: Enrolment, render: Callable[..., str]) -> None:
    enrolment.server.routes["POST /api/v1/auto-enrollment/enroll"] = (409, {"error": "Host exists"}, {})
    script = render("direct_host.sh.j2", **SECRETS, server_url=enrolment.server.url)
    done = enrolment.run(script, "run")
    assert "already enrolled" in done.stdout
    assert "Already Enrolled:       1\nFailed:                 0\nexit 0" in done.stdout


def test_a_damaged_agent_is_not_installed_and_the_next_run_completes(
    enrolment: Enrolment, render: Callable[..., str]
) -> None:
    right = enrolment.server.routes["GET /api/v1/hosts/agent/download"]
    enrolment.server.routes["GET /api/v1/hosts/agent/download"] = [(200, b"print('evil')", {}), right]
    script = render("direct_host.sh.j2", **SECRETS, server_url=enrolment.server.url)
    done = enrolment.run(script, "run", "ls /usr/local/lib/patchherd", "run", "ls /usr/local/lib/patchherd")
    assert "the agent is not what the server announced" in done.stderr
    assert "Failed:                 1\nexit 1" in done.stdout
    assert done.stdout.count("patchherd_agent.py\n") == 1
    assert "Already Enrolled:       1\nFailed:                 0\nexit 0" in done.stdout
    assert enrolment.server.paths().count("/api/v1/auto-enrollment/enroll") == 1


def test_environment_overrides_and_dry_run(enrolment: Enrolment, render: Callable[..., str]) -> None:
    script = render("direct_host.sh.j2", **SECRETS, server_url="http://127.0.0.1:1")
    dry = enrolment.run(script, "run", "ls /etc/patchherd", DRY_RUN="true", PATCHMON_URL=enrolment.server.url)
    assert "exit 0" in dry.stdout
    assert enrolment.server.requests == []
    assert "cannot access '/etc/patchherd'" in dry.stderr
    real = enrolment.run(script, "run", "FORCE_INSTALL=true run", PATCHMON_URL=enrolment.server.url,
                         AUTO_ENROLLMENT_KEY="other_key", AUTO_ENROLLMENT_SECRET="other_secret")
    assert real.stdout.count("Successfully Enrolled:  1") == 2, real.stdout + real.stderr
    enrolls = [r for r in enrolment.server.requests if r["path"].endswith("/enroll")]
    assert [r["headers"]["x-auto-enrollment-key"] for r in enrolls] == ["other_key", "other_key"]
    assert "x-api-id" not in enrolls[0]["headers"]
    assert enrolls[1]["headers"]["x-api-id"] == enrolment.credentials["api_id"], "a known host proves who it is"


def test_install_exchanges_the_bootstrap_token(enrolment: Enrolment, render: Callable[..., str]) -> None:
    script = render("install.sh.j2", bootstrap_token='b00t"\\$(id)', server_url=enrolment.server.url)
    done = enrolment.run(script, "run", "cat /etc/patchherd/agent.json", "run")
    assert done.stdout.count("exit 0") == 2, done.stdout + done.stderr
    assert enrolment.credentials["api_key"] in done.stdout
    assert "already installed" in done.stdout
    (exchange,) = (r for r in enrolment.server.requests if r["path"].endswith("/exchange"))
    assert exchange["body"] == {"token": 'b00t"\\$(id)'}
    assert "/api/v1/hosts/update" in enrolment.server.paths()

    enrolment.server.routes["POST /api/v1/hosts/bootstrap/exchange"] = (401, {"error": "Invalid bootstrap token"}, {})
    refused = enrolment.run(script, "run", "ls /etc/patchherd")
    assert "exit 1" in refused.stdout
    assert "Invalid bootstrap token" in refused.stderr
