# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Commands about agent releases."""

from __future__ import annotations

from pathlib import Path

import click

from patchherd.commands.context import database_of, print_table
from patchherd.monitoring import releases


def add_release(data: Path, file: Path, version: str, platform: str, changelog: str) -> None:
    """Publish a file and print its digest."""
    with database_of(data) as settings, file.open("rb") as source:
        release = releases.publish(
            settings,
            source,
            version=version,
            platform=platform,
            changelog=changelog,
            file_name=file.name,
            published_by="command line",
        )
    click.echo(f"published {release.version} for {release.platform}: {release.size} bytes, SHA-256 {release.sha256}")


def list_releases(data: Path) -> None:
    """Print the published releases, the newest version first."""
    with database_of(data):
        rows = [
            [row.version, row.platform, row.file_name, row.size, f"{row.published_at:%Y-%m-%d %H:%M}"]
            for row in releases.list_releases()
        ]
    print_table(["version", "platform", "file", "bytes", "published"], rows)


def withdraw_release(data: Path, version: str, platform: str) -> None:
    """Offer a release no longer."""
    with database_of(data) as settings:
        releases.withdraw(settings, releases.by_version(version, platform).id)
    click.echo(f"withdrew {version} for {platform}")
