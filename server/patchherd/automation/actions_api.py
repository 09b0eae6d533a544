# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: actions on devices, profiles applied to devices."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from patchherd.automation import action_schemas as shapes
from patchherd.automation import action_views, actions
from patchherd.devices.registry import find_device
from patchherd.errors import invalid
from patchherd.http import Room, settings
from patchherd.identity.access import current, requires

room = Room("actions", __name__, description="Actions: scripts and software on devices, one or many")

PAGED = {"X-Pagination": {"schema": {"type": "string"}}}


@room.route("/devices/<reference>/actions", methods=["POST"])
@requires("actions:run")
@room.arguments(shapes.NewAction)
@room.response(201, shapes.ActionDetails)
def create_action(body: dict[str, Any], reference: str) -> Any:
    """Queue an action for a device"""
    device = find_device(reference)
    work = actions.work_of(settings(), body)
    action = actions.queue(settings(), work, device, current().name)
    return action_views.details(action.id), {"Location": f"{settings().api_prefix}/actions/{action.id}"}


@room.route("/devices/<reference>/actions")
@requires("automation:read")
@room.arguments(shapes.DeviceActionQuery, location="query")
@room.response(200, shapes.ActionView(many=True), headers=PAGED)
def list_device_actions(query: dict[str, Any], reference: str) -> Response:
    """List the actions of a device, newest first; `X-Pagination` tells where the next page starts"""
    return _page(query, device=find_device(reference).id, with_texts=True)


@room.route("/actions")
@requires("automation:read")
@room.arguments(shapes.ActionQuery, location="query")
@room.response(200, shapes.ActionSummary(many=True), headers=PAGED)
def list_actions(query: dict[str, Any]) -> Response:
    """List actions, newest first; `X-Pagination` tells where the next page starts"""
    return _page(query)


@room.route("/actions", methods=["POST"])
@requires("actions:run")
@room.arguments(shapes.NewActions)
@room.response(201, shapes.QueuedView)
def create_actions(body: dict[str, Any]) -> Any:
    """Queue an action for each of several devices: for all of them, or with `partial` for those that can take it"""
    if not body["device_ids"] and not body["groups"]:
        raise invalid("device_ids", "at least one device or group is needed")
    targets = actions.Targets(body["device_ids"], body["groups"], body["partial_"])
    works = [actions.work_of(settings(), body)]
    return _queued(actions.queue_many(settings(), works, targets, current().name))


@room.route("/actions/<int:action_id>")
@requires("automation:read")
@room.response(200, shapes.ActionDetails)
def get_action(action_id: int) -> Any:
    """One action: what it runs, how it ended, what it printed"""
    return action_views.details(action_id)


@room.route("/actions/<int:action_id>/cancel", methods=["POST"])
@requires("actions:run")
@room.response(200, shapes.ActionDetails)
def cancel_action(action_id: int) -> Any:
    """End an action: a waiting one never starts, a running one ends within seconds"""
    return action_views.details(actions.cancel(action_id).id)


@room.route("/profiles/<int:profile_id>/apply", methods=["POST"])
@requires("actions:run")
@room.arguments(shapes.ApplyBody)
@room.response(201, shapes.QueuedView)
def apply_profile(body: dict[str, Any], profile_id: int) -> Any:
    """Queue the tasks of a profile, in order, on each of several devices"""
    groups = [*body["groups"], *([body["group"]] if body.get("group") is not None else [])]
    if not body["device_ids"] and not groups:
        raise invalid("device_ids", "at least one device or group is needed")
    targets = actions.Targets(body["device_ids"], groups, body["partial_"])
    return _queued(actions.apply_profile(settings(), profile_id, targets, current().name))


@room.route("/profile-runs/<int:run_id>")
@requires("automation:read")
@room.response(200, shapes.ProfileRunView)
def get_profile_run(run_id: int) -> Any:
    """How far a profile run has come, on each device"""
    return action_views.profile_run(run_id)


def _page(query: dict[str, Any], **more: Any) -> Response:
    limit = query.pop("limit")
    rows = action_views.list_actions(limit=limit + 1, **query, **more)
    response = jsonify(rows[:limit])
    following = rows[limit - 1]["id"] if len(rows) > limit else None
    response.headers["X-Pagination"] = jsonify({"limit": limit, "next_before": following}).get_data(as_text=True)
    return response


def _queued(queued: actions.Queued) -> dict[str, Any]:
    return {"actions": queued.actions, "refused": queued.refused, "profile_run_id": queued.profile_run}
