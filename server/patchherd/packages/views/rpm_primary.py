# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""primary.xml: by one regular expression as long as it is written as createrepo_c writes it, else by createrepo_c.

The expression describes all of a package, not only what is taken from it: what it matches is well-formed, and means
the same to every reader. Whatever else there is (comments, CDATA, other quotes, unknown elements, nonsense, damage)
ends the attempt, and createrepo_c reads the whole file, or refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec

from patchherd.packages import streams
from patchherd.packages.models import NAME_LENGTH, VERSION_LENGTH
from patchherd.packages.refusal import Skipped, shown
from patchherd.packages.views import rpm_repo

EPOCH_LENGTH = 10
MAX_PENDING = 512 << 10
"""Bytes without the end of a package that the quick reader looks at; the longest real packages have some 300,000."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+\-]*").fullmatch
_VERSION = re.compile(r"[A-Za-z0-9._+~^]+-[A-Za-z0-9._+~^]+").fullmatch
_ARCHITECTURE = lru_cache(maxsize=64)(re.compile(r"[a-z0-9_]{1,32}").fullmatch)


_SOURCES = {"src", "nosrc"}

Row = tuple[str, str, str, str, str, str | int, str | None, tuple[str, ...]]
"""name, arch, epoch, version, release, size, file name of the source, obsoletes; every one checked"""


class RpmPackage(msgspec.Struct, frozen=True, gc=False):
    """One version that a repository offers."""

    name: str
    version: str
    """[epoch:]version-release"""
    architecture: str
    source_name: str | None
    source_version: str | None
    size: int
    obsoletes: tuple[str, ...]
    """As "name" or "name < 2.0"."""

    @property
    def nevra(self) -> str:
        """With epoch 0, as module documents write it."""
        epoch = "" if ":" in self.version else "0:"
        return f"{self.name}-{epoch}{self.version}.{self.architecture}"


def packages(packed: Path, name: str, skipped: list[Skipped], scratch: Path) -> list[RpmPackage]:
    """The packages of a primary.xml, packed or not. The file `scratch` is overwritten when it is an unusual one.

    Entries that make no sense go to `skipped`, source packages are passed over. Raises Refused for damaged XML.
    """
    found = _usual(packed, name)
    return _any(packed, name, skipped, scratch) if found is None else found


# -- as createrepo_c writes it ---------------------------------------------------------------------------------------

# Only classes are possessive: groups that are match too much in Python 3.11.2. Nothing here matches in two ways.
# Alternatives that their first characters tell apart are faster than optional groups.
_GAP = r"\n*+ *+"
_EVR = r"[A-Za-z0-9._+~^]{1,120}+"  # with an epoch not more than VERSION_LENGTH
_NUMBER = r"[0-9]{1,18}+"
_CODE = r"[2-9A-F]X|[1-9A-F]XX|[1-9A-CEF]XXX|D[0-7]XX|[1-9A-F]XXXX|10XXXX".replace("X", "[0-9A-F]")
_RARE = rf"&(?:lt|gt|amp|quot|apos|#(?:9|10|13|x(?!FFF[EF];)(?:{_CODE})));|[^\x00-\x7f\ufffe\uffff]++"
_PLAIN = r"[ !#-%'-;=-\x7f]*+"
_VALUE = rf'{_PLAIN}(?:"|(?:(?:{_RARE}){_PLAIN})+")'
"""Of an attribute, from behind its first quote on."""
_PLAIN_TEXT = r"[\t\n -%'-;=-\\^-\x7f]*+"
_TEXT = rf"{_PLAIN_TEXT}(?:</|(?:(?:{_RARE}|\](?!\]>)){_PLAIN_TEXT})+</)"
"""Of an element, with the first characters of its end."""
_RELATIONS = "provides|requires|conflicts|suggests|enhances|recommends|supplements"


def _element(name: str) -> str:
    return rf"<{name}(?:>{_TEXT}{name}>|/>){_GAP}"


def _list(name: str, end: str, value: str) -> str:
    """A list of relations; `end` is how the name is written at the end."""
    last = r'(?:/>| pre="1"/>'
    evr = rf' flags="[A-Z]{{2}}"(?: epoch="[0-9]*+" ver="| ver="){_PLAIN}"{last}| rel="{_PLAIN}"{last})))'
    return rf'<rpm:{name}(?:>{_GAP}(?:<rpm:entry name="{value}{last}|{evr}{_GAP})*</rpm:{end}>|/>){_GAP}'


@cache  # takes a while to compile
def _split() -> Callable[[str], list[str]]:
    """Between, name, arch, epoch, version, release, size, source, _, obsoletes, _, between, …"""
    before, after = (_list(f"(?P<{place}>{_RELATIONS})", f"(?P={place})", _VALUE) for place in ("before", "after"))
    package = (
        rf'<package type="rpm">{_GAP}<name>([A-Za-z0-9][A-Za-z0-9._+\-]{{0,{NAME_LENGTH - 1}}}+)</name>{_GAP}'
        rf"<arch>([a-z0-9_]{{1,32}}+)</arch>{_GAP}"
        rf'<version epoch="([0-9]{{1,{EPOCH_LENGTH}}}+)" ver="({_EVR})" rel="({_EVR})"/>{_GAP}'
        rf'<checksum type="[a-z0-9]++" pkgid="YES">[0-9A-Fa-f]++</checksum>{_GAP}'
        rf"{_element('summary')}{_element('description')}{_element('packager')}{_element('url')}"
        rf'<time file="{_NUMBER}" build="{_NUMBER}"/>{_GAP}'
        rf'<size package="({_NUMBER})" installed="{_NUMBER}" archive="{_NUMBER}"/>{_GAP}'
        rf'<location(?: xml:base="{_VALUE})? href="{_VALUE}/>{_GAP}<format>{_GAP}'
        rf"{_element('rpm:license')}{_element('rpm:vendor')}{_element('rpm:group')}(?:{_element('rpm:buildhost')})?"
        rf"<rpm:sourcerpm(?:>([A-Za-z0-9._+~^\-]*+)</rpm:sourcerpm>|/>){_GAP}"
        rf'(?:<rpm:header-range start="{_NUMBER}" end="{_NUMBER}"/>{_GAP})?'
        rf"(?:{before})*(?:({_list('obsoletes', 'obsoletes', _PLAIN + chr(34))})(?:{after})*)?"
        rf'(?:<file(?:>| type="(?:dir|ghost)">){_TEXT}file>{_GAP})*</format>{_GAP}</package>{_GAP}'
    )
    return re.compile(package).split


_ENTRIES = re.compile(
    rf'<rpm:entry name="({_PLAIN})"'
    rf'(?: flags="([A-Z]{{2}})"(?: epoch="([0-9]*+)")? ver="({_PLAIN})"(?: rel="({_PLAIN})")?)?'
).findall
_HEAD = re.compile(
    rb'<\?xml version="1\.0" encoding="(?:UTF|utf)-8"\?>[ \t\r\n]*<metadata xmlns="http://linux\.duke\.edu/metadata/common"'
    rb' xmlns:rpm="http://linux\.duke\.edu/metadata/rpm" packages="[0-9]{1,18}">[ \t\r\n]*'
).match
_FOOT = re.compile(rb"[ \t\r\n]*</metadata>[ \t\r\n]*").fullmatch
_END = b"</package>"


def _usual(packed: Path, name: str) -> list[RpmPackage] | None:
    """The packages of a file as createrepo_c writes it; None for any other. Raises Refused: damaged, too large."""
    found: list[RpmPackage] = []
    rest = None
    for block in _large(streams.blocks(packed, name)):
        if rest is None:
            head = _HEAD(block)
            if head is None:
                return None
            block, rest = block[head.end() :], b""
        data = rest + block
        end = data.rfind(_END) + len(_END)
        if end < len(_END):
            end = 0
        elif not _take(memoryview(data)[:end], found):
            return None
        rest = data[end:].lstrip(b"\n ")
        if len(rest) > MAX_PENDING:
            return None
    return found if rest is not None and _FOOT(rest) else None


def _large(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same in blocks that are not tiny, which a file of thousands of packed members would have."""
    pending: list[bytes] = []
    size = 0
    for block in blocks:
        pending.append(block)
        size += len(block)
        if size >= streams.BLOCK // 2:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _take(data: memoryview, found: list[RpmPackage]) -> bool:
    """Add the packages that `data` consists of; False when there is anything else."""
    try:
        parts = _split()(str(data, "utf-8").lstrip("\n "))
    except UnicodeDecodeError:
        return False
    if parts.pop() or any(parts[::11]):
        return False
    columns: list[Any] = [parts[column::11] for column in (1, 2, 3, 4, 5, 6, 7)]
    obsoletes = [tuple(map(_relation, _ENTRIES(relations))) if relations else () for relations in parts[9::11]]
    found.extend(_built(zip(*columns, obsoletes, strict=True)))
    return True


# -- any other -------------------------------------------------------------------------------------------------------


def _any(packed: Path, name: str, skipped: list[Skipped], scratch: Path) -> list[RpmPackage]:
    """The packages as createrepo_c reads them. Raises Refused."""
    import createrepo_c

    rpm_repo.plain_xml(packed, scratch, name, "metadata")
    count = 0
    rows: list[Row] = []

    def one(package: Any) -> None:
        nonlocal count
        count += 1
        if package.arch in _SOURCES:
            return
        try:
            rows.append(_row(package))
        except ValueError as exc:
            skipped.append(Skipped(name, f"entry {count:,}", str(exc)))

    warnings: list[str] = []
    warned = rpm_repo.warned(warnings)
    rpm_repo.parsed(
        name, lambda: createrepo_c.xml_parse_primary(str(scratch), pkgcb=one, warningcb=warned, do_files=False)
    )
    skipped.extend(Skipped(name, "somewhere", shown(message, 200)) for message in warnings[:20])
    return list(_built(rows))


def _row(package: Any) -> Row:
    """Raises ValueError."""
    name, version, release, arch = package.name, package.version, package.release, package.arch
    if not name or not _NAME(name) or len(name) > NAME_LENGTH:
        raise ValueError(f"name: {shown(name or '')!r} is no package name")
    plain = f"{version or ''}-{release or ''}"
    if not _VERSION(plain):
        raise ValueError(f"version of {name}: {shown(plain)!r} is none")
    epoch = package.epoch or "0"
    if not epoch.isdigit() or not epoch.isascii() or len(epoch) > EPOCH_LENGTH:
        raise ValueError(f"epoch of {name}: {shown(epoch)!r} is no number")
    if len(f"{int(epoch)}:{plain}" if int(epoch) else plain) > VERSION_LENGTH:
        raise ValueError(f"version of {name} has more than {VERSION_LENGTH} characters")
    if not arch or not _ARCHITECTURE(arch):
        raise ValueError(f"arch of {name}: {shown(arch or '')!r} is none")
    obsoletes = tuple(map(_relation, package.obsoletes))
    return name, arch, epoch, version, release, package.size_package, package.rpm_sourcerpm, obsoletes


# -- both ------------------------------------------------------------------------------------------------------------


def _built(rows: Iterable[Row]) -> Iterator[RpmPackage]:
    for name, arch, epoch, version, release, size, source, obsoletes in rows:
        if arch in _SOURCES:
            continue
        plain = f"{version}-{release}"
        evr = plain if epoch == "0" or not (number := int(epoch)) else f"{number}:{plain}"
        source_name, source_version = _source(source) if source else (None, None)
        if source_name == name:
            source_name = None
        if source_version == plain:
            source_version = None
        yield RpmPackage(name, evr, arch, source_name, source_version, int(size), obsoletes)


@lru_cache(maxsize=16)  # packages of one source stand side by side
def _source(file: str) -> tuple[str | None, str | None]:
    """nginx-1.20.1-14.el9.src.rpm -> (nginx, 1.20.1-14.el9)"""
    parts = file.rsplit("-", 2)
    if len(parts) != 3 or len(file) > NAME_LENGTH:
        return None, None
    return parts[0], f"{parts[1]}-{parts[2].removesuffix('.src.rpm').removesuffix('.nosrc.rpm')}"


_SIGNS = {"LT": "<", "LE": "<=", "EQ": "=", "GE": ">=", "GT": ">"}


def _relation(row: tuple[Any, ...]) -> str:
    name, flags, epoch, version, release = row[:5]
    if not flags or not version:
        return str(name)
    evr = (f"{epoch}:" if epoch and epoch != "0" else "") + version + (f"-{release}" if release else "")
    return f"{name} {_SIGNS.get(flags, flags)} {evr}"
