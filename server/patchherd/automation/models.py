# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Scripts with their versions, software, images, profiles with their tasks, and the actions that run them.

SQLite gives the id of a deleted row again. What must outlive a script or a software item keeps a copy of what it needs
and refers to the row with SET NULL.
"""

from __future__ import annotations

import peewee

from patchherd.database import BaseModel, JsonField, UtcField
from patchherd.deployments.models import DeploymentHost
from patchherd.devices.models import Device


class Script(BaseModel):
    """A script in its newest version."""

    name = peewee.CharField(max_length=255, unique=True)
    description = peewee.TextField(null=True)
    language = peewee.CharField(max_length=16)
    """powershell, bash."""
    target_os_type = peewee.CharField(max_length=32, null=True)
    content = peewee.TextField()
    version = peewee.IntegerField(default=1)
    digest = peewee.CharField(max_length=64)
    """SHA-256 of `content` in UTF-8."""
    created_at = UtcField()
    updated_at = UtcField()
    created_by = peewee.CharField(max_length=255)


class ScriptVersion(BaseModel):
    """What a script held from one edit to the next; rows are only ever added."""

    script = peewee.ForeignKeyField(Script, on_delete="CASCADE", backref="versions")
    version = peewee.IntegerField()
    content = peewee.TextField()
    digest = peewee.CharField(max_length=64)
    created_at = UtcField()
    created_by = peewee.CharField(max_length=255)

    class Meta:
        indexes = ((("script", "version"), True),)


class SoftwareItem(BaseModel):
    """Something to install: where it comes from and how its installer is called."""

    name = peewee.CharField(max_length=255)
    slug = peewee.CharField(max_length=255, unique=True)
    version = peewee.CharField(max_length=64, null=True)
    installer_type = peewee.CharField(max_length=16)
    """msi, exe, winget, choco, script, custom."""
    source_type = peewee.CharField(max_length=16)
    """url, file_share, local_path."""
    source = peewee.TextField(null=True)
    """Null only for winget and choco, which know where to get it."""
    install_args = peewee.TextField(null=True)
    uninstall_args = peewee.TextField(null=True)
    target_os_type = peewee.CharField(max_length=32, null=True)
    checksum = peewee.CharField(max_length=64, null=True)
    """SHA-256 that the device must find before it installs; null: not checked."""
    created_at = UtcField()
    updated_at = UtcField()


class OsImage(BaseModel):
    """An image of an operating system."""

    name = peewee.CharField(max_length=255, unique=True)
    os_type = peewee.CharField(max_length=32)
    version = peewee.CharField(max_length=64, null=True)
    architecture = peewee.CharField(max_length=32, null=True)
    description = peewee.TextField(null=True)
    source = peewee.TextField(null=True)
    checksum = peewee.CharField(max_length=64, null=True)
    created_at = UtcField()
    updated_at = UtcField()


class Profile(BaseModel):
    """An ordered list of tasks; a template is one that is copied instead of applied."""

    name = peewee.CharField(max_length=255, unique=True)
    description = peewee.TextField(null=True)
    target_os_type = peewee.CharField(max_length=32, null=True)
    is_template = peewee.BooleanField(default=False)
    created_at = UtcField()
    updated_at = UtcField()


class ProfileTask(BaseModel):
    """One step of a profile, in the order of `order_index`, then of id."""

    profile = peewee.ForeignKeyField(Profile, on_delete="CASCADE", backref="tasks")
    name = peewee.CharField(max_length=255)
    description = peewee.TextField(null=True)
    order_index = peewee.IntegerField(default=0)
    action_type = peewee.CharField(max_length=32)
    script = peewee.ForeignKeyField(Script, null=True, on_delete="RESTRICT", backref="tasks")
    software = peewee.ForeignKeyField(SoftwareItem, null=True, on_delete="RESTRICT", backref="tasks")
    continue_on_error = peewee.BooleanField(default=True)
    """False: when this task fails on a device, that device's later tasks do not start."""
    payload = peewee.TextField(null=True)
    """The script itself, for inline tasks without `script`."""
    timeout_seconds = peewee.IntegerField(null=True)
    created_at = UtcField()
    updated_at = UtcField()


class ProfileRun(BaseModel):
    """A profile applied to devices: what it consists of are its actions."""

    profile = peewee.ForeignKeyField(Profile, null=True, on_delete="SET NULL", backref="runs")
    profile_name = peewee.CharField(max_length=255)
    created_by = peewee.CharField(max_length=255)
    created_at = UtcField()


class Action(BaseModel):
    """Something to run on one device, and what came of it.

    Status: pending, running; then succeeded, failed, canceled, skipped (an earlier one of the same chain failed).
    A chain is what one profile run does on one device; any other action is a chain of its own.
    """

    device = peewee.ForeignKeyField(Device, index=False, on_delete="CASCADE", backref="actions")
    type = peewee.CharField(max_length=32)
    status = peewee.CharField(max_length=16, default="pending")
    name = peewee.CharField(max_length=255, default="")
    """The profile task's."""
    payload = peewee.TextField(null=True)
    """The text that is run, as it was when the action was made."""
    digest = peewee.CharField(max_length=64)
    """SHA-256 of `payload` in UTF-8."""
    script = peewee.ForeignKeyField(Script, null=True, on_delete="SET NULL", backref="actions")
    script_version = peewee.IntegerField(null=True)
    software = peewee.ForeignKeyField(SoftwareItem, null=True, on_delete="SET NULL", backref="actions")
    installer = JsonField(null=True)
    """The software item as it was when the action was made."""
    profile_run = peewee.ForeignKeyField(ProfileRun, null=True, on_delete="CASCADE", backref="actions")
    continue_on_error = peewee.BooleanField(default=True)
    timeout_seconds = peewee.IntegerField()
    execution = peewee.CharField(max_length=16)
    """ansible, agent."""
    host = peewee.ForeignKeyField(DeploymentHost, null=True, on_delete="SET NULL", backref="actions")
    """Where Ansible runs it; null while it waits, and for agents."""
    cancel_requested = peewee.BooleanField(default=False)
    exit_code = peewee.IntegerField(null=True)
    stdout = peewee.TextField(default="")
    stderr = peewee.TextField(default="")
    stdout_cut = peewee.IntegerField(default=0)
    """Bytes that are left out of `stdout`."""
    stderr_cut = peewee.IntegerField(default=0)
    logs = peewee.TextField(null=True)
    """What an agent sent."""
    report_digest = peewee.CharField(max_length=64, null=True)
    """SHA-256 of the agent's report: the same one may come twice."""
    message = peewee.TextField(default="")
    created_by = peewee.CharField(max_length=255)
    created_at = UtcField()
    updated_at = UtcField()
    started_at = UtcField(null=True)
    completed_at = UtcField(null=True)
    deadline = UtcField(null=True)
    """An action that runs is given up behind this."""

    class Meta:
        indexes = ((("device", "status"), False), (("status", "execution"), False))


MODELS = [Script, ScriptVersion, SoftwareItem, OsImage, Profile, ProfileTask, ProfileRun, Action]
