# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Many devices at once, written straight into the database that is open in this process."""

from __future__ import annotations

import random
import uuid
from pathlib import Path
from typing import Any

from patchherd.database import chunked, now, write_transaction
from patchherd.devices.keys import with_keys
from patchherd.devices.models import Device, DeviceGroup, GroupMember
from patchherd.devices.registry import create_device
from patchherd.enrollment.models import HostCredential
from patchherd.identity import credentials
from patchherd.settings import Settings
from tests import ssh_keys

SYSTEMS = [
    ("debian", "debian", "Debian GNU/Linux", "12 (bookworm)", "12"),
    ("debian", "ubuntu", "Ubuntu", "24.04.1 LTS (Noble Numbat)", "24.04"),
    ("redhat", "rocky", "Rocky Linux", "9.4 (Blue Onyx)", "9.4"),
    ("redhat", "almalinux", "AlmaLinux", "8.10 (Cerulean Leopard)", "8.10"),
    ("windows", "windows", "Microsoft Windows Server 2022 Standard", "10.0.20348.0", "10.0"),
]
GROUPS = 40


def create_fleet(count: int) -> None:
    """`count` devices that have reported: every system, two groups each, three pinned host keys on Linux."""
    chance = random.Random(count)  # the same fleet in every run
    moment = now()
    rows = [with_keys(_device(number, chance, moment)) for number in range(count)]
    with write_transaction():
        groups = [
            DeviceGroup.create(uuid=str(uuid.uuid4()), name=f"Group {number}", created_at=moment)
            for number in range(GROUPS)
        ]
        for part in chunked(rows, len(rows[0])):
            Device.insert_many(part).execute()
        ids = [row.id for row in Device.select(Device.id)]
        members = [{"group": group.id, "device": device} for device in ids for group in chance.sample(groups, 2)]
        for part in chunked(members, 2):
            GroupMember.insert_many(part).execute()


def _device(number: int, chance: random.Random, moment: Any) -> dict[str, Any]:
    family, os_id, name, version, version_id = SYSTEMS[number % len(SYSTEMS)]
    keys = [] if family == "windows" else _host_keys(chance)
    missing = chance.choice([0, 0, 3, 12])
    return {
        "uuid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "friendly_name": f"host-{number:05}.example.com", "hostname": f"host-{number:05}.example.com",
        "ip_address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        "machine_id": f"{chance.getrandbits(128):032x}", "created_at": moment, "updated_at": moment,
        "os_family": family, "os_id": os_id, "os_name": name, "os_version": version, "os_version_id": version_id,
        "os_architecture": "x86_64", "agent_version": "0.1.0", "reboot_required": chance.random() < 0.1,
        "facts": {"disks": [{"device": f"/dev/sd{letter}", "size": "100G"} for letter in "abcdefgh"] * 4},
        "last_heartbeat": moment, "last_report": moment, "ssh_host_keys": keys, "reported_host_keys": keys,
        "patch_status": "missing" if missing else "current", "missing": missing, "missing_security": missing // 3,
        "metadata_updated": moment, "evaluated_at": moment,
    }  # fmt: skip


def _host_keys(chance: random.Random) -> list[str]:
    seed = chance.randbytes(8).hex()
    return [ssh_keys.ecdsa(seed), ssh_keys.ed25519(seed), ssh_keys.rsa(seed)]


def create_host(name: str, cost: int | None = None) -> dict[str, str]:
    """A device with credentials; the headers that carry them. `cost`: of bcrypt, else the server's default."""
    return give_key(create_device(name).id, cost)


def give_key(device: int, cost: int | None = None) -> dict[str, str]:
    """New credentials of a device, as the headers that carry them."""
    api_id, key = f"patchmon_{uuid.uuid4().hex[:16]}", f"{uuid.uuid4().hex}{uuid.uuid4().hex}"
    cost = cost or Settings(data=Path()).host_key_cost
    HostCredential.create(device=device, api_id=api_id, key_hash=credentials.hash_secret(key, cost), created_at=now())
    return {"X-API-ID": api_id, "X-API-KEY": key, "Content-Type": "application/json"}
