# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What monitoring agents call. They know the server by `http(s)://server/api`; some take /api/v1 for that base."""

from __future__ import annotations

from typing import Any

from flask import request

from patchherd.database import now
from patchherd.errors import ApiError, Gone, NotFound, Unauthorized, invalid
from patchherd.http import Room, base_url, check_host_header, settings
from patchherd.identity.access import current, public, register_scheme, requires
from patchherd.identity.permissions import AGENT_OPEN, HOST_REPORT
from patchherd.identity.ratelimit import limited
from patchherd.monitoring import agents, configuration, inventories, messages, registration, releases, schemas
from patchherd.monitoring.agents import Known

room = Room("monitoring", __name__, description="Monitoring agents: register, inventories, updates")

register_scheme(AGENT_OPEN, agents.authenticate_open, "Agent credentials required")

_ANY_JSON: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"message": {"type": "string"}, "level": {"type": "string"}},
                "description": "One message, or a list of them under `logs`, `errors` or `entries`",
            }
        }
    },
}


@room.route("/agents/register", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@limited
@room.arguments(schemas.AgentRegistration)
@room.response(200, schemas.AgentRegistered)
def register_agent(body: dict[str, Any]) -> dict[str, Any]:
    """Register an agent; the same machine with the same credential stays the same device"""
    told = {**body, "serial": body.get("machine_id") or body.get("serial_number")}
    told["agent_version"] = body.get("agent_version") or _header_version()
    known, _ = registration.register(current(), told, settings(), request.remote_addr)
    return _registered(known, "Agent registered successfully")


@room.route("/inventory", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@room.arguments(schemas.AgentInventory)
@room.response(200, schemas.AgentReceived)
def receive_inventory(body: dict[str, Any]) -> dict[str, Any]:
    """Report hardware, software and the like of the agent that `agent_id` or X-Agent-ID names"""
    return _take(_calling_agent(body), body)


@room.route("/agents/inventory", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@limited
@room.arguments(schemas.AgentInventory)
@room.response(200, schemas.AgentReceived)
def receive_first_inventory(body: dict[str, Any]) -> dict[str, Any]:
    """Report an inventory; the first one of a machine registers it"""
    inventories.check_body(body)
    if _named(body) is not None:
        return _take(_calling_agent(body), body)
    told = inventories.told_by(body)
    told["agent_version"] = told["agent_version"] or _header_version()
    known, _ = registration.register(current(), told, settings(), request.remote_addr)
    return _take(known, body)


@room.route("/agents/<agent_id>/inventory", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@room.arguments(schemas.AgentInventory)
@room.response(200, schemas.AgentReceived)
def receive_agent_inventory(body: dict[str, Any], agent_id: str) -> dict[str, Any]:
    """Report an inventory of one agent"""
    return _take(_own(agent_id), body)


@room.route("/agents/<agent_id>/heartbeat", methods=["POST"])
@room.route("/agent/<agent_id>/heartbeat", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@room.arguments(schemas.AgentBeat)
@room.response(200, schemas.AgentBeaten)
def beat(body: dict[str, Any], agent_id: str) -> dict[str, Any]:
    """A sign of life"""
    known = _own(agent_id)
    version = registration.system_facts({"agent_version": body.get("agent_version") or _header_version()})
    agents.beat(known, request.remote_addr, version["agent_version"])
    return {
        "success": True,
        "message": "Heartbeat received",
        "server_time": _server_time(),
        "next_report_in": inventories.next_report_in(known, settings()),
    }


@room.route("/agents/<agent_id>/health")
@requires(HOST_REPORT, AGENT_OPEN)
@room.response(200, schemas.AgentHealth)
def agent_health(agent_id: str) -> dict[str, Any]:
    """Whether the server hears of an agent"""
    silent = inventories.seconds_since(_own(agent_id).last_heartbeat)
    good = silent is not None and silent <= settings().online_seconds
    message = "Agent is healthy" if good else f"No sign of life for {silent} s"
    return {"status": "ok" if good else "offline", "server_time": _server_time(), "message": message}


@room.route("/agents/<agent_id>/config")
@requires(HOST_REPORT, AGENT_OPEN)
@room.response(200, schemas.AgentConfig)
def agent_config(agent_id: str) -> dict[str, Any]:
    """How the agent should report, and how webhooks to it are signed"""
    return {"config": configuration.config_of(_own(agent_id), current(), settings())}


@room.route("/agents/<agent_id>/logs", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@room.doc(requestBody=_ANY_JSON)
@room.response(200, schemas.AgentCounted)
def receive_logs(agent_id: str) -> dict[str, Any]:
    """Lines of the agent's log"""
    count = messages.receive_messages(_own(agent_id), "log", request.get_json(force=True))
    return {"success": True, "message": "Logs received", "received": count}


@room.route("/agents/<agent_id>/errors", methods=["POST"])
@requires(HOST_REPORT, AGENT_OPEN)
@room.doc(requestBody=_ANY_JSON)
@room.response(200, schemas.AgentCounted)
def receive_errors(agent_id: str) -> dict[str, Any]:
    """Errors that the agent met"""
    count = messages.receive_messages(_own(agent_id), "error", request.get_json(force=True))
    return {"success": True, "message": "Errors received", "received": count}


@room.route("/agents/<agent_id>", methods=["DELETE"])
@requires(HOST_REPORT, AGENT_OPEN)
@room.response(200, schemas.AgentDone)
def unregister_agent(agent_id: str) -> dict[str, Any]:
    """Unregister: the device is deleted, its history stays"""
    agents.unregister(_own(agent_id))
    return {"success": True, "message": "Agent unregistered"}


@room.route("/updates/check")
@requires(HOST_REPORT, AGENT_OPEN)
@room.doc(
    parameters=[
        {"in": "header", "name": name, "required": False, "schema": {"type": "string"}}
        for name in ("X-Agent-ID", "X-Agent-Version")
    ]
)
@room.response(200, schemas.AgentUpdate)
def check_updates() -> dict[str, Any]:
    """Whether there is a newer agent than X-Agent-Version, for the system of X-Agent-ID"""
    return _updates(_header_version())


@room.route("/agents/updates")
@requires(HOST_REPORT, AGENT_OPEN)
@room.arguments(schemas.UpdateQuery, location="query")
@room.response(200, schemas.AgentUpdate)
def agent_updates(query: dict[str, Any]) -> dict[str, Any]:
    """Whether there is a newer agent than current_version"""
    return _updates(query.get("current_version") or _header_version())


@room.route("/health")
@public("agents and load balancers ask without credentials; it says nothing but that the server answers")
@room.response(200, schemas.AgentHealth)
def health() -> dict[str, Any]:
    """Whether the server answers"""
    return {"status": "ok", "server_time": _server_time(), "message": "Server is healthy"}


@room.route("/time")
@public("agents set their clock before they authenticate")
@room.response(200, schemas.ServerTime)
def server_time() -> dict[str, str]:
    """The server's time, UTC"""
    return {"timestamp": _server_time()}


def _own(agent_id: str) -> Known:
    return agents.own_agent(current(), agent_id, request.remote_addr)


def _named(body: dict[str, Any]) -> str | None:
    """The agent that a request names beside its path. Raises BadRequest when body and header name two."""
    header = (request.headers.get("X-Agent-ID") or "").strip() or None
    told: str | None = body.get("agent_id")
    if told and header and told.lower() != header.lower():
        raise invalid("agent_id", "it is not the one of the header X-Agent-ID", value=told)
    return told or header


def _calling_agent(body: dict[str, Any]) -> Known:
    """The agent that a request without id in its path is about; 401 for one that is unknown, as agents expect."""
    reference = _named(body)
    if reference is None:
        hostname = inventories.told_by(body)["hostname"]
        found = agents.own_agents_called(current(), str(hostname)) if hostname else []
        if len(found) != 1:
            raise Unauthorized("Invalid agent", "name it by agent_id or X-Agent-ID; register it first")
        reference = str(found[0])
    try:
        return _own(reference)
    except (NotFound, Gone) as error:
        raise Unauthorized("Invalid agent", _reason(error)) from None


def _reason(error: ApiError) -> str:
    return f"{error.message or error.error}: register it"


def _take(known: Known, body: dict[str, Any]) -> dict[str, Any]:
    inventories.check_body(body)
    body = {**body, "agent_version": body.get("agent_version") or _header_version()}
    inventories.receive(known, body, settings(), request.remote_addr)
    answer = _registered(known, "Inventory received")
    return {**answer, "next_report_in": inventories.next_report_in(known, settings())}


def _updates(running: str | None) -> dict[str, Any]:
    check_host_header()
    known = None
    if request.headers.get("X-Agent-ID"):
        known = _calling_agent({})
    version = running or (known.agent_version if known else None)
    return releases.update_for(settings(), known.os_family if known else None, version, base_url(settings()))


def _registered(known: Known, message: str) -> dict[str, Any]:
    number = known.device_id
    return {
        "success": True,
        "agent_id": number,
        "message": message,
        "data": {"agent_id": number, "asset_id": number},
    }


def _header_version() -> str | None:
    return (request.headers.get("X-Agent-Version") or "").strip() or None


def _server_time() -> str:
    return f"{now():%Y-%m-%dT%H:%M:%SZ}"
