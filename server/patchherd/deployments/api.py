# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of deployments and scans."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response, jsonify, request

from patchherd.deployments import orders, stream
from patchherd.deployments.queue import wake_worker
from patchherd.deployments.schemas import DeploymentQuery, EventQuery, NewDeployment, NewScan
from patchherd.deployments.shapes import EVENT_STREAM, DeploymentDetails, DeploymentSummary, JobEventView
from patchherd.devices.registry import MAX_ID, is_number
from patchherd.errors import invalid
from patchherd.http import Room, settings
from patchherd.identity.access import current, requires

room = Room("deployments", __name__, description="Deployments: plan, run, prove")


@room.route("/deployments", methods=["POST"])
@requires("deployments:run")
@room.arguments(NewDeployment)
@room.response(201, DeploymentDetails)
def place_deployment(body: dict[str, Any]) -> Response:
    """Deploy missing patches to devices and groups"""
    return _place(kind="patch", filter_=body.pop("filter"), **body)


@room.route("/scans", methods=["POST"])
@requires("deployments:run")
@room.arguments(NewScan)
@room.response(201, DeploymentDetails)
def place_scan(body: dict[str, Any]) -> Response:
    """Let Ansible read the reports of devices and groups now"""
    return _place(kind="scan", **body)


@room.route("/devices/<reference>/check", methods=["POST"])
@requires("deployments:run")
@room.response(201, DeploymentDetails)
def check_device(reference: str) -> Response:
    """Find out whether Ansible reaches a device now: a scan of it, whose result stands in the device's `ansible`"""
    return _place(kind="scan", devices=[reference], groups=[])


def _place(**order: Any) -> Response:
    deployment = orders.place(settings(), partial(wake_worker, settings()), created_by=current().name, **order)
    return _answer(deployment, 201)


@room.route("/deployments")
@requires("deployments:read")
@room.arguments(DeploymentQuery, location="query")
@room.response(200, DeploymentSummary(many=True), headers={"X-Pagination": {"schema": {"type": "string"}}})
def list_deployments(query: dict[str, Any]) -> Response:
    """List deployments and scans, or runs of actions, newest first; `X-Pagination` tells where the next page starts"""
    limit = query["limit"]
    kinds = [query["kind"]] if "kind" in query else orders.PATCHING
    rows = orders.list_deployments(query.get("state"), query.get("before"), limit + 1, kinds)
    response = jsonify(rows[:limit])
    response.headers["X-Pagination"] = jsonify(
        {"limit": limit, "next_before": rows[limit - 1]["id"] if len(rows) > limit else None}
    ).get_data(as_text=True)
    return response


@room.route("/deployments/<int:deployment_id>")
@requires("deployments:read")
@room.response(200, DeploymentDetails)
def get_deployment(deployment_id: int) -> Response:
    """One deployment: hosts, what changed on each, jobs"""
    return _answer(orders.find_deployment(deployment_id))


@room.route("/deployments/<int:deployment_id>/cancel", methods=["POST"])
@requires("deployments:run")
@room.response(200, DeploymentDetails)
def cancel_deployment(deployment_id: int) -> Response:
    """End a deployment as soon as possible"""
    return _answer(orders.cancel(orders.find_deployment(deployment_id)))


@room.route("/deployments/<int:deployment_id>/retry", methods=["POST"])
@requires("deployments:run")
@room.response(201, DeploymentDetails)
def retry_deployment(deployment_id: int) -> Response:
    """Place a new deployment for the hosts that did not end well"""
    deployment = orders.find_deployment(deployment_id)
    wake = partial(wake_worker, settings())
    return _answer(orders.retry(settings(), wake, deployment, current().name), 201)


@room.route("/deployments/<int:deployment_id>/events")
@requires("deployments:read")
@room.arguments(EventQuery, location="query")
@room.response(200, JobEventView(many=True))
@room.doc(responses=EVENT_STREAM)
def get_events(query: dict[str, Any], deployment_id: int) -> Response:
    """Events of the playbook runs, oldest first: JSON, or Server-Sent Events with `Accept: text/event-stream`"""
    orders.find_deployment(deployment_id)
    if request.accept_mimetypes.best_match(["application/json", "text/event-stream"]) == "text/event-stream":
        last = request.headers.get("Last-Event-ID", "")
        if last and not is_number(last):
            raise invalid("Last-Event-ID", "a number is needed", "headers", last)
        messages = stream.Progress(deployment_id, min(int(last or query["after"]), MAX_ID))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Response(messages, mimetype="text/event-stream", headers=headers)
    return jsonify(orders.events_after(deployment_id, query["after"], query["limit"]))


def _answer(deployment: Any, status: int = 200) -> Response:
    response = jsonify(orders.details(deployment))
    response.status_code = status
    if status == 201:
        response.headers["Location"] = f"{settings().api_prefix}/deployments/{deployment.id}"
    return response
