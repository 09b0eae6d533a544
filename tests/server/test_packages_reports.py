# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""`POST /hosts/update`, as agents send it."""

from __future__ import annotations

import gzip
import threading
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from patchherd import database
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device
from patchherd.enrollment import hosts
from patchherd.packages import api as packages_api
from patchherd.packages.models import PackageSet, Verdict
from patchherd.packages.reports import receive_report
from patchherd.packages.sets import device_sets, load_set
from tests.server.api import Api
from tests.server.queries import queries
from tests.ssh_keys import ed25519

KEY_ONE, KEY_TWO = ed25519("one"), ed25519("two")
NEW = {"name": "freenginx", "version": "1.20.0", "architecture": "x86_64"}
NGINX = {
    "name": "nginx",
    "currentVersion": "1.18.0",
    "availableVersion": "1.20.0",
    "needsUpdate": True,
    "isSecurityUpdate": False,
}


class Host:
    """An enrolled host."""

    def __init__(self, api: Api, name: str = "web1") -> None:
        token = api.post("/auto-enrollment/tokens", {"token_name": name}).json["token"]
        keys = {"X-Auto-Enrollment-Key": token["token_key"], "X-Auto-Enrollment-Secret": token["token_secret"]}
        body = {"friendly_name": name, "machine_id": f"machine-{name}"}
        host = api.client.post("/api/v1/auto-enrollment/enroll", json=body, headers=keys).json["host"]
        self.client: FlaskClient = api.client
        self.uuid: str = host["id"]
        self.headers = {"X-API-ID": host["api_id"], "X-API-KEY": host["api_key"]}

    def send(self, body: Any, **headers: str) -> TestResponse:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {**self.headers, "Content-Type": "application/json", **headers}
        return self.client.post("/api/v1/hosts/update", data=data, headers=headers)

    def ping(self, packages_hash: str, **more: Any) -> None:
        body = {"hashes": {"packagesHash": packages_hash}, **more}
        assert self.client.post("/api/v1/hosts/ping", json=body, headers=self.headers).status_code == 200

    @property
    def row(self) -> Device:
        with database.connection():
            return find_device(self.uuid)

    @property
    def installed(self) -> list[tuple[str, str, str]]:
        with database.connection():
            device = find_device(self.uuid)
            return load_set(device_sets([device.id])[device.id])

    @property
    def verdicts(self) -> int:
        with database.connection():
            return int(Verdict.select().count())


@pytest.fixture
def host(api: Api) -> Host:
    return Host(api)


def test_the_documented_report(host: Host) -> None:
    body = {
        "packages": [NGINX],
        "agentVersion": "1.2.3",
        "cpuModel": "Intel Xeon E5-2680 v4",
        "cpuCores": 8,
        "ramInstalled": 16.0,
        "swapSize": 2.0,
        "diskDetails": [{"device": "/dev/sda1", "mountPoint": "/", "size": "50GB", "used": "25GB"}],
        "gatewayIp": "192.168.1.1",
        "dnsServers": ["8.8.8.8"],
        "networkInterfaces": [{"name": "eth0", "ip": "192.168.1.10"}],
        "kernelVersion": "5.4.0-74-generic",
        "selinuxStatus": "disabled",
        "osType": "ubuntu",
        "osVersion": "22.04",
        "hostname": "web1.example",
        "ip": "192.168.1.10",
        "architecture": "x86_64",
        "machineId": "other",
    }
    answer = host.send(body)
    assert answer.status_code == 200
    text = answer.text
    assert '"packagesProcessed":1' in text
    assert answer.json == {
        "message": "Host updated successfully",
        "packagesProcessed": 1,
        "updatesAvailable": 1,
        "securityUpdates": 0,
    }
    row = host.row
    assert (row.hostname, row.ip_address, row.os_family, row.os_id, row.os_version) == (
        "web1.example",
        "192.168.1.10",
        "debian",
        "ubuntu",
        "22.04",
    )
    assert (row.agent_version, row.kernel_running, row.os_architecture) == ("1.2.3", "5.4.0-74-generic", "x86_64")
    assert row.machine_id == "machine-web1", "enrolment recognises the host by the id it gave then"
    assert row.facts["machineId"] == "other"
    assert row.facts["cpuCores"] == 8
    assert row.facts["networkInterfaces"] == body["networkInterfaces"]
    assert row.last_heartbeat == row.last_report is not None
    assert host.installed == [("nginx", "", "1.18.0")]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", None),
        (b"", None),
        (b"[]", None),
        (b'"text"', None),
        (b'{"packages": [}', None),
        (b'{"packages": [{"name": "\xff\xfe"}]}', None),
        (b'{"hostname": "\\ud800"}', None),
        (b"[" * 100_000, None),
        ({"packages": {"name": "x"}}, "packages"),
        ({"packages": 3}, "packages"),
        ({"packages": []}, "packages"),
        ({"packages": [], "sections": ["repos"]}, "packages"),
        ({"packages": [NGINX, "x"]}, "packages[1]"),
        ({"packages": [NGINX] * 3 + [{**NGINX, "name": 7}]}, "packages[3].name"),
        ({"packages": [{**NGINX, "name": ""}]}, "packages[0].name"),
        ({"packages": [{**NGINX, "name": "x" * 256}]}, "packages[0].name"),
        ({"packages": [{**NGINX, "currentVersion": None}]}, "packages[0].currentVersion"),
        ({"packages": [{"name": "x", "needsUpdate": False}]}, "packages[0].currentVersion"),
        ({"packages": [{"name": "x", "currentVersion": "1"}]}, "packages[0].needsUpdate"),
        ({"packages": [{**NGINX, "needsUpdate": "yes"}]}, "packages[0].needsUpdate"),
        ({"packages": [{**NGINX, "availableVersion": "9" * 5000}]}, "packages[0].availableVersion"),
        ({"packages": [{**NGINX, "advisories": [{"id": "A"}, {"id": 1}]}]}, "packages[0].advisories[1].id"),
        ({"packages": [{**NGINX, "replacedBy": "x"}]}, "packages[0].replacedBy"),
        ({"packages": [{**NGINX, "replacedBy": [{"name": "x"}]}]}, "packages[0].replacedBy[0].version"),
        ({"packages": [{**NGINX, "replacedBy": [{**NEW, "name": ""}]}]}, "packages[0].replacedBy[0].name"),
        ({"packages": [{**NGINX, "replacedBy": [NEW, {**NEW, "version": 2}]}]}, "packages[0].replacedBy[1].version"),
        ({"packages": [{**NGINX, "replacedBy": [{**NEW, "version": ""}]}]}, "packages[0].replacedBy[0].version"),
        ({"packages": [{**NGINX, "replacedBy": [NEW] * 51}]}, "packages[0].replacedBy"),
        ({"packages": [NGINX] * 10_001}, "packages"),
        ({"packages": [NGINX], "hostname": ["a"]}, "hostname"),
        ({"packages": [NGINX], "needsReboot": "maybe"}, "needsReboot"),
        ({"packages": [NGINX], "metadataUpdated": "yesterday"}, "metadataUpdated"),
        ({"packages": [NGINX], "sections": "packages"}, "sections"),
        ({"packages": [NGINX], "sshHostKeys": [1]}, "sshHostKeys[0]"),
    ],
)
def test_bad_reports_name_the_fault_and_change_nothing(host: Host, body: Any, path: str | None) -> None:
    assert host.send({"packages": [NGINX]}).status_code == 200
    before = host.row.__data__ | {"last_heartbeat": None}
    answer = host.send(body)
    assert answer.status_code == 400, answer.text
    assert answer.json["detail"]
    if path is not None:
        assert [row["path"] for row in answer.json["errors"]] == [path]
        assert answer.json["errors"][0]["param"] == path
    assert host.row.__data__ | {"last_heartbeat": None} == before
    assert host.installed == [("nginx", "", "1.18.0")]


def test_facts_have_a_bound(host: Host) -> None:
    answer = host.send({"packages": [NGINX], "diskDetails": ["x" * 300_000]})
    assert answer.status_code == 400
    assert "262144 bytes" in answer.json["message"]


def test_ten_thousand_packages_are_taken(host: Host) -> None:
    packages = [{**NGINX, "name": f"p{number}"} for number in range(10_000)]
    assert host.send({"packages": packages}).json["packagesProcessed"] == 10_000
    assert len(host.installed) == 10_000


@pytest.mark.parametrize(
    ("told", "kept"),
    [(1, 1), (0, 0), (2**53 - 1, 2**53 - 1)]
    + [(other, None) for other in (2**53, -1, True, 1.5, "12 MB", [])],
)
def test_what_is_no_size_is_not_kept(api: Api, host: Host, told: Any, kept: int | None) -> None:
    package = {"name": "a", "currentVersion": "1", "availableVersion": "2", "needsUpdate": True, "size": told}
    assert host.send({"ecosystem": "deb", "packages": [package]}).status_code == 200
    assert [row["size"] for row in api.get(f"/devices/{host.uuid}/patches").json["patches"]] == [kept]


def test_a_partial_report_leaves_the_list_alone(host: Host) -> None:
    host.send({"packages": [NGINX], "hostname": "old"})
    for body in ({"packages": None, "hostname": "new", "ip": ""}, {"hostname": "new"}):
        answer = host.send(body)
        assert answer.json == {
            "message": "Host updated successfully",
            "packagesProcessed": 0,
            "updatesAvailable": 1,
            "securityUpdates": 0,
        }
        assert host.row.hostname == "new"
        assert host.installed == [("nginx", "", "1.18.0")]


def test_an_empty_list_counts_only_when_meant(host: Host) -> None:
    host.send({"packages": [NGINX]})
    answer = host.send({"packages": [], "sections": ["packages"]})
    assert answer.json["packagesProcessed"] == 0
    assert host.installed == []
    assert host.verdicts == 0
    assert host.send({"packages": []}).status_code == 400


def test_nul_bytes_are_stripped(host: Host) -> None:
    package = b'{"name": "ng\\u0000inx", "currentVersion": "1\x00.18", "needsUpdate": false}'
    body = b'{"hostname": "we\\u0000b", "packages": [' + package + b"]}"
    assert host.send(body).status_code == 200
    assert host.row.hostname == "web"
    assert host.installed == [("nginx", "", "1.18")]


def test_services_to_restart_are_facts(api: Api, host: Host) -> None:
    services = ["nginx.service", "sshd"]
    assert host.send({"packages": [NGINX], "servicesToRestart": services}).status_code == 200
    assert api.get(f"/devices/{host.uuid}").json["facts"]["servicesToRestart"] == services
    assert host.send({"packages": [NGINX], "servicesToRestart": ["x" * 1000] * 300}).status_code == 400
    assert host.send({"packages": [NGINX], "servicesToRestart": []}).status_code == 200
    assert api.get(f"/devices/{host.uuid}").json["facts"]["servicesToRestart"] == []


def test_what_real_agents_send_is_accepted(host: Host) -> None:
    package = {
        **NGINX,
        "description": "x",
        "category": None,
        "sourceRepository": "main",
        "wuaGuid": "",
        "wuaKb": None,
        "new": {"a": []},
    }
    body = {
        "packages": [package, package],
        "networkInterfaces": None,
        "diskDetails": [{"name": "sda", "size": 1}],
        "ip": "",
        "gatewayIp": "",
        "executionTime": 1.5,
        "systemUptime": "5 days",
        "unknown": {"deep": [None]},
        "dnsServers": None,
        "hashes": {"packagesHash": "x"},
    }
    for execution_time in (1.5, "1.5"):
        assert host.send({**body, "executionTime": execution_time}).json["packagesProcessed"] == 2
    assert host.installed == [("nginx", "", "1.18.0")]
    assert host.verdicts == 1


def test_gzip_is_read(host: Host) -> None:
    body = gzip.compress(msgspec.json.encode({"packages": [NGINX]}))
    assert host.send(body, **{"Content-Encoding": "gzip"}).json["packagesProcessed"] == 1


def test_a_host_key_that_is_none_is_dropped_and_told(host: Host) -> None:
    problem = "SSH host key 2 is not a public key of a known type: it is not kept"
    host.send({"sshHostKeys": [KEY_ONE, "no key"], "problems": ["slow"], "packages": [NGINX]})
    assert host.row.ssh_host_keys == [KEY_ONE]
    assert host.row.facts["problems"] == ["slow", problem]
    host.send({"sshHostKeys": [KEY_ONE, "no key"]})
    assert host.row.facts["problems"] == ["slow", problem], "told once, however often it is reported"
    host.send({"hostname": "web"})
    assert host.row.facts["problems"] == ["slow", problem], "nothing new is known"
    host.send({"sshHostKeys": [KEY_ONE]})
    assert host.row.facts["problems"] == ["slow"]


def test_host_keys_are_pinned_once(host: Host) -> None:
    host.send({"sshHostKeys": ["no key"]})
    assert host.row.ssh_host_keys == []
    host.send({"sshHostKeys": [KEY_ONE + " comment"]})
    assert (host.row.ssh_host_keys, host.row.reported_host_keys) == ([KEY_ONE], [KEY_ONE])
    host.send({"sshHostKeys": [KEY_TWO]})
    assert (host.row.ssh_host_keys, host.row.reported_host_keys) == ([KEY_ONE], [KEY_TWO])
    host.send({"packages": [NGINX]})
    assert host.row.reported_host_keys == [KEY_TWO]


def test_reboot_state_follows_the_report(host: Host) -> None:
    host.send({"needsReboot": True, "rebootReason": "new kernel", "bootId": "b1", "installedKernelVersion": "6.1.0-30"})
    assert (host.row.reboot_required, host.row.reboot_reason, host.row.boot_id) == (True, "new kernel", "b1")
    host.send({"hostname": "x"})
    assert host.row.reboot_required is True
    host.send({"needsReboot": False, "rebootReason": None})
    assert (host.row.reboot_required, host.row.reboot_reason) == (False, None)


def test_only_the_host_itself_may_report(api: Api, host: Host) -> None:
    body = msgspec.json.encode({"packages": [NGINX]})
    path = "/api/v1/hosts/update"
    assert host.client.post(path, data=body).status_code == 401
    assert host.client.post(path, data=body, headers={**host.headers, "X-API-KEY": "0" * 64}).status_code == 401
    assert api.call("POST", path, data=body).status_code in {401, 403}


def test_reports_of_one_host_at_once(app: Flask, api: Api, host: Host) -> None:
    """Whatever order they are taken in, the device ends with one of the reports, whole."""
    reports = [
        {"packages": [{**NGINX, "name": f"p{number}"} for number in range(start, start + 40)]}
        for start in (0, 20, 40, 60)
    ]
    statuses: list[int] = []

    def work(body: dict[str, Any]) -> None:
        for _ in range(3):
            data = msgspec.json.encode(body)
            statuses.append(app.test_client().post("/api/v1/hosts/update", data=data, headers=host.headers).status_code)

    threads = [threading.Thread(target=work, args=(body,)) for body in reports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 12
    names = sorted(name for name, _, _ in host.installed)
    assert names in [sorted(package["name"] for package in body["packages"]) for body in reports]
    with database.connection():
        assert sorted(row.package for row in Verdict.select()) == names
    assert host.row.missing == 40


def test_evaluated_at_is_the_age_of_the_evidence(host: Host) -> None:
    host.send({"packages": [NGINX]})
    first = host.row.evaluated_at
    host.send({"hostname": "x"})
    assert host.row.evaluated_at == first
    host.send({"packages": [NGINX]})
    assert first < host.row.evaluated_at <= now()


def _make_older(host: Host) -> None:
    """Move the evidence of a host a minute into the past: two steps of a test may fall into one millisecond."""
    minute = 60_000
    with database.connection():
        Device.update(
            evaluated_at=Device.evaluated_at - minute, metadata_updated=Device.metadata_updated - minute
        ).where(Device.id == host.row.id).execute()


@pytest.mark.parametrize("told", [False, True])
def test_a_ping_with_the_same_hash_renews_the_evidence(host: Host, told: bool) -> None:
    """An agent behind the hash gate sends no packages for days; its pings say that nothing changed."""
    stated = {"metadataUpdated": now().isoformat()} if told else {}
    host.send({"packages": [NGINX], "hashes": {"packagesHash": "one"}, **stated})
    _make_older(host)
    first = host.row
    host.ping("two")
    assert host.row.evaluated_at == first.evaluated_at
    host.ping("one")
    renewed = host.row
    assert renewed.evaluated_at > first.evaluated_at
    assert (renewed.metadata_updated > first.metadata_updated) == (not told)
    _make_older(host)
    renewed = host.row
    host.ping("one", metadataUpdated=now().isoformat())
    assert host.row.metadata_updated > renewed.metadata_updated


def test_an_unchanged_report_asks_the_database_twice(host: Host) -> None:
    body = {"packages": [NGINX], "hostname": "web1"}
    host.send(body)
    with queries() as seen:
        assert host.send(body).json["updatesAvailable"] == 1
    assert [sql.split()[0] for sql in seen] == ["SELECT", "UPDATE"], "credential and host are one question"


def test_a_body_that_took_its_time_is_judged_by_what_the_host_is_now(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {**NGINX, "currentVersion": "1.20.0", "needsUpdate": False}
    host.send({"packages": [NGINX]})
    real = packages_api.raw_body

    def slow() -> bytes:
        """Another report of the same host comes in while this one arrives."""
        monkeypatch.setattr(packages_api, "raw_body", real)
        monkeypatch.setattr(hosts, "FRESH_SECONDS", 0.0)
        body = real()
        receive_report(host.row.id, {"packages": [newer]})
        return body

    monkeypatch.setattr(packages_api, "raw_body", slow)
    assert host.send({"packages": [NGINX]}).json["updatesAvailable"] == 1
    assert host.installed == [("nginx", "", "1.18.0")], "not taken for the report before"
    assert host.verdicts == 1


def test_a_set_that_is_left_often_is_written_seldom(host: Host) -> None:
    """A fleet moves on from one set within minutes, and its row must not be what all of them wait for."""
    other = {"name": "other", "currentVersion": "1", "needsUpdate": False}
    host.send({"packages": [NGINX]})
    with database.connection():
        (left,) = device_sets([host.row.id]).values()
    host.send({"packages": [other]})
    with database.connection():
        released = PackageSet.get_by_id(left).released_at
        assert released is not None
    for packages in ([NGINX], [other]):
        host.send({"packages": packages})
    with database.connection():
        assert PackageSet.get_by_id(left).released_at == released
        PackageSet.update(released_at=released - timedelta(hours=2)).where(PackageSet.id == left).execute()
    for packages in ([NGINX], [other]):
        host.send({"packages": packages})
    with database.connection():
        assert PackageSet.get_by_id(left).released_at >= released
