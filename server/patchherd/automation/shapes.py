# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Shapes of what the library's endpoints answer."""

from __future__ import annotations

from marshmallow import Schema, fields

from patchherd.identity.schemas import Moment


class ScriptView(Schema):
    id = fields.Integer()
    name = fields.String()
    description = fields.String(allow_none=True)
    language = fields.String()
    target_os_type = fields.String(allow_none=True)
    content = fields.String()
    version = fields.Integer()
    digest = fields.String(metadata={"description": "SHA-256 of the content"})
    created_at = Moment()
    updated_at = Moment()
    created_by = fields.String()


class VersionView(Schema):
    script_id = fields.Integer()
    version = fields.Integer()
    digest = fields.String(metadata={"description": "SHA-256 of the content"})
    created_at = Moment()
    created_by = fields.String()


class VersionDetails(VersionView):
    content = fields.String()


class SoftwareView(Schema):
    id = fields.Integer()
    name = fields.String()
    slug = fields.String()
    version = fields.String(allow_none=True)
    installer_type = fields.String()
    source_type = fields.String()
    source = fields.String(allow_none=True)
    install_args = fields.String(allow_none=True)
    uninstall_args = fields.String(allow_none=True)
    target_os_type = fields.String(allow_none=True)
    checksum = fields.String(allow_none=True, metadata={"description": "SHA-256 that a device checks"})
    created_at = Moment()
    updated_at = Moment()


class ImageView(Schema):
    id = fields.Integer()
    name = fields.String()
    os_type = fields.String()
    version = fields.String(allow_none=True)
    architecture = fields.String(allow_none=True)
    description = fields.String(allow_none=True)
    source = fields.String(allow_none=True)
    checksum = fields.String(allow_none=True, metadata={"description": "SHA-256"})
    created_at = Moment()
    updated_at = Moment()


class ProfileView(Schema):
    id = fields.Integer()
    name = fields.String()
    description = fields.String(allow_none=True)
    target_os_type = fields.String(allow_none=True)
    is_template = fields.Boolean()
    created_at = Moment()
    updated_at = Moment()


class TaskView(Schema):
    id = fields.Integer()
    profile_id = fields.Integer()
    name = fields.String()
    description = fields.String(allow_none=True)
    order_index = fields.Integer()
    action_type = fields.String()
    script_id = fields.Integer(allow_none=True)
    software_id = fields.Integer(allow_none=True)
    continue_on_error = fields.Boolean(metadata={"description": "false: stops the later tasks of a device"})
    payload = fields.String(allow_none=True)
    timeout_seconds = fields.Integer(allow_none=True)
    created_at = Moment()
    updated_at = Moment()


class ProfileDetails(ProfileView):
    tasks = fields.List(fields.Nested(TaskView))
