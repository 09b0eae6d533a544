# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Deployments, their plans and results, and the ledger of jobs that carry them out."""

from __future__ import annotations

import peewee

from patchherd.database import BaseModel, JsonField, UtcField
from patchherd.devices.models import Device

OPEN_STATES = ("queued", "running")
"""Deployment and job states that are not final."""
OPEN_HOST_STATES = ("waiting", "running")
GOOD_HOST_STATES = ("patched", "unchanged", "planned", "scanned", "succeeded")


class Deployment(BaseModel):
    """What an operator asked for: targets, filter and policy. State: queued, running, succeeded, failed, canceled."""

    uuid = peewee.CharField(max_length=36, unique=True)
    kind = peewee.CharField(max_length=16, default="patch")
    """patch; scan: only read the hosts' reports; action: run scripts and the like. See kinds.py."""
    state = peewee.CharField(max_length=16, default="queued", index=True)
    filter = peewee.CharField(max_length=16)
    """all, security, packages."""
    packages = JsonField(default=list)
    dry_run = peewee.BooleanField(default=False)
    reboot = peewee.CharField(max_length=16, default="never")
    """never, if_required."""
    plan_digest = peewee.CharField(max_length=64, default="")
    """SHA-256 of the planned transitions of all hosts."""
    created_by = peewee.CharField(max_length=255)
    created_at = UtcField()
    started_at = UtcField(null=True)
    finished_at = UtcField(null=True)
    cancel_requested = peewee.BooleanField(default=False)
    message = peewee.TextField(default="")


class DeploymentHost(BaseModel):
    """One target.

    State: waiting, running; then patched, unchanged, planned (dry run), scanned, succeeded (actions), not_effective
    (installed, but a reboot is missing), incomplete (some planned versions are no longer offered), failed, unreachable,
    skipped, canceled.
    """

    deployment = peewee.ForeignKeyField(Deployment, on_delete="CASCADE", backref="hosts")
    device = peewee.ForeignKeyField(Device, on_delete="CASCADE", backref="deployments")
    name = peewee.CharField(max_length=255)
    """Inventory name of the host in this deployment's jobs."""
    state = peewee.CharField(max_length=16, default="waiting")
    message = peewee.TextField(default="")
    attempts = peewee.IntegerField(default=0)
    reboot_required = peewee.BooleanField(null=True)
    boot_id_before = peewee.CharField(max_length=64, null=True)
    rebooted = peewee.BooleanField(default=False)
    package_set_before = peewee.IntegerField(null=True)
    started_at = UtcField(null=True)
    finished_at = UtcField(null=True)

    class Meta:
        indexes = ((("deployment", "device"), True), (("deployment", "state"), False))


class DeploymentChange(BaseModel):
    """One package transition on one host. Result: planned, then installed, failed, superseded (no longer offered),
    would_install (dry run), unproven (the run ended before a rescan), skipped (never part of the plan: message)."""

    host = peewee.ForeignKeyField(DeploymentHost, on_delete="CASCADE", backref="changes")
    package = peewee.CharField(max_length=512)
    architecture = peewee.CharField(max_length=32, null=True)
    kb = peewee.CharField(max_length=32, null=True)
    installed = peewee.CharField(max_length=255, null=True)
    """Version before."""
    candidate = peewee.CharField(max_length=255, null=True)
    """Version wanted; for unplanned changes the version found."""
    replaced_by = JsonField(null=True)
    """[{"name","version","architecture"}]: packages of other names to install in its place; it goes by that."""
    severity = peewee.CharField(max_length=16, null=True)
    security = peewee.BooleanField(default=False)
    advisories = JsonField(default=list)
    planned = peewee.BooleanField(default=True)
    """False: came along with a planned one (a new dependency, say)."""
    result = peewee.CharField(max_length=16, default="planned")
    message = peewee.TextField(default="")


class Job(BaseModel):
    """One ansible-runner run. State: queued, running, then succeeded, failed, canceled, lost (its worker died)."""

    deployment = peewee.ForeignKeyField(Deployment, on_delete="CASCADE", backref="jobs")
    state = peewee.CharField(max_length=16, default="queued", index=True)
    attempt = peewee.IntegerField(default=1)
    lease_owner = peewee.CharField(max_length=128, null=True)
    lease_expires = UtcField(null=True)
    created_at = UtcField()
    started_at = UtcField(null=True)
    finished_at = UtcField(null=True)
    message = peewee.TextField(default="")
    events = peewee.IntegerField(default=0)
    """Events that the playbook sent; the run is complete when as many are stored."""


class JobEvent(BaseModel):
    """One event of a job's playbook, trimmed to what a reader needs."""

    job = peewee.ForeignKeyField(Job, on_delete="CASCADE", backref="event_rows")
    deployment_id = peewee.IntegerField(index=True)
    counter = peewee.IntegerField()
    created_at = UtcField()
    event = peewee.CharField(max_length=64)
    host = peewee.CharField(max_length=255, null=True)
    task = peewee.CharField(max_length=255, null=True)
    changed = peewee.BooleanField(default=False)
    message = peewee.TextField(default="")

    class Meta:
        indexes = ((("job", "counter"), True),)


MODELS = [Deployment, DeploymentHost, DeploymentChange, Job, JobEvent]
