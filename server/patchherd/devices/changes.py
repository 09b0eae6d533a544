# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Changes that operators make to devices, each in one transaction with its audit entry."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from patchherd.database import now, write_transaction
from patchherd.devices import history, tags
from patchherd.devices.group_changes import replace_groups
from patchherd.devices.keys import with_keys
from patchherd.devices.models import Device
from patchherd.devices.os_types import family_of
from patchherd.devices.registry import clean_address, create_device, find_group, has_name
from patchherd.errors import BadRequest, invalid
from patchherd.identity import audit

_HOST_NAME = re.compile(r"^(?![0-9.]+\Z)[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\Z")
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}\Z")
_PATH = re.compile(r"^/[A-Za-z0-9_./-]{1,200}\Z")

_checks: list[Callable[[dict[str, Any]], None]] = []


def register_check(check: Callable[[dict[str, Any]], None]) -> None:
    """Let a room above refuse a change: it gets the columns, in the transaction, and raises ApiError."""
    _checks.append(check)


def change_device(device: Device, body: dict[str, Any]) -> None:
    """Apply an operator's change; `groups` (ids or names) and `tags` replace what the device was given before.

    Raises BadRequest that names the field, NotFound for an unknown group; then nothing is changed. Connection values
    become SSH arguments and Ansible variables, so they are held to strict forms.
    """
    body = _with_maintenance(_checked(body))
    columns = {name: value for name, value in body.items() if name not in ("groups", "tags")}
    if "os_type" in columns and device.last_report is None:
        columns["os_family"] = family_of(columns["os_type"])
    groups = [find_group(reference) for reference in body["groups"]] if "groups" in body else None
    before = {name: getattr(device, name) for name in columns}
    if "tags" in body:
        body["tags"] = tags.clean_tags(body["tags"])
        before["tags"] = tags.tags_of([device.id]).get(device.id, [])
    with write_transaction():
        for check in _checks:
            check(columns)
        Device.update(**with_keys(columns), updated_at=now()).where(Device.id == device.id).execute()
        if groups is not None:
            replace_groups(device, groups)
        if "tags" in body:
            tags.replace(device, body["tags"])
        history.note_all(device.id, _events(before, columns))
        audit.record("device.update", "device", device.uuid, before=before, after=body)


def add_device(body: dict[str, Any]) -> Device:
    """A device that an operator adds; it has no credentials. Raises what `change_device` does, and for a taken name."""
    with write_transaction():
        if Device.select().where(has_name([body["hostname"]])).exists():
            raise invalid("hostname", "already taken", value=body["hostname"])
        device = create_device(body.get("friendly_name", body["hostname"]))
        audit.record("device.create", "device", device.uuid, device.friendly_name)
        history.note(device.id, "enrolled", {"token": None, "name": device.friendly_name})
        change_device(device, body)
    return device


def _with_maintenance(body: dict[str, Any]) -> dict[str, Any]:
    """The same change, complete: reason and end belong to one maintenance, and go with it."""
    details = [name for name in ("maintenance_reason", "maintenance_until") if body.get(name) is not None]
    if "maintenance" not in body:
        if details:
            raise invalid(details[0], "goes with maintenance: true only")
        return {name: value for name, value in body.items() if not name.startswith("maintenance_")}
    if details and not body["maintenance"]:
        raise invalid(details[0], "goes with maintenance: true only")
    until = body.get("maintenance_until")
    if until is not None and until <= now():
        raise invalid("maintenance_until", "a moment to come is needed", value=until.isoformat())
    return {**body, "maintenance_reason": body.get("maintenance_reason"), "maintenance_until": until}


def _events(before: dict[str, Any], after: dict[str, Any]) -> list[history.Event]:
    """What in an operator's change is worth remembering."""
    changed = {name for name in after if after[name] != before[name]}
    events: list[history.Event] = []
    for kind, name in (("renamed", "friendly_name"), ("renamed", "hostname"), ("moved", "address")):
        if name in changed and (before[name] is not None or name == "address"):
            events.append((kind, {"field": name, "from": before[name], "to": after[name]}))
    if "approved" in changed:
        events.append(("approved" if after["approved"] else "approval_withdrawn", {}))
    if changed & {"maintenance", "maintenance_reason", "maintenance_until"}:
        until = after["maintenance_until"]
        told = {"on": after["maintenance"], "reason": after["maintenance_reason"]}
        events.append(("maintenance", {**told, "until": until and until.isoformat()}))
    return events


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """The same change with its address in canonical form."""
    address, user, python = body.get("address"), body.get("remote_user"), body.get("python")
    if address is not None:
        body = {**body, "address": clean_address(address) or address}
        if not (clean_address(address) or _HOST_NAME.match(address)):
            raise invalid("address", "an IP address or a host name is needed", value=address)
    if user is not None and not _USER.match(user):
        raise invalid("remote_user", "letters, digits and _ . @ \\ - are allowed, not starting with a sign", value=user)
    if python is not None and not _PATH.match(python):
        raise invalid("python", "an absolute path is needed", value=python)
    return body


def delete_device(device: Device) -> None:
    """Soft delete: the row stays for history, its credentials no longer count."""
    with write_transaction():
        Device.update(deleted_at=now(), updated_at=now()).where(Device.id == device.id).execute()
        history.note(device.id, "deleted")
        audit.record("device.delete", "device", device.uuid, before={"hostname": device.hostname})


def accept_host_keys(device: Device) -> None:
    """Trust the SSH host keys that the device reported last. Raises BadRequest when it reported none."""
    if not device.reported_host_keys:
        raise BadRequest("No host keys", "the device has not reported SSH host keys")
    with write_transaction():
        Device.update(ssh_host_keys=device.reported_host_keys, updated_at=now()).where(Device.id == device.id).execute()
        before, after = (history.fingerprints(keys) for keys in (device.ssh_host_keys, device.reported_host_keys))
        history.note(device.id, "host_keys_accepted", {"from": before, "to": after})
        audit.record(
            "device.accept_host_keys",
            "device",
            device.uuid,
            before={"keys": device.ssh_host_keys},
            after={"keys": device.reported_host_keys},
        )
