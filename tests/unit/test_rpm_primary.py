# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The quick reader of primary.xml against createrepo_c: it says the same, or leaves the file to it."""

from __future__ import annotations

import gzip
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import createrepo_c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchherd.packages import streams
from patchherd.packages.refusal import Refused, Skipped
from patchherd.packages.views import rpm_primary
from tests.repositories import primary_package, primary_xml

BENIGN = "abc XYZ 019 ._+-()[]:/'~^\n\t"
SHARP = "<>&\"']é€😀\x7f\x85"
PLAIN = st.text("abcXYZ019._+", min_size=1, max_size=12)
TEXT = st.text(BENIGN + SHARP, max_size=30).map(str.strip)
LINE = TEXT.map(lambda text: " ".join(text.split()))
NUMBERS = st.integers(0, 2**40)
RELATION = st.tuples(
    LINE.filter(bool), st.sampled_from(["LT", "LE", "EQ", "GE", "GT"]), st.sampled_from(["0", "7", None]), PLAIN,
    st.one_of(st.none(), PLAIN), st.booleans(),
)  # fmt: skip
BARE_RELATION = st.tuples(LINE.filter(bool), st.none(), st.none(), st.none(), st.none(), st.booleans())
RELATIONS = st.lists(RELATION | BARE_RELATION, max_size=4)
PACKAGE = st.fixed_dictionaries(
    {
        "name": PLAIN.map("n{}".format), "arch": st.sampled_from(["x86_64", "noarch", "src", "nosrc"]),
        "version": PLAIN, "release": PLAIN,
        "epoch": st.sampled_from(["0", "1", "007"]), "pkgId": st.just("0af" * 20), "checksum_type": st.just("sha256"),
        "summary": LINE, "description": TEXT, "rpm_packager": LINE, "url": LINE, "time_file": NUMBERS,
        "time_build": NUMBERS, "size_package": NUMBERS, "size_installed": NUMBERS, "size_archive": NUMBERS,
        "location_href": LINE.filter(bool), "location_base": st.none() | LINE.filter(bool), "rpm_license": LINE,
        "rpm_vendor": LINE, "rpm_group": LINE, "rpm_buildhost": LINE, "rpm_header_start": NUMBERS,
        "rpm_sourcerpm": st.just("") | st.builds("{}-{}-{}.src.rpm".format, PLAIN, PLAIN, PLAIN),
        "rpm_header_end": NUMBERS, "provides": RELATIONS, "requires": RELATIONS, "conflicts": RELATIONS,
        "obsoletes": st.lists(st.builds(lambda name, version: (name, "LT", "1", version, None, False), PLAIN, PLAIN)),
        "suggests": RELATIONS, "enhances": RELATIONS, "recommends": RELATIONS, "supplements": RELATIONS,
        "files": st.lists(st.tuples(st.sampled_from(["", "dir", "ghost"]), st.just("/usr/bin/"), LINE), max_size=3),
    }
)  # fmt: skip


def written(fields: dict[str, Any]) -> str:
    """A package as createrepo_c writes it."""
    package = createrepo_c.Package()
    for field, value in fields.items():
        setattr(package, field, value)
    return str(createrepo_c.xml_dump_primary(package))


def both(content: bytes) -> tuple[list[rpm_primary.RpmPackage] | None, Any]:
    """(what the quick reader says, what createrepo_c says: packages or the reason why not)."""
    with tempfile.TemporaryDirectory() as name:
        packed = Path(name) / "packed"
        packed.write_bytes(content)
        skipped: list[Skipped] = []
        quick = rpm_primary._usual(packed, "primary")
        try:
            strict: Any = rpm_primary._any(packed, "primary", skipped, Path(name) / "plain")
        except Refused as exc:
            strict = str(exc)
        return quick, [*strict, *skipped] if isinstance(strict, list) else strict


@settings(max_examples=200, deadline=None)
@given(st.lists(PACKAGE, min_size=1, max_size=4))
def test_what_createrepo_c_writes_is_read_quickly(packages: list[dict[str, Any]]) -> None:
    quick, strict = both(primary_xml([written(fields) for fields in packages]))
    assert quick == strict
    assert quick is not None


# -- what others write, and what breaks -------------------------------------------------------------------------------

PLAIN_PACKAGES = [
    primary_package("a", "1.0"),
    primary_package("b", "2.0", "3.el9", epoch=4, obsoletes="old-b"),
    written({
        "name": "c", "arch": "noarch", "version": "1", "release": "1", "epoch": "0", "pkgId": "0a",
        "checksum_type": "sha256",
        "summary": "R & D <x>", "description": "é]] > b", "location_href": "c&d.rpm", "rpm_sourcerpm": "c-1-1.src.rpm",
        "requires": [("(d >= 1 if e)", None, None, None, None, False), ("libc", "GE", "0", "2", "1", True)],
        "recommends": [("f", None, None, None, None, False)], "provides": [("c", "EQ", "0", "1", "1", False)],
        "obsoletes": [("x", "LT", "0", "2", "1", False), ("y", None, None, None, None, False)],
        "files": [("", "/etc/", "c"), ("dir", "/etc/", "c.d")],
    }),
]  # fmt: skip
GOOD = primary_xml(PLAIN_PACKAGES).decode()
SNIPPETS = [
    "<", ">", "&", "]]>", "<!-- x -->", "<![CDATA[x]]>", "<?x y?>", "<!DOCTYPE x>", "&amp;", "&#65;", "&#0;",
    "&#xD800;", "&#xFFFE;", "&#x10FFFF;", "&#x110000;", "&#xe9;", "&#x1F;", "&#xE9;", "&nbsp;", "\0", "\x01", "\ufffe",
    "\uffff", "\ud800", "é", "\r\n", "\t", "\f", "\x7f", '"', "'", "/", "=", " ", "\n", "<b/>", "<b>", "</b>", ' x="1"',
    "-1", "\xff", "<name>z</name>", "<rpm:provides/>", "<rpm:obsoletes/>", "</package>", '<package type="rpm">',
    "</metadata>", "<file>/x</file>", "99999999999999999999", "<rpm:entry/>", '<rpm:entry name=""/>', ' name="z"',
    ' xmlns="urn:x"', "<rpm:provides>", "</rpm:provides>", '<rpm:obsoletes><rpm:entry name="q"/></rpm:obsoletes>',
    ' xml:base="x"',
]  # fmt: skip


def change(content: str, rng: random.Random) -> bytes:
    """The file with one to three changes anywhere, as bytes."""
    tokens = re.findall(r"<[^>]*>|[^<]+", content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(tokens))
        kind = rng.randrange(9)
        if kind == 0:
            tokens[at] = ""
        elif kind == 1:
            tokens[at] *= 2
        elif kind == 2:
            other = rng.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 3:
            tokens[at] = tokens[at].replace('"', "'")
        elif kind == 4:
            words = tokens[at].split(" ")
            tokens[at] = " ".join(rng.sample(words, len(words)))
        content = "".join(tokens)
        place = rng.randrange(len(content) + 1)
        if kind == 5:
            content = content[:place]
        elif kind == 6:
            content = content[:place] + content[place + rng.randrange(1, 4) :]
        elif kind >= 7:
            content = content[:place] + rng.choice(SNIPPETS) + content[place:]
        tokens = re.findall(r"<[^>]*>|[^<]+|<", content) or [""]
    return content.encode("latin-1", "replace") if rng.random() < 0.02 else content.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("seed", range(8))
def test_what_is_changed_is_read_alike_or_not_quickly(seed: int) -> None:
    rng = random.Random(seed)
    outcomes = {"quick": 0, "left": 0, "refused": 0}
    for _ in range(150):
        content = change(GOOD, rng)
        quick, strict = both(content)
        if quick is not None:
            assert quick == strict, content
        outcomes["quick" if quick is not None else "refused" if isinstance(strict, str) else "left"] += 1
    assert min(outcomes.values()) > 5, outcomes


# -- sizes ------------------------------------------------------------------------------------------------------------


def many(count: int) -> bytes:
    return primary_xml(
        [primary_package(f"p{number}", f"{number}.0", obsoletes="x" * (number % 7)) for number in range(count)]
    )


@pytest.mark.parametrize("block", [1_000, 7_000, streams.BLOCK])
@pytest.mark.parametrize("member", [50, 10_000_000])
def test_packages_over_block_boundaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, member: int
) -> None:
    monkeypatch.setattr(streams, "BLOCK", block)
    content = many(400)
    members = [gzip.compress(content[start : start + member]) for start in range(0, len(content), member)]
    packed, scratch = tmp_path / "packed", tmp_path / "plain"
    packed.write_bytes(b"".join(members))
    skipped: list[Skipped] = []
    quick = rpm_primary.packages(packed, "primary", skipped, scratch)
    assert not scratch.exists()
    assert quick == rpm_primary._any(packed, "primary", skipped, scratch)
    assert (len(quick), skipped) == (400, [])


@pytest.mark.parametrize("cut", [1, 12, 300])
def test_a_packed_file_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(many(400))[:-cut])
    with pytest.raises(Refused, match="cut off"):
        rpm_primary.packages(packed, "primary", [], tmp_path / "plain")


PACKAGE_HEAD = GOOD[: GOOD.index("<rpm:provides>")]


@pytest.mark.parametrize(
    "tail",
    [
        "<rpm:provides/>" * 40_000, "<rpm:requires>" + '<rpm:entry name="a"/>' * 25_000, "<file>/a</file>" * 40_000,
        "<file>" + "&lt;" * 120_000, '<rpm:provides><rpm:entry name="' + "é&amp;" * 60_000, "\n" * 500_000,
        " " * 500_000, "<file>" + "]" * 400_000, '<package type="rpm">' * 25_000,
        GOOD[GOOD.index("<package") :] * 200,
    ],
    ids=["lists", "entries", "files", "references", "value", "lines", "blanks", "brackets", "packages", "documents"],
)  # fmt: skip
def test_nothing_is_looked_at_again_and_again(tmp_path: Path, tail: str) -> None:
    """Each would take minutes if one of its parts were tried in two ways."""
    packed = tmp_path / "packed"
    for end in ("", "</package>", "</format></package>"):
        packed.write_bytes(f"{PACKAGE_HEAD}{tail}{end}".encode())
        started = time.process_time()
        assert rpm_primary._usual(packed, "primary") is None
        assert time.process_time() - started < 5


def test_a_package_without_end_is_not_collected(tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    content = GOOD.replace("</file>", "</file>" + "<file>/x</file>" * (rpm_primary.MAX_PENDING // 10), 1).encode()
    packed.write_bytes(content)
    assert rpm_primary._usual(packed, "primary") is None
    assert len(rpm_primary.packages(packed, "primary", [], tmp_path / "plain")) == 3
