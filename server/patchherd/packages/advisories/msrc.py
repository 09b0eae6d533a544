# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Microsoft's monthly CVRF documents in JSON: CVEs, and the KB that fixes each on each product."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from patchherd.packages.advisories.reading import Broken, Source, documents
from patchherd.packages.advisories.records import (
    BadRecord,
    CveNote,
    Entry,
    Fix,
    Group,
    Header,
    Record,
    Refusal,
    checked,
    moment,
    name,
    text,
)
from patchherd.packages.severity import SEVERITIES, normalised

_SEVERITY = 3  # of the Type of a threat
_VENDOR_FIX = 2  # of the Type of a remediation
_DESCRIPTION = 2  # of the Type of a note
_TAG = re.compile(r"<[^>]{0,1000}>")
_KB = re.compile(r"(?:KB)?([0-9]{5,10})")
_BUILD = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,10}){1,4}")


class Value(msgspec.Struct, rename={"value": "Value"}):
    value: str | None = None


class Named(msgspec.Struct, rename={"id": "ProductID", "value": "Value"}):
    id: str
    value: str = ""


class Tree(msgspec.Struct, rename={"products": "FullProductName"}):
    products: list[Named] = []


class Identification(msgspec.Struct, rename={"id": "ID"}):
    id: Value


class Tracking(msgspec.Struct, rename="pascal"):
    identification: Identification
    initial_release_date: str | None = None
    current_release_date: str | None = None


class Head(msgspec.Struct, rename="pascal"):
    document_tracking: Tracking
    product_tree: Tree = msgspec.field(default_factory=Tree)
    vulnerability: list[msgspec.Raw] = []


class Note(msgspec.Struct, rename="pascal"):
    type: int = 0
    value: str | None = None


class Threat(msgspec.Struct, rename="pascal"):
    type: int = 0
    description: Value | None = None


class Score(msgspec.Struct, rename="pascal"):
    base_score: float | None = None


class Remediation(msgspec.Struct, rename={
    "type": "Type", "description": "Description", "supercedence": "Supercedence",
    "products": "ProductID", "restart": "RestartRequired", "build": "FixedBuild",
}):  # fmt: skip
    type: int = 0
    description: Value | None = None
    supercedence: str | None = None
    products: list[str] = []
    restart: Value | None = None
    build: str | None = None


class Revision(msgspec.Struct, rename="pascal"):
    date: str | None = None


class Vulnerability(msgspec.Struct, rename={
    "cve": "CVE", "title": "Title", "notes": "Notes", "threats": "Threats", "scores": "CVSSScoreSets",
    "remediations": "Remediations", "revisions": "RevisionHistory",
}):  # fmt: skip
    cve: str
    title: Value | None = None
    notes: list[Note] = []
    threats: list[Threat] = []
    scores: list[Score] = []
    remediations: list[Remediation] = []
    revisions: list[Revision] = []


_decode_head = msgspec.json.Decoder(Head).decode
_decode = msgspec.json.Decoder(Vulnerability).decode
_FAULTS = (BadRecord, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(source: Source, distribution: str | None) -> Iterator[Entry]:
    """The vulnerabilities of a document or an archive of them. `distribution` is not needed. Raises Broken."""
    for place, data in documents(source):
        try:
            if isinstance(data, Broken):
                raise BadRecord(data.reason)
            head = _decode_head(data.removeprefix(b"\xef\xbb\xbf"))
            part = name(head.document_tracking.identification.id.value, "document id")[:64]
            products = {product.id: product.value for product in head.product_tree.products}
        except _FAULTS as exc:
            yield Refusal(source.name, place, None, str(exc))
            continue
        names = set()
        for number, raw in enumerate(head.vulnerability):
            known = None
            try:
                known = _id(raw)
                names.add(known)  # refused or not, it is listed: what is known of it stays
                yield _record(_decode(raw), part, products)
            except _FAULTS as exc:
                where = f"{place}, Vulnerability[{number}]"
                yield Refusal(source.name, where, known, str(exc), (("msrc", known),) if known else ())
        yield Group("msrc", part, frozenset(names))


class _Id(msgspec.Struct, rename={"cve": "CVE"}):
    cve: Any = None


def _id(raw: msgspec.Raw) -> str:
    return name(msgspec.json.decode(raw, type=_Id).cve, "CVE")


def _record(told: Vulnerability, part: str, products: dict[str, str]) -> Record:
    words = [threat.description.value for threat in told.threats if threat.type == _SEVERITY and threat.description]
    rated = sorted((SEVERITIES.index(found), word) for word in words if word and (found := normalised(word)))
    severity = rated[0][1] if rated else None
    cvss = max((score.base_score for score in told.scores if score.base_score is not None), default=None)
    description = next((text(note.value, "description") for note in told.notes if note.type == _DESCRIPTION), "")
    plain = _TAG.sub(" ", description).strip()
    changes = [moment(revision.date, "revision date") for revision in told.revisions]
    dates = sorted(date for date in changes if date is not None)
    known = name(told.cve, "CVE")
    header = Header(
        type="security",
        severity=severity,
        cvss=cvss,
        title=text(told.title.value if told.title else None, "title"),
        summary=plain,
        published=dates[0] if dates else None,
        modified=dates[-1] if dates else None,
        url=f"https://msrc.microsoft.com/update-guide/vulnerability/{known}",
        reboot_suggested=any(r.restart and r.restart.value == "Yes" for r in told.remediations),
    )
    fixes = [fix for remediation in told.remediations for fix in _fixes(remediation, products)]
    cves = [CveNote(known, severity, cvss, plain[:1000] or None)] if known.startswith("CVE-") else []
    return checked(Record("msrc", known, header, cves, fixes, part=part))


def _fixes(told: Remediation, products: dict[str, str]) -> Iterator[Fix]:
    match = _KB.fullmatch((told.description.value or "").strip()) if told.description else None
    if told.type != _VENDOR_FIX or match is None:
        return  # release notes and click-to-run have no KB
    build = (told.build or "").strip()
    replaced = [found for part in re.split(r"[;,\s]+", told.supercedence or "") if (found := _KB.fullmatch(part))]
    for product in told.products:
        title = products.get(product, product)[:255]
        yield Fix(
            "windows",
            "windows",
            title or product[:255],
            fixed=build if _BUILD.fullmatch(build) else None,
            product=title,
            kb=f"KB{match.group(1)}",
            supersedes=tuple(f"KB{found.group(1)}" for found in replaced),
        )
