# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Liveness, readiness and metrics."""

from __future__ import annotations

from datetime import timedelta

from flask.testing import FlaskClient

from patchherd import database
from patchherd.database import now
from patchherd.deployments.models import Deployment, Job
from patchherd.devices.models import Device
from patchherd.devices.registry import create_device
from tests.server.api import Api


def test_health_and_readiness_need_no_credential(client: FlaskClient) -> None:
    assert client.get("/healthz").json["status"] == "ok"
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["checks"]) == (200, {"database": "ok", "jobs": "ok"})


def test_a_job_without_a_worker_makes_the_server_not_ready(client: FlaskClient) -> None:
    with database.connection(), database.write_transaction():
        deployment = Deployment.create(uuid="u", filter="all", created_by="me", created_at=now(), state="running")
        late = now() - timedelta(seconds=1)
        Job.create(deployment=deployment, state="running", created_at=now(), lease_expires=late)
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["checks"]["jobs"] == "a running job has lost its lease"


def test_a_queue_without_a_worker_makes_the_server_not_ready(client: FlaskClient) -> None:
    with database.connection(), database.write_transaction():
        deployment = Deployment.create(uuid="u", filter="all", created_by="me", created_at=now())
        Job.create(deployment=deployment, created_at=now() - timedelta(seconds=61))
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["checks"]["jobs"]) == (503, "no worker takes the queued jobs")
    with database.connection(), database.write_transaction():
        renewed = now() + timedelta(seconds=20)
        Job.create(deployment=deployment, state="running", created_at=now(), lease_expires=renewed)
    assert client.get("/readyz").status_code == 200, "a worker that is busy takes it later"


def test_fleet_figures_are_for_those_who_may_read_devices(client: FlaskClient, api: Api) -> None:
    stranger = client.get("/metrics")
    assert stranger.status_code == 200
    assert "patchherd_build_info" in stranger.text
    assert "patchherd_devices" not in stranger.text
    assert "patchherd_devices" not in client.get("/metrics", headers={"Authorization": "Bearer nonsense"}).text


def test_metrics_count_only_what_is_known(api: Api) -> None:
    moment = now()
    fresh = {"evaluated_at": moment, "metadata_updated": moment, "os_family": "debian"}
    states = {
        "lacking": {**fresh, "missing": 3, "missing_security": 2},
        "current": {**fresh, "missing": 0, "missing_security": 0},
        "stale": {**fresh, "missing": 9, "missing_security": 9, "evaluated_at": moment - timedelta(days=3)},
        "silent": {},
        "deleted": {**fresh, "missing": 5, "missing_security": 5, "deleted_at": moment},
    }
    with database.connection(), database.write_transaction():
        for name, columns in states.items():
            device = create_device(name)
            if columns:
                Device.update(**columns).where(Device.id == device.id).execute()
    lines = set(api.client.get("/metrics", headers=api.headers).text.splitlines())
    assert 'patchherd_devices{os="debian",patch_status="missing"} 1.0' in lines
    assert 'patchherd_devices{os="debian",patch_status="current"} 1.0' in lines
    assert 'patchherd_devices{os="debian",patch_status="unknown"} 1.0' in lines
    assert 'patchherd_devices{os="unknown",patch_status="unknown"} 1.0' in lines
    assert 'patchherd_missing_patches{kind="all",os="debian"} 3.0' in lines
    assert 'patchherd_missing_patches{kind="security",os="debian"} 2.0' in lines
