# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: content views, their sources, assignments and candidates."""

from __future__ import annotations

from typing import Any

from patchherd.database import write_transaction
from patchherd.devices.registry import find_device
from patchherd.http import Room, settings
from patchherd.identity import audit
from patchherd.identity.access import requires
from patchherd.identity.schemas import MessageView
from patchherd.packages.views import catalog, matching, registry, schemas

room = Room("content-views", __name__, description="Repository metadata that says which versions devices could have")


@room.route("/content-views")
@requires("content:read")
@room.response(200, schemas.View(many=True))
def list_views() -> Any:
    """All content views by name"""
    return registry.list_views()


@room.route("/content-views", methods=["POST"])
@requires("content:manage")
@room.arguments(schemas.NewView)
@room.response(201, schemas.View)
def create_view(body: dict[str, Any]) -> Any:
    """Make a content view without sources"""
    with write_transaction():
        view = registry.create_view(**body)
        audit.record("content_view.create", "content_view", view.id, view.name, after=body)
    return registry.view_shape(view)


@room.route("/content-views/<view>")
@requires("content:read")
@room.response(200, schemas.View)
def get_view(view: str) -> Any:
    """One content view, by id or name"""
    return registry.view_shape(registry.find_view(view))


@room.route("/content-views/<view>", methods=["PATCH"])
@requires("content:manage")
@room.arguments(schemas.ViewChange)
@room.response(200, schemas.View)
def change_view(body: dict[str, Any], view: str) -> Any:
    """Change name or description of a content view"""
    with write_transaction():
        found = registry.find_view(view)
        before = {name: getattr(found, name) for name in body}
        registry.change_view(found, body)
        audit.record("content_view.update", "content_view", found.id, found.name, before=before, after=body)
    return registry.view_shape(registry.find_view(found.id))


@room.route("/content-views/<view>", methods=["DELETE"])
@requires("content:manage")
@room.response(200, MessageView)
def delete_view(view: str) -> dict[str, str]:
    """Delete a content view with its sources, candidates and assignments"""
    with write_transaction():
        found = registry.find_view(view)
        registry.delete_view(settings(), found)
        audit.record("content_view.delete", "content_view", found.id, found.name)
    return {"message": "Content view deleted"}


@room.route("/content-views/<view>/sources", methods=["POST"])
@requires("content:manage")
@room.arguments(schemas.NewSource)
@room.response(201, schemas.SourceWithRefusals)
def add_source(body: dict[str, Any], view: str) -> Any:
    """Add a repository to a content view; nothing is fetched yet"""
    with write_transaction():
        found = registry.find_view(view)
        source = registry.add_source(settings(), found, body)
        audit.record("content_view.source.add", "content_view", found.id, found.name, after=_shown(source.id, body))
    return registry.one_source(source.id)


@room.route("/content-views/<view>/sources/<int:source_id>")
@requires("content:read")
@room.response(200, schemas.SourceWithRefusals)
def get_source(view: str, source_id: int) -> Any:
    """A repository of a content view, what its newest import did and which entries it refused"""
    return registry.one_source(registry.find_source(registry.find_view(view), source_id).id)


@room.route("/content-views/<view>/sources/<int:source_id>", methods=["PATCH"])
@requires("content:manage")
@room.arguments(schemas.SourceChange)
@room.response(200, schemas.SourceWithRefusals)
def change_source(body: dict[str, Any], view: str, source_id: int) -> Any:
    """Change how a repository is read"""
    with write_transaction():
        found = registry.find_view(view)
        source = registry.find_source(found, source_id)
        registry.change_source(settings(), source, body)
        audit.record("content_view.source.update", "content_view", found.id, found.name, after=_shown(source.id, body))
    return registry.one_source(source.id)


@room.route("/content-views/<view>/sources/<int:source_id>", methods=["DELETE"])
@requires("content:manage")
@room.response(200, MessageView)
def delete_source(view: str, source_id: int) -> dict[str, str]:
    """Remove a repository and its candidates from a content view"""
    with write_transaction():
        found = registry.find_view(view)
        source = registry.find_source(found, source_id)
        registry.delete_source(settings(), source)
        before = {"source": source.id, "url": source.url, "suite": source.suite}
        audit.record("content_view.source.delete", "content_view", found.id, found.name, before=before)
    return {"message": "Source deleted"}


@room.route("/content-views/<view>/import", methods=["POST"])
@requires("content:manage")
@room.response(202, schemas.Queued)
def import_view(view: str) -> Any:
    """Have the worker import all sources of a content view; their states tell how it went"""
    with write_transaction():
        found = registry.find_view(view)
        ids = registry.queue_import(found)
        audit.record("content_view.import", "content_view", found.id, found.name, after={"sources": ids})
    return {"message": f"{len(ids)} sources will be imported", "sources": ids}


@room.route("/content-views/<view>/assignments", methods=["PUT"])
@requires("content:manage")
@room.arguments(schemas.Assignments)
@room.response(200, schemas.View)
def assign(body: dict[str, Any], view: str) -> Any:
    """Make exactly these the devices and groups of a content view"""
    with write_transaction():
        found = registry.find_view(view)
        assigned = registry.assign(found, body["devices"], body["groups"])
        audit.record("content_view.assign", "content_view", found.id, found.name, after=assigned)
    return registry.view_shape(found)


@room.route("/content-views/<view>/candidates")
@requires("content:read")
@room.arguments(schemas.CandidatesQuery, location="query")
@room.response(200, schemas.Candidates)
def list_candidates(query: dict[str, Any], view: str) -> Any:
    """The versions that a content view offers, of one package or of all"""
    rows, after = catalog.page(registry.find_view(view).id, **query)
    return {"candidates": rows, "count": len(rows), "next": after}


@room.route("/devices/<reference>/content-views")
@requires("content:read")
@room.response(200, schemas.DeviceViews)
def get_device_views(reference: str) -> Any:
    """Which content views are a device's, and what decided"""
    device = find_device(reference).id
    match = matching.views_of(settings(), [device])[device]
    return {"device": device, "by": match.by, "views": registry.named(match.views)}


def _shown(source_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """What the audit trail keeps: a keyring is long, and its fingerprints are in the release facts."""
    return {"source": source_id, **{key: value for key, value in body.items() if key != "keyring"}}
