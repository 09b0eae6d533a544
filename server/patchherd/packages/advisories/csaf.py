# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""CSAF documents of Red Hat: security advisories, and VEX, which tells per CVE what is fixed and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

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
    link,
    moment,
    name,
    package,
    text,
    version,
)

MAX_BRANCHES = 200_000
_WITHDRAWN = {"csaf_withdrawn", "csaf_superseded"}


class Helper(msgspec.Struct):
    cpe: str = ""
    purl: str = ""


class Product(msgspec.Struct):
    product_id: str
    product_identification_helper: Helper | None = None


class Branch(msgspec.Struct):
    product: Product | None = None
    branches: list[Branch] = []


class Relationship(msgspec.Struct):
    full_product_name: Product
    product_reference: str
    relates_to_product_reference: str


class Tree(msgspec.Struct):
    branches: list[Branch] = []
    relationships: list[Relationship] = []


class Statuses(msgspec.Struct):
    fixed: list[str] = []
    known_affected: list[str] = []


class Cvss(msgspec.Struct):
    base_score: float | None = msgspec.field(default=None, name="baseScore")


class Score(msgspec.Struct):
    cvss_v3: Cvss | None = None
    cvss_v2: Cvss | None = None


class Threat(msgspec.Struct):
    category: str = ""
    details: str = ""


class Remediation(msgspec.Struct):
    category: str = ""
    details: str = ""
    url: str = ""
    date: str | None = None
    product_ids: list[str] = []


class Note(msgspec.Struct):
    category: str = ""
    text: str = ""


class Vulnerability(msgspec.Struct):
    cve: str | None = None
    notes: list[Note] = []
    product_status: Statuses = msgspec.field(default_factory=Statuses)
    scores: list[Score] = []
    threats: list[Threat] = []
    remediations: list[Remediation] = []


class Severity(msgspec.Struct):
    text: str | None = None


class Tracking(msgspec.Struct):
    id: str
    status: str = "final"
    initial_release_date: str | None = None
    current_release_date: str | None = None


class Reference(msgspec.Struct):
    category: str = ""
    url: str = ""


class Head(msgspec.Struct):
    category: str
    tracking: Tracking
    title: str = ""
    aggregate_severity: Severity | None = None
    notes: list[Note] = []
    references: list[Reference] = []


class Document(msgspec.Struct):
    document: Head
    product_tree: Tree = msgspec.field(default_factory=Tree)
    vulnerabilities: list[Vulnerability] = []


_decode = msgspec.json.Decoder(Document).decode


def read(source: Source, distribution: str | None) -> Iterator[Entry]:
    """The advisories of a file or archive. `distribution` is not needed: products are named. Raises Broken."""
    for place, data in documents(source):
        known = place.rpartition("/")[2].removesuffix(".json") if place != "byte 0" else None
        try:
            if isinstance(data, Broken):
                raise BadRecord(data.reason)
            told = _decode(data.removeprefix(b"\xef\xbb\xbf"))
            known = name(told.document.tracking.id)
            records = _records(told, known)
        except (BadRecord, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            yield Refusal(source.name, place, known, str(exc), (("csaf", known),) if known else ())
            continue
        yield from records
        yield Group("csaf", known, frozenset(record.name for record in records))


def _records(told: Document, known: str) -> list[Record]:
    head = told.document
    if head.tracking.status == "draft":
        raise BadRecord("a draft")
    products = _products(told.product_tree)
    revised = moment(head.tracking.current_release_date, "current_release_date")
    header = Header(
        type="security",
        severity=head.aggregate_severity.text if head.aggregate_severity else None,
        title=text(head.title, "title"),
        summary=_note(head.notes, "summary") or _note(head.notes, "general"),
        published=moment(head.tracking.initial_release_date, "initial_release_date"),
        modified=revised,
        withdrawn=revised if head.category in _WITHDRAWN else None,
        url=next((link(r.url) for r in head.references if r.category == "self" and link(r.url)), None),
    )
    if head.category == "csaf_vex":
        return _vex(told, known, header, products)
    ids = [product for problem in told.vulnerabilities for product in problem.product_status.fixed]
    fixes = [products[product] for product in ids if product in products]
    cves = [_cve(problem) for problem in told.vulnerabilities if problem.cve]
    return [checked(Record("csaf", known, header, cves, fixes, part=known))]


def _vex(told: Document, known: str, header: Header, products: dict[str, Fix]) -> list[Record]:
    """An entry for each advisory that fixes the CVE, and one by the name of the CVE for what nothing fixes yet."""
    named: dict[str, Record] = {}
    open_: list[Fix] = []
    cves = [_cve(problem) for problem in told.vulnerabilities if problem.cve]
    for problem in told.vulnerabilities:
        impact = _impact(problem)
        header.severity = header.severity or impact
        for remediation in problem.remediations:
            advisory = remediation.url.rstrip("/").rpartition("/")[2]
            if remediation.category != "vendor_fix" or not advisory:
                continue
            date = moment(remediation.date, "remediation date")
            rated = Header(type="security", severity=impact, published=date, modified=date, url=link(remediation.url))
            rated.withdrawn = header.withdrawn
            record = named.setdefault(
                advisory, Record("csaf", name(advisory, "remediation url"), rated, cves, [], part=known)
            )
            fixed = set(problem.product_status.fixed)
            record.fixes += [products[p] for p in remediation.product_ids if p in products and p in fixed]
        open_ += [products[product] for product in problem.product_status.known_affected if product in products]
    affected = [msgspec.structs.replace(fix, fixed=None) for fix in open_]
    own = Record("csaf", known, header, cves, affected, part=known)
    return [checked(record) for record in (own, *named.values())]


def _products(tree: Tree) -> dict[str, Fix]:
    """product id -> package and version, for products that are a package of a Red Hat Enterprise Linux."""
    systems: dict[str, str] = {}
    packages: dict[str, Fix] = {}
    todo = list(tree.branches)
    count = 0
    while todo:
        branch = todo.pop()
        todo += branch.branches
        count += 1
        if count > MAX_BRANCHES:
            raise BadRecord(f"more than {MAX_BRANCHES} branches of products")
        helper = branch.product.product_identification_helper if branch.product else None
        if branch.product is None or helper is None:
            continue
        if distribution := _system(helper.cpe):
            systems[branch.product.product_id] = distribution
        if helper.purl.startswith("pkg:rpm/"):
            packages[branch.product.product_id] = _package(helper.purl)
    out = {}
    for relation in tree.relationships:
        found = packages.get(relation.product_reference)
        system = systems.get(relation.relates_to_product_reference)
        if found is not None and system is not None:
            repository = relation.relates_to_product_reference[:255]
            fix = msgspec.structs.replace(found, distribution=system, repository=repository)
            out[relation.full_product_name.product_id] = fix
    return out


def _system(cpe: str) -> str | None:
    parts = cpe.split(":")
    if len(parts) < 5 or parts[2:4] != ["redhat", "enterprise_linux"]:
        return None
    return f"rhel:{parts[4].partition('.')[0]}" if parts[4] else None


def _package(purl: str) -> Fix:
    path, _, query = purl.partition("?")
    base, _, its = path.rpartition("@") if "@" in path else (path, "", "")
    told = dict(parse_qsl(query))
    found = package(unquote(base.rpartition("/")[2]), "purl")
    fixed = version(unquote(its), f"version of {found}") if its else None
    epoch = told.get("epoch", "0")
    if fixed and epoch.isdecimal() and int(epoch):
        fixed = f"{int(epoch)}:{fixed}"
    architecture = told.get("arch", "")[:32] or None
    module = ":".join(told["rpmmod"].split(":")[:2])[:255] if "rpmmod" in told else None
    return Fix(
        "rpm", "", found, is_source=architecture == "src", fixed=fixed, module=module,
        architecture=None if architecture in {"src", "noarch"} else architecture,
    )  # fmt: skip


def _cve(problem: Vulnerability) -> CveNote:
    scores = [cvss.base_score for s in problem.scores for cvss in (s.cvss_v3 or s.cvss_v2,) if cvss and cvss.base_score]
    return CveNote(
        name(problem.cve, "cve"),
        severity=_impact(problem),
        cvss=max(scores, default=None),
        description=_note(problem.notes, "description")[:1000] or None,
    )


def _impact(problem: Vulnerability) -> str | None:
    return next((threat.details[:64] for threat in problem.threats if threat.category == "impact"), None)


def _note(notes: list[Note], category: str) -> str:
    return next((text(note.text, category) for note in notes if note.category == category), "")
