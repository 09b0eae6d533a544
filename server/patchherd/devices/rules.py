# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The language of dynamic groups: from text to a checked tree. `rule_sql.py` makes a condition of the database from it.

    os_family == "debian" and hostname ~ "web-*" and tag in ("prod", "dmz") and missing_security > 0

What is not known makes neither a comparison nor its opposite true; `field == null` asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import NoReturn

from patchherd.devices.keys import network_keys, version_key

MAX_LENGTH = 2000
MAX_DEPTH = 10
"""Of brackets and `not`: SQLite's parser has a stack of 100 entries."""
MAX_VALUES = 200
MAX_TEXT = 255
MAX_NUMBER = 2**31 - 1
MAX_SECONDS = 100 * 366 * 86_400

EQUALITY, MEMBERSHIP, PATTERN = ("==", "!="), ("in", "not in"), ("~", "!~")
ORDER = ("<", "<=", ">", ">=")
OPERATORS = {
    "text": (*EQUALITY, *MEMBERSHIP, *PATTERN),
    "tag": (*EQUALITY, *MEMBERSHIP, *PATTERN),
    "group": (*EQUALITY, *MEMBERSHIP),
    "choice": (*EQUALITY, *MEMBERSHIP),
    "address": (*EQUALITY, *MEMBERSHIP, *PATTERN),
    "version": (*EQUALITY, *MEMBERSHIP, *PATTERN, *ORDER),
    "number": (*EQUALITY, *MEMBERSHIP, *ORDER),
    "age": (*ORDER, *EQUALITY),
    "flag": EQUALITY,
}
"""Kind of field -> operators that it takes."""

FIELDS = {
    "hostname": "text", "friendly_name": "text", "machine_id": "text", "notes": "text",
    "ip_address": "address",
    "os_family": "text", "os_id": "text", "os_name": "text", "os_version": "text", "os_version_id": "version",
    "os_architecture": "text", "kernel_running": "text", "agent_version": "version",
    "state": "choice", "status": "choice", "patch_status": "choice",
    "missing": "number", "missing_security": "number",
    "reboot_required": "flag", "approved": "flag", "maintenance": "flag",
    "tag": "tag", "group": "group",
    "created_age": "age", "report_age": "age", "heartbeat_age": "age",
}  # fmt: skip
"""Field -> its kind."""

CHOICES = {
    "state": ("pending", "active"),
    "status": ("online", "offline", "unknown"),
    "patch_status": ("missing", "current", "unknown"),
}
NEVER_NULL = frozenset({"state", "status", "patch_status", "approved", "maintenance", "group"})

Value = str | int | bool | None


class RuleError(ValueError):
    """The text is no rule; `position` (from 1) tells where."""

    def __init__(self, position: int, message: str) -> None:
        self.position = position
        super().__init__(f"position {position}: {message}")


@dataclass(frozen=True)
class Test:
    """One comparison; `values` has one entry, or more with `in` and `not in`. Ages are in seconds."""

    field: str
    operator: str
    values: tuple[Value, ...]
    position: int


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class Every:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some:
    parts: tuple[Node, ...]


Node = Test | Not | Every | Some


@lru_cache(512)
def parse(text: str) -> Node:
    """The tree of a rule. Raises RuleError, which names the position and, for a word that is nearly right, the word."""
    if len(text) > MAX_LENGTH:
        raise RuleError(MAX_LENGTH + 1, f"a rule has at most {MAX_LENGTH} characters")
    return _Parser(text).whole()


def tests(node: Node) -> Iterator[Test]:
    """Every comparison of a tree."""
    if isinstance(node, Test):
        yield node
    else:
        for part in (node.part,) if isinstance(node, Not) else node.parts:
            yield from tests(part)


def nearest(word: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    """`; did you mean x?` where a known word is near, else the known ones when they are few."""
    words = list(known)
    if near := get_close_matches(word.lower(), words, n=1, cutoff=0.5):
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(words)}" if 0 < len(words) <= 30 else ""


_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<age>[0-9]+[smhdw](?![A-Za-z0-9_.]))
    |(?P<number>-?[0-9]+(?:\.[0-9]+)*(?![A-Za-z0-9_]))
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>==|!=|<=|>=|!~|[<>~(),])""",
    re.VERBOSE,
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}
_KEYWORDS = {"and", "or", "not", "in", *_CONSTANTS}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return self.text[:40] or "the end"


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise RuleError(place + 1, _complaint(text, place))
        kind, piece = str(match.lastgroup), match.group()
        if kind == "word" and piece.lower() in _KEYWORDS:
            kind, piece = "keyword", piece.lower()
        if kind != "blank":
            found.append(_Token(kind, piece, place + 1))
        place = match.end()
    return [*found, _Token("end", "", len(text) + 1)]


def _complaint(text: str, place: int) -> str:
    sign = text[place]
    if sign in "\"'":
        return "this text has no closing quote"
    if sign in "=&|!":
        return f"{sign} is no operator; use ==, !=, and, or, not"
    return "a number ends in something else" if sign.isdigit() else f"{sign!r} is not expected"


class _Parser:
    """Recursive descent: or, and, not, brackets, comparisons."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.place = 0
        self.values = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.token
        self.place += token.kind != "end"
        return token

    def is_next(self, *texts: str) -> bool:
        return self.token.kind in ("keyword", "sign") and self.token.text in texts

    def whole(self) -> Node:
        node = self.some(0)
        if self.token.kind != "end":
            self.fail(f"and, or, or the end is expected, not {self.token}")
        return node

    def some(self, depth: int) -> Node:
        parts = [self.every(depth)]
        while self.is_next("or"):
            self.take()
            parts.append(self.every(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def every(self, depth: int) -> Node:
        parts = [self.one(depth)]
        while self.is_next("and"):
            self.take()
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def one(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.fail(f"brackets and not are nested more than {MAX_DEPTH} deep")
        if self.is_next("not"):
            self.take()
            return Not(self.one(depth + 1))
        if self.is_next("("):
            self.take()
            node = self.some(depth + 1)
            self.expect(")")
            return node
        return self.test()

    def test(self) -> Test:
        token = self.take()
        if token.kind != "word":
            self.fail(f"a field is expected, not {token}", token)
        field = token.text.lower()
        kind = FIELDS.get(field)
        if kind is None:
            self.fail(f"no field {token}{nearest(field, tuple(FIELDS))}", token)
        operator = self.operator()
        if operator is None:
            if kind != "flag":
                self.fail(f"{field} needs one of {' '.join(OPERATORS[kind])} and a value", token)
            return Test(field, "==", (True,), token.position)
        if operator.text not in OPERATORS[kind]:
            self.fail(f"{field} does not take {operator}, but {' '.join(OPERATORS[kind])}", operator)
        if operator.text in MEMBERSHIP:
            self.expect("(")
            values = [self.value(field, kind, operator.text)]
            while self.is_next(","):
                self.take()
                values.append(self.value(field, kind, operator.text))
            self.expect(")")
        else:
            values = [self.value(field, kind, operator.text)]
        return Test(field, operator.text, tuple(values), token.position)

    def operator(self) -> _Token | None:
        if self.is_next("not") and self.tokens[self.place + 1].text == "in":
            first = self.take()
            self.take()
            return _Token("keyword", "not in", first.position)
        if self.is_next("in", "==", "!=", "~", "!~", *ORDER):
            return self.take()
        return None

    def value(self, field: str, kind: str, operator: str) -> Value:
        self.values += 1
        if self.values > MAX_VALUES:
            self.fail(f"a rule has at most {MAX_VALUES} values")
        token = self.take()
        if token.kind == "keyword" and token.text == "null":
            if operator not in EQUALITY or field in NEVER_NULL:
                self.fail(f"{field} {operator} null is not possible", token)
            return None
        if kind == "flag":
            if token.kind != "keyword" or token.text not in _CONSTANTS:
                self.fail(f"true or false is expected, not {token}", token)
            return _CONSTANTS[token.text]
        if kind == "number":
            return self.number(token)
        if kind == "age":
            if operator in EQUALITY:
                self.fail(f"{field} {operator} goes with null only", token)
            return self.age(token)
        return self.text(token, field, kind, operator)

    def number(self, token: _Token) -> int:
        if token.kind != "number" or "." in token.text:
            self.fail(f"a whole number is expected, not {token}", token)
        if len(token.text) > 10 or abs(int(token.text)) > MAX_NUMBER:
            self.fail("the number is too large", token)
        return int(token.text)

    def age(self, token: _Token) -> int:
        if token.kind != "age":
            self.fail(f"a time like 30m, 12h or 7d is expected, not {token}", token)
        if len(token.text) > 11 or (seconds := int(token.text[:-1]) * _UNITS[token.text[-1]]) > MAX_SECONDS:
            self.fail("the time is too long", token)
        return seconds

    def text(self, token: _Token, field: str, kind: str, operator: str) -> str:
        if token.kind == "number" and kind == "version":
            text = token.text
        elif token.kind == "text":
            text = re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        else:
            self.fail(f"a text in quotes is expected, not {token}", token)
        if len(text) > MAX_TEXT:
            self.fail(f"a text has at most {MAX_TEXT} characters", token)
        if any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 or 0xD800 <= ord(sign) < 0xE000 for sign in text):
            self.fail("control characters are not allowed", token)
        if kind == "choice" and text.lower() not in CHOICES[field]:
            self.fail(f"{field} is never {text[:40]!r}{nearest(text, CHOICES[field])}", token)
        if kind == "version" and operator not in PATTERN and version_key(text) is None:
            self.fail("a version is expected", token)
        if kind == "address" and operator not in PATTERN:
            try:
                network_keys(text)
            except ValueError:
                self.fail("an IP address or a network like 10.0.0.0/8 is expected", token)
        return text

    def expect(self, sign: str) -> None:
        if not self.is_next(sign):
            self.fail(f"{sign} is expected, not {self.token}")
        self.take()

    def fail(self, message: str, token: _Token | None = None) -> NoReturn:
        raise RuleError((token or self.token).position, message)
