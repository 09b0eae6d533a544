# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What repository metadata costs to read and to import: `python -m tests.benchmarks.bench_indexes`.

Other people's readers get the same files and give the same fields. apt_pkg runs in the system's Python.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from patchherd import database
from patchherd.packages import streams
from patchherd.packages.refusal import Skipped
from patchherd.packages.views import catalog, deb_index, importer, registry, rpm_primary
from patchherd.settings import Settings
from tests.benchmarks.sheets import Sheet, median
from tests.repositories import SUITE, Signer, apt_repository, primary_xml, rpm_repository
from tests.server.api import create_schema
from tests.services import PostgresServer, find_postgres

DEB, RPM = 63_000, 30_000
WORDS = (
    "the a of and for with library tools package provides support that files development headers network kernel data"
    " system user interface using which contains applications programs this is server client module python perl runtime"
    " documentation plugin common based access control management version implementation protocol format"
).split()
ROUNDS = 5
THREE = ("Package", "Version", "Architecture")
MANY = (*deb_index.FIELDS, "Filename", "SHA256", "Depends", "Pre-Depends", "Conflicts", "Breaks", "Provides")
APT_PKG = """
import apt_pkg, json, sys, time
file, rounds, names = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
out = []
for _ in range(rounds):
    started = time.process_time()
    rows = []
    with apt_pkg.TagFile(file) as sections:
        for section in sections:
            rows.append([section.get(name) for name in names])
    out.append(time.process_time() - started)
print(json.dumps(out))
"""


def packages_index(count: int) -> bytes:
    """An index with entries as long, and fields as many, as those of Debian 12 on average."""
    rng = random.Random(1)
    out = []
    for number in range(count):
        depends = ", ".join(f"lib-package-{rng.randrange(count)} (>= {rng.randrange(9)}.{rng.randrange(99)})"
                            for _ in range(rng.randrange(9)))  # fmt: skip
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        source = f"Source: source-{number // 3}\n" if number % 5 < 3 else ""
        multi = "Multi-Arch: same\n" if number % 4 == 0 else ""
        out.append(
            f"Package: lib-package-{number}\n{source}Version: 1:{number % 13}.{number % 7}.{number}-{number % 5}+b1\n"
            f"Installed-Size: {rng.randrange(99_999)}\nMaintainer: Zoë Example <zoe{number % 900}@lists.example.org>\n"
            f"Architecture: {'all' if number % 3 == 0 else 'amd64'}\n" + (f"Depends: {depends}\n" if depends else "")
            + f"Description: a library that does thing number {number}\n{multi}"
            f"Homepage: https://example.org/project/{number}/\nDescription-md5: {digest[:32]}\n"
            "Tag: devel::library, implemented-in::c, interface::commandline, role::shared-lib,\n"
            " scope::utility, uitoolkit::gtk, works-with::file\n"
            f"Section: libs\nPriority: optional\nFilename: pool/main/l/lib-package-{number}/lib-package-{number}.deb\n"
            f"Size: {rng.randrange(10**7)}\nMD5sum: {digest[:32]}\nSHA256: {digest}\n"
        )  # fmt: skip
    return "\n".join(out).encode()


def primary(count: int) -> bytes:
    """A primary.xml laid out as createrepo_c does, 2.2 kB a package that pack to an eighth, as in distributions."""
    rng = random.Random(1)
    packages = []
    for number in range(count):
        name, version, release = f"lib-package-{number}", f"{number % 7}.{number % 13}.{number}", f"{number % 9}.el9"
        own = (version, f"{release}_{number % 5}")
        provides = [_entry(name, *own), _entry(f"{name}(x86-64)", *own)]
        sonames = rng.choice((0, 0, 1, 1, 2, 4))
        provides += [_entry(f"lib{name}{part}.so.{number % 9}()(64bit)") for part in range(sonames)]
        requires = [_entry(f"{_other(rng, count)}(x86-64)", f"{rng.randrange(99)}.{rng.randrange(99)}", release)
                    for _ in range(rng.randrange(4))]  # fmt: skip
        sonames = rng.randrange(7)
        requires += [_entry(f"lib{_other(rng, count)}0.so.{rng.randrange(9)}()(64bit)") for _ in range(sonames)]
        requires += [_entry("libc.so.6(GLIBC_2.34)(64bit)"), _entry("rtld(GNU_HASH)")]
        requires += [_entry(f"({_other(rng, count)} &gt;= 1.{number} if {_other(rng, count)})")] * (number % 50 == 0)
        obsoletes = [_entry(f"old-{name}", f"1.{number}", "1", sign="LT")] * (number % 30 == 0)
        paths = [f"/usr/bin/tool-{number}-{part}" for part in range(rng.choice((0, 0, 1, 2, 3)))]
        files = "".join(f"    <file>{path}</file>\n" for path in paths)
        packages.append(
            f'''<package type="rpm">
  <name>{name}</name>
  <arch>{"noarch" if number % 3 == 0 else "x86_64"}</arch>
  <version epoch="{number % 12 == 0:d}" ver="{own[0]}" rel="{own[1]}"/>
  <checksum type="sha256" pkgid="YES">{rng.getrandbits(256):064x}</checksum>
  <summary>{_words(rng, 6)}</summary>
  <description>{_words(rng, 25)}
{_words(rng, 20)}{" caf&#xE9;" * (number % 20 == 0)}.</description>
  <packager>Example Build System &lt;builds@example.org&gt;</packager>
  <url>https://www.example.org/{name}</url>
  <time file="{1_700_000_000 + number}" build="{1_690_000_000 + number}"/>
  <size package="{rng.randrange(10**7)}" installed="{rng.randrange(10**8)}" archive="{rng.randrange(10**8)}"/>
  <location href="Packages/l/{name}-{own[0]}-{own[1]}.x86_64.rpm"/>
  <format>
    <rpm:license>GPL-2.0-or-later AND MIT</rpm:license>
    <rpm:vendor>Example Foundation</rpm:vendor>
    <rpm:group>Unspecified</rpm:group>
    <rpm:buildhost>build-{number % 40}.example.org</rpm:buildhost>
    <rpm:sourcerpm>source-{number // 3}-{own[0]}-{own[1]}.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="4504" end="{8_000 + number}"/>
{_list("provides", provides)}{_list("requires", requires)}{_list("obsoletes", obsoletes)}{files}  </format>
</package>
'''
        )  # fmt: skip
    return primary_xml(packages)


def _entry(name: str, *evr: str, sign: str = "EQ") -> str:
    flags = f' flags="{sign}" epoch="0" ver="{evr[0]}" rel="{evr[1]}"' if evr else ""
    return f'      <rpm:entry name="{name}"{flags}/>\n'


def _list(kind: str, entries: list[str]) -> str:
    return f"    <rpm:{kind}>\n{''.join(entries)}    </rpm:{kind}>\n" if entries else ""


def _other(rng: random.Random, count: int) -> str:
    return f"lib-package-{rng.randrange(count)}"


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def dense_primary(count: int) -> bytes:
    """A primary.xml on few lines, with short packages that all need the same."""
    entries = "".join(
        f'<rpm:entry name="libneeded{number}.so.1()(64bit)"/>' for number in range(12)
    )  # fmt: skip
    packages = []
    for number in range(count):
        name, version = f"lib-package-{number}", f"1.{number % 7}.{number}"
        packages.append(
            f'<package type="rpm"><name>{name}</name><arch>x86_64</arch><version epoch="{number % 3}" ver="{version}"'
            f' rel="{number % 9}.el9_{number % 5}"/><checksum type="sha256" pkgid="YES">{number:064x}</checksum>\n'
            f"<summary>A library that does thing number {number}</summary><description>Longer text about what the\n"
            "library does, which goes on for some lines, as descriptions do.\nAnd on.</description>\n"
            "<packager>Example Build System</packager><url>https://example.org</url><time file=\"1\" build=\"1\"/>\n"
            f'<size package="{100_000 + number}" installed="300000" archive="310000"/>\n'
            f'<location href="Packages/l/{name}-{version}-{number % 9}.el9_{number % 5}.x86_64.rpm"/><format>\n'
            "<rpm:license>MIT</rpm:license><rpm:vendor>Example</rpm:vendor><rpm:group>Unspecified</rpm:group>\n"
            f"<rpm:sourcerpm>source-{number // 3}-{version}-{number % 9}.el9_{number % 5}.src.rpm</rpm:sourcerpm>\n"
            f"<rpm:requires>{entries}</rpm:requires><rpm:provides><rpm:entry name=\"{name}\"/></rpm:provides>\n"
            f"<file>/usr/bin/tool-{number}</file></format></package>\n"
        )  # fmt: skip
    return primary_xml(packages)


def clock(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median CPU milliseconds of a call."""
    samples = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        samples.append((time.process_time() - started) * 1e3)
    return median(samples)


def deb_readers(directory: Path) -> Sheet:
    """Packages, by everybody."""
    sheet = Sheet(
        f"Packages of {DEB:,} entries",
        ("reader", "fields", "CPU ms", "times apt_pkg"),
        f"From the plain file to strings in a list; median CPU time of {ROUNDS} rounds, python-debian once.",
    )
    file = directory / "Packages"
    file.write_bytes(packages_index(DEB))
    apt: dict[int, float | None] = {}
    for names in ((), THREE, MANY):
        answer = subprocess.run(
            ["/usr/bin/python3", "-c", APT_PKG, str(file), str(ROUNDS), json.dumps(names)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        apt[len(names)] = None if answer.returncode else median([s * 1e3 for s in json.loads(answer.stdout)])

    def add(reader: str, names: tuple[str, ...], spent: float | None) -> None:
        floor = apt[len(names)]
        ratio = f"{spent / floor:.2f}" if spent and floor else "-"
        sheet.add(reader, str(len(names)) if names else "none", f"{spent:.0f}" if spent else "not here", ratio)

    def own(names: tuple[str, ...]) -> Callable[[], Any]:
        return lambda: list(deb_index.stanzas(streams.blocks(file, "Packages"), "Packages", names))

    add("apt_pkg, passing over entries", (), apt[0])
    for names in (THREE, MANY):
        add("apt_pkg", names, apt[len(names)])
        add("patchherd, stanzas", names, clock(own(names)))
    skipped: list[Skipped] = []
    checked = clock(lambda: list(deb_index.packages(streams.blocks(file, "Packages"), "Packages", skipped)))
    assert not skipped
    sheet.add("patchherd, checked packages", str(len(deb_index.FIELDS)), f"{checked:.0f}", "-")
    add("python-debian", THREE, clock(lambda: by_python_debian(file, THREE), rounds=1))
    return sheet


def by_python_debian(file: Path, names: tuple[str, ...]) -> list[list[str | None]]:
    from debian import deb822

    with file.open("rb") as stream:
        paragraphs = deb822.Packages.iter_paragraphs(stream, use_apt_pkg=False)
        return [[paragraph.get(name) for name in names] for paragraph in paragraphs]


def rpm_readers(directory: Path) -> Sheet:
    """primary.xml, by createrepo_c alone and by us."""
    import createrepo_c
    import zstandard

    sheet = Sheet(
        f"primary.xml of {RPM:,} packages",
        ("file", "reader", "CPU ms", "times createrepo_c", "wall ms", "times createrepo_c"),
        f"From the packed file. Readers take turns for {2 * ROUNDS} rounds; medians, also of the ratio within a round."
        " createrepo_c is given an empty callback, or one that reads the same fields. A comment makes a file"
        " unusual: it is left to createrepo_c, and one at the end shows that as late as can be.",
    )
    usual, dense, plain = primary(RPM), dense_primary(RPM), directory / "primary.xml"
    unusual = usual.replace(b"</metadata>", b"<!-- end --></metadata>")
    for file, content in (
        (f"as createrepo_c writes it, {len(usual) / 1e6:.0f} MB, gzip", gzip.compress(usual, 6)),
        ("the same, zstd", zstandard.ZstdCompressor(10).compress(usual)),
        ("the same with a comment at its end, gzip", gzip.compress(unusual, 6)),
        (f"on few lines, {len(dense) / 1e6:.0f} MB, gzip", gzip.compress(dense, 6)),
    ):
        packed = directory / "primary"
        packed.write_bytes(content)

        def bare(read: bool, packed: Path = packed) -> None:
            rows = []

            def take(row: Any) -> None:
                if read:
                    rows.append((row.name, row.epoch, row.version, row.release, row.arch, row.rpm_sourcerpm,
                                 row.size_package, row.obsoletes))  # fmt: skip

            createrepo_c.xml_parse_primary(str(packed), pkgcb=take, do_files=False)

        def own(packed: Path = packed) -> None:
            assert len(rpm_primary.packages(packed, "primary", [], plain)) == RPM

        readers = {
            "createrepo_c": lambda bare=bare: bare(read=False),
            "createrepo_c, fields read": lambda bare=bare: bare(read=True),
            "patchherd": own,
        }
        spent = _turns(list(readers.values()), 2 * ROUNDS)
        for reader, times in zip(readers, spent, strict=True):
            cells = []
            for kind in (0, 1):
                ratio = median([one[kind] / floor[kind] for one, floor in zip(times, spent[0], strict=True)])
                cells += [f"{median([one[kind] for one in times]):.0f}", f"{ratio:.2f}"]
            sheet.add(file, reader, *cells)
            if reader == "patchherd" and "comment" not in file:
                sheet.want(f"{file}, CPU times createrepo_c", float(cells[1]), 1.0)
    return sheet


def _turns(calls: list[Callable[[], Any]], rounds: int) -> list[list[tuple[float, float]]]:
    """(CPU, wall) milliseconds of every round of every call, one after the other in each round."""
    spent: list[list[tuple[float, float]]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, samples in zip(calls, spent, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            samples.append(((time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3))
    return spent


def imports(directory: Path, databases: list[tuple[str, str]]) -> Sheet:
    """Whole imports, signature and database included."""
    sheet = Sheet(
        "Imports from a signed repository on disk",
        ("database", "case", "seconds", "fetch, compare, write", "CPU s", "SQL statements"),
        "From the signature to stored candidates. To compare is to read, to look up what is stored, and to number new"
        " versions. gpgv and PostgreSQL work in processes of their own.",
    )
    signer = Signer()
    for kind, url in databases:
        database.configure(url)
        create_schema()
        settings = Settings(data=directory / kind, database_url=url)
        with database.connection():
            for ecosystem, count in (("deb", DEB), ("rpm", RPM)):
                root = directory / f"{kind}-{ecosystem}"
                for case, source in _cases(root, ecosystem, signer, settings, count):
                    _import(sheet, f"{kind}", f"{ecosystem}, {count:,}: {case}", settings, source)
            _catalogue(sheet, kind)
        database.close_all()
    signer.close()
    return sheet


def _cases(root: Path, ecosystem: str, signer: Signer, settings: Settings, count: int) -> Any:
    """(case, source id), the repository being in that state."""
    told = {"url": str(root), "keyring": signer.text}
    if ecosystem == "deb":
        told |= {"kind": "apt", "suite": SUITE, "components": ["main"], "architectures": ["amd64"]}
        content = packages_index(count)
        apt_repository(root, signer, content)
    else:
        told |= {"kind": "rpm"}
        content = primary(count)
        rpm_repository(root, signer, {"primary": content})
    with database.write_transaction():
        source = registry.add_source(settings, registry.create_view(ecosystem, ecosystem), told, any_path=True).id
    yield "first", source
    yield "unchanged", source
    if ecosystem == "deb":
        changed = content.replace(b".42-", b".43-")
        apt_repository(root, signer, changed)
    else:
        rpm_repository(root, signer, {"primary": content.replace(b'42"', b'43"')}, revision=1_780_000_100)
    yield "few changed", source


def _import(sheet: Sheet, kind: str, case: str, settings: Settings, source: int) -> None:
    from tests.server.queries import queries

    steps: dict[str, float] = {}

    def progress(step: str) -> None:
        steps["compare" if step not in {"fetch", "write", "advisories"} else step] = time.perf_counter()

    wall, cpu = time.perf_counter(), time.process_time()
    with queries() as sent:
        report = importer.import_source(settings, source, progress)
    steps["end"] = time.perf_counter()
    assert report is not None
    assert report["state"] == "ok", report
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    begun = [steps[name] for name in ("fetch", "compare", "write", "advisories", "end") if name in steps]
    parts = " ".join(f"{after - before:.2f}" for before, after in pairwise(begun)) if "compare" in steps else "-"
    sheet.add(kind, case, f"{wall:.3f}", parts, f"{cpu:.3f}", f"{len(sent):,}")


def _catalogue(sheet: Sheet, kind: str) -> None:
    view = registry.find_view("deb").id
    catalog.forget()
    wall, cpu = time.perf_counter(), time.process_time()
    found = catalog.catalog(view)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    catalog.forget()
    tracemalloc.start()
    catalog.catalog(view)
    size = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    catalog.forget()
    case = f"catalogue of {len(found.offers):,} in memory ({size:.0f} MiB)"
    sheet.add(kind, case, f"{wall:.3f}", "-", f"{cpu:.3f}", "2")


def run() -> list[Sheet]:
    """Three tables."""
    with tempfile.TemporaryDirectory(prefix="patchherd-bench-") as name:
        directory = Path(name)
        sheets = [deb_readers(directory), rpm_readers(directory)]
        databases = [("SQLite", f"sqlite:///{directory / 'bench.db'}")]
        bin_dir = find_postgres()
        server = PostgresServer(bin_dir) if bin_dir else None
        try:
            if server is not None:
                server.start()
                databases.append(("PostgreSQL", server.url(server.create_database())))
            sheets.append(imports(directory, databases))
        finally:
            database.close_all()
            if server is not None:
                server.stop()
    return sheets


if __name__ == "__main__":
    for table in run():
        table.print()
    sys.exit(0)
