# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The hash gate: an agent says by hashes what it would report, the server answers which sections it needs in full.

Hashes are opaque. One counts as accepted when its section arrived after the ping that offered it, or with the report
itself; whatever else happens, the section is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from patchherd.database import Prepared
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
    row = _hashes_of_credential.run(credential_id).fetchone()
    if row is None:  # deleted a moment ago
        return []
    accepted_before, offered_before = map(HostCredential.accepted_hashes.python_value, row)
    offered = _clean(hashes)
    wanted = {name: value for name, value in offered.items() if accepted_before.get(name) != value}
    if wanted and wanted != offered_before:
        HostCredential.update(offered_hashes=wanted).where(HostCredential.id == credential_id).execute()
    return [SECTIONS[name] for name in SECTIONS if name in wanted]


def accept_report(device_id: int, sections: Iterable[str], hashes: dict[str, Any] | None = None) -> None:
    """Note that these sections of a report of the device were taken; `hashes`: what the report itself says of them.

    Call it in the transaction that stores the report. A device without credentials is none of the gate's business.
    """
    row = _hashes.run(device_id).fetchone()
    if row is None:
        return
    number, accepted_before, offered_before = row[0], *map(HostCredential.accepted_hashes.python_value, row[1:])
    stated = _clean(hashes or {})
    accepted, offered = dict(accepted_before), dict(offered_before)
    for name in (name for name, section in SECTIONS.items() if section in set(sections)):
        pinged = offered.pop(name, None)
        if value := stated.get(name) or pinged:
            accepted[name] = value
        else:  # a report out of turn may differ from what was accepted before: ask next time
            accepted.pop(name, None)
    if accepted != accepted_before or offered != offered_before:
        HostCredential.update(accepted_hashes=accepted, offered_hashes=offered).where(
            HostCredential.id == number
        ).execute()


_hashes_of_credential = Prepared(
    lambda credential: HostCredential.select(HostCredential.accepted_hashes, HostCredential.offered_hashes).where(
        HostCredential.id == credential
    )
)
_hashes = Prepared(
    lambda device: HostCredential.select(
        HostCredential.id, HostCredential.accepted_hashes, HostCredential.offered_hashes
    ).where(HostCredential.device == device)
)


def _clean(hashes: dict[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in hashes.items()
        if name in SECTIONS and isinstance(value, str) and 0 < len(value) <= MAX_HASH
    }
