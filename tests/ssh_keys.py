# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""SSH host keys for tests, well-formed and of nobody."""

from __future__ import annotations

import base64
import hashlib


def line(kind: str, *fields: bytes) -> str:
    """A public key of these fields, as a host writes it: type and base64."""
    parts = (kind.encode(), *fields)
    return f"{kind} {base64.b64encode(b''.join(len(part).to_bytes(4, 'big') + part for part in parts)).decode()}"


def ed25519(seed: str) -> str:
    """Another key for another seed."""
    return line("ssh-ed25519", hashlib.sha256(seed.encode()).digest())


def rsa(seed: str, bits: int = 3072) -> str:
    """A key of `bits`, a multiple of 8."""
    return line("ssh-rsa", b"\x01\x00\x01", b"\0\xc0" + hashlib.shake_256(seed.encode()).digest(bits // 8 - 1))


def ecdsa(seed: str, size: int = 256) -> str:
    """A key of the NIST curve with this size."""
    point = b"\x04" + hashlib.shake_256(seed.encode()).digest(2 * ((size + 7) // 8))
    return line(f"ecdsa-sha2-nistp{size}", f"nistp{size}".encode(), point)
