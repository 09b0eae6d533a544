# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What may be allowed, and the roles that allow it."""

from __future__ import annotations

USER_PERMISSIONS = frozenset(
    {"devices:read", "devices:write", "deployments:read", "deployments:run", "settings:manage", "users:manage"}
)
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
