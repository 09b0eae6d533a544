# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""From a source to what has changed there: fetched, its signature and digests checked, ready to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from patchherd.packages import streams
from patchherd.packages.fetch import Expected, Fetched, Missing, Place
from patchherd.packages.refusal import Refused, Skipped
from patchherd.packages.views import deb_index, deb_release, rpm_primary, rpm_repo, signature, windows_list
from patchherd.packages.views.models import ViewSource

MAX_PACKED = 512 << 20
MAX_SIGNATURE = 1 << 20


class Offer(NamedTuple):
    """A candidate as an index names it, whatever kind of repository it comes from."""

    name: str
    architecture: str
    version: str
    source_name: str | None = None
    source_version: str | None = None
    size: int | None = None
    phased: int | None = None
    multi_arch: str | None = None
    module: str | None = None
    details: dict[str, Any] | None = None


Reader = Callable[[list[Skipped]], Iterator[Offer]]


class Part(NamedTuple):
    """An index as the repository has it now."""

    name: str
    digest: str
    read: Reader | None
    """None: it is as it was."""


class Gathered(NamedTuple):
    """A repository as it is now."""

    digest: str
    """SHA-256 of the file that names all others."""
    validators: dict[str, str]
    release: dict[str, Any]
    parts: list[Part]
    updateinfo: Path | None = None
    """The packed advisories when they have changed."""


def gather(source: ViewSource, known: dict[str, str], directory: Path, moment: datetime) -> Gathered | None:
    """What a source has now; None when nothing has changed. `known`: index name -> digest as imported.

    Files go to `directory`; call the readers before it is gone. Raises Refused.
    """
    with Place(source.url) as place:
        if source.kind == "apt":
            return _apt(source, place, known, directory, moment)
        if source.kind == "rpm":
            return _rpm(source, place, known, directory)
        return _windows(source, place, known, directory)


def _unchanged(source: ViewSource, got: Fetched) -> bool:
    return not got.changed or (source.imported_at is not None and got.digest == source.digest)


def _validators(source: ViewSource) -> dict[str, str] | None:
    """Only after a success: a file that was refused is looked at again."""
    return source.validators if source.state == "ok" and source.validators else None


# -- apt -------------------------------------------------------------------------------------------------------------


def _apt(source: ViewSource, place: Place, known: dict[str, str], directory: Path, moment: datetime) -> Gathered | None:
    base = f"dists/{source.suite}"
    file, target = f"{base}/InRelease", directory / "InRelease"
    limit = deb_release.MAX_RELEASE
    try:
        got = place.fetch(file, target, limit=limit, validators=_validators(source))
        detached = False
    except Missing:
        file = f"{base}/Release"
        got = place.fetch(file, target, limit=limit, validators=_validators(source))
        detached = True
    if _unchanged(source, got):
        _refuse_expired(source, file, moment)
        return None
    content, signed_by = _signed_release(source, place, file, target, detached)
    release = deb_release.parse_release(content, file)
    before = source.release.get("date")
    newest = datetime.fromisoformat(before) if before else None
    deb_release.check_dates(release, file, moment, newest, source.allow_expired)
    parts = []
    indexes = deb_release.packages_indexes(release, file, source.components, source.architectures)
    for number, index in enumerate(indexes):
        read = None
        if known.get(index.name) != index.version:
            packed = directory / f"packages-{number}"
            path = _fetch_index(place, base, index, release.by_hash, packed)
            read = _deb_reader(packed, f"{base}/{path}")
        parts.append(Part(index.name, index.version, read))
    told = {
        "origin": release.origin,
        "label": release.label,
        "suite": release.suite,
        "codename": release.codename,
        "date": release.date.isoformat() if release.date else None,
        "valid_until": release.valid_until.isoformat() if release.valid_until else None,
        "priority": release.priority,
        "signed_by": signed_by,
    }
    return Gathered(got.digest, got.validators, told, parts)


def _refuse_expired(source: ViewSource, file: str, moment: datetime) -> None:
    """A file that has not changed may have expired since."""
    until = source.release.get("valid_until")
    if until and datetime.fromisoformat(until) < moment and not source.allow_expired:
        raise Refused(file, f"expired: valid until {until[:16].replace('T', ' ')} UTC")


def _signed_release(
    source: ViewSource, place: Place, file: str, target: Path, detached: bool
) -> tuple[bytes, str | None]:
    """(text that counts, fingerprint of the key that signed it)"""
    if not source.keyring:
        _refuse_unsigned(source, file)
        content = target.read_bytes()
        return (content if detached else _inside(content)), None
    if not detached:
        return signature.signed_text(target, file, source.keyring)
    return target.read_bytes(), _detached(source, place, file, f"{file}.gpg", target)


def _detached(source: ViewSource, place: Place, file: str, name: str, target: Path) -> str:
    beside = target.with_name("signature")
    try:
        place.fetch(name, beside, limit=MAX_SIGNATURE)
    except Missing as exc:
        raise Refused(file, f"is not signed: {name} is missing") from exc
    return signature.check_detached(target, beside, file, source.keyring)


def _refuse_unsigned(source: ViewSource, file: str) -> None:
    if not source.allow_unsigned:
        raise Refused(file, "the source has no keyring, and unsigned metadata is not allowed for it")


def _inside(content: bytes) -> bytes:
    """The text of a clearsigned file whose signature nobody asks for."""
    if not content.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return content
    return content.partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]


def _fetch_index(place: Place, base: str, index: deb_release.IndexFile, by_hash: bool, target: Path) -> str:
    """Fetch the smallest form of an index that is there, and return its path. Raises Refused about the smallest."""
    missing = []
    for path, listed in index.forms:
        try:
            _fetch_form(place, base, path, listed, by_hash, target)
        except Missing as exc:
            missing.append(exc)
        else:
            return path
    raise missing[0]


def _fetch_form(place: Place, base: str, path: str, listed: deb_release.Listed, by_hash: bool, target: Path) -> None:
    expected = Expected("sha256", listed.digest, listed.size)
    folder = path.rpartition("/")[0]
    if by_hash:  # names that change with the content: no mixture while a mirror is being updated
        try:
            name = f"{base}/{folder}/by-hash/SHA256/{listed.digest}"
            place.fetch(name, target, limit=MAX_PACKED, expected=expected)
            return
        except Missing:
            pass
    place.fetch(f"{base}/{path}", target, limit=MAX_PACKED, expected=expected)


def _deb_reader(packed: Path, file: str) -> Reader:
    def read(skipped: list[Skipped]) -> Iterator[Offer]:
        for row in deb_index.packages(streams.blocks(packed, file), file, skipped):
            yield Offer(
                row.name,
                row.architecture,
                row.version,
                row.source_name if row.source_name != row.name else None,
                row.source_version if row.source_version != row.version else None,
                row.size,
                row.phased,
                row.multi_arch,
            )

    return read


# -- rpm -------------------------------------------------------------------------------------------------------------


def _rpm(source: ViewSource, place: Place, known: dict[str, str], directory: Path) -> Gathered | None:
    file, packed, plain = "repodata/repomd.xml", directory / "repomd", directory / "repomd.xml"
    got = place.fetch(file, packed, limit=rpm_repo.MAX_REPOMD, validators=_validators(source))
    if _unchanged(source, got):
        return None
    signed_by = None
    if source.keyring:
        signed_by = _detached(source, place, file, f"{file}.asc", packed)
    else:
        _refuse_unsigned(source, file)
    rpm_repo.plain_xml(packed, plain, file, "repomd", rpm_repo.MAX_REPOMD)
    files, revision = rpm_repo.read_repomd(plain, file)
    before = source.release.get("revision") or 0
    if revision < before:
        raise Refused(file, f"of {_day(revision)}, older than the one of {_day(before)}")
    primary, modules, updateinfo = (files.get(kind) for kind in ("primary", "modules", "updateinfo"))
    assert primary is not None  # noqa: S101 - read_repomd sees to it
    digest = _both(primary, modules)
    read = None
    if known.get("primary") != digest:
        place.fetch(primary.path, directory / "primary", limit=MAX_PACKED, expected=primary.expected)
        if modules:
            place.fetch(modules.path, directory / "modules", limit=MAX_PACKED, expected=modules.expected)
        read = _rpm_reader(directory, primary.path, modules.path if modules else None)
    parts, changed = [Part("primary", digest, read)], None
    if updateinfo:
        changes = known.get("updateinfo") != updateinfo.expected.digest
        if changes:
            changed = directory / "updateinfo"
            place.fetch(updateinfo.path, changed, limit=MAX_PACKED, expected=updateinfo.expected)
        parts.append(Part("updateinfo", updateinfo.expected.digest, _nothing if changes else None))
    told = {"revision": revision, "date": _day(revision), "signed_by": signed_by}
    return Gathered(got.digest, got.validators, told, parts, changed)


def _both(primary: rpm_repo.RepoFile, modules: rpm_repo.RepoFile | None) -> str:
    """Packages and their module streams are read together."""
    if modules is None:
        return primary.expected.digest
    return hashlib.sha256(f"{primary.expected.digest} {modules.expected.digest}".encode()).hexdigest()


def _day(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _nothing(skipped: list[Skipped]) -> Iterator[Offer]:
    """Advisories are no candidates."""
    yield from ()


def _rpm_reader(directory: Path, primary: str, modules: str | None) -> Reader:
    def read(skipped: list[Skipped]) -> Iterator[Offer]:
        streams_of = rpm_repo.module_streams(directory / "modules", modules) if modules else {}
        for row in rpm_primary.packages(directory / "primary", primary, skipped, directory / "primary.xml"):
            belongs = streams_of.get(row.nevra) if streams_of else None
            yield Offer(
                row.name,
                row.architecture,
                row.version,
                row.source_name,
                row.source_version,
                row.size,
                None,
                None,
                " ".join(belongs) if belongs else None,
                {"obsoletes": list(row.obsoletes)} if row.obsoletes else None,
            )

    return read


# -- Windows ---------------------------------------------------------------------------------------------------------


def _windows(source: ViewSource, place: Place, known: dict[str, str], directory: Path) -> Gathered | None:
    target = directory / "updates"
    got = place.fetch("", target, limit=windows_list.MAX_LIST, validators=_validators(source))
    if _unchanged(source, got):
        return None
    name = source.url.rpartition("/")[2]
    signed_by = None
    if source.keyring:
        with Place(source.url.rpartition("/")[0] or "/") as folder:
            signed_by = _detached(source, folder, name, f"{name}.asc", target)
    else:
        _refuse_unsigned(source, name)
    told = windows_list.read_list(target, name)

    def read(skipped: list[Skipped]) -> Iterator[Offer]:
        for update in told.updates:
            details = msgspec.to_builtins(update)
            yield Offer(update.id, "", str(update.revision), size=update.size, details=details)

    about = {"label": told.name[:255], "date": told.published[:64] or None, "signed_by": signed_by}
    part = Part("updates", got.digest, None if known.get("updates") == got.digest else read)
    return Gathered(got.digest, got.validators, about, [part])
