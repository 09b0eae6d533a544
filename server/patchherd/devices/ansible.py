# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""How Ansible reaches a device: connection facts, and the pinned host keys behind them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from patchherd.database import now
from patchherd.devices.models import Device


def connection_facts(device: Device) -> dict[str, Any]:
    """Type, port, user and the like: what the operator set, else what suits the operating system."""
    windows = device.os_family == "windows"
    kind = device.connection or ("psrp" if windows else "ssh")
    return {
        "type": kind,
        "port": device.port,
        "user": device.remote_user or (None if windows or kind == "local" else "root"),
        "become": bool(device.become),
        "shell": device.shell or ("powershell" if windows and kind == "ssh" else None),
        "python": device.python or (None if windows else "/usr/bin/python3"),
    }


def note_contact(device_id: int, message: str | None) -> None:
    """Keep what Ansible found just now: the device answered (None), or why it could not be reached."""
    reached = message is None
    contact = {"ansible_checked_at": now(), "ansible_reachable": reached, "ansible_message": message}
    Device.update(contact).where(Device.id == device_id).execute()


def host_key_alias(device: Device) -> str:
    """The name under which a device's SSH keys are pinned: it survives renaming and a new address."""
    return f"patchherd-{device.uuid}"


def job_host_vars(device: Device, private_key: Path, known_hosts: Path) -> dict[str, Any]:
    """Ansible host variables for the server's own jobs: verified SSH keys, the server's identity."""
    facts = connection_facts(device)
    variables: dict[str, Any] = {
        "patchherd_device_id": device.id,
        "patchherd_os_family": device.os_family,
        "ansible_host": device.address or device.ip_address,
        "ansible_connection": facts["type"],
    }
    optional = {
        "ansible_port": facts["port"],
        "ansible_user": facts["user"],
        "ansible_shell_type": facts["shell"],
        "ansible_python_interpreter": facts["python"],
        "ansible_become": facts["become"] or None,
    }
    variables.update({name: value for name, value in optional.items() if value is not None})
    if facts["type"] == "ssh":
        variables["ansible_ssh_private_key_file"] = str(private_key)
        variables["ansible_ssh_common_args"] = (
            f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null"
            f" -o HostKeyAlias={host_key_alias(device)} -o IdentitiesOnly=yes -o BatchMode=yes"
        )
    return variables


def known_hosts_lines(devices: Iterable[Device]) -> str:
    """OpenSSH known_hosts text of the pinned keys."""
    return "".join(f"{host_key_alias(device)} {key}\n" for device in devices for key in device.ssh_host_keys)
