# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The hash gate: an agent says by hashes what it would report, the server answers which sections it needs in full.

Hashes are opaque. One counts as accepted when its section arrived after the ping that offered it, or with the report
itself; whatever else happens, the section is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from patchherd.enrollment.models import HostCredential

SECTIONS = {
    "packagesHash": "packages",
    "reposHash": "repos",
    "interfacesHash": "interfaces",
    "hostnameHash": "hostname",
}
MAX_HASH = 128


def sections_wanted(credential_id: int, hashes: dict[str, Any]) -> list[str]:
    """The sections that differ from what was last accepted from the host with this credential."""
    credential = HostCredential.get_or_none(HostCredential.id == credential_id)
    if credential is None:  # deleted a moment ago
        return []
    offered = _clean(hashes)
    wanted = {name: value for name, value in offered.items() if credential.accepted_hashes.get(name) != value}
    if wanted and wanted != credential.offered_hashes:
        HostCredential.update(offered_hashes=wanted).where(HostCredential.id == credential_id).execute()
    return [SECTIONS[name] for name in SECTIONS if name in wanted]


def accept_report(device_id: int, sections: Iterable[str], hashes: dict[str, Any] | None = None) -> None:
    """Note that these sections of a report of the device were taken; `hashes`: what the report itself says of them.

    Call it in the transaction that stores the report. A device without credentials is none of the gate's business.
    """
    credential = HostCredential.get_or_none(HostCredential.device == device_id)
    if credential is None:
        return
    stated = _clean(hashes or {})
    accepted, offered = dict(credential.accepted_hashes), dict(credential.offered_hashes)
    for name in (name for name, section in SECTIONS.items() if section in set(sections)):
        pinged = offered.pop(name, None)
        if value := stated.get(name) or pinged:
            accepted[name] = value
        else:  # a report out of turn may differ from what was accepted before: ask next time
            accepted.pop(name, None)
    if accepted != credential.accepted_hashes or offered != credential.offered_hashes:
        HostCredential.update(accepted_hashes=accepted, offered_hashes=offered).where(
            HostCredential.id == credential.id
        ).execute()


def _clean(hashes: dict[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in hashes.items()
        if name in SECTIONS and isinstance(value, str) and 0 < len(value) <= MAX_HASH
    }
