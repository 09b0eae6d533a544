# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Readers of repository metadata: against other people's readers, and with files that mean harm."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import random
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from debian import deb822

from patchherd.packages import streams
from patchherd.packages.refusal import Refused, Skipped
from patchherd.packages.views import deb_index, deb_release, rpm_primary, rpm_repo, signature, windows_list
from tests.repositories import Signer, primary_package, primary_xml, stanza
from tests.services import unavailable

NAMES = (*deb_index.FIELDS, "Filename", "Depends", "Pre-Depends", "Provides", "Breaks")
APT_PKG = """
import apt_pkg, json, sys
names = json.loads(sys.argv[2])
with apt_pkg.TagFile(sys.argv[1]) as file:
    for section in file:
        print(json.dumps([section.get(name, "") for name in names]))
"""


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def normal(value: str) -> str:
    """Readers differ in how they show the blanks of a folded field."""
    return " ".join(value.split())


def read(content: bytes, size: int = 700) -> list[list[str]]:
    return [[normal(value) for value in row] for row in deb_index.stanzas(pieces(content, size), "Packages", NAMES)]


def by_python_debian(content: bytes) -> list[list[str]]:
    paragraphs = deb822.Packages.iter_paragraphs(io.BytesIO(content), use_apt_pkg=False)
    return [[normal(str(paragraph.get(name, ""))) for name in NAMES] for paragraph in paragraphs]


def by_apt_pkg(content: bytes, directory: Path) -> list[list[str]]:
    file = directory / "Packages"
    file.write_bytes(content)
    answer = subprocess.run(
        ["/usr/bin/python3", "-c", APT_PKG, str(file), json.dumps(NAMES)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        if "ModuleNotFoundError" in answer.stderr:
            unavailable("the system's Python lacks python3-apt")
        raise AssertionError(answer.stderr[-2000:])
    return [[normal(value) for value in json.loads(line)] for line in answer.stdout.splitlines()]


def generated(seed: int, count: int) -> bytes:
    """An index with every form that a field may have."""
    rng = random.Random(seed)
    out = []
    for number in range(count):
        fields = {
            "Version": f"{rng.choice(['', '1:'])}{rng.randrange(9)}.{rng.randrange(99)}~rc{number}-1",
            "Architecture": rng.choice(["amd64", "all"]),
            "Maintainer": rng.choice(["Zoë", "Łukasz", "李", "Ann"]) + " <x@example.org>",
            "Source": rng.choice(["", f"src-{number}", f"src-{number} (2:1.0-1)"]),
            "Multi-Arch": rng.choice(["", "same", "foreign"]),
            "Size": str(rng.randrange(10**9)),
            "Installed-Size": rng.choice(["", "17"]),
            "Phased-Update-Percentage": rng.choice(["", "", "40"]),
            "Depends": rng.choice(["", "libc6 (>= 2.34), a | b", "libc6,\n second (>= 1),\n\tthird"]),
            "Provides": rng.choice(["", "x (= 1)"]),
            "Description": "line\n Version: 9\n .\n Package: not-one",
            "X-Python-Version": rng.choice(["", "3"]),
            "Filename": f"pool/p_{number}.deb",
        }
        order = sorted(fields, key=lambda _: rng.random())
        lines = [f"Package: package-{number}"]
        lines += [
            f"{name}:{rng.choice([' ', ' ', '', '  '])}{fields[name]}{rng.choice(['', '', ' '])}"
            for name in order
            if fields[name]
        ]
        out.append("\n".join(lines) + "\n")
    return "\n".join(out).encode()


@pytest.mark.parametrize("size", [1, 13, 700, 1 << 20])
def test_stanzas_are_those_of_python_debian(size: int) -> None:
    content = generated(size, 60)
    assert read(content, size) == by_python_debian(content)


def test_stanzas_are_those_of_apt(tmp_path: Path) -> None:
    content = generated(7, 300)
    found = read(content)
    assert len(found) == 300
    assert found == by_apt_pkg(content, tmp_path)


def test_real_indexes_read_as_apt_does(tmp_path: Path) -> None:
    helper = Path("/usr/lib/apt/apt-helper")
    lists = sorted(Path("/var/lib/apt/lists").glob("*_Packages*"), key=lambda path: path.stat().st_size)
    if not helper.exists() or not lists:
        unavailable("no package lists of apt on this machine")
    for file in lists[:2]:
        content = subprocess.run([helper, "cat-file", file], capture_output=True, check=True).stdout
        found = read(content, streams.BLOCK)
        assert found == by_apt_pkg(content, tmp_path)
        skipped: list[Skipped] = []
        packages = list(deb_index.packages(pieces(content, streams.BLOCK), "Packages", skipped))
        assert not skipped
        assert [(one.name, one.version) for one in packages] == [(row[0], row[1]) for row in found]


def packages(content: bytes, size: int = 4096) -> tuple[list[deb_index.DebPackage], list[Skipped]]:
    skipped: list[Skipped] = []
    return list(deb_index.packages(pieces(content, size), "Packages", skipped)), skipped


def test_fields_of_a_package() -> None:
    text = stanza("libfoo", "1:2.0-1", Source="foo (2.0-1)", Multi_Arch="same", Phased_Update_Percentage="40")
    (found,), skipped = packages(text.encode())
    assert not skipped
    assert found == ("libfoo", "1:2.0-1", "amd64", "foo", "2.0-1", "same", 1000, None, 40)


def test_field_names_in_any_case_count() -> None:
    (first, second), skipped = packages(
        b"package: a\nVERSION: 1\narchitecture: all\n\nPackage: b\nVersion: 2\nArchitecture: all\n"
    )
    assert not skipped
    assert (first.name, first.version, second.name) == ("a", "1", "b")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("Package: x\nArchitecture: amd64\n", "Version: missing"),
        ("Version: 1\nArchitecture: amd64\n", "Package: missing"),
        ("Package: x\nVersion: 1\n", "Architecture of x"),
        (stanza("x y", "1"), "no package name"),
        (stanza("../x", "1"), "no package name"),
        (stanza("x" * 300, "1"), "no package name"),
        (stanza("x", "one"), None),
        (stanza("x", "1;rm"), "no version"),
        (stanza("x", "99999999999:1"), "no version"),
        (stanza("x", "1." + "9" * 300), "no version"),
        (stanza("x", "-1"), "no version"),
        (stanza("x", "1", Phased_Update_Percentage="101"), "no number up to 100"),
        (stanza("x", "1", Size="9" * 5000), "no number"),
        (stanza("x", "1", Size="-1"), "no number"),
        (stanza("x", "1", Source="(("), "Source of x"),
    ],
)
def test_an_entry_that_makes_no_sense_is_passed_over_and_named(bad: str, reason: str | None) -> None:
    found, skipped = packages(f"{stanza('before', '1')}\n{bad}\n{stanza('after', '1')}".encode())
    if reason is None:
        assert [one.name for one in found] == ["before", "x", "after"]
        return
    assert [one.name for one in found] == ["before", "after"]
    assert [(one.file, one.position) for one in skipped] == [("Packages", "entry 2")]
    assert reason in skipped[0].reason
    assert len(skipped[0].reason) < 200


@pytest.mark.parametrize(
    ("content", "reason", "position"),
    [
        (stanza("x", "1").encode() + b"Note: a\0b\n", "NUL", "byte"),
        (stanza("x", "1").encode() + b"Note: Zo\xeb\n", "0xeb is no UTF-8", "byte"),
        (stanza("x", "1").encode() + b"Note: " + b"a" * 10_000_000, "an entry of more than", "byte 0"),
        (b"a" * 5_000_000, "an entry of more than", "byte 0"),
    ],
)
def test_an_index_that_is_refused_as_a_whole(content: bytes, reason: str, position: str) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        packages(content)
    assert caught.value.file == "Packages"
    assert position in str(caught.value.position)


# -- packed files ----------------------------------------------------------------------------------------------------

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))
PACKERS = {
    "gzip": lambda data: gzip.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data),
    "bzip2": bz2.compress,
}


def inflate(tmp_path: Path, content: bytes, **limits: int) -> bytes:
    file = tmp_path / "packed"
    file.write_bytes(content)
    return b"".join(streams.blocks(file, "packed", **limits))


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_files(tmp_path: Path, kind: str) -> None:
    pack = PACKERS[kind]
    assert inflate(tmp_path, pack(TEXT)) == TEXT
    assert inflate(tmp_path, pack(TEXT) + pack(b"more")) == TEXT + b"more"
    assert inflate(tmp_path, pack(TEXT) + b"\0" * (2 * streams.BLOCK) + pack(b"more")) == TEXT + b"more"
    assert inflate(tmp_path, pack(b"")) == b""
    assert inflate(tmp_path, TEXT) == TEXT


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("cut", [7, 2000, -1, -9])
def test_files_that_are_cut_off(tmp_path: Path, kind: str, cut: int) -> None:
    with pytest.raises(Refused, match="cut off"):
        inflate(tmp_path, PACKERS[kind](TEXT)[:cut])


@pytest.mark.parametrize("kind", PACKERS)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    packed = bytearray(PACKERS[kind](TEXT))
    packed[len(packed) // 2 : len(packed) // 2 + 64] = b"\xff" * 64
    with pytest.raises(Refused, match=kind):
        inflate(tmp_path, bytes(packed))


@pytest.mark.parametrize("kind", PACKERS)
def test_bombs(tmp_path: Path, kind: str) -> None:
    bomb = PACKERS[kind](b"\0" * (200 << 20))
    with pytest.raises(Refused, match=r"more than .* from .* packed ones"):
        inflate(tmp_path, bomb)


def test_files_above_the_limit(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="more than 1,000 bytes"):
        inflate(tmp_path, b"a" * 1001, limit=1000)


# -- Release ---------------------------------------------------------------------------------------------------------

DIGEST = "0" * 64
RELEASE = f"Origin: Debian\nDate: Mon, 01 Jun 2026 12:00:00 UTC\nSHA256:\n {DIGEST} 5 main/binary-amd64/Packages.xz\n"


def test_a_release() -> None:
    release = deb_release.parse_release(RELEASE.encode(), "Release")
    assert (release.origin, release.date) == ("Debian", datetime(2026, 6, 1, 12, tzinfo=UTC))
    (index,) = deb_release.packages_indexes(release, "Release", ["main"], ["amd64"])
    ((path, listed),) = index.forms
    assert (index.name, path, listed.size) == ("main/binary-amd64", "main/binary-amd64/Packages.xz", 5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Origin: x\n", "no SHA256 list"),
        (b"Origin: x\nMD5Sum:\n 0 0 x\n", "no SHA256 list"),
        (b"SHA256:\n zz 5 main\n", "no digest"),
        (f"SHA256:\n {DIGEST} -5 main\n".encode(), "no digest"),
        (b"nonsense\n", "is no field"),
        (b"Origin: \xff\n", "no UTF-8"),
        (b"Origin: a\0\n", "NUL"),
        (RELEASE.replace("Mon, 01 Jun 2026", "yesterday").encode(), "is no time"),
    ],
)
def test_releases_that_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        deb_release.parse_release(content, "Release")


def test_release_dates() -> None:
    release = deb_release.parse_release(RELEASE.encode(), "Release")
    moment = datetime(2026, 6, 3, tzinfo=UTC)
    until = release._replace(valid_until=moment - timedelta(days=1))
    deb_release.check_dates(release, "Release", moment, release.date, False)
    deb_release.check_dates(until, "Release", moment, None, True)
    with pytest.raises(Refused, match="expired"):
        deb_release.check_dates(until, "Release", moment, None, False)
    with pytest.raises(Refused, match="older than"):
        deb_release.check_dates(release, "Release", moment, moment, False)


def test_the_key_of_a_signature_must_not_have_expired(tmp_path: Path) -> None:
    then = Signer("old", "1y", ("--faked-system-time", "20200101T000000"))
    file = tmp_path / "InRelease"
    file.write_bytes(then.clearsign(RELEASE.encode()))
    then.close()
    with pytest.raises(Refused, match="the signing key has expired"):
        signature.signed_text(file, "InRelease", then.text)


def test_one_good_signature_of_several_is_enough(tmp_path: Path) -> None:
    first, second = Signer("first"), Signer("second")
    file, beside = tmp_path / "Release", tmp_path / "Release.gpg"
    file.write_bytes(RELEASE.encode())
    beside.write_bytes(dearmored(first.detach(RELEASE.encode())) + dearmored(second.detach(RELEASE.encode())))
    bad = tmp_path / "bad.gpg"
    bad.write_bytes(dearmored(first.detach(b"other")) + dearmored(second.detach(RELEASE.encode())))
    for one in (first, second):
        one.close()
        assert len(signature.check_detached(file, beside, "Release", one.text)) == 40
    with pytest.raises(Refused, match="does not fit"):
        signature.check_detached(file, bad, "Release", first.text + second.text)


def dearmored(text: bytes) -> bytes:
    return base64.b64decode(b"".join(line for line in text.split(b"\n\n", 1)[1].split(b"\n") if line[:1] not in b"-="))


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n***\n-----END PGP PUBLIC KEY BLOCK-----"]
)
def test_keyrings_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="public key"):
        signature.read_keyring(text)


# -- rpm -------------------------------------------------------------------------------------------------------------


def read_xml(tmp_path: Path, content: bytes) -> tuple[list[rpm_primary.RpmPackage], list[Skipped]]:
    packed = tmp_path / "packed"
    packed.write_bytes(content)
    skipped: list[Skipped] = []
    return rpm_primary.packages(packed, "primary", skipped, tmp_path / "plain"), skipped


def test_packages_of_primary(tmp_path: Path) -> None:
    content = primary_xml(
        [primary_package("a", "1.0"), primary_package("b", "2.0", "3.el9", epoch=4, obsoletes="old-b")]
    )
    (first, second), skipped = read_xml(tmp_path, gzip.compress(content))
    assert not skipped
    assert msgspec.structs.astuple(first) == ("a", "1.0-1.el9", "x86_64", "a-src", None, 4096, ())
    assert (first.nevra, second.nevra) == ("a-0:1.0-1.el9.x86_64", "b-4:2.0-3.el9.x86_64")
    assert (second.version, second.obsoletes) == ("4:2.0-3.el9", ("old-b < 2.0",))


@pytest.mark.parametrize(
    ("name", "version"), [("x y", "1"), ("x", "1;2"), ("x", ""), ("x", "1." + "9" * 300), ("x" * 300, "1")]
)
def test_packages_that_make_no_sense(tmp_path: Path, name: str, version: str) -> None:
    found, skipped = read_xml(tmp_path, primary_xml([primary_package("a", "1"), primary_package(name, version)]))
    assert [one.name for one in found] == ["a"]
    assert skipped[0].position == "entry 2"


GOOD = primary_xml([primary_package("a", "1.0")])
LAUGHS = b'<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD.replace(b"<metadata", LAUGHS + b"<metadata", 1), "DOCTYPE has no place"),
        (GOOD.replace(b"<metadata", OUTSIDE + b"<metadata", 1), "DOCTYPE has no place"),
        (GOOD.replace(b"<summary>a", b"<summary>&undefined;"), "primary"),
        (GOOD[:-40], "primary"),
        (GOOD.replace("Zoë".encode(), "Zoë".encode("latin-1")), "UTF-8"),
        (GOOD.replace(b"<description>Zo", b"<description").decode().encode("latin-1"), "UTF-8"),
        (GOOD.replace(b'encoding="UTF-8"', b'encoding="UTF-16"'), "UTF-8 is needed"),
        (GOOD.decode().encode("utf-16"), "primary"),
        (GOOD.replace(b"<summary>a", b"<summary>a\0"), "NUL"),
        (GOOD.replace(b"<summary>a", b"<summary>" + b"a" * 10_000_000), "bytes of text in one place"),
        (GOOD.replace(b'ver="1.0"', b'ver="' + b"1" * 10_000_000 + b'"'), "bytes of text in one place"),
        (b"<html><body>Log in</body></html>", "<metadata> is expected, not <html"),
        (b"not xml", "is no XML"),
    ],
)
def test_xml_that_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        read_xml(tmp_path, content)
    assert caught.value.file == "primary"


MODULES = """---
document: modulemd
version: 2
data:
  name: nodejs
  stream: {stream}
  artifacts:
    rpms: ["nodejs-1:18.0-1.el9.x86_64", "npm-1:9.0-1.el9.x86_64"]
---
document: modulemd-defaults
version: 1
data: {{module: nodejs, stream: "18"}}
"""


def test_module_streams(tmp_path: Path) -> None:
    file = tmp_path / "modules.yaml"
    file.write_text(MODULES.format(stream='"18"') + MODULES.format(stream="20"))
    found = rpm_repo.module_streams(file, "modules")
    assert found["npm-1:9.0-1.el9.x86_64"] == ["nodejs:18", "nodejs:20"]


@pytest.mark.parametrize("content", ["a: [", "document: modulemd\ndata: 7\n", "!!python/object:os.system x", "a: \x01"])
def test_modules_that_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "modules.yaml"
    file.write_text(content)
    with pytest.raises(Refused, match="modules"):
        rpm_repo.module_streams(file, "modules")


# -- Windows ---------------------------------------------------------------------------------------------------------


def guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def update(number: int, *supersedes: int, **fields: Any) -> dict[str, Any]:
    return {"id": guid(number), "title": f"Update {number}", "supersedes": [guid(n) for n in supersedes], **fields}


def windows(*updates: Any) -> bytes:
    return json.dumps({"format": "patchherd-windows-updates", "version": 1, "updates": list(updates)}).encode()


def read_windows(tmp_path: Path, content: bytes) -> windows_list.WindowsList:
    file = tmp_path / "list.json"
    file.write_bytes(content)
    return windows_list.read_list(file, "list.json")


def test_a_windows_list(tmp_path: Path) -> None:
    chain = [update(number, number - 1, severity="Critical", kb="KB5000001") for number in range(2, 5000)]
    told = read_windows(tmp_path, windows(update(1), *chain))
    assert len(told.updates) == 4999
    assert told.updates[1].supersedes == [guid(1)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (windows(update(1, 2), update(2, 3), update(3, 1)), "in a circle"),
        (windows(update(1, 1)), "in a circle"),
        (windows(update(1), update(1)), "is there twice"),
        (windows({"id": "x", "title": "t"}), "matching regex"),
        (windows({"id": guid(1)}), "title"),
        (windows(update(1, severity="Awful")), "severity"),
        (windows(update(1, kb="5000001")), "kb"),
        (windows(update(1, size=-1)), "size"),
        (windows(update(1, surprise=1)), "unknown field"),
        (windows(update(1, title="a\0b")), "NUL"),
        (b'{"format": "other"}', "format"),
        (b"[" * 100_000, "list.json"),
        (b"\xff\xfe", "list.json"),
        (b"", "list.json"),
    ],
)
def test_windows_lists_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read_windows(tmp_path, content)
