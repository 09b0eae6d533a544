# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agents that register themselves, as the DeployFlow API documents it.

The same host name with the same enrolment token is the same device. That proves little, for every machine that was
set up with the token knows as much: so only a new device gets credentials, and only one that shows its credentials
changes what is known of it. A device whose credentials are lost is deleted and registers again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog
from flask import g, request

from patchherd.database import now, write_transaction
from patchherd.devices.models import Device
from patchherd.devices.os_types import family_of
from patchherd.devices.registry import has_name, write_columns
from patchherd.enrollment import hosts, tokens
from patchherd.enrollment.models import EnrollmentToken
from patchherd.errors import Unauthorized
from patchherd.identity.access import current
from patchherd.identity.locking import REGISTRATION, take_turn
from patchherd.identity.permissions import ENROLLMENT_USE
from patchherd.identity.principal import Principal
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.enrollment")
View = TypeVar("View", bound=Callable[..., Any])

_COLUMNS = ("hostname", "os_type", "os_version", "hardware_summary", "agent_version", "execution")


def with_token(view: View) -> View:
    """Give a view the enrolment token of the request's JSON body, before anything else of the body is looked at.

    Raises Unauthorized for a missing or bad one, Forbidden from an address that may not use it. A body that is no JSON
    object is left to the view's own arguments, which refuse it.
    """

    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        body = request.get_json(silent=True)
        if body is None and request.get_data(cache=True):
            return view(None, *args, **kwargs)
        text = (body.get("enrollment_token") or body.get("token")) if isinstance(body, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise Unauthorized("Enrollment token required", "send enrollment_token with the value KEY:SECRET")
        token = tokens.verify_enrolling_token(*split_token(text))
        g.principal = Principal("enrollment", token.id, token.token_name, frozenset({ENROLLMENT_USE}))
        return view(token, *args, **kwargs)

    return cast(View, checked)


def split_token(text: str) -> tuple[str, str]:
    """Key and secret of a token's one-string form; a text without colon is both."""
    key, colon, secret = text.strip().partition(":")
    return (key, secret) if colon else (key, key)


def register(token: EnrollmentToken | None, host: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Register a host by its `hostname`; the answer as documented, with the credentials for those who may have them.

    Raises TooManyRequests for a new device beyond the quota, Conflict as enrolment does.
    """
    if token is None:
        raise Unauthorized("Enrollment token required")
    with write_transaction():
        proven = hosts.re_enroll(current())
        if proven is not None:
            _write(proven.device.id, host, never_reported=proven.device.last_report is None)
            return _answer(settings, proven.device.id, proven)
    key, key_hash = hosts.new_key(settings)
    with write_transaction():
        take_turn(REGISTRATION)
        known = _registered(token, host["hostname"])
        if known is not None:
            EnrollmentToken.update(last_used_at=now()).where(EnrollmentToken.id == token.id).execute()
            log.info("registered again without credentials", device=known, address=request.remote_addr)
            return _answer(settings, known)
        wanted = {
            "friendly_name": host["hostname"],
            "machine_id": host.get("machine_id"),
            "metadata": host.get("metadata"),
        }
        enrolled = hosts.admit(token, wanted, key, key_hash, settings)
        # Who registers this way asks for work; a device that Ansible reaches as well can be set back.
        _write(enrolled.device.id, {**host, "execution": "agent"}, never_reported=True)
    return _answer(settings, enrolled.device.id, enrolled)


def _registered(token: EnrollmentToken, hostname: str) -> int | None:
    found = Device.select(Device.id).where(has_name([hostname]) & (Device.enrolled_with == token.uuid))
    device = found.order_by(Device.id).first()
    return None if device is None else int(device.id)


def _write(device_id: int, host: dict[str, Any], *, never_reported: bool) -> None:
    """What the agent said of its machine, as far as no report tells it better."""
    columns = {name: host[name] for name in _COLUMNS if host.get(name) is not None}
    if never_reported:
        if family := family_of(host.get("os_type")):
            columns["os_family"] = family
        if host.get("os_description"):
            columns["os_name"] = host["os_description"]
    moment = now()
    write_columns(device_id, {**columns, "updated_at": moment, "last_heartbeat": moment})


def _answer(settings: Settings, device_id: int, enrolled: hosts.Enrolled | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"device_id": device_id, "poll_interval_seconds": settings.agent_poll_seconds}
    if enrolled is not None:
        answer.update(api_id=enrolled.api_id, api_key=enrolled.api_key)
    return answer
