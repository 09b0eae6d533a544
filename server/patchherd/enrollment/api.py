# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: enrolment tokens, enrolment, what hosts ask for."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from patchherd.enrollment import bootstrap, descriptions, hashgate, hosts, schemas, scripts, signs, tokens
from patchherd.errors import BadRequest, NotFound, Unauthorized
from patchherd.http import Room, base_url, check_host_header, raw_body, settings
from patchherd.identity.access import current, public, register_basic, register_bearer, register_scheme, requires
from patchherd.identity.permissions import ENROLLMENT_USE, HOST_REPORT
from patchherd.identity.ratelimit import limited

room = Room("enrollment", __name__, description="Letting hosts in, and what they download")

register_scheme(ENROLLMENT_USE, tokens.authenticate, "Auto-enrollment credentials required")
register_scheme(HOST_REPORT, hosts.authenticate, "API ID and key required")
register_basic(tokens.authenticate_basic)
register_bearer(tokens.authenticate_bearer)

OPERATING_SYSTEMS = frozenset({"linux", "windows"})
INTEGRATIONS = {"docker": False, "compliance": False}
"""What agents in the field can run besides their reports. All off: there is no place here for what they would send."""


# -- tokens ----------------------------------------------------------------------------------------------------------


@room.route("/auto-enrollment/tokens", methods=["POST"])
@requires("settings:manage")
@room.arguments(schemas.NewToken)
@room.response(201, schemas.CreatedTokenAnswer)
def create_token(body: dict[str, Any]) -> dict[str, Any]:
    """Create an enrolment token; its secret is in this answer only"""
    principal = current()
    token, secret = tokens.create_token(
        body,
        prefix=settings().credential_prefix,
        cost=settings().token_cost,
        created_by=principal.id if principal.kind == "user" else None,
    )
    token.token_secret = secret
    return {
        "message": "Auto-enrollment token created successfully",
        "token": token,
        "warning": "⚠️ Save the token_secret now - it cannot be retrieved later!",
    }


@room.route("/auto-enrollment/tokens")
@requires("settings:manage")
@room.response(200, schemas.TokenView(many=True))
def list_tokens() -> Any:
    """All enrolment tokens, newest first"""
    return tokens.list_tokens()


@room.route("/auto-enrollment/tokens/<token_id>")
@requires("settings:manage")
@room.response(200, schemas.TokenView)
def get_token(token_id: str) -> Any:
    """One enrolment token"""
    return tokens.find_token(token_id)


@room.route("/auto-enrollment/tokens/<token_id>", methods=["PATCH"])
@requires("settings:manage")
@room.arguments(schemas.TokenChange)
@room.response(200, schemas.ChangedTokenAnswer)
def change_token(body: dict[str, Any], token_id: str) -> dict[str, Any]:
    """Change the given fields of an enrolment token"""
    return {"message": "Token updated successfully", "token": tokens.change_token(token_id, body)}


@room.route("/auto-enrollment/tokens/<token_id>", methods=["DELETE"])
@requires("settings:manage")
@room.response(200, schemas.DeletedTokenAnswer)
def delete_token(token_id: str) -> dict[str, Any]:
    """Delete an enrolment token; the hosts it created stay"""
    return {
        "message": "Auto-enrollment token deleted successfully",
        "deleted_token": tokens.delete_token(token_id),
    }


# -- enrolment -------------------------------------------------------------------------------------------------------


@room.route("/auto-enrollment/script")
@public("checks the enrolment token in its own query")
@limited
@room.doc(parameters=descriptions.SCRIPT)
@room.response(200, descriptions.TEXT, content_type="text/plain")
def enrollment_script() -> Response:
    """A script that enrols hosts, with server and token filled in: for sh, or with os=windows for PowerShell"""
    key, secret = request.args.get("token_key"), request.args.get("token_secret")
    if not key or not secret:
        raise Unauthorized("Token key and secret required")
    kind = request.args.get("type", "")
    if kind not in scripts.SCRIPTS:
        raise BadRequest("Invalid script type", f"type must be one of: {', '.join(sorted(scripts.SCRIPTS))}")
    system = _operating_system()
    if system == "windows" and kind != "direct-host":
        raise BadRequest("Invalid os", "only direct-host is there for windows")
    tokens.verify_enrolling_token(key, secret)
    check_host_header()
    script = scripts.enrollment_script(
        kind,
        settings(),
        server_url=base_url(settings()),
        token_key=key,
        token_secret=secret,
        force=request.args.get("force") == "true",
        system=system,
    )
    return _text(script)


@room.route("/auto-enrollment/enroll", methods=["POST"])
@requires(ENROLLMENT_USE)
@limited
@hosts.within_quota
@room.arguments(schemas.HostBody)
@room.response(201, schemas.EnrollAnswer)
def enroll(body: dict[str, Any]) -> dict[str, Any]:
    """Create one host and its credentials; the key is in this answer only"""
    token = hosts.find_enrolling_token(current())
    enrolled = hosts.re_enroll(current()) or hosts.enroll(token, body, settings())
    return {"message": "Host enrolled successfully", "host": enrolled}


@room.route("/auto-enrollment/enroll/bulk", methods=["POST"])
@requires(ENROLLMENT_USE)
@limited
@hosts.within_quota
@room.arguments(schemas.BulkBody)
@room.response(201, schemas.BulkAnswer)
def enroll_bulk(body: dict[str, Any]) -> dict[str, Any]:
    """Create up to 50 hosts, or none when today's quota does not cover all"""
    result = hosts.enroll_many(hosts.find_enrolling_token(current()), body["hosts"], settings())
    return {
        "message": f"Bulk enrollment completed: {len(result.success)} succeeded, {len(result.failed)} failed, "
        f"{len(result.skipped)} skipped",
        "results": result,
    }


# -- what hosts ask for ----------------------------------------------------------------------------------------------


@room.route("/hosts/install")
@requires(HOST_REPORT)
@room.doc(parameters=descriptions.INSTALL)
@room.response(200, descriptions.TEXT, content_type="text/plain")
def install_script() -> Response:
    """A script that installs the agent; it carries a token that works once, for 5 minutes"""
    system = _operating_system()
    check_host_header()
    principal = hosts.require_host(current())
    script = scripts.install_script(
        settings(),
        server_url=base_url(settings()),
        bootstrap_token=bootstrap.issue(principal.id, hosts.presented_key()),
        force=request.args.get("force") == "true",
        system=system,
    )
    return _text(script)


@room.route("/hosts/bootstrap/exchange", methods=["POST"])
@public("the bootstrap token in the body is the credential")
@limited
@room.arguments(schemas.ExchangeBody)
@room.response(200, schemas.ExchangeAnswer)
def exchange_bootstrap_token(body: dict[str, str]) -> dict[str, str]:
    """Exchange a bootstrap token for the host's credentials, once"""
    api_id, api_key = bootstrap.exchange(body["token"])
    return {"apiId": api_id, "apiKey": api_key}


@room.route("/hosts/agent/download")
@requires(HOST_REPORT)
@room.doc(parameters=descriptions.DOWNLOAD)
@room.response(200, descriptions.TEXT, content_type="text/x-python")
def download_agent() -> Response:
    """The agent, one file: Python, or with os=windows PowerShell"""
    system = _operating_system()
    return Response(scripts.agent_source(system), mimetype="text/plain" if system == "windows" else "text/x-python")


@room.route("/hosts/agent/version")
@requires(HOST_REPORT)
@room.doc(parameters=descriptions.VERSION)
@room.response(200, schemas.AgentVersion)
def agent_version() -> dict[str, Any]:
    """The newest agent, its SHA-256, and whether agents shall replace themselves by it"""
    system = _operating_system()
    version, digest = scripts.agent_version(system)
    running = request.args.get("currentVersion")
    return {
        "currentVersion": running,
        "latestVersion": version,
        "hasUpdate": running is not None and scripts.is_newer(version, running),
        "autoUpdate": settings().agent_self_update,
        "downloadUrl": f"{settings().api_prefix}/hosts/agent/download" + ("?os=windows" if system == "windows" else ""),
        "hash": digest,
        "hashAlgorithm": "sha256",
        "architecture": request.args.get("arch"),
    }


@room.route("/hosts/ssh-key")
@requires(HOST_REPORT)
@room.response(200, descriptions.TEXT, content_type="text/plain")
def ssh_key() -> Response:
    """The public key with which the server logs in by SSH"""
    file = settings().ssh_key.with_suffix(".pub")
    if not file.exists():
        raise NotFound("SSH key not found", "the server has no SSH key pair yet")
    return _text(file.read_text())


@room.route("/hosts/ping", methods=["POST"])
@requires(HOST_REPORT)
@room.doc(requestBody=descriptions.PING)
@room.response(200, schemas.PingAnswer)
def ping() -> Response:
    """A sign of life; with hashes of what the host would report, the answer names what the server needs in full"""
    principal = hosts.require_host(current())
    body = signs.read_ping(raw_body())
    answer: dict[str, Any] = {
        "message": "Ping successful",
        "success": True,
        "friendlyName": principal.name,
        "updateInterval": settings().report_minutes,
        "hashGate": True,
        "requestFull": [],
    }
    if body.hashes:
        answer["requestFull"] = hashgate.sections_wanted(principal.id, body.hashes)
    signs.note_ping(principal, body, packages_known="packagesHash" in body.hashes and not answer["requestFull"])
    return jsonify(answer)


@room.route("/settings/update-interval")
@requires(HOST_REPORT, "devices:read")
@room.response(200, schemas.UpdateInterval)
def update_interval() -> dict[str, int]:
    """Minutes between two reports"""
    return {"updateInterval": settings().report_minutes}


@room.route("/hosts/integrations")
@requires(HOST_REPORT)
@room.response(200, schemas.Integrations)
def integrations() -> dict[str, Any]:
    """Which integrations the host shall run: each by name, and all are off, because only reports are taken"""
    return {"success": True, "integrations": INTEGRATIONS}


@room.route("/hosts/remove")
@public("removes only the agent of the host that runs it, and holds no secret")
@room.response(200, descriptions.TEXT, content_type="text/plain")
def remove_script() -> Response:
    """A shell script that removes the agent"""
    return _text(scripts.remove_script())


def _operating_system() -> str:
    """The os of the query, linux by default. Raises BadRequest for another one, and for an unknown architecture."""
    system = request.args.get("os", "linux").lower()
    if system not in OPERATING_SYSTEMS:
        raise BadRequest("Invalid os", "os must be linux or windows")
    architecture = request.args.get("arch")
    if architecture is not None and architecture.lower() not in scripts.ARCHITECTURES:
        raise BadRequest("Invalid architecture", f"arch must be one of: {', '.join(sorted(scripts.ARCHITECTURES))}")
    return system


def _text(text: str) -> Response:
    return Response(text, mimetype="text/plain")
