# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Commands about patches: what is missing, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from patchherd.commands.context import database_of, print_table
from patchherd.devices.registry import find_device
from patchherd.packages import listing
from patchherd.packages.applicability import explain
from patchherd.packages.reasons import replacements
from patchherd.packages.severity import SEVERITIES

_OF_DEVICE = ("severity", "package", "installed", "candidate", "kb", "verdict", "reason", "advisories")
_OF_FLEET = ("severity", "package", "kb", "devices", "candidates", "first_seen")
PAGE = 1000


def list_of_device(data: Path, reference: str, filters: dict[str, Any], as_json: bool) -> None:
    """Print what one device misses, worst first."""
    with database_of(data) as settings:
        found = listing.device_patches(settings, find_device(reference), filters)
    if as_json:
        _print_json(found)
        return
    if found["status"] == "unknown":
        Console().print(f"[yellow]unknown: {found['reason']}; last known rows follow[/yellow]", highlight=False)
    for problem in found["problems"]:
        Console().print(f"[yellow]{problem}[/yellow]", highlight=False)
    for row in found["patches"]:
        row["candidate"] = replacements(row["replaced_by"]) or row["candidate"]
    rows = [[*(row[name] for name in _OF_DEVICE), _rated(row)] for row in found["patches"]]
    print_table([*_OF_DEVICE, "rated by"], rows)


def _rated(row: dict[str, Any]) -> str | None:
    """Who rated a patch, and in which words."""
    if row["severity_source"] == "none":
        return None
    return ": ".join(filter(None, (row["severity_source"], row["severity_word"])))


def list_of_fleet(data: Path, filters: dict[str, Any], as_json: bool) -> None:
    """Print what all devices miss, one row a package."""
    filters = {"verdict": ["missing"], **filters}
    rows: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": None}
    with database_of(data) as settings:
        while not rows or page["next"]:
            page = listing.fleet_patches(settings, filters, limit=PAGE, after=page["next"], group_by="package")
            rows += page["patches"]
            if not page["patches"]:
                break
    if as_json:
        _print_json({**page, "patches": rows, "count": len(rows), "next": None})
        return
    rows.sort(key=lambda row: (SEVERITIES.index(row["severity"]), -row["devices"]))
    print_table([*_OF_FLEET], [[row[name] for name in _OF_FLEET] for row in rows])
    counts = page["counts"]
    click.echo(f"in all {counts['total']}, {counts['security']} of them security updates")
    if page["unknown_devices"]:
        click.echo(f"of {page['unknown_devices']} devices nobody knows what they miss")


def explain_patch(data: Path, reference: str, package: str, architecture: str | None, as_json: bool) -> None:
    """Print why a device misses a package, or does not."""
    with database_of(data) as settings:
        found = explain.explain(settings, find_device(reference), package, architecture)
    if as_json:
        _print_json(found)
        return
    for one in found["explanations"]:
        name = " ".join(filter(None, (one["package"], one["architecture"])))
        click.echo(f"{name} on {found['device']['hostname']}: {one['verdict']}")
        print_table(["step", "source", "says"], [[*step.values()] for step in one["evidence"]])
    if found["pending"]:
        click.echo("content has changed, and an evaluation is under way")


def _print_json(found: dict[str, Any]) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())

