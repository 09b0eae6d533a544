# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Compressed files as blocks of bytes, never more than is allowed."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from patchherd.packages.refusal import Refused

MAX_INFLATED = 1 << 30
"""Bytes that a file may have after inflating."""
MAX_RATIO = 120
"""Times its packed size that a file may have after inflating; real indexes have 4 to 20."""
RATIO_FREE = 32 << 20
"""Below this many bytes the ratio does not matter."""
XZ_MEMORY = 160 << 20
ZSTD_WINDOW = 128 << 20
BLOCK = 128 << 10
"""Small enough to stay in the processor's cache: the stanza reader is twice as fast as with megabytes."""

_ZSTD_FEED = 512
"""zstd has no bound on what it makes of its input: at most 128 KiB of every 4 bytes."""


class _Zstd:
    """zstandard's decompressor in the shape of the standard library's."""

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        self._data = b""
        self._read = 0
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        return self._read >= len(self._data)

    def decompress(self, data: bytes, limit: int) -> bytes:
        if data:
            self._data, self._read = self._data[self._read :] + data, 0
        out = b""
        while not out and not self._inner.eof and not self.needs_input:
            out = self._inner.decompress(self._data[self._read : self._read + _ZSTD_FEED])
            self._read += _ZSTD_FEED
        if self._inner.eof:
            self.eof = True
            self.unused_data = self._inner.unused_data + self._data[self._read :]
        return out


class _Gzip:
    """zlib's decompressor in the shape of the other ones."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, limit)


def _xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


_KINDS: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", "gzip", _Gzip),
    (b"\xfd7zXZ\x00", "xz", _xz),
    (b"\x28\xb5\x2f\xfd", "zstd", _Zstd),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
)


def blocks(path: Path, name: str, *, limit: int = MAX_INFLATED) -> Iterator[bytes]:
    """The content of a file, inflated if its first bytes say that it is packed, in blocks of about BLOCK bytes.

    Raises Refused about `name`: damaged, cut off, or larger than it may be.
    """
    with path.open("rb") as file:
        yield from blocks_of(file, name, limit=limit)


def blocks_of(
    file: BinaryIO, name: str, *, limit: int = MAX_INFLATED, ratio: int = MAX_RATIO, free: int = RATIO_FREE
) -> Iterator[bytes]:
    """The same for a file that is open, at its start; how far it was read is where it stands."""
    packed_size = os.fstat(file.fileno()).st_size
    allowed = min(limit, max(free, packed_size * ratio))
    magic = file.read(6)
    file.seek(0)
    found = next(((kind, make) for start, kind, make in _KINDS if magic.startswith(start)), None)
    source = _plain(file) if found is None else _inflated(file, name, *found)
    total = 0
    for block in source:
        total += len(block)
        if total > allowed:
            packed = f" from {packed_size:,} packed ones" if found else ""
            raise Refused(name, f"more than {allowed:,} bytes{packed}", f"byte {total:,}")
        yield block


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _inflated(file: BinaryIO, name: str, kind: str, make: Callable[[], Any]) -> Iterator[bytes]:
    """The members of a packed file, one behind the other."""
    engine = make()
    data = file.read(BLOCK)
    begun = True
    while data or begun:
        try:
            out = engine.decompress(data, BLOCK)
        except MemoryError as exc:
            raise Refused(name, f"{kind}: needs more memory than allowed", f"byte {file.tell():,}") from exc
        except Exception as exc:  # each library has its own, zstandard's is not imported here
            if type(exc).__name__ not in {"error", "LZMAError", "OSError", "ValueError", "EOFError", "ZstdError"}:
                raise
            raise Refused(name, f"{kind}: {exc}", f"packed byte {file.tell():,}") from exc
        if out:
            yield out
        if engine.eof:
            data = engine.unused_data or file.read(BLOCK)
            while data and not (data := data.lstrip(b"\0")):  # padding: no packed file begins with zeros
                data = file.read(BLOCK)
            begun = bool(data)
            engine = make()
        elif engine.needs_input:
            data = file.read(BLOCK)
            if not data:
                raise Refused(name, f"{kind}: cut off", f"packed byte {file.tell():,}")
        else:
            data = b""
