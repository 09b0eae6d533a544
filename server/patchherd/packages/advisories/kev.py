# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""CISA's catalogue of CVEs that attackers are known to use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from patchherd.packages.advisories.reading import Broken, Source, documents
from patchherd.packages.advisories.records import (
    MAX_SUMMARY,
    BadRecord,
    Entry,
    Exploited,
    Refusal,
    moment,
    name,
    text,
)


class Catalogue(msgspec.Struct):
    vulnerabilities: list[Any]


_decode = msgspec.json.Decoder(Catalogue).decode


def read(source: Source, distribution: str | None) -> Iterator[Entry]:
    """The entries of the catalogue. `distribution` means nothing here. Raises Broken."""
    for place, data in documents(source):
        if isinstance(data, Broken):
            raise data
        try:
            rows = _decode(data.removeprefix(b"\xef\xbb\xbf")).vulnerabilities
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Broken(source.name, place, f"no catalogue of exploited CVEs: {exc}") from exc
        for number, row in enumerate(rows):
            known = row.get("cveID") if isinstance(row, dict) else None
            try:
                yield _entry(row)
            except BadRecord as exc:
                known = known[:128] if isinstance(known, str) else None
                names = (("kev", known),) if known else ()
                yield Refusal(source.name, f"vulnerabilities[{number}]", known, str(exc), names)


def _entry(row: Any) -> Exploited:
    if not isinstance(row, dict):
        raise BadRecord("an object is needed")
    word = text(row.get("knownRansomwareCampaignUse"), "knownRansomwareCampaignUse").lower()
    return Exploited(
        cve=name(row.get("cveID"), "cveID"),
        added=moment(row.get("dateAdded"), "dateAdded"),
        due=moment(row.get("dueDate"), "dueDate"),
        ransomware={"known": True}.get(word),
        title=text(row.get("vulnerabilityName"), "vulnerabilityName")[:500],
        description=text(row.get("shortDescription"), "shortDescription")[:MAX_SUMMARY],
    )
