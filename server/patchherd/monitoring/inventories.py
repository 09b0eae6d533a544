# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Receive inventories: an equal one changes two rows, another one makes a snapshot, and rows of what is new in it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from peewee import fn

from patchherd.database import Prepared, is_sqlite, now, write_transaction
from patchherd.devices.models import Device
from patchherd.devices.registry import clean_text, write_columns
from patchherd.errors import Gone, invalid
from patchherd.monitoring.agents import Known, contact_columns, system_columns
from patchherd.monitoring.models import MonitoringAgent
from patchherd.monitoring.registration import clean_serial, system_facts
from patchherd.monitoring.sections import Section, canonical, check_depth, parse_moment, split
from patchherd.monitoring.snapshots import add_snapshot
from patchherd.monitoring.software import read_list, write_list
from patchherd.settings import Settings


def told_by(body: dict[str, Any]) -> dict[str, Any]:
    """What an inventory says about the identity of its machine, in the words of `registration.register`."""
    hardware = body.get("hardware")
    hardware = hardware if isinstance(hardware, dict) else {}
    info = hardware.get("system_info")
    info = info if isinstance(info, dict) else {}
    told = {
        "hostname": body.get("hostname") or hardware.get("hostname"),
        "os_type": hardware.get("operating_system"),
        "os_version": hardware.get("os_version"),
        "architecture": hardware.get("architecture"),
        "serial": clean_serial(body.get("machine_id")) or clean_serial(info.get("serial_number")),
        "agent_version": body.get("agent_version"),
    }
    beside = {name: body.get(name) for name in ("os_type", "os_version", "architecture") if told[name] is None}
    return {**told, **beside}


def receive(known: Known, body: dict[str, Any], settings: Settings, address: str | None) -> None:
    """Take an inventory of a device; sections that it lacks stay as they were. Raises BadRequest, TooLarge, Gone."""
    sections = {name: canonical(name, value) for name, value in split(body).items()}
    moment = now()
    readings = {name: section.readings for name, section in sections.items() if section.readings}
    if body.get("timestamp") is not None:
        readings["report"] = {"timestamp": parse_moment(body["timestamp"], "timestamp")}
    facts = system_facts(told_by(body))
    columns = contact_columns(known, address, facts["agent_version"], moment)
    columns |= {"last_report": moment, "updated_at": moment, **_news(known, facts)}
    touched = {
        "seen_at": moment,
        "software_seen_at": moment if _has_list(sections) else None,
        "readings": {**known.readings, **readings},
        "address": address,
    }
    changed = {name: section for name, section in sections.items() if known.sections.get(name) != section.digest}
    if not changed:
        with write_transaction():
            if _touch(known, touched):
                write_columns(known.device_id, columns)
                return
    programs = None
    for name, section in (changed or sections).items():  # all of them when another report came between
        check_depth(name, section.content)
        if name == "software":
            programs = read_list(section.content)
    columns |= system_columns(known, facts)
    with write_transaction():
        agent = _locked(known.device_id)
        changed = {name: section for name, section in sections.items() if agent.sections.get(name) != section.digest}
        if changed:
            add_snapshot(
                known.device_id,
                changed,
                moment=moment,
                seen_before=agent.seen_at,
                agent_version=columns.get("agent_version", known.agent_version),
                keep=settings.snapshots_per_device,
            )
        if "software" in changed and programs is not None:
            write_list(known.device_id, programs, agent.software_seen_at, moment)
        if "hardware" in changed or "domain" in changed:
            columns |= _summary(known, sections)
        digests = {name: section.digest for name, section in sections.items()}
        MonitoringAgent.update(
            **{name: value for name, value in touched.items() if value is not None},
            sections={**agent.sections, **digests},
        ).where(MonitoringAgent.device == known.device_id).execute()
        write_columns(known.device_id, columns)


def _has_list(sections: dict[str, Section]) -> bool:
    software = sections.get("software")
    return software is not None and isinstance(software.content.get("installed_software"), list)


def _news(known: Known, facts: dict[str, Any]) -> dict[str, Any]:
    """Facts that may change while all sections stay the same."""
    hostname = facts["hostname"]
    return {"hostname": hostname} if hostname and hostname != known.hostname and not known.has_patches else {}


def _touch(known: Known, touched: dict[str, Any]) -> bool:
    """Confirm what is known; False when another report came between."""
    agent = MonitoringAgent
    values = (
        agent.seen_at.db_value(touched["seen_at"]),
        agent.software_seen_at.db_value(touched["software_seen_at"]),
        agent.readings.db_value(touched["readings"]),
        touched["address"],
        known.device_id,
        agent.sections.db_value(known.sections),
    )
    return bool(_confirm.run(*values).rowcount == 1)


_confirm = Prepared(
    lambda seen, software, readings, address, device, sections: MonitoringAgent.update(
        seen_at=seen,
        software_seen_at=fn.COALESCE(software, MonitoringAgent.software_seen_at),
        readings=readings,
        address=address,
    ).where((MonitoringAgent.device == device) & (MonitoringAgent.sections == sections))
)


def _locked(device_id: int) -> MonitoringAgent:
    """The agent's row; two reports of one device take turns. Raises Gone."""
    query = (
        MonitoringAgent.select().join(Device).where((MonitoringAgent.device == device_id) & Device.deleted_at.is_null())
    )
    if not is_sqlite():  # there all writers take turns
        query = query.for_update(of=MonitoringAgent)
    found = query.first()
    if found is None:
        raise Gone("Device deleted", "it was deleted a moment ago")
    return found


def _summary(known: Known, sections: dict[str, Section]) -> dict[str, Any]:
    """What a device's page shows of hardware and domain, in the words of our own agent's facts."""
    if known.has_patches:
        return {}
    hardware = sections["hardware"].content if "hardware" in sections else {}
    domain = sections["domain"].content if "domain" in sections else {}
    info = hardware.get("system_info")
    info = info if isinstance(info, dict) else {}
    summary = {
        "cpuModel": clean_text(hardware.get("processor"), 255),
        "cpuCores": _number(hardware.get("processor_cores")),
        "ramInstalled": _number(hardware.get("total_ram_gb", hardware.get("ram_gb"))),
        "manufacturer": clean_text(info.get("manufacturer"), 255),
        "model": clean_text(info.get("model"), 255),
        "serialNumber": clean_text(info.get("serial_number"), 255),
        "domainName": clean_text(domain.get("domain_name"), 255),
        "source": "monitoring agent",
    }
    row = Device.select(Device.facts).where(Device.id == known.device_id).tuples().first()
    return {"facts": {**(row[0] if row else {}), **{key: value for key, value in summary.items() if value is not None}}}


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def next_report_in(known: Known, settings: Settings) -> int:
    """Seconds to the next inventory: the interval less up to a fifth, the same for a device every time.

    Never more than the interval: a device that reports later than it was told to would count as offline.
    """
    share = int.from_bytes(hashlib.sha256(known.uuid.encode()).digest()[:4]) / 2**32
    return settings.agent_report_seconds - int(settings.agent_report_seconds * share / 5)


def check_body(body: dict[str, Any]) -> None:
    """Raise BadRequest for an inventory without any section: it would confirm what it does not name."""
    if not split(body):
        raise invalid("", "at least one section is needed (hardware, software, network, domain, antivirus, office…)")


def seconds_since(moment: datetime | None) -> int | None:
    """Whole seconds that have passed; None for never."""
    return None if moment is None else max(0, int((now() - moment).total_seconds()))
