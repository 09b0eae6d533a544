# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What operators see of monitoring agents, and what they can have them do."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Response, request, send_file

from patchherd.devices.registry import find_device
from patchherd.http import Room, settings
from patchherd.identity.access import current, register_scheme, requires
from patchherd.identity.permissions import AGENT_DOWNLOAD, AGENT_OPEN, HOST_REPORT
from patchherd.monitoring import (
    differences,
    messages,
    ownership,
    releases,
    schemas,
    search,
    shapes,
    snapshots,
    webhooks,
)

room = Room("inventories", __name__, description="Inventories of monitoring agents, their releases and webhooks")

register_scheme(AGENT_DOWNLOAD, releases.authenticate_link, "Agent credentials required")

View = TypeVar("View", bound=Callable[..., Any])


def large_body(view: View) -> View:
    """Take uploads up to the limit of releases; they are spooled to disk, not kept in memory."""

    @functools.wraps(view)
    def enlarged(*args: Any, **kwargs: Any) -> Any:
        request.max_content_length = settings().agent_release_bytes + 1024 * 1024
        return view(*args, **kwargs)

    return cast(View, enlarged)


# -- devices ---------------------------------------------------------------------------------------------------------


@room.route("/devices/<reference>/agent")
@requires("devices:read")
@room.response(200, shapes.AgentView)
def get_agent(reference: str) -> dict[str, Any]:
    """The monitoring agent of a device, and whose credential speaks for it"""
    return ownership.agent_view(find_device(reference))


@room.route("/devices/<reference>/agent", methods=["PUT"])
@requires("devices:write")
@room.arguments(schemas.AgentAssignment)
@room.response(200, shapes.AgentView)
def assign_agent(body: dict[str, Any], reference: str) -> dict[str, Any]:
    """Let an API token, and it alone, report for a device"""
    device = find_device(reference)
    ownership.give_to_token(device, str(body["api_token"]), settings())
    return ownership.agent_view(device)


@room.route("/devices/<reference>/snapshots")
@requires("devices:read")
@room.arguments(schemas.PageQuery, location="query")
@room.response(200, shapes.SnapshotPage)
def list_snapshots(query: dict[str, Any], reference: str) -> dict[str, Any]:
    """Inventory snapshots of a device, newest first; an equal report makes no new one"""
    return snapshots.list_snapshots(find_device(reference), **query)


@room.route("/devices/<reference>/snapshots/<int:snapshot_id>")
@requires("devices:read")
@room.response(200, shapes.SnapshotContent)
def get_snapshot(reference: str, snapshot_id: int) -> dict[str, Any]:
    """One snapshot with all its sections"""
    return snapshots.get_snapshot(find_device(reference), snapshot_id)


@room.route("/devices/<reference>/snapshots/<int:snapshot_id>/diff/<int:other_id>")
@requires("devices:read")
@room.response(200, shapes.SnapshotDifference)
def compare_snapshots(reference: str, snapshot_id: int, other_id: int) -> dict[str, Any]:
    """What changed from one snapshot to the other: programs, and all other fields by their path"""
    return differences.compare(find_device(reference), snapshot_id, other_id)


@room.route("/devices/<reference>/software")
@requires("devices:read")
@room.arguments(schemas.DeviceSoftwareQuery, location="query")
@room.response(200, shapes.DeviceSoftwarePage)
def get_device_software(query: dict[str, Any], reference: str) -> dict[str, Any]:
    """Programs on a device, as its monitoring agent lists them"""
    return search.device_software(find_device(reference), **query)


@room.route("/devices/<reference>/messages")
@requires("devices:read")
@room.arguments(schemas.MessagesQuery, location="query")
@room.response(200, shapes.AgentMessagePage)
def get_device_messages(query: dict[str, Any], reference: str) -> dict[str, Any]:
    """Log lines and errors that a device's agent sent, newest first"""
    return messages.list_messages(find_device(reference), **query)


@room.route("/devices/<reference>/webhooks")
@requires("devices:read")
@room.arguments(schemas.PageQuery, location="query")
@room.response(200, shapes.WebhookPage)
def list_webhooks(query: dict[str, Any], reference: str) -> dict[str, Any]:
    """Calls to a device's agent and what came of them, newest first"""
    return webhooks.list_deliveries(find_device(reference), **query)


@room.route("/devices/<reference>/webhooks", methods=["POST"])
@requires("devices:write")
@room.arguments(schemas.NewWebhook)
@room.response(201, shapes.WebhookView)
def send_webhook(body: dict[str, Any], reference: str) -> Any:
    """Ask a device's agent to look for updates or to collect now; the answer tells whether it took it"""
    return webhooks.send(settings(), find_device(reference), body["type"])


# -- fleet -----------------------------------------------------------------------------------------------------------


@room.route("/software")
@requires("devices:read")
@room.arguments(schemas.SoftwareQuery, location="query")
@room.response(200, shapes.FleetSoftwarePage)
def find_software(query: dict[str, Any]) -> dict[str, Any]:
    """Which devices have a program, also below a version; of what monitoring agents report, not of package managers"""
    page = {name: query.pop(name) for name in ("limit", "after")}
    return search.fleet_software(query, **page)


@room.route("/software/titles")
@requires("devices:read")
@room.arguments(schemas.TitlesQuery, location="query")
@room.response(200, shapes.SoftwareTitlePage)
def list_titles(query: dict[str, Any]) -> dict[str, Any]:
    """Programs of the fleet with their versions and how many devices have each"""
    page = {name: query.pop(name) for name in ("limit", "after")}
    return search.fleet_titles(query, **page)


# -- releases --------------------------------------------------------------------------------------------------------


@room.route("/agent-releases")
@requires("devices:read")
@room.arguments(schemas.ReleasesQuery, location="query")
@room.response(200, shapes.AgentReleaseView(many=True))
def list_releases(query: dict[str, Any]) -> Any:
    """Agent releases, the newest version first"""
    return releases.list_releases(**query)


@room.route("/agent-releases", methods=["POST"])
@requires("settings:manage")
@large_body
@room.arguments(schemas.ReleaseForm, location="form")
@room.arguments(schemas.ReleaseFile, location="files")
@room.response(201, shapes.AgentReleaseView)
def publish_release(form: dict[str, Any], files: dict[str, Any]) -> Any:
    """Publish an agent release: from now on agents that ask for updates are offered it"""
    upload = releases.one_file(files)
    return releases.publish(settings(), upload.stream, file_name=upload.filename, published_by=current().name, **form)


@room.route("/agent-releases/<int:release_id>", methods=["DELETE"])
@requires("settings:manage")
@room.response(204)
def withdraw_release(release_id: int) -> None:
    """Withdraw an agent release: it is offered no longer, and its file goes"""
    releases.withdraw(settings(), release_id)


@room.route("/agent-releases/<int:release_id>/files/<file_name>")
@requires(HOST_REPORT, AGENT_OPEN, AGENT_DOWNLOAD, "devices:read")
@room.arguments(schemas.LinkQuery, location="query")
@room.response(200, {"type": "string", "format": "binary"}, content_type="application/octet-stream")
def download_release(query: dict[str, Any], release_id: int, file_name: str) -> Response:
    """The file of an agent release; X-Checksum-SHA256 and Repr-Digest tell its digest"""
    releases.check_link(current(), release_id)
    release = releases.find_release(release_id)
    path = releases.file_of(settings(), release, file_name)
    answer = send_file(
        path, "application/octet-stream", as_attachment=True, download_name=release.file_name, etag=release.sha256,
        conditional=True,
    )  # fmt: skip
    answer.headers["X-Checksum-SHA256"] = release.sha256
    answer.headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(release.sha256)).decode()}:"
    return answer
