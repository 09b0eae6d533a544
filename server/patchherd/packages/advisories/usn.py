# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Ubuntu's database of security notices: one JSON object, id -> notice."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from patchherd.packages.advisories.reading import Broken, Source, members
from patchherd.packages.advisories.records import (
    BadRecord,
    CveNote,
    Entry,
    Fix,
    Header,
    Record,
    Refusal,
    checked,
    moment,
    name,
    package,
    text,
    version,
)

RELEASES = {
    "trusty": "14.04", "xenial": "16.04", "bionic": "18.04", "focal": "20.04", "groovy": "20.10", "hirsute": "21.04",
    "impish": "21.10", "jammy": "22.04", "kinetic": "22.10", "lunar": "23.04", "mantic": "23.10", "noble": "24.04",
    "oracular": "24.10", "plucky": "25.04", "questing": "25.10", "resolute": "26.04",
}  # fmt: skip
"""Code name -> version, of what is not older than 2014."""


class Built(msgspec.Struct):
    version: str = ""
    source: str | None = None


class Release(msgspec.Struct):
    sources: dict[str, Built] = {}
    binaries: dict[str, Built] = {}
    allbinaries: dict[str, Built] = {}


class Notice(msgspec.Struct):
    id: str | None = None
    title: str | None = None
    summary: str | None = None
    isummary: str | None = None
    description: str | None = None
    action: str | None = None
    cves: list[str] = []
    timestamp: float | str | None = None
    releases: dict[str, Release] = {}


_decode = msgspec.json.Decoder(Notice).decode


def read(source: Source, distribution: str | None) -> Iterator[Entry]:
    """The notices of a file. `distribution` is not needed. Raises Broken."""
    for place, key, data in members(source):
        known = _name(key)
        try:
            if isinstance(data, Broken):
                raise BadRecord(data.reason)
            yield _record(known, _decode(data))
        except (BadRecord, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            yield Refusal(source.name, place, known[:200], str(exc), (("usn", known),))


def _name(key: str) -> str:
    return key if key.startswith(("USN-", "LSN-", "SSN-")) else f"USN-{key}"


def _record(known: str, told: Notice) -> Record:
    fixes: list[Fix] = []
    binaries: list[tuple[str, str, str]] = []
    for codename, release in told.releases.items():
        if codename in RELEASES:
            fixes += _fixes(f"ubuntu:{RELEASES[codename]}", release, binaries)
    stamp = moment(told.timestamp, "timestamp")
    action = text(told.action, "action").lower()
    header = Header(
        type="security",
        title=text(told.title, "title"),
        summary=text(told.description, "description") or text(told.summary, "summary"),
        published=stamp,
        modified=stamp,
        url=f"https://ubuntu.com/security/notices/{name(known)}",
        reboot_suggested="reboot your computer" in action,
    )
    cves = [CveNote(name(cve, "CVE")) for cve in told.cves if cve.startswith("CVE-")]
    return checked(Record("usn", name(known), header, cves, fixes, binaries=binaries))


def _fixes(distribution: str, release: Release, binaries: list[tuple[str, str, str]]) -> list[Fix]:
    out = []
    versions = set()
    for source, built in release.sources.items():
        fixed = version(built.version, f"version of {source[:80]}")
        versions.add(fixed)
        out.append(Fix("deb", distribution, package(source), is_source=True, fixed=fixed))
    only = next(iter(release.sources)) if len(release.sources) == 1 else None
    for binary, built in {**release.allbinaries, **release.binaries}.items():
        source_name = built.source or only
        if source_name and source_name != binary:
            binaries.append(("deb", package(binary), package(source_name)))
        if built.version not in versions or not source_name:  # nothing leads from its source to it
            out.append(Fix("deb", distribution, package(binary), fixed=version(built.version, f"version of {binary}")))
    return out
