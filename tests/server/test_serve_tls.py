# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Started servers that speak HTTPS, and clients that trust them or not: curl, the agent, Ansible, the server itself."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
import requests

from patchherd import tls
from patchherd.settings import Settings
from tests.certificates import make_pair
from tests.running import ADMIN_PASSWORD, PATCHHERD, Server, wait_for
from tests.services import unavailable

ROOT = Path(__file__).parents[2]
PIN_REFUSED, CERTIFICATE_REFUSED = 90, 60
"""Exit codes of curl."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a certificate of its own making."""
    with Server(tmp_path_factory.mktemp("own") / "data", PATCHHERD_TLS="true") as server:
        server.log_in()
        yield server


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another one, with another authority."""
    with Server(tmp_path_factory.mktemp("other") / "data", PATCHHERD_TLS="true") as server:
        yield server


@pytest.fixture(scope="module")
def agent() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agent_for_tls", ROOT / "plugins/module_utils/_agent.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.Client.ATTEMPTS = 1
    return module


def authority(server: Server) -> str:
    return str(server.data / "tls/ca.crt")


def printed_line(server: Server, *options: str) -> list[str]:
    """The words of the curl command that `token create` prints, up to the pipe."""
    said = server.command("token", "create", "line", *options).stdout
    line = next(text.strip() for text in said.splitlines() if text.strip().startswith("curl "))
    assert line.endswith(" | sh -s -- --with-ssh")
    return shlex.split(line.partition(" | ")[0])


def curl(*command: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        unavailable("curl is not installed")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def shown_certificate(server: Server) -> str:
    return ssl.get_server_certificate((server.host, server.port), timeout=10)


def test_plain_http_gets_nothing(server: Server) -> None:
    with socket.create_connection((server.host, server.port), 10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(100) == b""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_protocols_and_weak_ciphers_are_refused(server: Server) -> None:
    def negotiated(version: ssl.TLSVersion, ciphers: str) -> str | None:
        context = ssl.create_default_context(cafile=authority(server))
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection((server.host, server.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as secured,
        ):
            return secured.version()

    assert negotiated(ssl.TLSVersion.TLSv1_3, "ALL") == "TLSv1.3"
    assert negotiated(ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM") == "TLSv1.2"
    for version, ciphers in [
        (ssl.TLSVersion.TLSv1_1, "ALL"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),  # CBC, which Python would allow
    ]:
        with pytest.raises(ssl.SSLError, match="alert"):  # it is the server that refuses
            negotiated(version, ciphers)


def test_cookies_are_for_https_only_and_nothing_is_pledged_for_later(server: Server) -> None:
    session = requests.Session()
    session.trust_env, session.verify = False, authority(server)
    form = {"username": "admin", "password": ADMIN_PASSWORD}
    answer = session.post(f"{server.url}/login", data=form, allow_redirects=False, timeout=30)
    assert answer.status_code == 303
    assert {"Secure", "HttpOnly"} <= set(re.split(r"; ", answer.headers["Set-Cookie"]))
    assert "Strict-Transport-Security" not in answer.headers
    assert session.get(f"{server.url}/", allow_redirects=False, timeout=30).status_code == 200


def test_the_printed_line_works_on_this_server_and_on_no_other(server: Server, other: Server) -> None:
    command = printed_line(server)
    assert command[:4] == ["curl", "-fsS", "-k", "--pinnedpubkey"]
    done = curl(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/bin/sh\n")
    assert f"default_url={server.url}\n" in done.stdout
    assert Path(authority(server)).read_text().strip() in done.stdout, "hosts verify what follows"
    assert "CURL_FLAGS:--sS}" in done.stdout, "and verify it really"

    elsewhere = command[-1].replace(f":{server.port}/", f":{other.port}/")
    done = curl(*command[:-1], elsewhere)
    assert (done.returncode, done.stdout) == (PIN_REFUSED, ""), "the pin is enforced in spite of -k"
    assert curl("curl", "-fsS", command[-1]).returncode == CERTIFICATE_REFUSED


def test_a_line_for_a_name_that_the_certificate_lacks_is_not_printed(server: Server) -> None:
    before = server.command("token", "list").stdout
    done = server.command("token", "create", "lost", "--url", "https://lost.example:8480", check=False)
    assert done.returncode == 1
    assert "the certificate does not name lost.example; set public_url" in done.stderr
    assert server.command("token", "list").stdout == before, "no token is left behind"
    assert "--pinnedpubkey" in printed_line(server, "--url", f"https://localhost:{server.port}")


def test_the_dashboard_shows_the_same_line(server: Server) -> None:
    form = {"token_name": "page", "life": "3600", "with_ssh": "1"}
    page = server.session.post(f"{server.url}/enrol", data=form, timeout=30)
    assert page.status_code == 200, page.text
    pin = (server.data / "tls/server.pin").read_text().strip()
    assert "curl -fsS -k --pinnedpubkey " in page.text
    assert pin in page.text.replace("&#43;", "+").replace("&#x2B;", "+")


def test_clients_refuse_another_authority(server: Server, other: Server, agent: ModuleType) -> None:
    def answer(ca_file: str | None) -> str:
        config = {"server": server.url, "api_id": "nobody", "api_key": "nothing", "ca_file": ca_file}
        with pytest.raises(agent.AgentError) as refusal:
            agent.Client(config).get("/hosts/agent/version?os=linux")
        return str(refusal.value)

    assert "answered 401" in answer(authority(server)), "trusted, though not let in"
    assert "CERTIFICATE_VERIFY_FAILED" in answer(authority(other))
    assert "CERTIFICATE_VERIFY_FAILED" in answer(None)
    health = f"{server.url}/healthz"
    assert curl("curl", "-fsS", "--cacert", authority(server), health).returncode == 0
    assert curl("curl", "-fsS", "--cacert", authority(other), health).returncode == CERTIFICATE_REFUSED


def test_the_server_s_own_machine_joins_over_https(server: Server, other: Server) -> None:
    said = server.command("welcome", server.url)
    assert "this machine   device " in said.stdout, said.stderr
    config = json.loads((server.data / "agent/agent.json").read_text())
    assert (config["server"], config["ca_file"]) == (server.url, authority(server))
    assert [row["status"] for row in server.get("/api/devices")["devices"]] == ["ONLINE"], said.stderr

    refused = server.command("welcome", other.url, check=False)
    assert refused.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr


def test_ansible_reads_the_inventory_with_the_authority_only(server: Server, tmp_path: Path) -> None:
    token = server.command("api-token", "create", "inventory", "--role", "viewer").stdout.strip()
    source = tmp_path / "fleet.patchherd.yml"
    source.write_text("plugin: patchherd.fleet.devices\n")
    environment = {
        **os.environ, "PATCHHERD_URL": server.url, "PATCHHERD_TOKEN": token, "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    }  # fmt: skip

    def listed(**more: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(source), "--list"]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment | more, cwd=ROOT, timeout=120, check=False
        )

    trusted = listed(PATCHHERD_CA_PATH=authority(server))
    assert trusted.returncode == 0, trusted.stderr
    assert "_meta" in json.loads(trusted.stdout)
    refused = listed()
    assert refused.returncode != 0
    assert "certificate verify failed" in refused.stderr.lower()


def shorten(server: Server, days: int) -> None:
    """Give the server a certificate of its own making that ends in so many days."""
    (server.data / "tls/server.crt").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tls, "LEAF_LIFE", tls.CLOCK_SKEW + timedelta(days=days))
        tls.prepare(Settings(data=server.data, tls=True))


def test_renewal_at_the_start_and_while_it_runs(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", PATCHHERD_TLS="true")
    with server:
        first, pin = shown_certificate(server), (server.data / "tls/server.pin").read_text()
        trusted = Path(authority(server)).read_bytes()
    shorten(server, 29)
    ending = (server.data / "tls/server.crt").read_text()
    with server:
        second = shown_certificate(server)
        assert second not in {first, ending}
        assert curl(*printed_line(server)).returncode == 0

        shorten(server, 29)
        assert server.session.get(f"{server.url}/healthz", timeout=10).ok
        ending = shown_certificate(server)
        server.command("certificate", "--host", server.host)
        assert shown_certificate(server) not in {second, ending}, "taken up without a restart"
        assert (server.data / "tls/server.pin").read_text() == pin, "lines that were printed before still work"
        assert Path(authority(server)).read_bytes() == trusted


def test_given_files(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path / "given", "localhost", "127.0.0.1")
    data = tmp_path / "data"
    with Server(data, PATCHHERD_TLS="true"):
        assert (data / "tls/server.pin").exists()
    settings = {
        "PATCHHERD_TLS_CERTIFICATE": str(certificate),
        "PATCHHERD_TLS_KEY": str(key),
        "PATCHHERD_CA_CERTIFICATE": str(certificate),
    }
    with Server(data, **settings) as server:
        assert shown_certificate(server) == certificate.read_text()
        answer = server.session.get(f"{server.url}/healthz", timeout=10)
        assert answer.headers["Strict-Transport-Security"] == "max-age=15552000"
        command = printed_line(server)
        assert command[:2] == ["curl", "-fsS"]
        assert len(command) == 3, "hosts know the authority of a given certificate, or are told apart from this"
        assert command[-1].startswith(server.url)
        assert curl(*command).returncode == CERTIFICATE_REFUSED
        done = curl(*command[:-1], "--cacert", str(certificate), command[-1])
        assert done.returncode == 0, done.stderr
        assert certificate.read_text().strip() in done.stdout


def test_the_option_counts_for_all_that_serve_starts(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", PATCHHERD_TLS="true")
    del server.environment["PATCHHERD_TLS"]
    command = [str(PATCHHERD), "serve", "--data", str(server.data), "--port", str(server.port), "--tls"]
    with open(server.log, "ab") as out:
        server.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=server.environment, start_new_session=True
        )
    try:
        wait_for("the server answers", server._is_up)
        done = curl(*printed_line(server))
        assert Path(authority(server)).read_text().strip() in done.stdout
    finally:
        server.stop()


def test_what_cannot_be_served_ends_the_start(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path / "good", "localhost")
    _, foreign = make_pair(tmp_path / "foreign", "localhost")
    expired = make_pair(tmp_path / "expired", "localhost", start=-9, end=-1)
    for files, complaint in [
        ((certificate, foreign), f"{foreign} is not the key of {certificate}"),
        (expired, f"{expired[0]} expired on "),
        ((certificate, tmp_path / "none"), f"cannot read {tmp_path / 'none'}: No such file or directory"),
        ((certificate, None), "tls_key: certificate and key belong together"),
        ((None, key), "tls_certificate: certificate and key belong together"),
    ]:
        names = ("PATCHHERD_TLS_CERTIFICATE", "PATCHHERD_TLS_KEY")
        server = Server(
            tmp_path / "data", **{name: str(file) for name, file in zip(names, files, strict=True) if file is not None}
        )
        refused = server.command("serve", "--port", str(server.port), check=False)
        assert refused.returncode == 1, refused.stderr
        assert complaint in refused.stderr
        assert "Traceback" not in refused.stderr
