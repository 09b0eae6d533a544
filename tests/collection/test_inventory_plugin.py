# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The inventory plugin against a server that answers in the real format, on every ansible-core that is supported."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ssh_keys
from tests.collection.conftest import Ansible
from tests.collection.fake_server import FakeServer, Handler, running, send

TOKEN = "top-secret-token"
AGENT = "11111111-1111-4111-8111-{:012d}"


def key(seed: int = 1) -> str:
    return ssh_keys.ed25519(str(seed))


def host(number: int, **changes: Any) -> dict[str, Any]:
    """A record in the form of GET /api/v1/inventory."""
    record: dict[str, Any] = {
        "id": number, "agent_id": AGENT.format(number), "name": f"deb{number}", "hostname": f"deb{number}",
        "friendly_name": f"deb{number}", "address": f"10.0.0.{number % 250}", "os_family": "debian", "os_id": "debian",
        "os_name": "Debian GNU/Linux", "os_version": "12 (bookworm)", "os_major": "12", "architecture": "x86_64",
        "state": "active", "status": "online", "ansible_reachable": True, "patch_status": "missing", "missing": 3,
        "security": 1, "reboot_required": False, "groups": ["Web servers"], "tags": ["prod"], "maintenance": False,
        "connection": {"type": "ssh", "port": 22, "user": "root", "become": False, "shell": None,
                       "python": "/usr/bin/python3"},
        "ssh_host_keys": [key(number % 250)],
    }  # fmt: skip
    return {**record, **changes}


def inventory(*hosts: dict[str, Any]) -> dict[str, Any]:
    return {"generated_at": "2026-01-01T00:00:00Z", "count": len(hosts), "hosts": list(hosts)}


class Source:
    """A configuration file of the plugin, and ansible-inventory on it."""

    def __init__(self, ansible: Ansible, fake: FakeServer, checkout: Path, folder: Path) -> None:
        self.ansible, self.fake, self.checkout, self.folder = ansible, fake, checkout, folder
        self.known_hosts = folder / "known_hosts"
        self.path = folder / "fleet.patchherd.yml"
        self.environment = {"PATCHHERD_URL": fake.url, "PATCHHERD_TOKEN": TOKEN, "PATCHHERD_TIMEOUT": "5"}

    def configure(self, **options: Any) -> Source:
        merged = {"plugin": "patchherd.fleet.devices", "known_hosts_path": str(self.known_hosts), **options}
        self.path.write_text(json.dumps(merged))
        return self

    def run(self, *command: str, check: bool = True) -> Any:
        if not self.path.exists():
            self.configure()
        return self.ansible.run(*command, cwd=self.checkout, check=check, **self.environment)

    def list(self, *options: str) -> dict[str, Any]:
        result = self.run("ansible-inventory", "--inventory", str(self.path), "--list", *options)
        parsed: dict[str, Any] = json.loads(result.stdout)
        parsed["stderr"] = result.stderr
        return parsed

    def refresh(self) -> str:
        """Read the inventory as a play does whose caches are flushed; return what it says about hosts."""
        command = ["ansible-playbook", "patchherd.fleet.scan", "--flush-cache", "--list-hosts"]
        output: str = self.run(*command, "--inventory", str(self.path)).stdout
        return output

    def fails(self) -> str:
        """Return what Ansible says; an inventory must not come out."""
        result = self.run("ansible-inventory", "--inventory", str(self.path), "--list", check=False)
        assert result.returncode != 0
        assert "hostvars" not in result.stdout
        assert TOKEN not in result.stdout + result.stderr
        return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def source(each_ansible: Ansible, checkout: Path, tmp_path: Path) -> Iterator[Source]:
    with running() as fake:
        yield Source(each_ansible, fake, checkout, tmp_path)


def serve(source: Source, *hosts: dict[str, Any], etag: str | None = None) -> None:
    def answer(handler: Handler) -> None:
        if etag and handler.headers.get("If-None-Match") == etag:
            send(handler, 304, None, ETag=etag)
        else:
            send(handler, 200, inventory(*hosts), **({"ETag": etag} if etag else {}))

    source.fake.answer = answer


def hostvars(listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = listed["_meta"]["hostvars"]
    return found


def test_hosts_groups_and_connection(source: Source) -> None:
    windows = {
        "type": "psrp",
        "port": 5986,
        "user": "Administrator",
        "become": False,
        "shell": "powershell",
        "python": None,
    }
    serve(
        source,
        host(1),
        host(
            2,
            name="rpm2",
            os_family="redhat",
            groups=["Web servers", "Büro & Co"],
            tags=["tier:1", "tier_1", "dmz.x"],
            maintenance=True,
            reboot_required=True,
            missing=None,
            patch_status="unknown",
            connection={
                "type": "ssh",
                "port": 2222,
                "user": "ops",
                "become": True,
                "python": "/usr/libexec/platform-python",
            },
        ),
        host(3, name="win3", os_family="windows", connection=windows, ssh_host_keys=[], reboot_required=None),
    )
    listed = source.list()
    variables = hostvars(listed)
    args = variables["deb1"].pop("ansible_ssh_common_args")
    assert args == (
        f"-o UserKnownHostsFile={source.known_hosts} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes "
        f"-o HostKeyAlias=patchherd-{AGENT.format(1)}"
    )
    assert variables["deb1"] == {
        "ansible_host": "10.0.0.1", "ansible_connection": "ssh", "ansible_port": 22, "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3", "patchherd_device_id": 1,
        "patchherd_agent_id": AGENT.format(1),
        "patchherd_hostname": "deb1", "patchherd_friendly_name": "deb1", "patchherd_os_family": "debian",
        "patchherd_os_id": "debian", "patchherd_os_version": "12 (bookworm)", "patchherd_os_major": "12",
        "patchherd_architecture": "x86_64", "patchherd_state": "active", "patchherd_status": "online",
        "patchherd_ansible_reachable": True,
        "patchherd_patch_status": "missing", "patchherd_missing": 3, "patchherd_security": 1,
        "patchherd_reboot_required": False, "patchherd_groups": ["Web servers"], "patchherd_tags": ["prod"],
        "patchherd_maintenance": False,
    }  # fmt: skip
    assert variables["rpm2"]["ansible_become"] is True
    assert variables["rpm2"]["ansible_port"] == 2222
    assert variables["rpm2"]["patchherd_missing"] is None
    assert variables["rpm2"]["patchherd_maintenance"] is True
    win = variables["win3"]
    assert (win["ansible_connection"], win["ansible_port"], win["ansible_user"]) == ("psrp", 5986, "Administrator")
    assert win["ansible_shell_type"] == "powershell"
    assert "ansible_ssh_common_args" not in win
    members = {group: value["hosts"] for group, value in listed.items() if isinstance(value, dict) and "hosts" in value}
    assert members == {
        "Web_servers": ["deb1", "rpm2", "win3"], "Büro___Co": ["rpm2"], "os_debian": ["deb1"], "os_redhat": ["rpm2"],
        "os_windows": ["win3"], "status_online": ["deb1", "rpm2", "win3"], "patch_missing": ["deb1", "win3"],
        "patch_unknown": ["rpm2"], "reboot_required": ["rpm2"], "reboot_unknown": ["win3"],
        "tag_prod": ["deb1", "win3"], "tag_dmz_x": ["rpm2"], "tag_tier_1_e1b99859": ["rpm2"],
        "tag_tier_1_bb52e452": ["rpm2"],
    }  # fmt: skip
    assert "WARNING" not in listed["stderr"]
    asked = source.fake.asked
    assert [(a.method, a.path, a.query) for a in asked] == [("GET", "/api/v1/inventory", {})]
    assert asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_filters_are_sent_and_unknown_ones_refused(source: Source) -> None:
    serve(source, host(1))
    source.configure(filters={"group": "Web servers", "os_family": "debian", "patch_status": "missing"}).list()
    assert source.fake.asked[0].query == {
        "group": ["Web servers"],
        "os_family": ["debian"],
        "patch_status": ["missing"],
    }
    assert "unknown filter tags" in source.configure(filters={"tags": "x"}).fails()
    assert "filter group must be" in source.configure(filters={"group": ["a", "b"]}).fails()
    assert len(source.fake.asked) == 1


def test_known_hosts_holds_the_pinned_keys(source: Source) -> None:
    other = ssh_keys.ecdsa("1")
    serve(source, host(1, ssh_host_keys=[key(1), other]), host(2))
    source.list()
    assert source.known_hosts.read_text().splitlines() == [
        f"patchherd-{AGENT.format(1)} {key(1)}",
        f"patchherd-{AGENT.format(1)} {other}",
        f"patchherd-{AGENT.format(2)} {key(2)}",
    ]
    assert stat.S_IMODE(source.known_hosts.stat().st_mode) == 0o600
    before = source.known_hosts.stat()
    source.list()
    assert source.known_hosts.stat().st_ino == before.st_ino, "an unchanged file is left alone"
    serve(source, host(2))
    source.list()
    assert source.known_hosts.read_text() == f"patchherd-{AGENT.format(2)} {key(2)}\n"
    assert [path.name for path in source.folder.iterdir() if path.name.startswith(".known")] == []


def test_each_source_has_its_own_known_hosts_by_default(source: Source) -> None:
    serve(source, host(1))
    source.path.write_text("plugin: patchherd.fleet.devices\n")
    first = hostvars(source.list())["deb1"]["ansible_ssh_common_args"]
    source.path.write_text("plugin: patchherd.fleet.devices\nfilters: {status: online}\n")
    second = hostvars(source.list())["deb1"]["ansible_ssh_common_args"]
    assert first != second
    assert f"{source.ansible.home}/.ansible/patchherd/known_hosts_" in first


def test_host_keys_can_be_left_to_ssh(source: Source) -> None:
    serve(source, host(1))
    assert "ansible_ssh_common_args" not in hostvars(source.configure(host_keys="ignore").list())["deb1"]
    assert not source.known_hosts.exists()


def test_known_hosts_that_cannot_be_written_is_an_error(source: Source) -> None:
    serve(source, host(1))
    source.known_hosts.mkdir()
    assert "cannot write the pinned host keys" in source.fails()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": "Unauthorized", "message": "token expired"}, "401 Unauthorized: token expired"),
        (403, {"error": "Forbidden"}, "403 Forbidden"),
        (500, b"<html>", "500 Internal Server Error"),
        (200, b'{"hosts": [', "did not answer with JSON"),
        (200, b"", "not a complete inventory"),
        (200, {"hosts": []}, "not a complete inventory"),
        (200, {"count": 2, "hosts": [{"id": 1, "name": "a"}]}, "not a complete inventory"),
        (200, {"count": 1, "hosts": ["deb1"]}, "without id or name"),
        (200, {"count": 1, "hosts": [{"id": "1", "name": "a"}]}, "without id or name"),
        (200, {"count": 2, "hosts": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "a device twice"),
        (204, None, "unexpected status 204"),
        (304, None, "unexpected status 304"),
        (302, None, "redirects"),
    ],
)
def test_no_complete_answer_is_an_error(source: Source, status: int, body: Any, expected: str) -> None:
    source.fake.answer = lambda handler: send(handler, status, body)
    assert expected in source.fails()


def test_a_server_that_hangs_or_is_away_is_an_error(source: Source) -> None:
    source.environment["PATCHHERD_TIMEOUT"] = "1"
    source.fake.answer = lambda handler: source.fake.over.wait(60) and None
    assert "timed out" in source.fails()
    source.environment["PATCHHERD_URL"] = "http://127.0.0.1:9"
    assert "did not answer" in source.fails()


def test_an_empty_fleet_is_an_inventory(source: Source) -> None:
    serve(source)
    assert hostvars(source.list()) == {}


EVIL = "{{ lookup('ansible.builtin.pipe', 'touch %s') }}"


def test_templates_in_records_are_never_run(source: Source) -> None:
    proof = source.folder / "proof"
    evil = EVIL % proof
    serve(
        source,
        host(
            1, friendly_name=evil, hostname=evil, os_version=evil, groups=[evil], tags=[evil], status=evil, state=evil
        ),
    )
    source.configure(compose={"own": "patchherd_hostname + '!'"}, keyed_groups=[{"key": "patchherd_os_version"}])
    pattern = "patchherd_friendly_name ~ patchherd_os_version ~ own ~ patchherd_groups | join ~ patchherd_status"
    shown = source.run(
        "ansible", "deb1", "--inventory", str(source.path), "--module-name", "ansible.builtin.debug",
        "--args", "msg={{ " + pattern + " }}",
    )  # fmt: skip
    assert "lookup" in shown.stdout
    assert not proof.exists()


def test_pending_hosts_are_listed_and_reach_nothing(source: Source) -> None:
    pending = {name: None for name in host(1) if name not in ("id", "agent_id", "name")}
    serve(source, host(1), {**host(2), **pending, "name": "new", "state": "pending"}, {"id": 3, "name": "bare"})
    listed = source.list()
    assert hostvars(listed)["new"]["ansible_host"] == "device-2.patchherd.invalid"
    assert hostvars(listed)["bare"]["ansible_host"] == "device-3.patchherd.invalid"
    assert hostvars(listed)["deb1"]["ansible_host"] == "10.0.0.1"
    assert {"new", "bare"} <= set(listed["reboot_unknown"]["hosts"])
    assert "WARNING" not in listed["stderr"]


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("address", "10.0.0.1 -oProxyCommand=x", "address"), ("address", "-oProxyCommand=x", "address"),
        ("address", "a\nb", "address"), ("address", "{{ x }}", "address"), ("address", "fe80::1%$(x)", "address"),
        ("agent_id", "x\npatchherd-y ssh-ed25519 AAAA", "agent_id"), ("agent_id", None, "agent_id"),
        ("ssh_host_keys", ["ssh-ed25519 AAAA\npatchherd-x ssh-ed25519 AAAA"], "SSH host key"),
        ("ssh_host_keys", [key() + " comment"], "SSH host key"), ("ssh_host_keys", [7], "SSH host key"),
        ("ssh_host_keys", [key().replace("ssh-ed25519", "ssh-rsa")], "SSH host key"),
        ("ssh_host_keys", ["@cert-authority " + key()], "SSH host key"),
        ("user", "-oProxyCommand=x", "user"), ("user", "a b", "user"), ("user", "{{ x }}", "user"),
        ("port", "22", "port"), ("port", 0, "port"), ("port", 65536, "port"), ("port", True, "port"),
        ("type", "docker", "connection type"), ("shell", "bash -c x", "shell"), ("python", "python3", "python"),
        ("python", "/usr/bin/python3 -c x", "python"),
    ],
)  # fmt: skip
def test_hostile_connection_data_is_dropped(source: Source, field: str, value: Any, named: str) -> None:
    record = host(1)
    if field in record:
        record[field] = value
    else:
        record["connection"][field] = value
    serve(source, record, host(2))
    listed = source.list()
    variables = hostvars(listed)
    assert {name for name in variables["deb1"] if name.startswith("ansible_")} == {"ansible_host"}
    assert variables["deb1"]["ansible_host"] == "device-1.patchherd.invalid"
    assert f"its record holds a malformed {named}" in " ".join(listed["stderr"].split())
    assert source.known_hosts.read_text() == f"patchherd-{AGENT.format(2)} {key(2)}\n"


def test_names_are_the_devices_own(source: Source) -> None:
    names = [
        "localhost",
        "all",
        "os_debian",
        "same",
        "same",
        "a b",
        "-x",
        "",
        "{{ 1 }}",
        "LOCALHOST",
        "web,db",
        "ok.example",
    ]
    serve(source, *(host(number, name=name) for number, name in enumerate(names, 1)))
    listed = source.list()
    assert {variables["patchherd_device_id"]: name for name, variables in hostvars(listed).items()} == {
        1: "localhost-1", 2: "all-2", 3: "os_debian-3", 4: "same-4", 5: "same-5", 6: "device-6", 7: "device-7",
        8: "device-8", 9: "device-9", 10: "LOCALHOST-10", 11: "device-11", 12: "ok.example",
    }  # fmt: skip
    assert "WARNING" not in listed["stderr"]


def test_groups_of_the_server_stay_apart(source: Source) -> None:
    groups = ["web a", "web-a", "all", "os debian", "reboot_required", "-"]
    serve(source, *(host(number, groups=[name]) for number, name in enumerate(groups, 1)))
    listed = source.list()
    own = {
        name: value["hosts"]
        for name, value in listed.items()
        if isinstance(value, dict) and len(value.get("hosts", [])) == 1
    }
    assert len(own) == len(groups)
    assert own["group_all"] == ["deb3"]
    assert own["group_os_debian"] == ["deb4"]
    assert own["group_reboot_required"] == ["deb5"]


def test_group_by_and_prefix(source: Source) -> None:
    serve(source, host(1))
    listed = source.configure(group_by=["architecture", "state"], hostvars_prefix="ph_").list()
    assert set(listed) - {"_meta", "all", "stderr", "ungrouped"} == {"arch_x86_64", "state_active"}
    variables = hostvars(listed)["deb1"]
    assert {name for name in variables if name.startswith("patchherd_")} == {
        "patchherd_device_id",
        "patchherd_agent_id",
    }
    assert variables["ph_os_family"] == "debian"


def test_constructed_features(source: Source) -> None:
    serve(source, host(1), host(2, name="rpm2", os_id="rocky", os_major="9", security=0))
    source.configure(
        compose={"place": "'rack-' ~ patchherd_os_major"},
        groups={"urgent": "patchherd_security > 0"},
        keyed_groups=[{"key": "patchherd_os_id ~ patchherd_os_major", "prefix": "", "separator": ""}],
    )
    listed = source.list()
    # ansible-core 2.19 marks whatever an expression gives as no template.
    assert hostvars(listed)["rpm2"]["place"] in ("rack-9", {"__ansible_unsafe": "rack-9"})
    assert listed["urgent"]["hosts"] == ["deb1"]
    assert listed["rocky9"]["hosts"] == ["rpm2"]
    assert "Could not set" in source.configure(compose={"x": "nonsense.y"}, strict=True).fails()


def test_local_devices_only_on_the_servers_own_machine(source: Source) -> None:
    """Another controller would otherwise patch itself, and call it this device."""
    connection = {**host(1)["connection"], "type": "local"}
    serve(source, host(1, connection=connection))
    assert hostvars(source.list())["deb1"]["ansible_connection"] == "local"
    with running("127.0.0.2") as elsewhere:
        elsewhere.answer = source.fake.answer
        source.environment["PATCHHERD_URL"] = elsewhere.url
        variables = hostvars(source.list())["deb1"]
    assert variables["ansible_connection"] == "ssh"
    assert "StrictHostKeyChecking=yes" in variables["ansible_ssh_common_args"]


def test_cache_is_read_and_keeps_its_age(source: Source) -> None:
    cache = source.folder / "cache"
    source.configure(
        cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection=str(cache), cache_timeout=3600
    )
    serve(source, host(1), etag='"one"')
    first = source.list()
    (entry,) = cache.iterdir()
    assert TOKEN not in entry.read_text() + entry.name
    written = entry.stat().st_mtime_ns
    second = source.list()
    assert len(source.fake.asked) == 1, "a fresh cache asks nothing"
    assert hostvars(second) == hostvars(first)
    assert entry.stat().st_mtime_ns == written, "reading does not renew the age"

    source.refresh()
    assert source.fake.asked[-1].headers["if-none-match"] == '"one"'
    assert entry.stat().st_mtime_ns > written, "the server has confirmed it, which begins a new age"
    serve(source, host(1), host(2), etag='"two"')
    assert "hosts (2)" in source.refresh()
    assert set(hostvars(source.list())) == {"deb1", "deb2"}
    assert len(source.fake.asked) == 3

    source.environment["PATCHHERD_TOKEN"] = "another"
    source.list()
    assert len(source.fake.asked) == 4, "what one token has seen is not shown to another"
    assert "if-none-match" not in source.fake.asked[-1].headers


def test_an_expired_cache_is_not_used(source: Source) -> None:
    cache = source.folder / "cache"
    source.configure(cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection=str(cache), cache_timeout=10)
    serve(source, host(1))
    source.list()
    (entry,) = cache.iterdir()
    os.utime(entry, (time.time() - 60, time.time() - 60))
    source.fake.answer = lambda handler: send(handler, 500)
    assert "500" in source.fails(), "an old answer does not stand in for one that failed"


def test_url_and_token_from_the_file_may_be_templates_from_the_environment_not(source: Source) -> None:
    serve(source, host(1))
    del source.environment["PATCHHERD_URL"], source.environment["PATCHHERD_TOKEN"]
    (source.folder / "token").write_text("from-file")
    source.configure(
        url=source.fake.url, token="{{ lookup('ansible.builtin.file', '%s') }}" % (source.folder / "token")
    ).list()
    assert source.fake.asked[-1].headers["authorization"] == "Bearer from-file"
    source.configure(url="{{ where }}", token="{{ 1 + 1 }}")
    source.run(
        "ansible-inventory", "--inventory", str(source.path), "--list", "--extra-vars", f"where={source.fake.url}"
    )
    assert source.fake.asked[-1].headers["authorization"] == "Bearer 2"
    source.environment["PATCHHERD_TOKEN"] = "{{1+1}}"
    source.configure(url=source.fake.url).list()
    assert source.fake.asked[-1].headers["authorization"] == "Bearer {{1+1}}"


def test_missing_settings_are_named(source: Source) -> None:
    del source.environment["PATCHHERD_TOKEN"]
    assert "token" in source.fails()


def test_file_names(source: Source) -> None:
    serve(source, host(1))
    config = json.dumps({"plugin": "patchherd.fleet.devices", "known_hosts_path": str(source.known_hosts)})
    for name, fits in {
        "patchherd.yml": True,
        "a.patchherd.yaml": True,
        "devices.yml": False,
        "mypatchherd.yml": False,
    }.items():
        source.path = source.folder / name
        source.path.write_text(config)
        result = source.run("ansible-inventory", "--inventory", str(source.path), "--list", check=False)
        assert (result.returncode == 0) is fits, name


def test_short_name_beside_playbooks(source: Source) -> None:
    """Projects that have inventory_plugins beside their playbooks may use the short name."""
    serve(source, host(1))
    source.configure(plugin="devices")
    listed = source.list("--playbook-dir", str(source.checkout))
    assert "deb1" in hostvars(listed)


@pytest.mark.timeout(600)
def test_ten_thousand_hosts(source: Source, record_property: Any) -> None:
    serve(source, *(host(number, groups=[f"group {number % 20}"]) for number in range(1, 10001)))
    started = time.monotonic()
    listed = source.list("--export")
    record_property("seconds", round(time.monotonic() - started, 1))
    assert len(hostvars(listed)) == 10000
    assert len(source.fake.asked) == 1
    assert len(source.known_hosts.read_text().splitlines()) == 10000
