# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The scripts and the agent that hosts download. Every value put into a script is quoted for the shell."""

from __future__ import annotations

import hashlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2

from patchherd.errors import NotFound
from patchherd.settings import Settings

HERE = Path(__file__).parent
AGENTS = {
    "linux": (HERE / "agent" / "patchherd_agent.py", rb'(?m)^VERSION = "([^"]+)"'),
    "windows": (HERE / "agent" / "patchherd_agent.ps1", rb"(?m)^\$AgentVersion = '([^']+)'"),
}
"""File of each agent, and where it tells its version."""
SCRIPTS = {"proxmox-lxc": "proxmox_lxc.sh.j2", "direct-host": "direct_host.sh.j2"}
ARCHITECTURES = frozenset(
    {
        "386",
        "aarch64",
        "amd64",
        "arm",
        "arm64",
        "armhf",
        "armv7l",
        "i386",
        "i686",
        "ppc64le",
        "riscv64",
        "s390x",
        "x86_64",
    }
)

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=False,  # noqa: S701  shell, not HTML: shq quotes
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
)


def quote_powershell(value: object) -> str:
    """A single-quoted PowerShell string. Typographic quotes end such a string as well, so they are doubled, too."""
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", str(value)) + "'"


_environment.filters["shq"] = lambda value: shlex.quote(str(value))
_environment.filters["psq"] = quote_powershell


def enrollment_script(
    kind: str,
    settings: Settings,
    *,
    server_url: str,
    token_key: str,
    token_secret: str,
    force: bool,
    system: str = "linux",
) -> str:
    """The script that enrols hosts: `kind` is a key of SCRIPTS, `system` linux or, for direct-host only, windows.

    Raises NotFound when its file is missing.
    """
    values = {"token_key": token_key, "token_secret": token_secret, "force": force}
    if system == "windows":
        return _windows_script(settings, server_url, {**values, "bootstrap_token": ""})
    return _render(SCRIPTS[kind], settings, server_url, values)


def enrollment_line(settings: Settings, base_url: str, *, token_key: str, token_secret: str, with_ssh: bool) -> str:
    """The command that enrols a Linux host, for a person to paste on it."""
    query = urlencode({"type": "direct-host", "token_key": token_key, "token_secret": token_secret})
    script = f"{base_url}{settings.api_prefix}/auto-enrollment/script?{query}"
    options = " ".join(["curl -fsS", *pin_options(settings, base_url)])
    return f"{options} {shlex.quote(script)} | sh{' -s -- --with-ssh' if with_ssh else ''}"


def pin_options(settings: Settings, base_url: str) -> list[str]:
    """What curl needs to know a server whose authority the host does not know yet: nothing but the server's own key.

    `-k` leaves out the authority only; the pin is enforced, and the script then brings the authority along.
    """
    if settings.ca_certificate or not base_url.startswith("https:") or not settings.tls_pin.exists():
        return []
    return ["-k", f"--pinnedpubkey '{settings.tls_pin.read_text().strip()}'"]


def install_script(
    settings: Settings, *, server_url: str, bootstrap_token: str, force: bool, system: str = "linux"
) -> str:
    """The script that installs the agent on an enrolled host."""
    values = {"bootstrap_token": bootstrap_token, "force": force}
    if system == "windows":
        return _windows_script(settings, server_url, {**values, "token_key": "", "token_secret": ""})
    return _render("install.sh.j2", settings, server_url, values)


def _windows_script(settings: Settings, server_url: str, values: dict[str, Any]) -> str:
    """The script carries the agent itself: what it runs came with it over the same verified connection."""
    agent = agent_source("windows").decode("ascii")
    return _render("install.ps1.j2", settings, server_url, {**values, "agent": agent})


def remove_script() -> str:
    """The script that removes the agent from a Linux host."""
    return (HERE / "templates" / "remove.sh").read_text()


def agent_source(system: str = "linux") -> bytes:
    """The agent for linux or windows. Raises NotFound when the installation lacks it."""
    try:
        return AGENTS[system][0].read_bytes()
    except FileNotFoundError as exc:
        raise NotFound("Agent not found") from exc


def agent_version(system: str = "linux") -> tuple[str, str]:
    """Version and SHA-256 of the agent for linux or windows. Raises NotFound when the installation lacks it."""
    try:
        stat = AGENTS[system][0].stat()
    except FileNotFoundError as exc:
        raise NotFound("Agent not found") from exc
    return _agent_version(system, stat.st_mtime_ns, stat.st_size)


def is_newer(version: str, running: str) -> bool:
    """Whether `version` is newer than the `running` one; what is not digits and dots is not compared."""
    if not all(re.fullmatch(r"\d{1,6}(\.\d{1,6}){0,5}", text) for text in (version, running)):
        return False
    first, second = ([int(part) for part in text.split(".")] for text in (version, running))
    return first > second


@cache
def _agent_version(system: str, modified: int, size: int) -> tuple[str, str]:
    source = agent_source(system)
    found = re.search(AGENTS[system][1], source)
    return found.group(1).decode() if found else "unknown", hashlib.sha256(source).hexdigest()


def _render(template: str, settings: Settings, server_url: str, values: dict[str, Any]) -> str:
    common = {
        "server_url": server_url,
        "api_version": settings.api_version,
        "ca_certificate": _ca_certificate(settings),
        "curl_flags": "-sSk" if settings.ignore_ssl_self_signed else "-sS",
    }
    try:
        return _environment.get_template(template).render(**common, **values)
    except jinja2.TemplateNotFound as exc:
        raise NotFound("Script file not found") from exc


def _ca_certificate(settings: Settings) -> str:
    """The certificate that hosts verify this server with, as PEM; empty for one that they know anyway."""
    return settings.authority.read_text().strip() if settings.authority else ""
