# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The wire form of a host's report: what is read from it, and which field is wrong when one is."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from patchherd.errors import ApiError, BadRequest, invalid
from patchherd.packages.models import NAME_LENGTH, UPDATE_ID_LENGTH, VERSION_LENGTH

MAX_PACKAGES = 10_000
MAX_REPLACEMENTS = 50

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH)]
Version = Annotated[str, msgspec.Meta(max_length=VERSION_LENGTH)]
Text = str | int | float | None
Texts = str | int | list[str | int] | None


class Origin(msgspec.Struct, gc=False):
    """An apt release that offers the candidate."""

    origin: str | None = None
    label: str | None = None
    suite: str | None = None
    codename: str | None = None
    component: str | None = None


class Advisory(msgspec.Struct):
    """An advisory that leads to the candidate."""

    id: str
    type: str | None = None
    severity: str | None = None
    cves: list[str] | None = None


class Replacement(msgspec.Struct, gc=False):
    """A package of another name that takes the place of an installed one, or of a part of it."""

    name: Name
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=VERSION_LENGTH)]
    architecture: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class Item(msgspec.Struct, rename="camel"):
    """One installed package instance, or one update that Windows offers."""

    name: Name
    current_version: Version
    needs_update: bool
    available_version: Version | None = None
    is_security_update: bool | None = None
    architecture: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    source_repository: str | None = None
    source_name: Annotated[str, msgspec.Meta(max_length=NAME_LENGTH)] | None = None
    origins: list[Origin] | None = None
    advisories: list[Advisory] | None = None
    held: bool | None = None
    broken: str | bool | None = None
    phased: int | float | None = None
    blocked: str | None = None
    """Why the host's package manager does not install the newer version that it knows: a code of `reasons`."""
    blocked_detail: str | None = None
    replaced_by: Annotated[list[Replacement], msgspec.Meta(max_length=MAX_REPLACEMENTS)] | None = None
    """What is installed instead; the first one has the available version."""
    size: Any = None
    wua_guid: str | None = None
    wua_kb: Texts = None
    wua_severity: str | None = None
    wua_categories: Texts = None

    @property
    def download_size(self) -> int | None:
        """Bytes to download for the newer version; agents in the field send other things by this name."""
        return self.size if type(self.size) is int and 0 <= self.size < 1 << 53 else None

    @property
    def is_windows_update(self) -> bool:
        return bool(self.wua_guid or self.wua_kb)

    @property
    def update_id(self) -> str:
        """What tells updates of one title apart: the identifier in one spelling, else the KB numbers; "" on Linux."""
        if self.wua_guid:
            return self.wua_guid.strip("{} ").lower()[:UPDATE_ID_LENGTH]
        kbs = self.wua_kb if isinstance(self.wua_kb, list) else [self.wua_kb or ""]
        return ",".join(sorted(str(kb).strip().upper() for kb in kbs))[:UPDATE_ID_LENGTH]


class Report(msgspec.Struct, rename="camel"):
    """A host's report; fields that are not named here are accepted and not read."""

    packages: msgspec.Raw = msgspec.Raw(b"null")
    sections: list[str] | None = None
    hashes: dict[str, Any] | None = None
    metadata_updated: str | msgspec.UnsetType | None = msgspec.UNSET
    ecosystem: Text = None
    package_manager: Text = None
    agent_version: Text = None
    hostname: Text = None
    ip: Text = None
    machine_id: Text = None
    architecture: Text = None
    os_type: Text = None
    os_version: Text = None
    os_id: Text = None
    os_id_like: list[str] | None = None
    os_version_id: Text = None
    os_codename: Text = None
    kernel_version: Text = None
    installed_kernel_version: Text = None
    boot_id: Text = None
    needs_reboot: bool | None = None
    reboot_reason: Text = None
    ssh_host_keys: list[str] | None = None
    cpu_model: Text = None
    cpu_cores: Text = None
    ram_installed: Text = None
    swap_size: Text = None
    disk_details: list[Any] | None = None
    gateway_ip: Text = None
    dns_servers: list[Any] | None = None
    network_interfaces: list[Any] | None = None
    selinux_status: Text = None
    system_uptime: Text = None
    load_average: list[Any] | None = None
    repositories: list[Any] | None = None
    problems: list[Any] | None = None
    services_to_restart: list[Any] | None = None
    execution_time: Text = None
    module_streams: list[str] | None = None
    phasing_machine_id: Text = None


_report_decoder = msgspec.json.Decoder(Report)
_items_decoder = msgspec.json.Decoder(list[Item])
_PLACE = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"missing required field `([^`]+)`")


def decode_report(body: bytes) -> Report:
    """The report in a request body. Raises BadRequest: malformed JSON, or a field of a wrong type, by its name."""
    try:
        return _report_decoder.decode(without_nul(body))
    except msgspec.ValidationError as exc:
        raise _wrong_field(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest("Malformed JSON", str(exc)) from exc


def decode_items(packages: bytes) -> list[Item]:
    """The items of a report's `packages`. Raises BadRequest, which names the item and field."""
    try:
        items = _items_decoder.decode(packages)
    except msgspec.ValidationError as exc:
        raise _wrong_field(exc, "packages") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest("Malformed JSON", str(exc)) from exc
    if len(items) > MAX_PACKAGES:
        raise invalid("packages", f"at most {MAX_PACKAGES} packages are taken, not {len(items)}")
    return items


def without_nul(body: bytes) -> bytes:
    """The same JSON without NUL characters, which broken collectors send and PostgreSQL cannot store."""
    if b"\0" in body:
        body = body.replace(b"\0", b"")
    # One character is found many times faster than six, and most reports have not one backslash.
    if b"\\" not in body or b"\\u0000" not in body:
        return body
    try:
        return msgspec.json.encode(_strip(msgspec.json.decode(body)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest("Malformed JSON", str(exc)) from exc


def _strip(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_strip(item) for item in value]
    if isinstance(value, dict):
        return {_strip(name): _strip(item) for name, item in value.items()}
    return value


def _wrong_field(exc: msgspec.ValidationError, root: str = "") -> ApiError:
    """msgspec's "… - at `$[3].name`" as an error about `packages[3].name`."""
    match = _PLACE.match(str(exc))
    msg, place = (match.group(1), match.group(2) or "") if match else (str(exc), "")
    if missing := _FIELD.search(msg):
        place, msg = f"{place}.{missing.group(1)}", "required"
    path = (root + place).lstrip(".")
    return invalid(path, msg.replace("`", "")) if path else BadRequest("Validation failed", msg.replace("`", ""))
