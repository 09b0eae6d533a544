# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What may be allowed, and the roles that allow it."""

from __future__ import annotations

PERMISSIONS = {
    "devices:read": "See devices, their packages and what they miss",
    "devices:write": "Change, approve and delete devices and groups",
    "deployments:read": "See deployments and their results",
    "deployments:run": "Place, cancel and retry deployments and scans",
    "automation:read": "See scripts, software, images, profiles and actions",
    "automation:write": "Change scripts, software, images and profiles",
    "actions:run": "Run scripts and install software on devices, apply profiles",
    "content:read": "See content views and the versions that they offer",
    "content:manage": "Change and import content views; the server fetches from the addresses that they name",
    "settings:manage": "Manage settings: enrolment tokens, the audit trail",
    "users:manage": "Manage users, roles and API tokens",
}
"""What roles and API tokens are made of."""
USER_PERMISSIONS = frozenset(PERMISSIONS)
HOST_REPORT = "host:report"
ENROLLMENT_USE = "enrollment:use"
AGENT_OPEN = "agent:open"
"""What agents without a credential may do, where the setting for them is on."""
AGENT_DOWNLOAD = "agent:download"
"""What a signed link to an agent release allows."""
ALL_PERMISSIONS = USER_PERMISSIONS | {HOST_REPORT, ENROLLMENT_USE, AGENT_OPEN, AGENT_DOWNLOAD}

ROLES = {
    "admin": USER_PERMISSIONS,
    # Who runs scripts is root on every device: nobody gets that by the way. A role of one's own can have it.
    "operator": USER_PERMISSIONS - {"actions:run", "content:manage", "settings:manage", "users:manage"},
    "viewer": frozenset(name for name in PERMISSIONS if name.endswith(":read")),
}

# Tokens never carry what only the two other kinds of credential may do, except reporting for agents of other makes.
TOKEN_PERMISSIONS = USER_PERMISSIONS | {HOST_REPORT}
