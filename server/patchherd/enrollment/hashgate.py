# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The hash gate: an agent says by hashes what it would report, the server answers which sections it needs in full.

Hashes are opaque. One counts as accepted when its section arrived after the ping that offered it, or with the report
itself; whatever else happens, the section is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

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


class Gate(NamedTuple):
    """The hashes of a host's credential as the database keeps them; all None for a device without one."""

    credential_id: int | None
    accepted: Any
    offered: Any


GATE_COLUMNS = (HostCredential.id, HostCredential.accepted_hashes, HostCredential.offered_hashes)
"""What a `Gate` is made of, for a query that joins HostCredential."""


def changes_by_report(
    gate: Gate, sections: Iterable[str], hashes: dict[str, Any] | None = None
) -> dict[str, dict[str, str]]:
    """What a report with these sections changes: columns for `write_gate`, none when all is as it was.

    `hashes`: what the report itself says of its sections. A device without credentials is none of the gate's business.
    """
    if gate.credential_id is None:
        return {}
    accepted_before = HostCredential.accepted_hashes.python_value(gate.accepted)
    offered_before = HostCredential.offered_hashes.python_value(gate.offered)
    stated = _clean(hashes or {})
    accepted, offered = dict(accepted_before), dict(offered_before)
    for name in (name for name, section in SECTIONS.items() if section in set(sections)):
        pinged = offered.pop(name, None)
        if value := stated.get(name) or pinged:
            accepted[name] = value
        else:  # a report out of turn may differ from what was accepted before: ask next time
            accepted.pop(name, None)
    if accepted == accepted_before and offered == offered_before:
        return {}
    return {"accepted_hashes": accepted, "offered_hashes": offered}


def write_gate(gate: Gate, changes: dict[str, dict[str, str]]) -> None:
    """Write what `changes_by_report` found, in the transaction that stores the report."""
    if changes:
        HostCredential.update(**changes).where(HostCredential.id == gate.credential_id).execute()


_hashes_of_credential = Prepared(
    lambda credential: HostCredential.select(HostCredential.accepted_hashes, HostCredential.offered_hashes).where(
        HostCredential.id == credential
    )
)


def _clean(hashes: dict[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in hashes.items()
        if name in SECTIONS and isinstance(value, str) and 0 < len(value) <= MAX_HASH
    }
