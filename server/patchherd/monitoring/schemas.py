# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What monitoring agents send, in their words, and what operators ask."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import validate

from patchherd.devices.registry import MAX_ID
from patchherd.monitoring.releases import PLATFORMS
from patchherd.monitoring.webhooks import TYPES


class Text(ma.fields.Field[Any]):
    """A text; numbers are taken as text, for not every agent quotes its versions."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_none=True, metadata={"type": "string"}, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ma.ValidationError("A text is needed.")
        return str(value)


class HostName(Text):
    """A host name; some agents send it as a list of one."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str) or not value.strip():
            raise ma.ValidationError("A host name is needed.")
        return value


class AgentId(ma.fields.Field[Any]):
    """The id that registering answered, or the device's UUID."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_none=True, metadata={"oneOf": [{"type": "integer"}, {"type": "string"}]}, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ma.ValidationError("An agent id is needed.")
        return str(value).strip() or None


class AgentRegistration(ma.Schema):
    """An agent registers; whatever else it says is ignored."""

    class Meta:
        unknown = ma.EXCLUDE

    hostname = HostName(required=True)
    os_type = Text()
    os_version = Text()
    agent_version = Text()
    architecture = Text()
    serial_number = Text()
    machine_id = Text()


class AgentInventory(ma.Schema):
    """Sections of an inventory, unknown ones too: all are stored."""

    class Meta:
        unknown = ma.INCLUDE

    agent_id = AgentId()
    timestamp = ma.fields.Raw(allow_none=True, metadata={"description": "ISO 8601; UTC when it names no zone"})
    hostname = HostName()
    agent_version = Text()
    hardware = ma.fields.Raw(allow_none=True, metadata={"type": "object"})
    software = ma.fields.Raw(
        allow_none=True,
        metadata={
            "type": "object",
            "properties": {"installed_software": {"type": "array", "items": {"type": "object"}, "nullable": True}},
        },
    )
    network = ma.fields.Raw(allow_none=True, metadata={"type": "object"})
    domain = ma.fields.Raw(allow_none=True, metadata={"type": "object"})
    antivirus = ma.fields.Raw(allow_none=True, metadata={"type": "object"})
    office = ma.fields.Raw(allow_none=True, metadata={"type": "object"})


class AgentBeat(ma.Schema):
    """A sign of life; whatever else it says is ignored."""

    class Meta:
        unknown = ma.EXCLUDE

    agent_version = Text()


class UpdateQuery(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    current_version = ma.fields.String(metadata={"description": "what the agent runs; else X-Agent-Version"})


class LinkQuery(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    signature = ma.fields.String()


class AgentIdData(ma.Schema):
    agent_id = ma.fields.Integer()
    asset_id = ma.fields.Integer()


class AgentRegistered(ma.Schema):
    success = ma.fields.Boolean()
    agent_id = ma.fields.Integer()
    message = ma.fields.String()
    data = ma.fields.Nested(AgentIdData)


class AgentReceived(AgentRegistered):
    next_report_in = ma.fields.Integer(metadata={"description": "seconds"})


class AgentBeaten(ma.Schema):
    success = ma.fields.Boolean()
    message = ma.fields.String()
    server_time = ma.fields.String()
    next_report_in = ma.fields.Integer(metadata={"description": "seconds"})


class AgentDone(ma.Schema):
    success = ma.fields.Boolean()
    message = ma.fields.String()


class AgentCounted(AgentDone):
    received = ma.fields.Integer()


class AgentHealth(ma.Schema):
    status = ma.fields.String(metadata={"description": "ok; offline without a recent sign of life"})
    server_time = ma.fields.String()
    message = ma.fields.String()


class ServerTime(ma.Schema):
    timestamp = ma.fields.String()


class AgentConfig(ma.Schema):
    config = ma.fields.Dict(metadata={"description": "intervals in seconds, and how webhooks are signed"})


class AgentUpdate(ma.Schema):
    update_available = ma.fields.Boolean()
    latest_version = ma.fields.String()
    download_url = ma.fields.String(metadata={"description": "good for a day"})
    changelog = ma.fields.String()
    sha256 = ma.fields.String()
    size = ma.fields.Integer()


# -- operators -------------------------------------------------------------------------------------------------------

_LIMIT: dict[str, Any] = {"load_default": 100, "validate": validate.Range(min=1, max=1000)}
_PATTERN = "exact, or with * for any text; case does not count"


class PageQuery(ma.Schema):
    """Newest first; `before` is `next` of the page before."""

    before = ma.fields.Integer(load_default=None, validate=validate.Range(min=1, max=MAX_ID))
    limit = ma.fields.Integer(**_LIMIT)


class MessagesQuery(PageQuery):
    kind = ma.fields.String(load_default=None, validate=validate.OneOf(["log", "error"]))


class DeviceSoftwareQuery(ma.Schema):
    name = ma.fields.String(load_default=None, metadata={"description": _PATTERN})
    removed = ma.fields.Boolean(load_default=False, metadata={"description": "also what is gone"})
    after = ma.fields.String(load_default=None, metadata={"description": "`next` of the page before"})
    limit = ma.fields.Integer(**_LIMIT)


class TitlesQuery(ma.Schema):
    name = ma.fields.String(metadata={"description": _PATTERN})
    vendor = ma.fields.String(metadata={"description": _PATTERN})
    after = ma.fields.String(load_default=None, metadata={"description": "`next` of the page before"})
    limit = ma.fields.Integer(**_LIMIT)


class SoftwareQuery(TitlesQuery):
    version = ma.fields.String(metadata={"description": "exact, or with * for any text"})
    version_below = ma.fields.String(
        validate=validate.Length(min=1, max=100),
        metadata={"description": "1.9 < 1.10, 2.0-rc1 < 2.0 = 2 < 2.0.1; needs name"},
    )
    version_from = ma.fields.String(
        validate=validate.Length(min=1, max=100), metadata={"description": "that version or newer; needs name"}
    )


class ReleaseForm(ma.Schema):
    version = ma.fields.String(required=True, validate=validate.Length(min=1, max=64))
    platform = ma.fields.String(load_default="any", validate=validate.OneOf(PLATFORMS))
    changelog = ma.fields.String(load_default="", validate=validate.Length(max=20_000))


class ReleaseFile(ma.Schema):
    file = ma.fields.Raw(required=True, metadata={"type": "string", "format": "binary"})


class ReleasesQuery(ma.Schema):
    withdrawn = ma.fields.Boolean(load_default=False, metadata={"description": "also those taken back"})


class NewWebhook(ma.Schema):
    type = ma.fields.String(required=True, validate=validate.OneOf(TYPES))


class AgentAssignment(ma.Schema):
    api_token = ma.fields.UUID(required=True, metadata={"description": "id of an API token that may report"})
