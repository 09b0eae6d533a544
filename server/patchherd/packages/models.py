# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What is installed (interned versions in deduplicated sets) and what needs attention (verdicts)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import peewee

from patchherd.database import BaseModel, JsonField, UtcField, is_sqlite
from patchherd.devices.models import Device

NAME_LENGTH = 255  # with version and architecture it must fit PostgreSQL's index rows of 2,700 bytes
VERSION_LENGTH = 255
UPDATE_ID_LENGTH = 64


class PackedIdsField(peewee.Field):
    """Sorted ids of package versions in one value: array('I') in Python, BLOB on SQLite, INTEGER[] on PostgreSQL."""

    def ddl_datatype(self, ctx: Any) -> Any:
        return peewee.SQL("BLOB" if is_sqlite() else "INTEGER[]")

    def db_value(self, value: Iterable[int]) -> Any:
        return array("I", value).tobytes() if is_sqlite() else list(value)

    def python_value(self, value: Any) -> array[int]:
        return array("I", bytes(value) if is_sqlite() else value)


class PackageVersion(BaseModel):
    """One version of one package for one architecture, interned: one integer wherever it is installed."""

    ecosystem = peewee.CharField(max_length=16)
    name = peewee.CharField(max_length=NAME_LENGTH)
    architecture = peewee.CharField(max_length=32)
    """Empty when the agent does not tell."""
    version = peewee.CharField(max_length=VERSION_LENGTH)
    sort_key = peewee.BlobField()
    """`versions.key` of the version: newer is greater, byte by byte."""

    class Meta:
        indexes = ((("name", "ecosystem", "architecture", "version"), True),)


class PackageSet(BaseModel):
    """Exactly these package versions; devices with the same packages share one row."""

    digest = peewee.BlobField(unique=True)
    ecosystem = peewee.CharField(max_length=16)
    size = peewee.IntegerField()
    members = PackedIdsField()
    released_at = UtcField(null=True)
    """When a device last moved on from this set; the set is kept for a while for comparisons."""

    @classmethod
    def create_table(cls, safe: bool = True, **options: Any) -> None:
        super().create_table(safe, **options)
        if not is_sqlite():
            cls._meta.database.execute_sql(
                "CREATE INDEX IF NOT EXISTS package_set_members ON package_set USING gin (members)"
            )


class DevicePackages(BaseModel):
    """What a device has installed, and a fingerprint of the report that said so."""

    device = peewee.ForeignKeyField(Device, primary_key=True, on_delete="CASCADE")
    package_set = peewee.ForeignKeyField(PackageSet, on_delete="RESTRICT")
    fingerprint = peewee.BlobField()
    """Hash over everything that verdicts were made from; an equal one needs no new evaluation."""
    reported = peewee.IntegerField()
    """Packages in the report, duplicates included."""
    views = peewee.TextField(default="")
    """The content views that its verdicts were made with, as `matching.Match.text` writes them; empty: none."""


class EvaluationDue(BaseModel):
    """A device that is to be evaluated anew, in the background."""

    device = peewee.ForeignKeyField(Device, primary_key=True, on_delete="CASCADE")
    asked_at = UtcField()
    anew = peewee.BooleanField(default=False)
    """Even where no content view is its own: something else has changed by which it is judged."""


class Verdict(BaseModel):
    """What is not simply current on a device. A row goes when its reason goes; `Device.evaluated_at` is its age."""

    device = peewee.ForeignKeyField(Device, on_delete="CASCADE")
    ecosystem = peewee.CharField(max_length=16)
    package = peewee.CharField(max_length=NAME_LENGTH)
    """Package name; on Windows the title of the update."""
    architecture = peewee.CharField(max_length=32)
    update_id = peewee.CharField(max_length=UPDATE_ID_LENGTH, default="")
    """Tells Windows updates of one title apart; empty for packages."""
    installed = peewee.CharField(max_length=VERSION_LENGTH, null=True)
    """The newest installed version; null for a Windows update."""
    candidate = peewee.CharField(max_length=VERSION_LENGTH, null=True)
    verdict = peewee.CharField(max_length=16)
    """missing; unknown, not_installable (why: reason); current (server and agent disagree: reason)."""
    reason = peewee.TextField(null=True)
    decided_by = peewee.CharField(max_length=8, default="node")
    """Whose candidate it is: node (the host's own package manager), view (a content view), both."""
    replaced_by = JsonField(null=True)
    """[{"name","version","architecture"}]: packages of other names that take its place; the first is the candidate."""
    evidence = JsonField(null=True)
    """What host and content view say, each for itself (see `applicability.merge`); null: only the host was asked."""
    severity = peewee.CharField(max_length=16)
    """Critical, Important, Moderate, Low, Optional."""
    severity_source = peewee.CharField(max_length=64)
    """Who says so: see `schemas.SEVERITY_SOURCES`."""
    security = peewee.BooleanField()
    advisories = JsonField()
    """[{"id","type","severity","cves"}] as the host says; with "source", and see `rating.advisories_of`: imported."""
    origin = peewee.CharField(max_length=255, null=True)
    kb = peewee.CharField(max_length=32, null=True, index=True)
    categories = JsonField()
    reboot_suggested = peewee.BooleanField()
    size = peewee.BigIntegerField(null=True)
    """Of the download, bytes."""
    first_seen = UtcField()

    class Meta:
        indexes = (
            (("device", "package", "architecture", "update_id"), True),
            (("package", "ecosystem", "device"), False),
        )


MODELS = [PackageVersion, PackageSet, DevicePackages, EvaluationDue, Verdict]
