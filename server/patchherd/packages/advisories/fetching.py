# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Get the file of a feed: a local one, a download, or the updateinfo of a repository."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from patchherd.errors import PatchherdError
from patchherd.packages.advisories.reading import Broken, Source
from patchherd.packages.advisories.xmltree import elements

MAX_DOWNLOAD = 4 * 2**30
TIMEOUTS = (15, 60)
"""Seconds: to connect, and between two pieces of an answer."""

Progress = Callable[[str, int, int], None]
"""(what is done, bytes done, bytes in all or 0)"""


@dataclass
class Fetched:
    """A file to import; `path` None: the server says that it has not changed."""

    path: Path | None
    label: str
    etag: str | None = None
    last_modified: str | None = None


def is_url(location: str) -> bool:
    return urlsplit(location).scheme in {"http", "https"}


@contextmanager
def fetched(
    location: str, kind: str, etag: str | None, last_modified: str | None, progress: Progress
) -> Iterator[Fetched]:
    """The file at a path or URL, for the block. Raises PatchherdError: unreachable, too large, other than announced."""
    with tempfile.TemporaryDirectory(prefix="patchherd-advisories-") as directory:
        place = Path(directory)
        if kind == "updateinfo" and _is_repository(location):
            yield _from_repository(location.rstrip("/") + "/", place, etag, progress)
        elif is_url(location):
            yield _download(location, place / "file", etag, last_modified, progress)
        else:
            yield Fetched(_local(location), Path(location).name)


def _local(location: str) -> Path:
    path = Path(location)
    if not path.is_file():
        raise PatchherdError(f"{location}: no such file")
    return path


def _is_repository(location: str) -> bool:
    if is_url(location):
        return ".xml" not in urlsplit(location).path.rpartition("/")[2]
    return Path(location).is_dir()


def _from_repository(base: str, place: Path, etag: str | None, progress: Progress) -> Fetched:
    """The updateinfo that repomd.xml names; its checksum stands for an ETag."""
    remote = is_url(base)
    index = urljoin(base, "repodata/repomd.xml")
    file = _download(index, place / "repomd.xml", None, None, progress).path if remote else _local(index)
    assert file is not None  # noqa: S101 - asked without conditions
    source = Source(file)
    try:
        found = next(row for row in elements(source, "repomd", "data") if row.attributes.get("type") == "updateinfo")
    except StopIteration:
        raise PatchherdError(f"{index}: the repository has no updateinfo") from None
    except Broken as exc:
        raise PatchherdError(str(exc)) from exc
    finally:
        source.close()
    where, checksum = found.find("location"), found.find("checksum")
    kind = (checksum.attributes.get("type") or "").replace("-", "") if checksum is not None else ""
    if where is None or checksum is None or kind not in {"sha256", "sha384", "sha512"}:
        raise PatchherdError(f"{index}: updateinfo without location and SHA-2 checksum")
    if etag == checksum.text:
        return Fetched(None, index, etag)
    href = urljoin(base, where.attributes.get("href", ""))
    if remote != is_url(href) or not href.startswith(base):
        raise PatchherdError(f"{index}: its updateinfo lies outside of the repository")
    path = _download(href, place / "file", None, None, progress).path if remote else _local(href)
    assert path is not None  # noqa: S101
    with path.open("rb") as content:
        if hashlib.file_digest(content, kind).hexdigest() != checksum.text:
            raise PatchherdError(f"{href}: its checksum differs from the one in repomd.xml")
    return Fetched(path, href.rpartition("/")[2], checksum.text)


def _download(url: str, path: Path, etag: str | None, last_modified: str | None, progress: Progress) -> Fetched:
    headers = {"User-Agent": "patchherd", "Accept-Encoding": "identity"}
    if etag:
        headers["If-None-Match"] = etag
    elif last_modified:
        headers["If-Modified-Since"] = last_modified
    label = urlsplit(url).path.rpartition("/")[2] or url
    try:
        with requests.get(url, headers=headers, timeout=TIMEOUTS, stream=True) as answer:
            if answer.status_code == 304:
                return Fetched(None, label, etag, last_modified)
            if answer.status_code != 200:
                raise PatchherdError(f"{url}: the server answers {answer.status_code}")
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            with path.open("wb") as file:
                for piece in answer.iter_content(256 * 1024):
                    done += len(piece)
                    if done > MAX_DOWNLOAD:
                        raise PatchherdError(f"{url}: more than {MAX_DOWNLOAD} bytes")
                    file.write(piece)
                    progress("download", done, total)
            if total and not answer.headers.get("Content-Encoding") and done != total:
                raise PatchherdError(f"{url}: byte {done}: the download ended too early, {total} bytes were announced")
            return Fetched(path, label, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
    except (requests.RequestException, OSError, ValueError) as exc:
        raise PatchherdError(f"{url}: {exc}") from exc
