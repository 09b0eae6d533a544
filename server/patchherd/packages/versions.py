# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Version strings as order-preserving byte strings: newer is a plain byte comparison.

`deb_key` follows Debian policy 5.6.12 as apt applies it, `rpm_key` follows rpm's EVR comparison. Keys of different
ecosystems must not be compared with each other.
"""

from __future__ import annotations

import re
from functools import lru_cache

_DIGITS = re.compile(rb"([0-9]+)")


def _number(digits: bytes) -> bytes:
    """Digits without leading zeros behind their count; any number of digits sorts by value. Never starts with 0x00."""
    digits = digits.lstrip(b"0")
    length = len(digits)
    if length < 254:
        return bytes((length + 1,)) + digits
    return b"\xff" + length.to_bytes(4, "big") + digits


# -- deb -------------------------------------------------------------------------------------------------------------


def _deb_ranks() -> bytes:
    """Rank of each byte inside a run of non-digits: `~` < end of the run < letters < bytes above ASCII < the rest.

    apt reads bytes above ASCII as negative characters, which puts them below the ASCII signs.
    """
    letters = [byte for byte in range(0x41, 0x7B) if chr(byte).isalpha()]
    signs = [byte for byte in range(0x80) if not chr(byte).isalnum() and byte != 0x7E]
    ranks = bytearray(256)
    ranks[0x7E] = 1
    for rank, byte in enumerate([*letters, *range(0x80, 0x100), *signs], start=3):
        ranks[byte] = rank
    return bytes(ranks)


_RANKS = _deb_ranks()
_END = b"\x02"  # of a run of non-digits; between "~" and everything else
_EMPTY = b"\x02\x00"  # an empty part sorts below "0"
_ZERO = b"\x02\x01\x02"


def _deb_part(part: bytes) -> bytes:
    if not part:
        return _EMPTY
    pieces = _DIGITS.split(part)
    out = []
    for index in range(0, len(pieces) - 1, 2):
        out.append(pieces[index].translate(_RANKS))
        out.append(_END)
        out.append(_number(pieces[index + 1]))
    if pieces[-1]:
        out.append(pieces[-1].translate(_RANKS))
        out.append(b"\x02\x01")
    out.append(_END)
    return b"".join(out)


@lru_cache(maxsize=8192)
def deb_key(version: str) -> bytes:
    """The sort key of a Debian version `[epoch:]upstream[-revision]`."""
    text = version.encode("utf-8", "surrogateescape")
    epoch, colon, rest = text.partition(b":")
    if not colon or not epoch:
        epoch, rest = b"", text
    upstream, dash, revision = rest.rpartition(b"-")
    if not dash:
        return _deb_part(epoch.lstrip(b"0")) + _deb_part(rest) + _ZERO
    return _deb_part(epoch.lstrip(b"0")) + _deb_part(upstream) + _deb_part(revision)


# -- rpm -------------------------------------------------------------------------------------------------------------

_RPM_TOKENS = re.compile(rb"([0-9]+)|([A-Za-z]+)|([~^])")
_RPM_END = b"\x02"  # tokens: ~ 1, end 2, ^ 3, letters 4, digits 5
_RPM_SIGNS = {b"~": b"\x01", b"^": b"\x03"}


def _rpm_part(part: bytes) -> bytes:
    out = []
    for digits, letters, sign in _RPM_TOKENS.findall(part):
        if digits:
            out.append(b"\x05" + _number(digits))
        elif letters:
            out.append(b"\x04" + letters + b"\x00")
        else:
            out.append(_RPM_SIGNS[sign])
    out.append(_RPM_END)
    return b"".join(out)


@lru_cache(maxsize=8192)
def rpm_key(evr: str) -> bytes:
    """The sort key of an rpm version `[epoch:]version[-release]`; no epoch is epoch 0, no release sorts below any."""
    text = evr.encode("utf-8", "surrogateescape")
    epoch, colon, rest = text.partition(b":")
    if not colon or (epoch and not epoch.isdigit()):
        epoch, rest = b"", text
    version, dash, release = rest.rpartition(b"-")
    if not dash:
        return _number(epoch) + _rpm_part(rest) + b"\x00"
    return _number(epoch) + _rpm_part(version) + _rpm_part(release)


# -- everything else -------------------------------------------------------------------------------------------------

_LOOSE_TOKENS = re.compile(r"([0-9]+)|([^\W\d_]+)")
_BEFORE_RELEASE = frozenset({"dev", "alpha", "a", "beta", "b", "pre", "preview", "rc", "snapshot", "nightly", "canary"})
_GREEK = {"a": "alpha", "b": "beta"}
_LOOSE_END = b"\x02"  # tokens: word before a release 1, end 2, other words 3, numbers 4


@lru_cache(maxsize=8192)
def loose_key(version: str) -> bytes:
    """The sort key of a version that follows no rule known to us, as programs on Windows have them.

    Runs of digits compare by value, runs of letters as lower-case text, all else separates. A number is newer than a
    word in its place, zeros at the end of numbers count for nothing (`2` = `2.0.0`), and words like beta or rc are
    older than nothing (`2.0-rc1` < `2.0` < `2.0a` < `2.0.1`), where `a` and `b` mean alpha and beta only between a
    separator and a number (`2.0-b3`). A leading `v` is dropped.
    """
    text = version.strip().lower()
    if text[:1] == "v" and text[1:2].isdigit():
        text = text[1:]
    out: list[bytes] = []
    zeros = 0
    for match in _LOOSE_TOKENS.finditer(text):
        digits, word = match.groups()
        if digits:
            number = _number(digits.encode())
            if number == b"\x01":
                zeros += 1
                continue
            out += [b"\x04\x01"] * zeros
            out.append(b"\x04" + number)
        else:
            before = _is_before_release(word, text, match)
            out.append((b"\x01" + _GREEK.get(word, word).encode() if before else b"\x03" + word.encode()) + b"\x00")
        zeros = 0
    return b"".join([*out, _LOOSE_END])


def _is_before_release(word: str, text: str, match: re.Match[str]) -> bool:
    if word not in _BEFORE_RELEASE:
        return False
    separated = match.start() == 0 or not text[match.start() - 1].isalnum()
    return len(word) > 1 or (separated and text[match.end() : match.end() + 1].isdigit())


def key(ecosystem: str, version: str) -> bytes:
    """The sort key of a version in `ecosystem`; outside deb and rpm: runs of digits and letters, as rpm does."""
    return deb_key(version) if ecosystem == "deb" else rpm_key(version)
