# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The Ansible view of devices: its shape, and the real inventory plugin against a really started server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from patchherd import database
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from tests.running import Server
from tests.server.api import Api
from tests.server.fleet import add_host, package, security
from tests.server.queries import queries

ROOT = Path(__file__).parents[2]
KEY = "ssh-ed25519 " + b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()


@pytest.fixture
def fleet(api: Api) -> dict[str, Device]:
    api.post("/host-groups", {"name": "Web servers"})
    found = {
        "web": add_host(
            "web", security("openssl"), package("bash", candidate="2-1"), sshHostKeys=[KEY], osVersionId="9.4"
        ),
        "clean": add_host(
            "clean", package("bash"), osId="debian", osType="Debian GNU/Linux", osVersion="12 (bookworm)"
        ),
        "old": add_host("old", package("bash", candidate="2-1")),
    }
    with database.connection():
        found["silent"] = create_device("silent")
        long_ago = now() - timedelta(days=9)
        aged = {"evaluated_at": long_ago, "metadata_updated": long_ago, "last_heartbeat": long_ago}
        Device.update(**aged).where(Device.id == found["old"].id).execute()
        Device.update(reboot_required=None).where(Device.id == found["old"].id).execute()
    api.patch("/devices/web", {"groups": ["Web servers"], "port": 2222})
    return found


def hosts(api: Api, query: str = "") -> dict[str, dict[str, Any]]:
    answer = api.get(f"/inventory{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json["count"] == len(answer.json["hosts"])
    return {host["name"]: host for host in answer.json["hosts"]}


def test_shape(api: Api, fleet: dict[str, Device]) -> None:
    answer = api.get("/inventory").json
    assert set(answer) == {"generated_at", "count", "hosts"}
    assert datetime.fromisoformat(answer["generated_at"]).tzinfo is not None
    assert answer["hosts"][0] == {
        "id": fleet["web"].id,
        "agent_id": fleet["web"].uuid,
        "name": "web",
        "hostname": "web",
        "friendly_name": "web",
        "address": "10.0.0.1",
        "os_family": "redhat",
        "os_id": "rocky",
        "os_name": "Rocky Linux",
        "os_version": "9.4",
        "os_major": "9",
        "architecture": None,
        "state": "active",
        "status": "online",
        "ansible_reachable": None,
        "patch_status": "missing",
        "missing": 2,
        "security": 1,
        "reboot_required": False,
        "groups": ["Web servers"],
        "tags": [],
        "maintenance": False,
        "connection": {
            "type": "ssh",
            "port": 2222,
            "user": "root",
            "become": False,
            "shell": None,
            "python": "/usr/bin/python3",
        },
        "ssh_host_keys": [KEY],
    }


def test_unknown_is_null_never_zero(api: Api, fleet: dict[str, Device]) -> None:
    found = hosts(api)
    clean, old, silent = found["clean"], found["old"], found["silent"]
    assert (clean["patch_status"], clean["missing"], clean["security"], clean["os_major"]) == ("current", 0, 0, "12")
    assert (old["patch_status"], old["missing"], old["security"], old["status"]) == ("unknown", None, None, "offline")
    assert old["reboot_required"] is None
    assert (silent["state"], silent["status"], silent["patch_status"]) == ("pending", "unknown", "unknown")
    assert [silent[name] for name in ("address", "missing", "security", "reboot_required", "os_family")] == [None] * 5


def test_a_host_that_waits_for_approval_has_no_address(api: Api, fleet: dict[str, Device]) -> None:
    api.patch("/devices/web", {"approved": False, "address": "10.9.9.9"})
    web = hosts(api)["web"]
    assert (web["state"], web["address"]) == ("pending", None)


def test_filters(api: Api, fleet: dict[str, Device]) -> None:
    for query, expected in (
        ("group=Web%20servers", {"web"}),
        ("os_family=debian", {"clean"}),
        ("os_family=debian,redhat", {"web", "clean", "old"}),
        ("status=online", {"web", "clean"}),
        ("status=offline", {"old"}),
        ("status=unknown", {"silent"}),
        ("patch_status=missing", {"web"}),
        ("patch_status=current", {"clean"}),
        ("patch_status=unknown", {"old", "silent"}),
        ("hostname=web,silent", {"web", "silent"}),
        ("patch_status=missing&os_family=debian", set()),
    ):
        assert set(hosts(api, f"?{query}")) == expected, query
    for query, status in (("group=nobody", 404), ("status=ONLINE", 400), ("patch_status=x", 400), ("grop=Web", 400)):
        assert api.get(f"/inventory?{query}").status_code == status, query


def test_a_device_has_one_name_whatever_filter_selects_it(api: Api, fleet: dict[str, Device]) -> None:
    twin = add_host("web", package("bash"))
    names = {f"web-{fleet['web'].id}", f"web-{twin.id}"}
    assert names <= set(hosts(api))
    assert set(hosts(api, "?group=Web%20servers")) == {f"web-{fleet['web'].id}"}
    assert set(hosts(api, "?hostname=web")) == names
    api.delete(f"/devices/{twin.id}")
    assert "web" in hosts(api)


def test_etag(api: Api, fleet: dict[str, Device]) -> None:
    first = api.get("/inventory")
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    again = api.get("/inventory", headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert api.get("/inventory", headers={"If-None-Match": '"other", ' + tag}).status_code == 304
    assert api.get("/inventory", headers={"If-None-Match": '"other"'}).status_code == 200
    assert api.get("/inventory?status=online", headers={"If-None-Match": tag}).status_code == 200
    api.patch("/devices/web", {"port": 22})
    changed = api.get("/inventory", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_one_device_and_two_hundred_cost_the_same_queries(api: Api) -> None:
    def cost() -> int:
        with queries() as seen:
            api.get("/inventory")
        return len(seen)

    add_host("first", package("bash"))
    one = cost()
    with database.connection(), database.write_transaction():
        for number in range(199):
            create_device(f"host{number}")
    assert len(hosts(api)) == 200
    assert cost() == one


# -- the real plugin -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("inventory") / "data") as running:
        running.log_in()
        yield running


def enrol(server: Server, name: str, **report: Any) -> None:
    """A host that reports once; without a report it stays pending."""
    token = server.post("/api/v1/auto-enrollment/tokens", {"token_name": name}, 201)["token"]
    headers = {"X-Auto-Enrollment-Key": token["token_key"], "X-Auto-Enrollment-Secret": token["token_secret"]}
    host = server.post("/api/v1/auto-enrollment/enroll", {"friendly_name": name}, 201, headers=headers)["host"]
    if report:
        credentials = {"X-API-ID": host["api_id"], "X-API-KEY": host["api_key"]}
        server.post("/api/v1/hosts/update", {"packages": None, **report}, headers=credentials)


def test_the_plugin_reads_a_started_server(server: Server, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    template = f"{{{{ lookup('pipe', 'touch {trap}') }}}}"
    enrol(server, "web", hostname="web", ip="10.0.0.1", osType="Debian GNU/Linux", osId="debian", sshHostKeys=[KEY])
    enrol(server, "trap", hostname=template, ip="10.0.0.2", osType=template, osVersion=template)
    enrol(server, "localhost", hostname="localhost", ip="10.0.0.3", osType="Windows Server 2022")
    enrol(server, "pending")
    server.post("/api/v1/host-groups", {"name": "Web servers"}, 201)
    server.call("PATCH", "/api/v1/devices/web", json={"groups": ["Web servers"]})
    source = tmp_path / "fleet.patchherd.yml"
    source.write_text("plugin: patchherd.fleet.devices\nfilters: {}\n")
    token = server.command("api-token", "create", "inventory", "--role", "viewer").stdout.strip()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PATCHHERD_"))},
        "PATCHHERD_URL": server.url,
        "PATCHHERD_TOKEN": token,
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "HOME": str(tmp_path),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    }

    def ansible_inventory(*more: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(source), "--list", "--export", *more],
            capture_output=True,
            text=True,
            env={**environment, **changed},
            cwd=ROOT,
            timeout=120,
            check=False,
        )

    done = ansible_inventory()
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    variables = listed["_meta"]["hostvars"]
    numbers = {row["friendly_name"]: row["id"] for row in server.get("/api/v1/devices")}
    own = {name: values["patchherd_device_id"] for name, values in variables.items()}
    assert {number: name for name, number in own.items()}[numbers["web"]] == "web"
    assert sorted(own.values()) == sorted(numbers.values())
    assert "localhost" not in variables
    assert variables["web"]["ansible_host"] == "10.0.0.1"
    assert listed["Web_servers"]["hosts"] == ["web"]
    assert listed["os_debian"]["hosts"] == ["web"]
    assert variables["pending"]["ansible_host"].endswith(".invalid")
    assert variables[f"localhost-{numbers['localhost']}"]["ansible_connection"] == "psrp"
    for text in ("status: unknown", "patch_status: unknown", "hostname: web", "group: Web servers"):
        source.write_text(f"plugin: patchherd.fleet.devices\nfilters: {{{text}}}\n")
        assert ansible_inventory().returncode == 0, text
    refused = ansible_inventory(PATCHHERD_TOKEN="pht_no_such")
    assert refused.returncode != 0
    assert not trap.exists()
