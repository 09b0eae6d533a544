# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Hashing secrets, and remembering which ones were already found right.

bcrypt costs milliseconds on purpose; an agent that shows the same key all day should not cost them on every request.
The memory holds keyed digests, never secrets, each of a secret together with the hash that it was checked against.
The caller reads that hash from the database on every request, so a changed, disabled or deleted credential fails at
once in every process, however many there are and without any message between them.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
import struct
import time

import bcrypt

from patchherd import cpus

MAX_BCRYPT_BYTES = 72
_MARK = 16
_PLACES = 16
_ENTRY = struct.Struct(f"{_MARK}sdd")
"""Digest; the end of its life and its last use by the monotonic clock, which all processes share."""
_USED = struct.Struct("d")


def hash_secret(secret: str, cost: int) -> str:
    """bcrypt hash; ValueError above 72 bytes, which is all that bcrypt reads."""
    with cpus.anywhere():
        return bcrypt.hashpw(secret.encode(), bcrypt.gensalt(cost)).decode()


def check_secret(secret: str, stored_hash: str) -> bool:
    """Whether `secret` has this bcrypt hash, always at full price."""
    raw = secret.encode()
    with cpus.anywhere():
        return len(raw) <= MAX_BCRYPT_BYTES and bcrypt.checkpw(raw, stored_hash.encode())


def digest(secret: str) -> str:
    """SHA-256 for secrets that are random enough not to be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class VerifiedCredentials:
    """At most `size` checked credentials, each for at most `seconds`; the memory is one for all processes.

    It is a table of digests in memory that processes share which are forked from the one that made it. Nobody waits for
    anybody: an entry that two of them write at the same time matches nothing, and then bcrypt is asked once more. A
    digest names a few places that it may stand at, and takes the one that was not used for the longest time.
    """

    def __init__(self, size: int = 32_768, seconds: float = 24 * 3600) -> None:
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._places = min(size, _PLACES)
        self._rows = size // self._places
        self._table = mmap.mmap(-1, self._rows * self._places * _ENTRY.size)

    def check(self, secret: str, stored_hash: str) -> bool:
        """Whether `secret` has this bcrypt hash; only the first right answer pays for bcrypt."""
        shown = b"%s\0%s" % (secret.encode(), stored_hash.encode())
        mark = hashlib.blake2b(shown, key=self._key, digest_size=_MARK).digest()
        size = self._places * _ENTRY.size
        start = int.from_bytes(mark[:4], "little") % self._rows * size
        moment = time.monotonic()
        found = self._find(mark, start, start + size)
        if found >= 0 and _ENTRY.unpack_from(self._table, found)[1] > moment:
            _USED.pack_into(self._table, found + _ENTRY.size - _USED.size, moment)
            return True
        if not check_secret(secret, stored_hash):
            return False
        if found < 0:
            found = min(range(start, start + size, _ENTRY.size), key=lambda at: _ENTRY.unpack_from(self._table, at)[2])
        _ENTRY.pack_into(self._table, found, mark, moment + self._seconds, time.monotonic())
        return True

    def _find(self, mark: bytes, start: int, end: int) -> int:
        """Where the entry with this mark begins; -1: nowhere."""
        at = self._table.find(mark, start, end)
        while at >= 0 and (at - start) % _ENTRY.size:
            at = self._table.find(mark, at + 1, end)
        return at

    def __len__(self) -> int:
        return sum(used > 0 for _, _, used in _ENTRY.iter_unpack(self._table[:]))


verified = VerifiedCredentials()
