# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Items and lists of items that this process has read before.

The hosts of a fleet send the same few thousand items over and over, and most of a changed report is what it was. So
each item is found by its own JSON text, and is parsed, checked and judged once. Hosts that were made alike and patched
alike send the same list, and that is read once, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any

import msgspec

from patchherd.database import db
from patchherd.errors import invalid
from patchherd.packages.advisories.store import learn_sources
from patchherd.packages.items import MAX_PACKAGES, Item, decode_items
from patchherd.packages.sets import Triple, intern

LIMIT = 50_000
"""Items that are remembered: two generations of half as many, the older one goes as a whole."""
LONGEST = 4096
"""Bytes of an item that is worth remembering."""
LIST_BYTES = 8 << 20
"""Text of all lists that are remembered; the one that nobody sent for the longest time goes first."""


class KnownItem:
    """What the server needs of one item."""

    __slots__ = ("finding", "identity", "offer", "source", "triple", "version_id")

    def __init__(self, item: Item) -> None:
        self.identity = (item.name, item.architecture or "")
        is_update = item.needs_update and item.is_windows_update
        self.triple: Triple | None = None
        """What is installed: (name, architecture, version)."""
        if item.current_version and not is_update:
            self.triple = (*self.identity, item.current_version)
        self.source = item.source_name if item.source_name and item.source_name != item.name else None
        """The source package, when its name is another one."""
        self.version_id = 0
        """Of the interned triple; 0 as long as no transaction that interned it was committed."""
        asks = item.needs_update or item.available_version or item.broken
        self.offer: Item | None = item if asks else None
        """The item itself when it asks for attention."""
        self.finding: Any = msgspec.UNSET
        """What follows from this item alone (see `evaluate`), once somebody has asked."""


_Items = dict[bytes, KnownItem]
"""By the JSON text between their braces."""


class KnownList:
    """A report's list of packages."""

    __slots__ = ("findings", "items", "text")

    def __init__(self, text: bytes, items: list[KnownItem]) -> None:
        self.text, self.items = text, items
        self.findings: list[Any] | None = None
        """What follows from this list alone (see `evaluate`), once somebody has asked; nobody may change it."""


class _Memory:
    def __init__(self) -> None:
        self._lock = Lock()
        self._database: Any = None
        self.forget()

    def forget(self) -> None:
        self.young: dict[str, _Items] = {}
        self.old: dict[str, _Items] = {}
        self._lists: dict[tuple[str, bytes], KnownList] = {}
        self._list_bytes = 0

    def list_of(self, ecosystem: str, fingerprint: bytes) -> KnownList | None:
        """The list that was kept under this fingerprint; it may be another one."""
        with self._lock:
            found = self._lists.pop((ecosystem, fingerprint), None) if db.obj is self._database else None
            if found is not None:
                self._lists[ecosystem, fingerprint] = found  # the last one now
            return found

    def keep(self, ecosystem: str, fingerprint: bytes, known: KnownList) -> None:
        with self._lock:
            if len(known.text) > LIST_BYTES // 4 or db.obj is not self._database:
                return
            replaced = self._lists.pop((ecosystem, fingerprint), None)
            self._list_bytes += len(known.text) - (len(replaced.text) if replaced else 0)
            self._lists[ecosystem, fingerprint] = known
            while self._list_bytes > LIST_BYTES:
                self._list_bytes -= len(self._lists.pop(next(iter(self._lists))).text)

    def of(self, ecosystem: str) -> tuple[_Items, _Items]:
        """The younger and the older items of the database in use: ids of another one mean nothing here."""
        with self._lock:
            if db.obj is not self._database:
                self._database = db.obj
                self.forget()
            if sum(map(len, self.young.values())) > LIMIT // 2:
                self.old, self.young = self.young, {}
            return self.young.setdefault(ecosystem, {}), self.old.get(ecosystem, {})


_memory = _Memory()
_LOOK = 8192
"""Bytes in which the first item ends, as a rule."""
_LONGEST_ITEM = 16
"""Pieces that one item may be made of before all of it is parsed instead."""
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_parse = msgspec.json.Decoder(Item).decode


def read_list(ecosystem: str, fingerprint: bytes, packages: bytes) -> KnownList:
    """A report's `packages`, to be found again by any short digest. Raises BadRequest like `read_items`."""
    known = _memory.list_of(ecosystem, fingerprint)
    if known is None or known.text != packages:  # digests can be made equal, and no host may speak for another
        known = KnownList(packages, read_items(ecosystem, packages))
        _memory.keep(ecosystem, fingerprint, known)
    return known


def read_items(ecosystem: str, packages: bytes) -> list[KnownItem]:
    """The items of a report's `packages`. Raises BadRequest, which names the item and field."""
    young, old = _memory.of(ecosystem)
    found = _recognise(packages, young, old)
    if found is not None:
        return found
    try:
        texts = list(map(bytes, _split(packages)))
        if len(texts) > MAX_PACKAGES:
            raise invalid("packages", f"at most {MAX_PACKAGES} packages are taken, not {len(texts)}")
        return [_item(text, young, old) for text in texts]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decode_items(packages)  # says what is wrong where
        raise


def _recognise(packages: bytes, young: _Items, old: _Items) -> list[KnownItem] | None:
    """The items of a list as agents write it; None: it has to be parsed as a whole.

    It is cut wherever one object may end and another begin. That stands within objects, too, so a piece that is no
    object belongs together with those behind it. Once all pieces are objects, the list is exactly that of these.
    """
    between = b"},{" if b"},{" in packages[:_LOOK] else b"}, {"
    pieces = packages[2:-2].split(between)
    if packages[:2] != b"[{" or packages[-2:] != b"}]" or len(pieces) > MAX_PACKAGES:
        return None
    found = list(map(young.get, pieces))
    if None not in found:
        return found  # type: ignore[return-value]
    out: list[KnownItem] = []
    begun: list[bytes] = []
    for piece, known in zip(pieces, found, strict=True):
        if known is not None and not begun:
            out.append(known)
            continue
        begun.append(piece)
        text = b"{%s}" % between.join(begun)
        if text.count(b"[") > text.count(b"]") and len(begun) <= _LONGEST_ITEM:
            continue  # within a list, most likely: an error would cost more than this question
        try:
            out.append(_item(text, young, old))
        except msgspec.ValidationError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if len(begun) > _LONGEST_ITEM:
                return None
        else:
            begun = []
    return None if begun else out


def _item(text: bytes, young: _Items, old: _Items) -> KnownItem:
    """The item with this text. Raises msgspec's errors."""
    key = text[1:-1]
    known = young.get(key)
    if known is None:
        known = old.get(key) or KnownItem(_parse(text))
        if len(text) <= LONGEST:
            young[key] = known
    return known


def version_ids(ecosystem: str, items: Iterable[KnownItem]) -> list[int]:
    """The interned ids of what is installed. Call it inside a write transaction."""
    items = [item for item in items if item.triple is not None]
    ids = [item.version_id for item in items]
    if 0 not in ids:
        return ids
    new = [item for item in items if not item.version_id]
    found = intern(ecosystem, {item.triple for item in new if item.triple})
    learn_sources({(ecosystem, item.identity[0], item.source) for item in new if item.source})

    def keep() -> None:
        for item in new:
            item.version_id = found[item.triple]  # type: ignore[index]

    db.after_commit(keep)  # an id that is rolled back must not be remembered
    return [item.version_id or found[item.triple] for item in items]  # type: ignore[index]
