# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Make the server's own machine the first device, the way any machine joins: token, enrolment, agent, report."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from patchherd.commands.context import database_of
from patchherd.database import now
from patchherd.devices.models import Device
from patchherd.devices.registry import find_device
from patchherd.enrollment import tokens
from patchherd.enrollment.scripts import AGENTS
from patchherd.errors import PatchherdError
from patchherd.packages.patches import patch_state, patches_of
from patchherd.packages.severity import SEVERITIES
from patchherd.settings import load_settings

START_SECONDS = 30
AGENT_SECONDS = 300


def welcome(data: Path, address: str) -> None:
    """Enrol this machine if it is not yet, run its agent once and print what is known of it."""
    authority = load_settings(data).authority
    where = {"server": address, "ca_file": str(authority.resolve()) if authority else None}
    trust = ssl.create_default_context(cafile=where["ca_file"]) if address.startswith("https:") else None
    _wait_until_up(address, trust)
    config = data / "agent" / "agent.json"
    if not config.exists():
        _enrol(data, address, trust, config)
    identity = json.loads(config.read_text())
    if identity != {**identity, **where}:
        _write_private(config, json.dumps({**identity, **where}))
    click.echo("reading this machine's packages …")
    command = [sys.executable, str(AGENTS["linux"][0]), "--config", str(config), "--once", "--full"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=AGENT_SECONDS, check=False)
    except subprocess.TimeoutExpired as exc:
        raise PatchherdError(f"the agent did not finish within {AGENT_SECONDS} s") from exc
    if run.returncode:
        click.echo(f"the agent failed: {(run.stderr or run.stdout).strip()[-500:]}", err=True)
    _print_summary(data, address, identity["device"])


def _wait_until_up(address: str, trust: ssl.SSLContext | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=2, context=trust):  # noqa: S310 - our own
                return
        except OSError as exc:
            untrusted = isinstance(getattr(exc, "reason", None), ssl.SSLCertVerificationError)
            if untrusted or time.monotonic() > deadline:
                raise PatchherdError(f"the server does not answer on {address}: {exc}") from exc
            time.sleep(0.1)


def _enrol(data: Path, address: str, trust: ssl.SSLContext | None, config: Path) -> None:
    """Enrol over the API with a token that serves this once."""
    with database_of(data) as settings:
        values: dict[str, Any] = {
            "token_name": "this machine",
            "max_hosts_per_day": 1,
            "expires_at": now() + timedelta(minutes=5),
        }
        token, secret = tokens.create_token(
            values, prefix=settings.credential_prefix, cost=settings.token_cost
        )
        try:
            body = {"friendly_name": socket.gethostname(), "metadata": {"integration_type": "self"}}
            headers = {"X-Auto-Enrollment-Key": token.token_key, "X-Auto-Enrollment-Secret": secret}
            host = _post(f"{address}{settings.api_prefix}/auto-enrollment/enroll", trust, headers, body)["host"]
        finally:
            tokens.delete_token(token.uuid)
        device = find_device(host["id"])
        # Ansible needs no SSH for the machine it runs on; only this command may say so, never the API.
        Device.update(connection="local", become=os.geteuid() != 0).where(Device.id == device.id).execute()
    config.parent.mkdir(mode=0o700, exist_ok=True)
    identity = {"server": address, "api_id": host["api_id"], "api_key": host["api_key"], "device": host["id"]}
    _write_private(config, json.dumps(identity))


def _post(url: str, trust: ssl.SSLContext | None, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own address
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:  # noqa: S310
            return dict(json.load(answer))
    except urllib.error.HTTPError as exc:
        raise PatchherdError(f"{url}: {exc.code} {exc.read().decode(errors='replace')[:300]}") from exc


def _write_private(file: Path, text: str) -> None:
    partial = file.with_suffix(".new")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    partial.replace(file)


def _print_summary(data: Path, address: str, reference: str) -> None:
    with database_of(data) as settings:
        device = find_device(reference)
        status, reason = patch_state(device, settings)
        rows = patches_of([device.id])[device.id]
    by_severity: dict[str, int] = dict.fromkeys(SEVERITIES, 0)
    for row in rows:
        if row["verdict"] == "missing":
            by_severity[row["severity"]] = by_severity.get(row["severity"], 0) + 1
    counted = ", ".join(f"{number} {name}" for name, number in by_severity.items() if number)
    shown = f"unknown ({reason})" if status == "unknown" else f"{device.missing} ({counted})" if counted else "none"
    name = device.hostname or device.friendly_name
    where = f" --data {data}" if data.name != ".data" else ""
    click.echo(
        f"""
  Patchherd      {address}
  log in         user admin; the password was printed at the first start
  this machine   device {device.id}, {name}: {device.os_name} {device.os_version}
  missing        {shown}

  try next:
    .venv/bin/patchherd patches {device.id}{where}
    .venv/bin/patchherd deploy {device.id} --filter security --dry-run --watch{where}
    .venv/bin/patchherd token create "my servers"{where}

  Ctrl-C stops all of it.
"""
    )
