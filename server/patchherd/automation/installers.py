# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""How a software item gets onto a device: what Ansible is told, and the PowerShell where no module does it."""

from __future__ import annotations

from typing import Any

from patchherd.automation.models import SoftwareItem

WINDOWS_ONLY = frozenset({"msi", "exe", "winget", "choco"})
_COPIED = ("name", "slug", "version", "installer_type", "source_type", "source", "install_args", "checksum")


def installer_of(software: SoftwareItem) -> dict[str, Any]:
    """What an action keeps of a software item: later changes of the item do not change the action."""
    return {name: getattr(software, name) for name in _COPIED}


def powershell_of(installer: dict[str, Any]) -> str:
    """The PowerShell that installs it; empty for msi and exe, which a module installs."""
    kind, arguments = installer["installer_type"], installer["install_args"] or ""
    if kind in {"winget", "choco"}:
        return _managed(installer, arguments)
    if kind not in {"script", "custom"}:
        return ""
    lines = ["$ErrorActionPreference = 'Stop'"]
    if installer["source_type"] == "url":
        suffix = ".ps1" if kind == "script" else ".exe"
        lines += [
            f"$file = Join-Path -Path $env:TEMP -ChildPath ([Guid]::NewGuid().ToString() + '{suffix}')",
            "[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12",
            f"Invoke-WebRequest -UseBasicParsing -Uri {quoted(installer['source'])} -OutFile $file",
        ]
    else:
        lines += [f"$file = {quoted(installer['source'])}"]
    if installer["checksum"]:
        lines += [
            "$found = (Get-FileHash -Algorithm SHA256 -LiteralPath $file).Hash",
            f"if ($found -ne {quoted(installer['checksum'])}) {{ throw 'the SHA-256 is not the expected one' }}",
        ]
    shell = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File " if kind == "script" else ""
    lines += [f"& {shell}$file {arguments}", "exit $LASTEXITCODE"]
    return "\n".join(lines) + "\n"


def _managed(installer: dict[str, Any], arguments: str) -> str:
    """winget and choco know packages by name; a source is a feed to take them from, or the name itself."""
    source = installer["source"] or ""
    is_feed = "://" in source or source.startswith("\\\\")
    name = quoted(source if source and not is_feed else installer["name"])
    options = f" --version {quoted(installer['version'])}" if installer["version"] else ""
    if is_feed:
        options += f" --source {quoted(source)}"
    if installer["installer_type"] == "choco":
        call = f"choco install {name}{options} --yes --no-progress"
    else:
        accept = "--silent --accept-package-agreements --accept-source-agreements --disable-interactivity"
        call = f"winget install --exact --id {name}{options} {accept}"
    # Without the first line, a program that is not there would count as one that succeeds.
    return f"$ErrorActionPreference = 'Stop'\n& {call} {arguments}\nexit $LASTEXITCODE\n"


def quoted(text: str) -> str:
    """A PowerShell string literal; PowerShell takes typographic quotes for plain ones."""
    for mark in "'\u2018\u2019\u201a\u201b":
        text = text.replace(mark, mark * 2)
    return f"'{text}'"
