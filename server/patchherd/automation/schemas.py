# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Bodies and queries of the library's endpoints, in the words of the DeployFlow API."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, pre_load, validate

from patchherd.automation.platforms import ACTION_TYPES, LANGUAGES
from patchherd.automation.tasks import MAX_TASKS
from patchherd.devices.os_types import OS_TYPES
from patchherd.devices.registry import MAX_ID
from patchherd.forms import Choice, Name, Text, Tidy
from patchherd.identity.schemas import Body

MAX_SCRIPT = 1_000_000
INSTALLERS = ("msi", "exe", "winget", "choco", "script", "custom")
SOURCES = ("url", "file_share", "local_path")


class Checksum(Tidy):
    """SHA-256 in hexadecimal, in any case."""

    def __init__(self) -> None:
        rule = validate.Regexp(r"^[0-9a-f]{64}\Z", error="a SHA-256 of 64 hexadecimal digits is needed")
        super().__init__(allow_none=True, validate=rule)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super().deserialize(value.lower() if isinstance(value, str) else value, *args, **kwargs)


def _target() -> Choice:
    return Choice(OS_TYPES, allow_none=True, metadata={"description": "none: any"})


def _script_text(**kwargs: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(max=MAX_SCRIPT), validate.Regexp(r"[\s\S]*\S", error="Must not be blank.")], **kwargs
    )


def _reference() -> fields.Integer:
    return fields.Integer(strict=True, allow_none=True, validate=validate.Range(1, MAX_ID))


class ListQuery(Body):
    """The page of a list; `X-Pagination` of the answer tells where the next one starts."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, MAX_ID), metadata={"description": "last id seen"})
    limit = fields.Integer(load_default=1000, validate=validate.Range(1, 1000))
    search = fields.String(load_default=None, validate=validate.Length(1, 100))


class ProfileQuery(ListQuery):
    is_template = fields.Boolean(load_default=False, metadata={"description": "templates instead"})


class VersionQuery(Body):
    before = fields.Integer(
        load_default=None, validate=validate.Range(1, MAX_ID), metadata={"description": "smallest version seen"}
    )
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))


class ScriptChange(Body):
    name = Name()
    description = Text(10_000)
    language = Choice(LANGUAGES)
    target_os_type = _target()
    content = _script_text()


class NewScript(ScriptChange):
    name = Name(required=True)
    language = Choice(LANGUAGES, load_default="powershell")
    content = _script_text(required=True)


class SoftwareChange(Body):
    name = Name()
    slug = fields.String(
        validate=[
            validate.Length(1, 255),
            validate.Regexp(r"^[a-z0-9]+([._-][a-z0-9]+)*\Z", error="Lower-case letters, digits and single - . _"),
        ]
    )
    version = Text(64)
    installer_type = Choice(INSTALLERS)
    source_type = Choice(SOURCES)
    source = Text(2000, metadata={"description": "required unless winget or choco fetch it themselves"})
    install_args = Text(4000)
    uninstall_args = Text(4000)
    target_os_type = _target()
    checksum = Checksum()


class NewSoftware(SoftwareChange):
    name = Name(required=True)
    slug = fields.String(
        validate=SoftwareChange._declared_fields["slug"].validate, metadata={"description": "made of the name"}
    )
    installer_type = Choice(INSTALLERS, required=True)
    source_type = Choice(SOURCES, load_default="url")


class ImageChange(Body):
    name = Name()
    os_type = Choice(OS_TYPES)
    version = Text(64)
    architecture = Text(32)
    description = Text(10_000)
    source = Text(2000)
    checksum = Checksum()


class NewImage(ImageChange):
    name = Name(required=True)
    os_type = Choice(OS_TYPES, required=True)


class ProfileChange(Body):
    name = Name()
    description = Text(10_000)
    target_os_type = _target()
    is_template = fields.Boolean()


class NewProfile(ProfileChange):
    name = Name(required=True)


class TemplateChange(Body):
    name = Name()
    description = Text(10_000)
    target_os_type = _target()


class NewTemplate(TemplateChange):
    name = Name(required=True)


class Instantiation(Body):
    name = Name(load_default=None, allow_none=True, metadata={"description": "<name of the template> (copy)"})
    description = Text(10_000, load_default=None)


class TaskChange(Body):
    name = Name()
    description = Text(10_000)
    order_index = fields.Integer(strict=True, validate=validate.Range(0, MAX_ID))
    action_type = Choice(ACTION_TYPES)
    script_id = _reference()
    software_id = _reference()
    continue_on_error = fields.Boolean()
    payload = _script_text(allow_none=True, metadata={"description": "the script itself, instead of script_id"})
    timeout_seconds = fields.Integer(strict=True, allow_none=True, validate=validate.Range(1, 86_400))


class NewTask(TaskChange):
    name = Name(required=True)
    action_type = Choice(ACTION_TYPES, load_default="powershell_inline")


class ReplacingTask(NewTask):
    id = fields.Integer(strict=True, validate=validate.Range(1, MAX_ID), metadata={"description": "a task to keep"})


class TaskList(Body):
    """The new list; a plain array of tasks means the same."""

    tasks = fields.List(fields.Nested(ReplacingTask), required=True, validate=validate.Length(max=MAX_TASKS))

    @pre_load
    def plain(self, data: Any, **kwargs: Any) -> Any:
        return {"tasks": data} if isinstance(data, list) else data
