# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What may be allowed, and the roles that allow it."""

from __future__ import annotations

PERMISSIONS = {
    "devices:read": "See devices, their packages and what they miss",
    "devices:write": "Change, approve and delete devices and groups",
    "deployments:read": "See deployments and their results",
    "deployments:run": "Place, cancel and retry deployments and scans",
    "settings:manage": "Manage settings: enrolment tokens, the audit trail",
    "users:manage": "Manage users, roles and API tokens",
}
"""What roles and API tokens are made of."""
USER_PERMISSIONS = frozenset(PERMISSIONS)
HOST_REPORT = "host:report"
ENROLLMENT_USE = "enrollment:use"
ALL_PERMISSIONS = USER_PERMISSIONS | {HOST_REPORT, ENROLLMENT_USE}

ROLES = {
    "admin": USER_PERMISSIONS,
    "operator": frozenset({"devices:read", "devices:write", "deployments:read", "deployments:run"}),
    "viewer": frozenset({"devices:read", "deployments:read"}),
}

# Tokens never carry what only the two other kinds of credential may do, except reporting for agents of other makes.
TOKEN_PERMISSIONS = USER_PERMISSIONS | {HOST_REPORT}
