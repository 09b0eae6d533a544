# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""OSV records (Ubuntu's USN, Debian's DSA and DLA, AlmaLinux, Rocky): one JSON file, or an archive of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from patchherd.packages.advisories.reading import Broken, Source, documents
from patchherd.packages.advisories.records import (
    BadRecord,
    CveNote,
    Entry,
    Fix,
    Header,
    Record,
    Refusal,
    checked,
    link,
    moment,
    name,
    package,
    text,
    version,
)
from patchherd.packages.severity import SEVERITIES, normalised

_SYSTEMS = {
    "Debian": ("deb", "debian"), "Ubuntu": ("deb", "ubuntu"), "AlmaLinux": ("rpm", "almalinux"),
    "Rocky Linux": ("rpm", "rocky"), "Red Hat": ("rpm", "rhel"), "openEuler": ("rpm", "openeuler"),
}  # fmt: skip


class Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None


class Range(msgspec.Struct):
    type: str = ""
    events: list[Event] = []


class Package(msgspec.Struct):
    ecosystem: str = ""
    name: str = ""


class Affected(msgspec.Struct):
    package: Package | None = None
    ranges: list[Range] = []
    ecosystem_specific: Any = None


class Severity(msgspec.Struct):
    type: str = ""
    score: str = ""


class Reference(msgspec.Struct):
    type: str = ""
    url: str = ""


class Vulnerability(msgspec.Struct):
    id: str
    modified: str | None = None
    published: str | None = None
    withdrawn: str | None = None
    summary: str | None = None
    details: str | None = None
    aliases: list[str] | None = None
    upstream: list[str] | None = None
    related: list[str] | None = None
    severity: list[Severity] | None = None
    affected: list[Affected] | None = None
    references: list[Reference] | None = None
    database_specific: Any = None


_decode = msgspec.json.Decoder(Vulnerability).decode


def read(source: Source, distribution: str | None) -> Iterator[Entry]:
    """The records of a file or archive. `distribution` is not needed: each names its own. Raises Broken."""
    for place, data in documents(source):
        known = place.rpartition("/")[2].removesuffix(".json") if place != "byte 0" else None
        try:
            if isinstance(data, Broken):
                raise BadRecord(data.reason)
            record = _record(data)
            known = record.name
            yield record
        except (BadRecord, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            yield Refusal(source.name, place, known, str(exc), (("osv", known),) if known else ())


def _record(data: bytes) -> Record:
    told = _decode(data.removeprefix(b"\xef\xbb\xbf"))
    fixes: list[Fix] = []
    binaries: list[tuple[str, str, str]] = []
    for affected in told.affected or ():
        if affected.package is not None:
            fixes += _fixes(affected, affected.package, binaries)
    others = [told.id, *(told.aliases or ()), *(told.upstream or ()), *(told.related or ())]
    specific = told.database_specific if isinstance(told.database_specific, dict) else {}
    ratings = {rating.type: rating.score for rating in told.severity or ()}
    severity = specific.get("severity") or ratings.get("Ubuntu") or _urgency(told)
    header = Header(
        type="security",
        severity=severity if isinstance(severity, str) else None,
        title=text(told.summary, "summary") or text(told.details, "details").partition("\n")[0],
        summary=text(told.details, "details"),
        published=moment(told.published, "published"),
        modified=moment(told.modified, "modified"),
        withdrawn=moment(told.withdrawn, "withdrawn"),
        url=next((link(r.url) for r in told.references or () if r.type == "ADVISORY" and link(r.url)), None),
    )
    record = Record("osv", name(told.id), header, [CveNote(cve) for cve in _cves(others)], fixes, binaries=binaries)
    return checked(record)


def _urgency(told: Vulnerability) -> str | None:
    """Debian's word for it: of several releases and packages the worst."""
    parts = [affected.ecosystem_specific for affected in told.affected or ()]
    words = [part["urgency"] for part in parts if isinstance(part, dict) and isinstance(part.get("urgency"), str)]
    return min(words, key=lambda word: SEVERITIES.index(normalised(word) or "Optional"), default=None)


def _cves(ids: list[str]) -> list[str]:
    """The CVEs among other ids of the same problem; Ubuntu and Debian write some as UBUNTU-CVE-… and DEBIAN-CVE-…"""
    plain = [other[other.find("CVE-") :] for other in ids if other.startswith(("CVE-", "UBUNTU-CVE-", "DEBIAN-CVE-"))]
    return [name(cve, "CVE") for cve in plain]


def _fixes(affected: Affected, told: Package, binaries: list[tuple[str, str, str]]) -> list[Fix]:
    system, _, release = told.ecosystem.partition(":")
    if system not in _SYSTEMS or not release:
        return []  # a record may be about several worlds; those that hosts here live in count
    ecosystem, os_id = _SYSTEMS[system]
    release = release.removeprefix("Pro:").removesuffix(":LTS") if os_id == "ubuntu" else release
    if os_id == "rhel":
        release = release.partition("::")[0].rpartition(":")[2]
    distribution = f"{os_id}:{release}"
    found = package(told.name, "package name")
    is_source = os_id in {"debian", "ubuntu", "rocky"}
    out = []
    for span in affected.ranges:
        if span.type == "ECOSYSTEM":
            out += [
                Fix(ecosystem, distribution, found, is_source=is_source, introduced=introduced, fixed=fixed)
                for introduced, fixed in _spans(span.events, found)
            ]
    fixed = {fix.fixed for fix in out}
    for binary, its in _binaries(affected.ecosystem_specific):
        if binary != found:
            binaries.append((ecosystem, binary, found))
        if is_source and its and its not in fixed:  # built with a version of its own
            out.append(Fix(ecosystem, distribution, binary, fixed=version(its, f"version of {binary}")))
    return out


def _spans(events: list[Event], found: str) -> list[tuple[str | None, str | None]]:
    """(first affected, first fixed) pairs; None: from the beginning, not fixed."""
    out: list[tuple[str | None, str | None]] = []
    start: str | None = None
    is_open = False
    for event in events:
        if event.introduced is not None:
            start = None if event.introduced == "0" else version(event.introduced, f"introduced of {found}")
            is_open = True
        if event.fixed is not None:
            out.append((start, version(event.fixed, f"fixed of {found}")))
            is_open = False
    return [*out, (start, None)] if is_open else out


def _binaries(specific: Any) -> list[tuple[str, str | None]]:
    """(binary package, its version) that a record lists, in either of Ubuntu's two forms."""
    listed = specific.get("binaries") if isinstance(specific, dict) else None
    out: list[tuple[str, str | None]] = []
    for row in listed if isinstance(listed, list) else ():
        if not isinstance(row, dict):
            continue
        if isinstance(row.get("binary_name"), str):
            its = row.get("binary_version")
            out.append((package(row["binary_name"], "binary_name"), its if isinstance(its, str) else None))
        else:
            out += [(package(key, "binary"), its) for key, its in row.items() if isinstance(its, str)]
    return out
