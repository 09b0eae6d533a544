# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of the inventory endpoint."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import validate


class InventoryQuery(ma.Schema):
    """Filters; values of one kind may be comma-separated."""

    group = ma.fields.String()
    os_family = ma.fields.String()
    hostname = ma.fields.String()
    status = ma.fields.String(validate=validate.OneOf(["online", "offline"]))
    patch_status = ma.fields.String(validate=validate.OneOf(["missing", "current", "unknown"]))
