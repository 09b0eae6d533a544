# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""RPM repositories: repomd.xml by createrepo_c, modules.yaml, and what no XML file may have."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from patchherd.packages import streams
from patchherd.packages.fetch import Expected
from patchherd.packages.refusal import Refused, shown

MAX_REPOMD = 4 << 20
MAX_MODULES = 64 << 20
MAX_TEXT = 1 << 20
"""Bytes between two tags."""

_STRONG = {"sha256": 64, "sha384": 96, "sha512": 128}
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)")
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._\-]+)""")


class RepoFile(NamedTuple):
    """A metadata file that repomd.xml names."""

    path: str
    expected: Expected


def plain_xml(packed: Path, target: Path, name: str, root: str, limit: int = streams.MAX_INFLATED) -> None:
    """Inflate an XML file, whose outermost element is `root`, to `target`. Raises Refused for what nobody should parse.

    That is: document types and entities, an encoding other than UTF-8, NUL characters, megabytes of text in one place.
    """
    offset, run, tail = 0, 0, b""
    with target.open("wb") as out:
        for block in streams.blocks(packed, name, limit=limit):
            if offset == 0:
                _check_head(block, name, root)
            both = tail + block
            if b"<!" in both and (found := _DECLARATION.search(both)):
                at = offset - len(tail) + found.start()
                raise Refused(name, f"{found[0].decode()} has no place in repository metadata", f"byte {at:,}")
            if 0 in block:
                raise Refused(name, "a NUL character", f"byte {offset + block.index(0):,}")
            last = block.rfind(b"<")
            run = run + len(block) if last < 0 else len(block) - last
            if run > MAX_TEXT:
                raise Refused(name, f"more than {MAX_TEXT:,} bytes of text in one place", f"byte {offset:,}")
            offset += len(block)
            tail = block[-16:]
            out.write(block)


def _check_head(block: bytes, name: str, root: str) -> None:
    told = _ENCODING.match(block.removeprefix(codecs.BOM_UTF8))
    if told and told[1].lower() not in {b"utf-8", b"utf8", b"us-ascii", b"ascii"}:
        raise Refused(name, f"encoding {shown(told[1])}; UTF-8 is needed", "byte 0")
    if not block.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        raise Refused(name, "is no XML", "byte 0")
    # createrepo_c passes over elements that it does not know: a log-in page would be a repository without packages.
    first = re.search(rb"<([A-Za-z_][\w.:\-]*)", block)
    if first is None or first[1] != root.encode():
        raise Refused(name, f"<{root}> is expected, not {shown(first[0] if first else b'nothing')}")


def parsed(name: str, call: Callable[[], Any]) -> Any:
    """What createrepo_c makes of a file; its errors are about `name`."""
    import createrepo_c

    try:
        return call()
    except createrepo_c.CreaterepoCError as exc:
        raise Refused(name, shown(str(exc), 300)) from exc
    except UnicodeDecodeError as exc:  # createrepo_c's message shows the place, whatever is there
        raise Refused(name, "has bytes that are no UTF-8") from exc


def read_repomd(file: Path, name: str) -> tuple[dict[str, RepoFile], int]:
    """(type -> file, revision: seconds since the epoch of the newest metadata file). Raises Refused."""
    import createrepo_c

    repomd = createrepo_c.Repomd()
    warnings: list[str] = []
    parsed(name, lambda: createrepo_c.xml_parse_repomd(str(file), repomd, warned(warnings)))
    found: dict[str, RepoFile] = {}
    for record in repomd.records:
        kind, size = record.checksum_type, record.size
        if _STRONG.get(kind) != len(record.checksum or ""):
            if record.type in {"primary", "updateinfo", "modules"}:
                raise Refused(name, f"{record.type} has no SHA-256 or better, but {shown(str(kind))}")
            continue
        expected = Expected(kind, record.checksum, size if size and size > 0 else None)
        found[record.type] = RepoFile(record.location_href or "", expected)
    if "primary" not in found:
        raise Refused(name, "names no primary" + (f" ({shown(warnings[0])})" if warnings else ""))
    return found, max((record.timestamp or 0 for record in repomd.records), default=0)


def warned(into: list[str]) -> Callable[[int, str], bool]:
    """A callback for createrepo_c that keeps its warnings."""

    def note(kind: int, message: str) -> bool:
        into.append(message)
        return True

    return note


def module_streams(packed: Path, name: str) -> dict[str, list[str]]:
    """NEVRA (epoch included) -> the module streams that it belongs to, as name:stream. Raises Refused."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = b"".join(streams.blocks(packed, name, limit=MAX_MODULES))
    found: dict[str, set[str]] = {}
    try:
        for document in yaml.load_all(text, Loader=loader):
            if isinstance(document, dict) and document.get("document") == "modulemd":
                _add_stream(found, document.get("data"))
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        raise Refused(
            name, shown(str(getattr(exc, "problem", exc)), 200), f"line {mark.line + 1:,}" if mark else None
        ) from exc
    except (RecursionError, UnicodeDecodeError, ValueError, AttributeError, TypeError) as exc:
        raise Refused(name, f"is no list of modules: {shown(str(exc), 200)}") from exc
    return {nevra: sorted(streams_) for nevra, streams_ in found.items()}


def _add_stream(found: dict[str, set[str]], data: Any) -> None:
    stream = f"{data['name']}:{data['stream']}" if data.get("stream") is not None else None
    if stream is None or len(stream) > 200 or " " in stream:
        return
    for nevra in (data.get("artifacts") or {}).get("rpms") or ():
        found.setdefault(str(nevra), set()).add(stream)
