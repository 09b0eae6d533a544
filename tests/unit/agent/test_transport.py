# SPDX-License-Identifier: Apache-2.0
"""How the agent talks to a server: a real one, on a loopback port."""

from __future__ import annotations

import datetime
import json
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .conftest import Server

ACCEPTED = (200, {"message": "Host updated successfully", "packagesProcessed": 1}, {})
GATED = (200, {"message": "success", "hashGate": True, "requestFull": []}, {})


@pytest.fixture
def quick(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits instead of waiting."""
    waits: list[float] = []
    monkeypatch.setattr(agent.time, "sleep", waits.append)
    return waits


@pytest.fixture
def report(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The real report of this machine once; tests change it in place to play a change of the host."""
    keys = ("needsReboot", "rebootReason", "bootId", "kernelVersion", "installedKernelVersion", "osVersion",
            "selinuxStatus", "sshHostKeys", "servicesToRestart", "agentVersion", "repositories", "ip",
            "networkInterfaces", "hostname")
    value: dict[str, Any] = dict.fromkeys(keys, "same")
    value.update(packages=[{"name": "bash", "currentVersion": "5.2"}], problems=[],
                 metadataUpdated="2026-01-01T00:00:00Z")
    monkeypatch.setattr(agent, "collect", lambda *_args: json.loads(json.dumps(value)))
    return value


def client_for(agent: ModuleType, server: Server, **config: str) -> Any:
    return agent.Client({"server": server.url, "api_id": "patchmon_1", "api_key": "k", **config})


def spool_of(state: Path) -> Path:
    return state / "spool.json"


def test_first_report_is_full_and_then_only_changes_are(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = make_server()
    server.routes = {"POST /api/v1/hosts/update": ACCEPTED, "POST /api/v1/hosts/ping": GATED}
    client, state = client_for(agent, server), str(tmp_path)

    assert agent.run_once(client, state) == "full"
    sent = server.requests[0]
    hashes = agent.report_hashes(report)
    assert sent["body"] == {**report, "hashes": {key: hashes[key] for key in agent.GATED_HASHES}}
    assert sent["headers"]["x-api-id"] == "patchmon_1"
    assert sent["headers"]["x-api-key"] == "k"
    assert sent["headers"]["content-encoding"] == "gzip"

    assert agent.run_once(client, state) == "ping"
    body = server.requests[1]["body"]
    assert sorted(body["hashes"]) == ["hostnameHash", "interfacesHash", "packagesHash", "reposHash"]
    assert body["hashes"]["packagesHash"] == agent.digest(report["packages"])

    monkeypatch.setattr(agent, "fingerprint", lambda: "something was installed")
    assert agent.run_once(client, state) == "ping", "looked again, and the packages are the same"
    report["packages"].append({"name": "new", "currentVersion": "1"})
    assert agent.run_once(client, state) == "ping", "nothing says that the host has changed"
    monkeypatch.setattr(agent, "fingerprint", lambda: "something else was installed")
    assert agent.run_once(client, state) == "full"
    assert server.requests[-1]["body"]["packages"][-1]["name"] == "new"

    monkeypatch.setattr(agent, "fingerprint", lambda: "rebooted")
    report["bootId"] = "another"
    assert agent.run_once(client, state) == "full", "a reboot is news although the packages are the same"
    assert agent.run_once(client, state, full=True) == "full"


@pytest.mark.parametrize(("answer", "expected"), [
    ({"hashGate": True, "requestFull": ["packages"]}, "full"), ({"hashGate": True, "requestFull": []}, "ping"),
    ({"hashGate": True}, "ping"), ({"message": "success"}, "ping"), ({"requestFull": ["packages"]}, "ping")])
def test_the_server_may_ask_for_everything(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path,
    answer: dict[str, Any], expected: str,
) -> None:
    server = make_server()
    server.routes = {"POST /api/v1/hosts/update": ACCEPTED, "POST /api/v1/hosts/ping": (200, answer, {})}
    client = client_for(agent, server)
    agent.run_once(client, str(tmp_path))
    assert agent.run_once(client, str(tmp_path)) == expected


def test_a_full_report_is_due_after_a_day_and_a_look_after_an_hour(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path
) -> None:
    server = make_server()
    server.routes = {"POST /api/v1/hosts/update": ACCEPTED, "POST /api/v1/hosts/ping": GATED}
    client, file = client_for(agent, server), tmp_path / "state.json"
    agent.run_once(client, str(tmp_path))
    state = json.loads(file.read_text())
    report["packages"].clear()
    assert agent.run_once(client, str(tmp_path)) == "ping"
    file.write_text(json.dumps({**state, "collected": time.time() - 3601}))
    assert agent.run_once(client, str(tmp_path)) == "full"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "sent": time.time() - 86401}))
    assert agent.run_once(client, str(tmp_path)) == "full"


def test_a_busy_server_is_asked_again_with_growing_delays(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path, quick: list[float]
) -> None:
    server = make_server()
    busy = (503, {"error": "busy"}, {})
    server.routes = {"POST /api/v1/hosts/update": [busy, (429, {"error": "slow down"}, {"Retry-After": "77"}), busy,
                                                   ACCEPTED]}
    assert agent.run_once(client_for(agent, server), str(tmp_path)) == "full"
    assert len(server.requests) == 4
    assert 2.5 <= quick[0] <= 7.5
    assert quick[1] == 77
    assert 10 <= quick[2] <= 30
    assert not spool_of(tmp_path).exists()


def test_an_undelivered_report_waits_in_the_spool(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path, quick: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = make_server()
    gone.httpd.server_close()
    with pytest.raises(agent.AgentError, match="cannot reach"):
        agent.run_once(client_for(agent, gone), str(tmp_path))
    assert len(quick) == agent.Client.ATTEMPTS - 1
    assert quick == sorted(quick)
    assert json.loads(spool_of(tmp_path).read_text()) == report
    assert spool_of(tmp_path).stat().st_mode & 0o777 == 0o600

    server = make_server()
    server.routes = {"POST /api/v1/hosts/update": ACCEPTED}

    def broken(*_args: object) -> None:
        raise agent.AgentError("dpkg-query failed")

    monkeypatch.setattr(agent, "collect", broken)
    with pytest.raises(agent.AgentError, match="dpkg-query failed"):
        agent.run_once(client_for(agent, server), str(tmp_path))
    arrived = {key: value for key, value in server.requests[0]["body"].items() if key != "hashes"}
    assert arrived == report, "the kept report arrives although no new one can be made"
    assert not spool_of(tmp_path).exists()


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_a_refusal_is_final(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path, quick: list[float],
    status: int,
) -> None:
    server = make_server()
    server.routes = {"POST /api/v1/hosts/update": (status, {"error": "no"}, {})}
    with pytest.raises(agent.AgentError, match=f"answered {status}"):
        agent.run_once(client_for(agent, server), str(tmp_path))
    assert len(server.requests) == 1
    assert quick == []
    assert not (tmp_path / "state.json").exists()


def test_a_redirect_gets_no_credentials(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path, quick: list[float]
) -> None:
    thief, server = make_server(), make_server()
    server.routes = {"POST /api/v1/hosts/update": (302, {}, {"Location": thief.url + "/api/v1/hosts/update"})}
    with pytest.raises(agent.AgentError, match="answered 302"):
        agent.run_once(client_for(agent, server), str(tmp_path))
    assert thief.requests == []


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1: paths of certificate and key."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
             .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
             .not_valid_after(now + datetime.timedelta(days=1))
             .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
             .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return paths


def test_tls_is_verified_against_the_given_ca_only(
    agent: ModuleType, make_server: Callable[..., Server], report: dict[str, Any], tmp_path: Path, quick: list[float]
) -> None:
    right, key = certificate(tmp_path, "right")
    wrong, _key = certificate(tmp_path, "wrong")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(right, key)
    server = make_server(context)
    server.routes = {"POST /api/v1/hosts/update": ACCEPTED}
    for config in ({}, {"ca_file": str(wrong)}):
        with pytest.raises(agent.AgentError, match="CERTIFICATE_VERIFY_FAILED"):
            agent.run_once(client_for(agent, server, **config), str(tmp_path))
    assert server.requests == []
    with pytest.raises(agent.AgentError, match="cannot use the CA file"):
        client_for(agent, server, ca_file=str(tmp_path / "absent.pem"))
    assert agent.run_once(client_for(agent, server, ca_file=str(right)), str(tmp_path)) == "full"


def test_credentials_that_others_can_read_are_refused(agent: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "agent.json"
    good = {"server": "https://patch.example", "api_id": "a", "api_key": "b"}
    config.write_text(json.dumps(good))
    for mode in (0o644, 0o640, 0o604, 0o620):
        config.chmod(mode)
        with pytest.raises(agent.AgentError, match="chmod 600"):
            agent.load_config(str(config))
    config.chmod(0o600)
    assert agent.load_config(str(config)) == good
    for broken in ("", "[]", "{}", json.dumps({**good, "api_key": "x\r\nX-Evil: 1"}),
                   json.dumps({**good, "server": "file:///etc/passwd"})):
        config.write_text(broken)
        with pytest.raises(agent.AgentError):
            agent.load_config(str(config))
    with pytest.raises(agent.AgentError, match="cannot read"):
        agent.load_config(str(tmp_path / "absent"))
    if os.geteuid() == 0:
        config.write_text(json.dumps(good))
        os.chown(config, 12345, -1)
        with pytest.raises(agent.AgentError, match="belong to root"):
            agent.load_config(str(config))


def test_the_command_line_says_what_is_wrong(
    agent: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent.main(["--once", "--config", str(tmp_path / "absent")]) == 1
    assert "cannot read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        agent.main([])
    with pytest.raises(SystemExit):
        agent.main(["--version"])
    assert agent.VERSION in capsys.readouterr().out
