# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What the server tells an agent about how to work."""

from __future__ import annotations

from typing import Any

from patchherd.identity.principal import Principal
from patchherd.monitoring.agents import Known, webhook_secret
from patchherd.monitoring.inventories import next_report_in
from patchherd.monitoring.webhooks import PATHS, SIGNATURE, TIMESTAMP
from patchherd.settings import Settings


def config_of(known: Known, principal: Principal, settings: Settings) -> dict[str, Any]:
    """The configuration of an agent. The webhook secret goes to those only who showed a credential."""
    secret = None if principal.kind == "open" else webhook_secret(settings.secret_key, known.device_id)
    interval = next_report_in(known, settings)
    return {
        "agent_id": known.device_id,
        "report_interval": interval,
        "inventory_interval": interval,
        "heartbeat_interval": min(interval, max(10, settings.online_seconds // 3)),
        "update_check_interval": 86_400,
        "webhook": {
            "port": settings.agent_webhook_port,
            "paths": PATHS,
            "secret": secret,
            "algorithm": "HMAC-SHA256 over the timestamp header, a full stop and the body",
            "signature_header": SIGNATURE,
            "timestamp_header": TIMESTAMP,
        },
    }
