# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Small signed repositories as apt and dnf know them, made in a moment."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.services import unavailable

SUITE = "bookworm-security"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Signer:
    """A key of its own; `text` is its armored public half."""

    def __init__(self, name: str = "archive", expire: str = "never", options: tuple[str, ...] = ()) -> None:
        if shutil.which("gpg") is None or shutil.which("gpgv") is None:
            unavailable("gpg and gpgv")
        # The agent's socket has a path of at most 108 characters.
        self.home = Path(tempfile.mkdtemp(prefix="gpg-"))
        self.options = options
        self._gpg("--passphrase", "", "--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", expire)
        self.text = self._gpg("--armor", "--export").decode()

    def close(self) -> None:
        """End the agent and forget the key."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def clearsign(self, content: bytes, *options: str) -> bytes:
        return self._gpg(*options, "--clearsign", content=content)

    def detach(self, content: bytes) -> bytes:
        return self._gpg("--armor", "--detach-sign", content=content)

    def _gpg(self, *arguments: str, content: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *self.options, *arguments]
        return subprocess.run(command, input=content, check=True, capture_output=True).stdout


def stanza(name: str, version: str, **fields: str) -> str:
    """One entry of a Packages index."""
    values = {
        "Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "Zoë <zoe@example.org>",
        "Description": "short\n longer text\n .\n Version: 9", "Size": "1000", "Filename": f"pool/{name}.deb", **fields,
    }  # fmt: skip
    return "".join(f"{field.replace('_', '-')}: {value}\n" for field, value in values.items() if value)


def apt_repository(
    root: Path,
    signer: Signer | None,
    packages: list[str] | bytes,
    *,
    date: datetime = NOW,
    valid_days: int | None = None,
    by_hash: bool = False,
    detached: bool = False,
    packed: bytes | None = None,
    extra: dict[str, bytes] | None = None,
    suite: str = SUITE,
    told: dict[str, str] | None = None,
) -> None:
    """Write a suite with component main for amd64; `packed` is what lies there instead of the true Packages.gz.

    `told`: fields of the Release that are not as usual.
    """
    base = root / "dists" / suite
    folder = base / "main" / "binary-amd64"
    folder.mkdir(parents=True, exist_ok=True)
    plain = packages if isinstance(packages, bytes) else "\n".join(packages).encode()
    files = {"main/binary-amd64/Packages": plain, "main/binary-amd64/Packages.gz": gzip.compress(plain, mtime=0)}
    if packed is not None:
        files["main/binary-amd64/Packages.gz"] = packed
    files |= extra or {}
    for name, content in files.items():
        if name.endswith("/Packages"):
            continue  # listed, but not there, as in most archives
        target = base / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if by_hash:
            target = target.parent / "by-hash" / "SHA256" / hashlib.sha256(content).hexdigest()
            target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    release = {
        "Origin": "Debian", "Label": "Debian-Security", "Suite": "stable-security", "Codename": suite,
        "Date": f"{date:%a, %d %b %Y %H:%M:%S} UTC", "Architectures": "all amd64", "Components": "updates/main",
        "No-Support-for-Architecture-all": "Packages", "Acquire-By-Hash": "yes" if by_hash else "no", **(told or {}),
    }  # fmt: skip
    if valid_days is not None:
        release["Valid-Until"] = f"{date + timedelta(days=valid_days):%a, %d %b %Y %H:%M:%S} UTC"
    text = "".join(f"{field}: {value}\n" for field, value in release.items()) + "SHA256:\n"
    text += "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in files.items())
    write_release(base, text.encode(), signer, detached)


def write_release(base: Path, text: bytes, signer: Signer | None, detached: bool = False) -> None:
    """Put a Release there, signed in one of the two ways or not at all."""
    for name in ("InRelease", "Release", "Release.gpg"):
        (base / name).unlink(missing_ok=True)
    if signer is not None and not detached:
        (base / "InRelease").write_bytes(signer.clearsign(text))
        return
    (base / "Release").write_bytes(text)
    if signer is not None:
        (base / "Release.gpg").write_bytes(signer.detach(text))


def primary_package(name: str, version: str, release: str = "1.el9", *, epoch: int = 0, obsoletes: str = "") -> str:
    """One entry of primary.xml."""
    replaced = f'<rpm:obsoletes><rpm:entry name="{obsoletes}" flags="LT" epoch="0" ver="2.0"/></rpm:obsoletes>'
    return f"""<package type="rpm">
  <name>{escape(name)}</name><arch>x86_64</arch><version epoch="{epoch}" ver="{version}" rel="{release}"/>
  <checksum type="sha256" pkgid="YES">{hashlib.sha256(f"{name}{version}{release}".encode()).hexdigest()}</checksum>
  <summary>{escape(name)}</summary><description>Zoë wrote it</description><packager/><url/>
  <time file="1700000000" build="1690000000"/><size package="4096" installed="8192" archive="9000"/>
  <location href="Packages/{name}-{version}-{release}.x86_64.rpm"/>
  <format><rpm:license>MIT</rpm:license><rpm:vendor/><rpm:group/>
  <rpm:sourcerpm>{name}-src-{version}-{release}.src.rpm</rpm:sourcerpm>
  <rpm:provides><rpm:entry name="{name}"/></rpm:provides>{replaced if obsoletes else ""}</format>
</package>
"""


def primary_xml(packages: list[str]) -> bytes:
    """A whole primary.xml."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common"'
        f' xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(packages)}">\n{"".join(packages)}</metadata>\n'
    ).encode()


def rpm_repository(
    root: Path, signer: Signer | None, files: dict[str, bytes], *, revision: int = 1_780_000_000, head: str = ""
) -> None:
    """Write a repository with these metadata files (type -> plain content)."""
    data = root / "repodata"
    data.mkdir(parents=True, exist_ok=True)
    records = ""
    for kind, content in files.items():
        packed = gzip.compress(content, mtime=0)
        digest = hashlib.sha256(packed).hexdigest()
        name = f"{digest}-{kind}.{'yaml' if kind == 'modules' else 'xml'}.gz"
        (data / name).write_bytes(packed)
        records += f"""<data type="{kind}"><checksum type="sha256">{digest}</checksum>
  <open-checksum type="sha256">{hashlib.sha256(content).hexdigest()}</open-checksum>
  <location href="repodata/{name}"/><timestamp>{revision}</timestamp><size>{len(packed)}</size>
  <open-size>{len(content)}</open-size></data>
"""
    repomd = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<repomd xmlns="http://linux.duke.edu/metadata/repo"'
        f' xmlns:rpm="http://linux.duke.edu/metadata/rpm"><revision>{revision}</revision>\n{records}</repomd>\n'
    ).encode()
    (data / "repomd.xml").write_bytes(repomd)
    (data / "repomd.xml.asc").unlink(missing_ok=True)
    if signer is not None:
        (data / "repomd.xml.asc").write_bytes(signer.detach(repomd))


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        self.server.seen.append((code, self.path))  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        target = self.server.redirects.get(self.path)  # type: ignore[attr-defined]
        if target is None:
            return super().do_GET()
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def web_server(root: Path, redirects: dict[str, str] | None = None) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """(URL, the answers so far as (status, path)) of a web server with the files below `root`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(root)))
    server.seen, server.redirects = [], {} if redirects is None else redirects  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
