# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints of agents of other makes: heartbeat, results of actions."""

from __future__ import annotations

from typing import Any

from flask import current_app, request

from patchherd.automation import agent_work
from patchherd.automation.action_schemas import AgentWork, Alive, BeatBody, Done, ResultBody
from patchherd.devices.registry import is_number
from patchherd.errors import BadRequest, invalid
from patchherd.http import Room, settings
from patchherd.identity.access import public
from patchherd.identity.ratelimit import limited

room = Room("agent-work", __name__, description="What agents of other makes fetch and report")


@room.route("/agent/heartbeat", methods=["POST"])
@public("the device's own credential is checked against the device that the body names")
@limited
@room.doc(requestBody={"required": True, "content": {"application/json": {"schema": BeatBody}}})
@room.response(200, AgentWork)
def heartbeat() -> dict[str, Any]:
    """A sign of life; the answer holds the actions that wait for the device, each of them once"""
    agent_work.require_credential(settings())
    said = _said()
    return {"actions": agent_work.heartbeat(settings(), _device_id(said.get("device_id")), said)}


def _said() -> dict[str, Any]:
    """The body; read by hand, for agents send thousands of these a minute."""
    try:
        said = current_app.json.loads(request.get_data())
    except ValueError as exc:
        raise BadRequest("Malformed JSON", str(exc)) from exc
    if not isinstance(said, dict):
        raise invalid("", "an object is needed")
    return said


def _device_id(value: Any) -> int:
    if isinstance(value, str) and is_number(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid("device_id", "the device's number is needed", value=value)
    return value


@room.route("/agent/heartbeat")
@public("tells only that the server is there")
@room.response(200, Alive)
def is_alive() -> dict[str, str]:
    """Whether the endpoint is there"""
    return {"message": "agent heartbeat endpoint is alive"}


@room.route("/agent/actions/<int:action_id>/result", methods=["POST"])
@public("the device's own credential is checked against the device of the action")
@limited
@room.arguments(ResultBody)
@room.response(200, Done)
def report_result(body: dict[str, Any], action_id: int) -> dict[str, str]:
    """Report the result of an action, once; the same report again changes nothing"""
    agent_work.report(settings(), action_id, body)
    return {"status": "ok"}
