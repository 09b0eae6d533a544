# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Webhooks: the server asks an agent to look for updates, or to collect, now.

The call goes to the address that the agent itself connects from, never to one that it states or to a name: otherwise
whoever registers a device could aim this server at any service of its network. Answers are not stored for the same
reason, redirects are not followed, proxies of the environment are not asked.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from patchherd import __version__, database
from patchherd.database import now, write_transaction
from patchherd.devices.models import Device
from patchherd.errors import Conflict, Unavailable
from patchherd.identity import audit
from patchherd.identity.access import current
from patchherd.monitoring.agents import webhook_secret
from patchherd.monitoring.models import MonitoringAgent, WebhookDelivery
from patchherd.settings import Settings

TYPES = ("update", "collect")
TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024
SIGNATURE = "X-Patchherd-Signature"
TIMESTAMP = "X-Patchherd-Timestamp"
PATHS = {kind: f"/api/webhook/{kind}" for kind in TYPES}

_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")})
"""Metadata services of clouds beyond the link-local ones."""
_slots = threading.BoundedSemaphore(4)
"""Calls under way in this process; agents that do not answer must not take all request threads."""


class Outcome(NamedTuple):
    """What came of a call."""

    status: int | None
    error: str | None


def send(settings: Settings, device: Device, kind: str) -> WebhookDelivery:
    """Call the agent of a device, and record what came of it, which may be a failure.

    Takes up to `TIMEOUT_SECONDS`, outside of any transaction. Raises Conflict when there is nowhere to call, or
    Unavailable when too many calls are under way.
    """
    address, secret = _target(settings, device)
    if not _slots.acquire(blocking=False):
        raise Unavailable("Too many webhooks under way", headers={"Retry-After": str(int(TIMEOUT_SECONDS))})
    try:
        delivery = _begin(settings, device, kind, address)
        body = msgspec.json.encode(
            {"type": kind, "agent_id": device.id, "delivery": delivery.id, "timestamp": delivery.created_at}
        )
        database.db.close()  # while the agent thinks, others may have the connection
        started = time.monotonic()
        outcome = call(address, settings.agent_webhook_port, PATHS[kind], body, secret)
        took = int((time.monotonic() - started) * 1000)
        database.db.connect(reuse_if_open=True)
    finally:
        _slots.release()
    columns = {"status": outcome.status, "error": outcome.error, "duration_ms": took}
    WebhookDelivery.update(**columns).where(WebhookDelivery.id == delivery.id).execute()
    return WebhookDelivery.get_by_id(delivery.id)


def _target(settings: Settings, device: Device) -> tuple[str, str]:
    agent = MonitoringAgent.get_or_none(MonitoringAgent.device == device.id)
    if agent is None:
        raise Conflict("Webhook not possible", "no monitoring agent has registered for this device")
    if agent.address is None:
        raise Conflict("Webhook not possible", "the agent has not been heard of yet")
    if reason := refusal(agent.address, loopback=settings.agent_webhook_loopback):
        raise Conflict("Webhook not possible", f"the agent reports from {agent.address}: {reason}")
    secret = webhook_secret(settings.secret_key, device.id)
    if secret is None:
        raise Conflict("Webhook not possible", "the server's secret key has changed: the agent must register again")
    return agent.address, secret


def refusal(text: str, *, loopback: bool) -> str | None:
    """Why no webhook may go to an address; None when one may."""
    try:
        address: Any = ipaddress.ip_address(text)
    except ValueError:
        return "it is no IP address"
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return None if loopback else "agent_webhook_loopback is off"
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return "link-local, multicast and reserved addresses are not called"
    if address in _METADATA:
        return "metadata services are not called"
    return None


def _begin(settings: Settings, device: Device, kind: str, address: str) -> WebhookDelivery:
    with write_transaction():
        delivery = WebhookDelivery.create(
            device=device.id,
            type=kind,
            address=address,
            port=settings.agent_webhook_port,
            requested_by=current().name,
            created_at=now(),
        )
        facts = {"type": kind, "address": address}
        audit.record("device.webhook", "device", device.uuid, device.friendly_name, after=facts)
    return delivery


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=<hex>`: HMAC-SHA256 over timestamp, a full stop and the body."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def call(address: str, port: int, path: str, body: bytes, secret: str, seconds: float = TIMEOUT_SECONDS) -> Outcome:
    """POST to an IP address; it ends within `seconds`, however slowly the other side sends."""
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"patchherd/{__version__}",
        TIMESTAMP: timestamp,
        SIGNATURE: sign(secret, timestamp, body),
        "Connection": "close",
    }
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    late = threading.Event()

    def end() -> None:
        late.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(seconds, end)
    watch.daemon = True
    watch.start()
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        with suppress(OSError, http.client.HTTPException):  # the status is what counts
            answer.read(MAX_ANSWER_BYTES)
        good = 200 <= answer.status < 300
        return Outcome(answer.status, None if good else f"the agent answered {answer.status}")
    except (OSError, http.client.HTTPException) as exc:
        if late.is_set() or isinstance(exc, TimeoutError):
            return Outcome(None, f"no answer within {seconds:g} s")
        return Outcome(None, (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)[:200])
    finally:
        watch.cancel()
        connection.close()


def list_deliveries(device: Device, *, limit: int, before: int | None) -> dict[str, Any]:
    """One page of the calls to a device, newest first."""
    query = WebhookDelivery.select().where(WebhookDelivery.device == device.id)
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    found = list(query.order_by(WebhookDelivery.id.desc()).limit(limit + 1))
    return {"deliveries": found[:limit], "next": found[limit - 1].id if len(found) > limit else None}
