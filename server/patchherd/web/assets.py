# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The dashboard's own files, under addresses that change with their content, so that browsers may keep them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""What is served; licences and the manifest stay in the repository."""


@cache
def version() -> str:
    """Digest over all files: one for the whole tree, so that style sheets may name fonts by relative addresses."""
    digest = hashlib.sha256()
    for path in _served_files():
        digest.update(f"{path.relative_to(STATIC)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def names() -> frozenset[str]:
    """Every servable file, relative to STATIC."""
    return frozenset(str(path.relative_to(STATIC)) for path in _served_files())


def url(name: str) -> str:
    """The address of a file; ValueError for one that does not exist."""
    if name not in names():
        raise ValueError(f"no static file {name}")
    return f"/static/{version()}/{name}"


def _served_files() -> list[Path]:
    return sorted(path for path in STATIC.rglob("*") if path.suffix in TYPES)
