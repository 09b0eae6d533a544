# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""What upstream offers: the fixture packages, the Windows updates, and the stages of their publication."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# v1      what is installed on a new host; nothing is missing
# v2      the updates of every fixture but lab-broken
# broken  v2 and an update of lab-broken that fails while it is installed
# badsig  v2, but the security metadata does not verify
# gone    the repository server answers 404 to everything
STAGES = ("v1", "v2", "broken", "badsig", "gone")
BUILT_STAGES = tuple(stage for stage in STAGES if stage != "gone")
NEW_DEPENDENCY = "lab-newdep"


@dataclass(frozen=True)
class Fixture:
    """A package that is installed as 1.0 and has an update to 2.0."""

    name: str
    kind: str  # security | bugfix | enhancement
    severity: str | None = None
    cve: str | None = None
    needs_new: bool = False  # 2.0 depends on a package that no host has
    reboot: bool = False
    broken: bool = False
    rpm_name: str | None = None

    def offered(self, stage: str) -> bool:
        """Whether the stage contains the update."""
        return stage != "v1" and (stage == "broken" or not self.broken)

    @property
    def as_rpm(self) -> str:
        return self.rpm_name or self.name


FIXTURES = (
    Fixture("lab-app", "bugfix", needs_new=True),
    Fixture("lab-tool", "enhancement"),
    Fixture("lab-ssl", "security", "Critical", "CVE-2026-1001"),
    Fixture("lab-lib", "security", "Important", "CVE-2026-1002"),
    Fixture("lab-web", "security", "Moderate", "CVE-2026-1003"),
    Fixture("lab-doc", "security", "Low", "CVE-2026-1004"),
    # `dnf needs-restarting -r` asks for a reboot after packages of certain names only, this being one.
    Fixture("lab-kernel", "security", "Important", "CVE-2026-1005", reboot=True, rpm_name="linux-firmware"),
    Fixture("lab-broken", "bugfix", broken=True),
)


def _windows_update(number: int, title: str, kb: str, categories: list[str], **extra: Any) -> dict[str, Any]:
    return {"id": f"11111111-aaaa-4000-8000-{number:012d}", "title": title, "kb": [kb] if kb else [],
            "categories": categories, **extra}


_SERVER = "Windows Server 2022"
WINDOWS_UPDATES = (
    _windows_update(1, f"2026-10 Servicing Stack Update for {_SERVER} for x64-based Systems (KB5050001)", "KB5050001",
                    ["Security Updates", _SERVER]),
    _windows_update(2, f"2026-10 Cumulative Update for {_SERVER} for x64-based Systems (KB5050002)", "KB5050002",
                    ["Security Updates", _SERVER], reboot=True),
    # found only once the cumulative update is installed and effective
    _windows_update(3, "2026-10 Update for .NET Framework (KB5050003)", "KB5050003", ["Update Rollups"],
                    after=["11111111-aaaa-4000-8000-000000000002"]),
    _windows_update(4, "Security Intelligence Update for Microsoft Defender Antivirus - KB2267602", "KB2267602",
                    ["Definition Updates"]),
    _windows_update(5, "Optional driver pack", "", ["Updates"], browse_only=True),
    _windows_update(6, f"2026-10 Update for {_SERVER} for x64-based Systems (KB5050006)", "KB5050006",
                    ["Updates", _SERVER]),
)
# WU_E_ALL_UPDATES_FAILED while installing
WINDOWS_BROKEN = _windows_update(9, f"2026-10 Faulty Update for {_SERVER} (KB5050009)", "KB5050009",
                                 ["Updates", _SERVER], install_hresult=0x80240022)
CERT_E_UNTRUSTEDROOT = 0x800B0109


def build_windows(root: Path, stage: str) -> None:
    """Write the catalogue that the Windows doubles search: {"updates": [...], "search_hresult"?: int}."""
    updates = [] if stage == "v1" else list(WINDOWS_UPDATES)
    if stage == "broken":
        updates.append(WINDOWS_BROKEN)
    catalogue: dict[str, Any] = {"updates": updates}
    if stage == "badsig":
        catalogue["search_hresult"] = CERT_E_UNTRUSTEDROOT
    root.mkdir(parents=True)
    (root / "updates.json").write_text(json.dumps(catalogue, indent=1))
