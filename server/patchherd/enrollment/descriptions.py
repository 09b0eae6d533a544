# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What the API's description says of requests that no schema parses: clients in the field send them in many forms."""

from __future__ import annotations

from typing import Any

from patchherd.enrollment.hashgate import SECTIONS

TEXT = {"type": "string"}


def _query(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": TEXT}


_SYSTEM = [_query("os", "linux (default) or windows"), _query("arch", "amd64, arm64, …")]
_FORCE = _query("force", "true: go on past broken packages")
SCRIPT = [
    _query("type", "proxmox-lxc or direct-host", required=True),
    _query("token_key", "key of an enrolment token", required=True),
    _query("token_secret", "its secret", required=True),
    _query("os", "linux (default) or, for direct-host, windows"),
    _FORCE,
]
INSTALL = [*_SYSTEM, _FORCE]
DOWNLOAD = [*_SYSTEM, _query("force", "accepted, without effect")]
VERSION = [*_SYSTEM, _query("currentVersion", "the version that runs"), _query("type", "accepted, without effect")]

PING = {
    "description": "May be empty",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "hashes": {
                        "type": "object",
                        "nullable": True,
                        "properties": dict.fromkeys(SECTIONS, TEXT),
                    },
                    "metadataUpdated": {"type": "string", "format": "date-time", "nullable": True},
                },
            }
        }
    },
}
