# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The one form that every format is read into, and what no entry may exceed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from patchherd.packages.advisories.models import ID_LENGTH
from patchherd.packages.models import NAME_LENGTH, VERSION_LENGTH

MAX_FIELD = 1024 * 1024
"""Characters of a text in an entry; more is no advisory."""
MAX_SUMMARY = 4000
MAX_FIXES = 50_000
MAX_CVES = 5_000
_WORD = re.compile(r"[^\s\x00-\x1f\x7f]+")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~:^_-]*")


class BadRecord(Exception):
    """One entry cannot be taken; the others can."""


class Fix(msgspec.Struct, frozen=True, omit_defaults=True):
    """See AdvisoryFix."""

    ecosystem: str
    distribution: str
    package: str
    is_source: bool = False
    architecture: str | None = None
    introduced: str | None = None
    fixed: str | None = None
    module: str | None = None
    repository: str | None = None
    product: str | None = None
    kb: str | None = None
    supersedes: tuple[str, ...] = ()


class CveNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A CVE and what the entry says about it; `severity` in the publisher's words."""

    id: str
    severity: str | None = None
    cvss: float | None = None
    description: str | None = None


class Header(msgspec.Struct, omit_defaults=True):
    """What an entry says about an advisory, without CVEs and fixes."""

    type: str = "unknown"
    severity: str | None = None
    """The publisher's word."""
    cvss: float | None = None
    title: str = ""
    summary: str = ""
    published: datetime | None = None
    modified: datetime | None = None
    withdrawn: datetime | None = None
    url: str | None = None
    reboot_suggested: bool = False


class Record(msgspec.Struct):
    """One entry of a feed."""

    source: str
    name: str
    header: Header
    cves: list[CveNote]
    fixes: list[Fix]
    part: str = ""
    binaries: list[tuple[str, str, str]] = []
    """(ecosystem, binary, source) that the entry tells of."""


class Exploited(msgspec.Struct):
    """One entry of the catalogue of exploited CVEs."""

    cve: str
    added: datetime | None
    due: datetime | None
    ransomware: bool | None
    title: str
    description: str


class Refusal(msgspec.Struct):
    """An entry that was not taken, and why."""

    file: str
    position: str
    record: str | None
    reason: str
    names: tuple[tuple[str, str], ...] = ()
    """(source, advisory) whose last good state must stay."""


class Group(msgspec.Struct):
    """After the records of one document: what the feed said under this `part` about others no longer counts."""

    source: str
    part: str
    names: frozenset[str]


Entry = Record | Exploited | Refusal | Group


def text(value: object, field: str, limit: int = MAX_FIELD) -> str:
    """A text without surrounding blanks, "" for none. Raises BadRecord when it is none or too long."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecord(f"{field}: a text is needed, not {type(value).__name__}")
    if len(value) > limit:
        raise BadRecord(f"{field}: {len(value):,} characters, at most {limit:,} are taken")
    if "\0" in value:
        raise BadRecord(f"{field}: holds a NUL character")
    return value.strip()


def moment(value: object, field: str) -> datetime | None:
    """An ISO time, a date, or seconds since 1970, as aware UTC. Raises BadRecord."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, int | float) or (isinstance(value, str) and value.strip().isdecimal()):
            found = datetime.fromtimestamp(float(value), UTC)
        else:
            found = datetime.fromisoformat(text(value, field, 64).removesuffix(" UTC"))
        found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise BadRecord(f"{field}: {str(value)[:40]!r} is no time") from exc
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def link(value: object) -> str | None:
    """A web address; anything else is none."""
    return value if isinstance(value, str) and re.fullmatch(r"https?://[^\s\x00-\x1f\"<>]{1,2000}", value) else None


def version(value: object, field: str) -> str:
    """A version. Raises BadRecord for one that no package can have."""
    found = text(value, field)
    if len(found) > VERSION_LENGTH or not _VERSION.fullmatch(found):
        raise BadRecord(f"{field}: {found[:60]!r} is no version of at most {VERSION_LENGTH} characters")
    return found


def word(value: object, field: str, limit: int) -> str:
    """A name without blanks. Raises BadRecord."""
    found = text(value, field)
    if not _WORD.fullmatch(found) or len(found) > limit:
        raise BadRecord(f"{field}: {found[:60]!r} is no name of at most {limit} characters")
    return found


def name(value: object, field: str = "id") -> str:
    """The id of an advisory or CVE, read as it is."""
    return word(value, field, ID_LENGTH)


def package(value: object, field: str = "package") -> str:
    return word(value, field, NAME_LENGTH)


def checked(record: Record) -> Record:
    """The record with each CVE and fix once and its texts cut to what is kept. Raises BadRecord."""
    if len(record.fixes) > MAX_FIXES or len(record.cves) > MAX_CVES:
        raise BadRecord(f"more than {MAX_FIXES:,} fixes or {MAX_CVES:,} CVEs")
    header = record.header
    header.title = header.title[:500]
    header.summary = header.summary[:MAX_SUMMARY]
    header.severity = (header.severity or "")[:64] or None
    record.cves = list({note.id: note for note in record.cves}.values())
    record.fixes = list(dict.fromkeys(record.fixes))
    refuse_circles(record.fixes)
    return record


def refuse_circles(fixes: Iterable[Fix]) -> None:
    """Raise BadRecord when updates replace each other in a circle."""
    replaces: dict[tuple[str | None, str], set[str]] = {}
    for fix in fixes:
        if fix.kb:
            replaces.setdefault((fix.product, fix.kb), set()).update(fix.supersedes)
    for start, direct in replaces.items():
        seen, todo = set(direct), list(direct)
        while todo:
            following = replaces.get((start[0], todo.pop()), set()) - seen
            seen |= following
            todo.extend(following)
        if start[1] in seen:
            raise BadRecord(f"{start[1]} supersedes itself")


def distribution_of(os_id: str | None, version_id: str | None) -> str | None:
    """How fixes name the distribution of a device: os-release's ID and the part of VERSION_ID that has one archive."""
    if not os_id:
        return None
    if os_id == "windows":
        return "windows"
    if not version_id:
        return None
    return f"{os_id}:{version_id if os_id in WHOLE_VERSIONS else version_id.partition('.')[0]}"


WHOLE_VERSIONS = frozenset({"ubuntu", "opensuse-leap", "sles", "alpine"})
"""Distributions whose minor versions are releases of their own."""
