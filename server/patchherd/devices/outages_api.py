# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of outages."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.devices import outages, registry
from patchherd.devices.schemas import OutagePageQuery, OutageQuery, Period
from patchherd.devices.shapes import OutageView, UnwatchedView
from patchherd.http import Room, paged
from patchherd.identity.access import requires

room = Room("outages", __name__, description="Outages: when devices did not report")
_PAGINATION = {"X-Pagination": {"schema": {"type": "string"}}}


@room.route("/outages")
@requires("devices:read")
@room.arguments(OutageQuery, location="query")
@room.response(200, OutageView(many=True), headers=_PAGINATION)
def list_outages(query: dict[str, Any]) -> Response:
    """Outages of all devices, newest first; time in which the server itself was away is in none of them"""
    return _page(query)


@room.route("/outages/unwatched")
@requires("devices:read")
@room.arguments(Period, location="query")
@room.response(200, UnwatchedView(many=True))
def list_unwatched(query: dict[str, Any]) -> Response:
    """When the server itself was away, so that nothing is known about devices, oldest first"""
    return jsonify(outages.unwatched(**query))


@room.route("/devices/<reference>/outages")
@requires("devices:read")
@room.arguments(OutagePageQuery, location="query")
@room.response(200, OutageView(many=True), headers=_PAGINATION)
def list_device_outages(query: dict[str, Any], reference: str) -> Response:
    """Outages of one device, newest first"""
    return _page(query, registry.find_device(reference))


def _page(query: dict[str, Any], device: Any = None) -> Response:
    limit, after = query.pop("limit"), query.pop("after", None)
    page = outages.outage_page(query, limit=limit, after=after, device=device)
    return paged(page.rows, limit=limit, total=page.total, following=page.following)
