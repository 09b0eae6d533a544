# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Liveness, readiness and Prometheus metrics."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from peewee import fn
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from patchherd import __version__, database
from patchherd.database import now
from patchherd.deployments.models import OPEN_STATES, Deployment, Job
from patchherd.devices.views import select_devices
from patchherd.http import Room, settings
from patchherd.identity.access import public, requires
from patchherd.packages.patches import patch_state

room = Room("health", __name__, description="Health and metrics")


@room.route("/healthz")
@public("load balancers ask without credentials; it says nothing but that the process answers")
def healthz() -> Response:
    """Whether this process answers"""
    return jsonify({"status": "ok", "version": __version__})


@room.route("/readyz")
@public("load balancers ask without credentials; it names the failing part, no data")
def readyz() -> Response:
    """Whether database and job worker do their work"""
    checks: dict[str, str] = {}
    try:
        database.db.execute_sql("SELECT 1")
        checks["database"] = "ok"
    except Exception:
        checks["database"] = "unreachable"
    if checks["database"] == "ok":
        overdue = Job.select().where((Job.state == "running") & (Job.lease_expires < now())).exists()
        checks["jobs"] = "a running job has lost its lease" if overdue else "ok"
    ready = all(state == "ok" for state in checks.values())
    response = jsonify({"status": "ready" if ready else "not ready", "checks": checks})
    response.status_code = 200 if ready else 503
    return response


@room.route("/metrics")
@requires("devices:read")
def metrics() -> Response:
    """Fleet figures for Prometheus"""
    registry = CollectorRegistry()
    moment, counts = now(), dict[tuple[str, str], int]()
    missing: dict[str, int] = {"all": 0, "security": 0}
    for device in select_devices(settings()):
        status, _ = patch_state(device, settings(), moment)
        key = (device.os_family or "unknown", status)
        counts[key] = counts.get(key, 0) + 1
        if status != "unknown":
            missing["all"] += device.missing or 0
            missing["security"] += device.missing_security or 0
    labels = ["os", "patch_status"]
    devices = Gauge("patchherd_devices", "Devices by system and proven patch status", labels, registry=registry)
    for (family, status), number in counts.items():
        devices.labels(family, status).set(number)
    text = "Missing patches on devices whose state is known"
    patches = Gauge("patchherd_missing_patches", text, ["kind"], registry=registry)
    for kind, number in missing.items():
        patches.labels(kind).set(number)
    running = Gauge("patchherd_deployments", "Deployments by state", ["state"], registry=registry)
    rows: Any = Deployment.select(Deployment.state, fn.COUNT(Deployment.id)).group_by(Deployment.state).tuples()
    for state, number in [*((state, 0) for state in OPEN_STATES), *rows]:
        running.labels(state).set(number)
    return Response(generate_latest(registry), mimetype="text/plain; version=0.0.4; charset=utf-8")
