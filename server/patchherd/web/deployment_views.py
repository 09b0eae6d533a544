# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Deployments: place, watch, cancel, retry."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from patchherd.deployments import history, orders
from patchherd.deployments.queue import wake_worker
from patchherd.http import settings
from patchherd.identity.access import current, requires
from patchherd.web.room import answer_live, attempt, live, local_path, room

PAGE = 25
HOST_PAGE = 50
EVENTS = 40
SECONDS = 2
GOOD = ("patched", "unchanged", "planned", "scanned", "succeeded")
HALF = ("not_effective", "incomplete", "skipped", "canceled")
BAD = ("failed", "unreachable")
OPEN = ("queued", "running")


@room.app_template_global()
def deployment_title(row: dict[str, Any]) -> str:
    """What a deployment is, in a few words."""
    if row["kind"] != "patch":
        return {"scan": "Scan", "action": "Actions"}[row["kind"]]
    what = {"all": "All missing patches", "security": "Security patches"}.get(row["filter"])
    what = what or ", ".join(row["packages"][:3]) + (" …" if len(row["packages"]) > 3 else "")
    return f"Dry run: {what[0].lower()}{what[1:]}" if row["dry_run"] else what


@room.app_template_global()
def host_shares(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Hosts of a deployment by how they stand, for a bar."""
    return [
        ("good", sum(counts[state] for state in GOOD)),
        ("half", sum(counts[state] for state in HALF)),
        ("bad", sum(counts[state] for state in BAD)),
        ("busy", counts["running"]),
        ("idle", counts["waiting"]),
    ]


@room.app_template_global()
def state_class(state: str) -> str:
    """The colour of a deployment, job or host state."""
    if state in GOOD:
        return "good"
    if state in (*BAD, "lost"):
        return "bad"
    if state in HALF:
        return "half"
    return "busy" if state == "running" else "idle"


@room.get("/deployments")
@requires("deployments:read")
def deployment_list() -> str:
    """All deployments, newest first."""
    before = request.args.get("before", type=int)
    return render_template("deployments.html", body=_list_part(before))


@room.get("/live/deployment-list")
@requires("deployments:read")
def live_deployment_list() -> ResponseReturnValue:
    """The first page, as it stands now."""
    return answer_live(_list_part(None))


def _list_part(before: int | None) -> Markup:
    rows = orders.list_deployments(None, before, PAGE + 1)
    following = rows[PAGE - 1]["id"] if len(rows) > PAGE else None
    return live(
        "deployment-list",
        "_deployment_list.html",
        "/live/deployment-list",
        0 if before else SECONDS,
        rows=rows[:PAGE],
        following=following,
        before=before,
    )


@room.get("/deployments/<int:deployment_id>")
@requires("deployments:read")
def deployment_page(deployment_id: int) -> str:
    """One deployment, live."""
    page = max(0, request.args.get("page", 0, type=int))
    return render_template("deployment.html", id=deployment_id, body=_deployment_part(deployment_id, page))


@room.get("/live/deployments/<int:deployment_id>")
@requires("deployments:read")
def live_deployment(deployment_id: int) -> ResponseReturnValue:
    """The same, by itself."""
    return answer_live(_deployment_part(deployment_id, max(0, request.args.get("page", 0, type=int))))


def _deployment_part(deployment_id: int, page: int) -> Markup:
    row = orders.brief(deployment_id)
    events = history.newest_events(deployment_id, EVENTS)
    hosts = history.host_page(deployment_id, offset=page * HOST_PAGE, limit=HOST_PAGE)
    return live(
        "deployment",
        "_deployment.html",
        f"/live/deployments/{deployment_id}" + (f"?page={page}" if page else ""),
        SECONDS if row["state"] in OPEN else 0,
        row=row,
        hosts=hosts,
        jobs=history.jobs_of(deployment_id),
        events=events,
        tasks={event["host"]: event["task"] for event in reversed(events) if event["host"] and event["task"]},
        page=page,
        pages=-(-row["counts"]["total"] // HOST_PAGE),
        retryable=sum(row["counts"][state] for state in (*BAD, *HALF)) if row["kind"] != "action" else 0,
    )


@room.post("/deployments")
@requires("deployments:run")
def place_deployment() -> ResponseReturnValue:
    """Place what the form asks for, then show it."""
    form = request.form
    devices = form.getlist("device")
    action = form.get("action", "")
    order: dict[str, Any] = {"kind": "scan"}
    if action != "scan":
        order = {
            "filter_": "security" if form.get("filter") == "security" else "all",
            "reboot": "if_required" if form.get("reboot") == "if_required" else "never",
            # Only the button for it installs anything.
            "dry_run": action != "deploy",
        }

    def place() -> str:
        deployment = orders.place(
            settings(),
            partial(wake_worker, settings()),
            created_by=current().name,
            devices=list(devices),
            groups=[],
            **order,
        )
        return f"/deployments/{deployment.id}"

    return attempt(place, "", local_path(form.get("back", "")) or "/")


@room.post("/deployments/<int:deployment_id>/cancel")
@requires("deployments:run")
def cancel_deployment(deployment_id: int) -> ResponseReturnValue:
    """Ask for its end."""
    page = f"/deployments/{deployment_id}"

    def cancel() -> str:
        orders.cancel(orders.find_deployment(deployment_id))
        return page

    return attempt(cancel, "Cancel requested: hosts that are being worked on stop within seconds.", page)


@room.post("/deployments/<int:deployment_id>/retry")
@requires("deployments:run")
def retry_deployment(deployment_id: int) -> ResponseReturnValue:
    """A new deployment for the hosts that did not end well."""

    def retry() -> str:
        wake = partial(wake_worker, settings())
        again = orders.retry(settings(), wake, orders.find_deployment(deployment_id), current().name)
        return f"/deployments/{again.id}"

    return attempt(
        retry,
        f"These are the hosts of deployment {deployment_id} that did not end well.",
        f"/deployments/{deployment_id}",
    )
