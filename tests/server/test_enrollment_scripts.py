# SPDX-License-Identifier: Apache-2.0
"""The enrolment scripts: who gets them, that they run no value by accident, and a Proxmox node's whole way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from patchherd.enrollment import scripts
from patchherd.settings import Settings
from tests.running import Server
from tests.server.api import Api
from tests.services import unavailable

SCRIPT = "/api/v1/auto-enrollment/script"
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def query(token: dict[str, Any], **changes: str) -> dict[str, str]:
    return {"type": "proxmox-lxc", "token_key": token["token_key"], "token_secret": token["token_secret"], **changes}


def test_order_of_checks(api: Api, client: FlaskClient) -> None:
    token = api.enrollment_token()
    path = f"/auto-enrollment/tokens/{token['id']}"

    def attempt(arguments: dict[str, str]) -> tuple[int, str]:
        answer = client.get(SCRIPT, query_string=arguments)
        return answer.status_code, answer.json["error"] if answer.is_json else answer.text.splitlines()[0]

    assert attempt({}) == (401, "Token key and secret required")
    assert attempt({"type": "nonsense"}) == (401, "Token key and secret required")
    assert attempt({"token_key": "x", "token_secret": "y"}) == (400, "Invalid script type")
    assert attempt(query(token, type="../../etc/passwd")) == (400, "Invalid script type")
    assert attempt(query(token, token_key="unknown")) == (401, "Invalid or inactive token")
    assert attempt(query(token, token_secret="wrong")) == (401, "Invalid token secret")
    api.patch(path, {"expires_at": "2001-01-01T00:00:00Z"})
    assert attempt(query(token)) == (401, "Token expired")
    api.patch(path, {"expires_at": None, "allowed_ip_ranges": ["192.0.2.0/24"]})
    assert attempt(query(token)) == (403, "IP address not authorized for this token")
    api.patch(path, {"allowed_ip_ranges": ["127.0.0.1"], "is_active": False})
    assert attempt(query(token)) == (401, "Invalid or inactive token")
    api.patch(path, {"is_active": True})
    for kind in ("proxmox-lxc", "direct-host"):
        assert attempt(query(token, type=kind)) == (200, "#!/bin/sh")


def test_the_script_carries_server_and_token(api: Api, app: Flask, client: FlaskClient) -> None:
    token = api.enrollment_token()
    for kind in ("proxmox-lxc", "direct-host"):
        text = client.get(SCRIPT, query_string=query(token, type=kind)).text
        assert "default_url=http://localhost\n" in text
        assert token["token_key"] in text
        assert token["token_secret"] in text
        assert "FORCE_INSTALL:-false" in text
        forced = client.get(SCRIPT, query_string=query(token, type=kind, force="true")).text
        assert "FORCE_INSTALL:-true" in forced
    for host in ("evil.example$(id)", "a b", "x'y", 'x";id;"'):
        refused = client.get(SCRIPT, query_string=query(token), headers={"Host": host})
        assert refused.status_code == 400, host


def test_a_file_that_the_installation_lacks_is_404(
    api: Api, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token, host = api.enrollment_token(), api.enroll()
    monkeypatch.setitem(scripts.SCRIPTS, "proxmox-lxc", "absent.sh.j2")
    answer = client.get(SCRIPT, query_string=query(token))
    assert (answer.status_code, answer.json["error"]) == (404, "Script file not found")
    for system, (_, pattern) in scripts.AGENTS.items():
        monkeypatch.setitem(scripts.AGENTS, system, (tmp_path / "absent", pattern))
        for path in ("/hosts/agent/download", "/hosts/agent/version"):
            answer = api.host("GET", f"{path}?os={system}", host)
            assert (answer.status_code, answer.json["error"]) == (404, "Agent not found")


def test_the_install_script_takes_force_and_an_architecture(api: Api) -> None:
    host = api.enroll()
    for system, unforced, forced in (
        ("linux", "FORCE_INSTALL:-false", "FORCE_INSTALL:-true"),
        ("windows", "FORCE_INSTALL = 'false'", "FORCE_INSTALL = 'true'"),
    ):
        path = f"/hosts/install?os={system}&arch=arm64"
        assert unforced in api.host("GET", path, host).text
        assert forced in api.host("GET", f"{path}&force=true", host).text
        assert unforced in api.host("GET", f"{path}&force=$(reboot)", host).text


def test_forwarded_addresses_count_from_trusted_proxies_only(app_settings: Settings, api: Api) -> None:
    token = api.enrollment_token(allowed_ip_ranges=["192.0.2.5"])
    forwarded = {"X-Forwarded-For": "192.0.2.5"}
    assert api.client.get(SCRIPT, query_string=query(token), headers=forwarded).status_code == 403
    from patchherd.app import create_app

    client = create_app(msgspec.structs.replace(app_settings, trusted_proxies=("127.0.0.1",))).test_client()
    assert client.get(SCRIPT, query_string=query(token), headers=forwarded).status_code == 200
    liar = {"X-Forwarded-For": "192.0.2.5, 203.0.113.1"}
    assert client.get(SCRIPT, query_string=query(token), headers=liar).status_code == 403


def proxmox(**values: Any) -> str:
    text = {"server_url": "https://p.example", "token_key": "k", "token_secret": "s", **values}
    return scripts.enrollment_script("proxmox-lxc", Settings(data=Path("/nonexistent")), force=False, **text)


def test_shellcheck_is_silent() -> None:
    for text in (proxmox(), proxmox(token_key="$(id) `id` 'x' \"y\""), scripts.remove_script()):
        command = [str(SHELLCHECK), "--shell=sh", "--exclude=SC2016", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_every_value_arrives_as_it_is(value: str) -> None:
    text = proxmox(server_url=value, token_key=value, token_secret=value)
    head, _, _ = text.rpartition("\nmain\n")
    for name in ("default_url", "default_key", "default_secret"):
        program = f"{head}\nprintf '%s.' \"${name}\"\n"
        done = subprocess.run(["sh"], input=program.encode(), capture_output=True, check=False)
        assert done.stdout.decode() == f"{value}.", done.stderr


def test_a_script_cut_anywhere_does_nothing() -> None:
    text = proxmox()
    for end in range(0, text.rindex("main"), 211):
        done = subprocess.run(["sh"], input=text[:end], capture_output=True, text=True, check=False)
        assert done.stdout == ""


def test_the_certificate_authority_is_in_the_script(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    text = scripts.enrollment_script(
        "proxmox-lxc", Settings(data=tmp_path, ca_certificate=str(ca)),
        server_url="https://p", token_key="k", token_secret="s", force=False,
    )  # fmt: skip
    assert ca.read_text().strip() in text
    assert "default_flags=-sS\n" in text
    loose = Settings(data=tmp_path, ignore_ssl_self_signed=True)
    for kind in scripts.SCRIPTS:
        text = scripts.enrollment_script(
            kind, loose, server_url="https://p", token_key="k", token_secret="s", force=False
        )
        assert "-sSk" in text


# A node with five containers. Each is a view of this machine's file system whose writes go to an overlay of its own.
NODE = """
set -eu
mount -t tmpfs none "$1"
mount -t tmpfs none /run
mkdir -p "$1/bin"
for id in 100 101 102 103 104; do
    for directory in etc root usr/local var/lib; do mkdir -p "$1/$id/$directory/upper" "$1/$id/$directory/work"; done
    echo "0000000000000000000000000000$id" >"$1/$id/etc/upper/machine-id"
    mkdir "$1/$id/etc/upper/patchmon"
done
echo 'enrolled: long ago' >"$1/103/etc/upper/patchmon/config.yml"
cat >"$1/bin/pct" <<'PCT'
#!/bin/sh
if [ "$1" = list ]; then
    cat <<LIST
VMID       Status     Lock         Name
100        running                 web
101        running    backup       database
102        running                 mail
103        running                 old
104        stopped                 cold
LIST
    exit 0
fi
id=$2
shift 3
exec unshare --mount sh -c '
    node=$1 id=$2
    shift 2
    for directory in etc root usr/local var/lib; do
        own=$node/$id/$directory to=/$directory
        mount -t overlay overlay -o "lowerdir=$to,upperdir=$own/upper,workdir=$own/work" "$to" || exit 91
    done
    rm -rf /etc/cron.d
    exec "$@"' sh "$NODE" "$id" "$@"
PCT
chmod 755 "$1/bin/pct"
PATH="$1/bin:$PATH" NODE="$1"
export PATH NODE
set +e
for run in dry first second; do
    echo "== $run"
    if [ "$run" = dry ]; then DRY_RUN=true sh <"$2"; else sh <"$2"; fi
    echo "exit $?"
done
"""


@pytest.fixture
def node_tools() -> None:
    if os.geteuid() != 0:
        unavailable("only root can play a Proxmox node")
    for tool in ("unshare", "curl"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")
    if shutil.which("apt-get") is None and shutil.which("dnf") is None:
        unavailable("the agent reports for apt and dnf hosts only")


@pytest.mark.usefixtures("node_tools")
def test_a_proxmox_node_enrols_its_containers(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.log_in()
        token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": "node"}, expect=201)["token"]
        answer = server.session.get(server.url + SCRIPT, params=query(token), timeout=30)
        script, mount = tmp_path / "script.sh", tmp_path / "node"
        script.write_text(answer.text)
        mount.mkdir()
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", NODE, "sh", str(mount), str(script)],
            capture_output=True, text=True, timeout=280, check=False,
            env={"PATH": os.environ["PATH"], "HOME": "/root", "HOST_PREFIX": "px-"},
        )  # fmt: skip
        _, dry, first, second = done.stdout.split("== ")
        said = f"{done.stdout}\n{done.stderr}"
        assert "would enrol px-web" in dry, said
        assert "Successfully Enrolled:  0\n" in dry, said
        assert "Successfully Enrolled:  3\n" in first, said
        assert "Failed:                 0\n" in first, said
        assert "Already Enrolled:       1\n" in first
        assert "Skipped (Stopped):      1\n" in first
        assert "Total Containers Found: 5\n" in first
        assert "exit 0" in first
        assert "Successfully Enrolled:  0\n" in second
        assert "Already Enrolled:       4\n" in second
        devices = server.get("/api/v1/devices")
        rows = devices["devices"] if isinstance(devices, dict) else devices
        assert len(rows) == 3
        shown = server.get(f"/api/v1/auto-enrollment/tokens/{token['id']}")
        assert shown["hosts_created_today"] == 3
        assert {row["friendly_name"] for row in rows} == {"px-web", "px-database", "px-mail"}
        assert all(row["last_report"] for row in rows), "each container has sent its first report"
        assert token["token_secret"] not in said
