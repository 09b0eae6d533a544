# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: advisories, who is exposed to a CVE, and the feeds that tell."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.http import Room, settings
from patchherd.identity.access import requires
from patchherd.packages.advisories import schemas, views

room = Room("advisories", __name__, description="What vendors publish about flaws, and who is exposed to them")


@room.route("/advisories")
@requires("devices:read")
@room.arguments(schemas.AdvisoriesQuery, location="query")
@room.response(200, schemas.AdvisoryPage)
def list_advisories(query: dict[str, Any]) -> Response:
    """Advisories: those about exploited CVEs first, then the newest"""
    page = {name: query.pop(name, None) for name in ("limit", "after")}
    return jsonify(views.advisory_page(query, **page))


@room.route("/advisories/<advisory_id>")
@requires("devices:read")
@room.arguments(schemas.AdvisoryQuery, location="query")
@room.response(200, schemas.AdvisoryView)
def get_advisory(query: dict[str, Any], advisory_id: str) -> Response:
    """An advisory, what it fixes, and the devices that lack it or of which that is unknown"""
    return jsonify(views.advisory_view(settings(), advisory_id, **query))


@room.route("/cves/<cve_id>")
@requires("devices:read")
@room.arguments(schemas.ExposureQuery, location="query")
@room.response(200, schemas.CveView)
def get_cve(query: dict[str, Any], cve_id: str) -> Response:
    """A CVE: who is exposed, since when, and what fixes it"""
    return jsonify(views.cve_view(settings(), cve_id, **query))


@room.route("/feeds")
@requires("devices:read")
@room.response(200, schemas.FeedList)
def list_feeds() -> Response:
    """Where advisories come from, and how their last import went"""
    return jsonify({"feeds": views.list_feeds()})


@room.route("/feeds/<name>/refresh", methods=["POST"])
@requires("settings:manage")
@room.response(202, schemas.FeedView)
def refresh_feed(name: str) -> tuple[Response, int]:
    """Have a worker import a feed soon"""
    return jsonify(views.request_refresh(name)), 202
