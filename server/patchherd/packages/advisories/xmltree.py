# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Elements of a long XML file, one at a time, without document types, entities or texts of any length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from patchherd.packages.advisories.reading import Broken, Source
from patchherd.packages.advisories.records import MAX_FIELD

MAX_DEPTH = 32
MAX_TOKEN = 16 * 2**20
"""Bytes that the parser may hold back because a tag has not ended."""
MAX_ELEMENTS = 500_000
"""Elements inside one entry."""
STEP = 64 * 1024


class Element:
    """An element: its tag, attributes, children and the text before the first child."""

    __slots__ = ("attributes", "children", "line", "tag", "text", "too_long")

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        self.tag, self.attributes, self.line = tag, attributes, line
        self.children: list[Element] = []
        self.text = ""
        self.too_long: str | None = None
        """Which text inside exceeds the limit."""

    def find(self, tag: str) -> Element | None:
        return next((child for child in self.children if child.tag == tag), None)

    def findall(self, tag: str) -> list[Element]:
        return [child for child in self.children if child.tag == tag]

    def value(self, tag: str) -> str | None:
        found = self.find(tag)
        return None if found is None else found.text


def elements(source: Source, root: str, tag: str) -> Iterator[Element]:
    """The children `tag` of the element `root`, which must be the outermost one. Raises Broken."""
    reader = _Reader(source, root, tag)
    for chunk in source.chunks():
        for start in range(0, len(chunk), STEP):
            reader.feed(chunk[start : start + STEP])
            yield from reader.take()
    reader.feed(b"", final=True)
    yield from reader.take()


class _Reader:
    def __init__(self, source: Source, root: str, tag: str) -> None:
        self.source, self.root, self.tag = source, root, tag
        self.open: list[Element | None] = []
        self.done: list[Element] = []
        self.count = self.fed = 0
        self.texts: list[str] = []
        self.size = 0
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse_type
        parser.EntityDeclHandler = self._refuse_type
        parser.ExternalEntityRefHandler = self._refuse_type

    def feed(self, data: bytes, final: bool = False) -> None:
        self.fed += len(data)
        try:
            self.parser.Parse(data, final)
        except expat.ExpatError as exc:
            raise self._broken(f"not well-formed: {expat.errors.messages[exc.code]}") from exc
        except (ValueError, LookupError) as exc:
            raise self._broken(f"wrongly encoded: {exc}") from exc
        if self.fed - self.parser.CurrentByteIndex > MAX_TOKEN:
            raise self._broken(f"a tag of more than {MAX_TOKEN} bytes")

    def take(self) -> list[Element]:
        done, self.done = self.done, []
        return done

    def _broken(self, reason: str) -> Broken:
        place = f"line {self.parser.CurrentLineNumber}, column {self.parser.CurrentColumnNumber + 1}"
        return Broken(self.source.name, place, reason)

    def _refuse_type(self, *_: object) -> NoReturn:
        raise self._broken("document types and entities are refused")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        depth = len(self.open)
        if depth == 0 and tag != self.root:
            raise self._broken(f"<{self.root}> is needed, not <{tag[:40]}>")
        if depth > MAX_DEPTH:
            raise self._broken(f"more than {MAX_DEPTH} elements inside each other")
        parent = self.open[-1] if depth > 1 else None
        self._flush(parent)
        if depth == 1 and tag == self.tag:
            self.count = 0
        elif parent is None:
            self.open.append(None)
            return
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise self._broken(f"more than {MAX_ELEMENTS} elements in one entry")
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        if any(len(value) > MAX_FIELD for value in attributes.values()):
            element.attributes, element.too_long = {}, f"an attribute of <{tag[:40]}>"
        if parent is not None:
            parent.children.append(element)
        self.open.append(element)

    def _end(self, _tag: str) -> None:
        element = self.open.pop()
        self._flush(element)
        if element is None:
            return
        parent = self.open[-1] if self.open else None
        if parent is not None:
            parent.too_long = parent.too_long or element.too_long
        elif len(self.open) == 1:
            self.done.append(element)

    def _text(self, text: str) -> None:
        if not self.open or self.open[-1] is None:
            return
        self.size += len(text)
        if self.size <= MAX_FIELD:
            self.texts.append(text)

    def _flush(self, element: Element | None) -> None:
        """Give what was read to the element that it belongs to."""
        if element is not None:
            if self.size > MAX_FIELD:
                element.too_long = element.too_long or f"the text of <{element.tag[:40]}>"
            elif not element.children:
                element.text = "".join(self.texts).strip()
        self.texts, self.size = [], 0
