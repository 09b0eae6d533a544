# SPDX-License-Identifier: Apache-2.0
"""The dashboard's third-party files are exactly what their packages hold."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

WEB = Path(__file__).parents[2] / "server" / "patchherd" / "web"
VENDOR = WEB / "static" / "vendor"


def test_files_match_the_manifest() -> None:
    recorded = {name: digest for entry in json.loads((VENDOR / "manifest.json").read_text()) for name, digest in
                entry["sha256"].items()}  # fmt: skip
    present = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "manifest.json"
    }
    assert present == recorded, "run tools/vendor-web; nobody edits these files by hand"


def test_manifest_names_what_the_script_fetches() -> None:
    script = (Path(__file__).parents[2] / "tools" / "vendor-web").read_text()
    for entry in json.loads((VENDOR / "manifest.json").read_text()):
        assert f'("{entry["package"]}", "{entry["version"]}", "{entry["licence"]}")' in script
        assert any("LICENSE" in name for name in entry["sha256"]), f"{entry['package']} needs its licence beside it"


def test_pages_carry_no_inline_code() -> None:
    """The content security policy would stop it; better to see that here than in a console."""
    pattern = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)|https?://")
    found = [
        f"{path.name}:{number}: {line.strip()[:80]}"
        for path in sorted((WEB / "templates").glob("*.html"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    ]
    assert not found
