# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""SSH host keys that machines report: only a whole public key of a known type is kept, in one spelling.

They end in known_hosts files. The inventory plugin (`plugins/plugin_utils/_hosts.py`) holds to the same rules.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

MAX_KEYS = 8
PROBLEM = "SSH host key"
"""How every problem with such keys begins."""

_LINE = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,3000}={0,2})\Z")
_POINTS = {"ecdsa-sha2-nistp256": 65, "ecdsa-sha2-nistp384": 97, "ecdsa-sha2-nistp521": 133}
"""Length of an uncompressed point of each curve."""


def read_host_keys(values: Any) -> tuple[list[str], list[str]]:
    """The public keys among `values` (type and base64, no comment), sorted; and what is wrong with the others."""
    keys, problems = set(), []
    for number, value in enumerate(values if isinstance(values, list) else [], start=1):
        key = " ".join(str(value).split()[:2])
        if is_host_key(key):
            keys.add(key)
        else:
            problems.append(f"{PROBLEM} {number} is not a public key of a known type: it is not kept")
    if len(keys) > MAX_KEYS:
        problems.append(f"{PROBLEM}s: {len(keys)} are reported, {MAX_KEYS} are kept")
    return sorted(keys)[:MAX_KEYS], problems[: MAX_KEYS + 1]


def is_host_key(text: str) -> bool:
    """Whether `type base64` is a whole public key of that type (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4)."""
    match = _LINE.match(text)
    if match is None:
        return False
    kind, encoded = match.groups()
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    fields = _fields(blob)
    if not fields or fields[0] != kind.encode() or base64.b64encode(blob).decode() != encoded:
        return False
    if kind == "ssh-ed25519":
        return [len(field) for field in fields[1:]] == [32]
    if len(fields) != 3:
        return False
    if kind == "ssh-rsa":
        exponent, modulus = fields[1:]
        return _is_positive(exponent) and _is_positive(modulus) and 1024 <= _bits(modulus) <= 16384
    curve, point = fields[1:]
    return curve == kind.rpartition("-")[2].encode() and len(point) == _POINTS[kind] and point[0] == 4


def _fields(blob: bytes) -> list[bytes]:
    """The strings a key is made of, each behind its length in four bytes; none when they do not fill the blob."""
    fields: list[bytes] = []
    at = 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        if end > len(blob) or len(fields) == 3:
            return []
        fields.append(blob[at + 4 : end])
        at = end
    return fields


def _is_positive(number: bytes) -> bool:
    """Whether it is a positive mpint of RFC 4251 without needless bytes."""
    if not number or number[0] & 0x80:
        return False
    return number[0] != 0 or (len(number) > 1 and number[1] & 0x80 != 0)


def _bits(number: bytes) -> int:
    return int.from_bytes(number, "big").bit_length()
