# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Hashing secrets, and remembering which ones were already found right.

bcrypt costs milliseconds on purpose; an agent that shows the same key all day should not cost them on every request.
The memory holds keyed digests, never secrets, and each entry is bound to the stored hash that it was checked against.
The caller reads that hash from the database on every request, so a changed, disabled or deleted credential fails at
once in every process, however many there are and without any message between them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict

import bcrypt

MAX_BCRYPT_BYTES = 72


def hash_secret(secret: str, cost: int) -> str:
    """bcrypt hash; ValueError above 72 bytes, which is all that bcrypt reads."""
    return bcrypt.hashpw(secret.encode(), bcrypt.gensalt(cost)).decode()


def check_secret(secret: str, stored_hash: str) -> bool:
    """Whether `secret` has this bcrypt hash, always at full price."""
    raw = secret.encode()
    return len(raw) <= MAX_BCRYPT_BYTES and bcrypt.checkpw(raw, stored_hash.encode())


def digest(secret: str) -> str:
    """SHA-256 for secrets that are random enough not to be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class VerifiedCredentials:
    """At most `size` checked credentials, each for at most `seconds`; least recently used ones go first."""

    def __init__(self, size: int = 20_000, seconds: float = 24 * 3600) -> None:
        self._size = size
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def check(self, secret: str, stored_hash: str) -> bool:
        """Whether `secret` has this bcrypt hash; only the first right answer pays for bcrypt."""
        mark = hashlib.blake2b(secret.encode(), key=self._key, digest_size=16).digest()
        with self._lock:
            entry = self._known.get(mark)
            if entry and entry[1] > time.monotonic() and hmac.compare_digest(entry[0], stored_hash):
                self._known.move_to_end(mark)
                return True
        if not check_secret(secret, stored_hash):
            return False
        with self._lock:
            self._known[mark] = (stored_hash, time.monotonic() + self._seconds)
            self._known.move_to_end(mark)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._known)


verified = VerifiedCredentials()
