# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From records of the server to names, groups and connection variables. PRIVATE to the collection.

A managed host decides what its record says. Nothing of it may become an option of ssh, a line of known_hosts, a second
host or a template, so what goes into a connection is matched against the form it must have.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import shlex

from ansible.inventory.group import to_safe_group_name

_DNS_NAME = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?\Z")
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,103}\Z")
_PYTHON = re.compile(r"^/[A-Za-z0-9_.+/-]{1,200}\Z")
_AGENT_ID = re.compile(r"^[A-Za-z0-9-]{1,64}\Z")
_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,3000}={0,2})\Z")
_POINT_LENGTHS = {"ecdsa-sha2-nistp256": 65, "ecdsa-sha2-nistp384": 97, "ecdsa-sha2-nistp521": 133}

CONNECTIONS = ("ssh", "psrp", "winrm", "local")
SHELLS = ("sh", "powershell", "cmd")

# Names that mean something else in a pattern: a host that calls itself so must not receive what is meant for the controller.
_RESERVED_HOSTS = {"localhost", "all", "ungrouped", "127.0.0.1", "::1"}
_BUILT_IN_GROUP = re.compile(r"^(all|ungrouped|reboot_(required|unknown)|(os|status|patch|state|arch|tag)_.*)\Z")


class BadConnection(Exception):
    """The record holds connection data that cannot be used; the message names the field, never the value."""


def host_names(records, taken):
    """Return {device id: inventory name}; C(taken) are group names, which no host may bear.

    A name that is malformed, reserved or borne by two devices gets the device's id, so that it stays the device's own.
    """
    seen = {}
    for record in records:
        seen[record["name"]] = seen.get(record["name"], 0) + 1
    names, used = {}, set(taken) | _RESERVED_HOSTS
    for record in sorted(records, key=lambda record: record["id"]):
        name = record["name"]
        if not _DNS_NAME.match(name):
            name = f"device-{record['id']}"
        elif name.lower() in used or name in used or seen[name] > 1:
            name = f"{name}-{record['id']}"
        while name in used:
            name += "_"
        used.add(name)
        names[record["id"]] = name
    return names


def user_group_names(names):
    """Return {group name of the server: name for Ansible}; two groups never become one, nor one of the built-in groups."""
    safe = {name: to_safe_group_name(name, force=True, silent=True) for name in names}
    result = _kept_apart(safe)
    return {name: f"group_{short}" if _BUILT_IN_GROUP.match(safe[name]) else short for name, short in result.items()}


def tag_group_names(tags):
    """Return {tag of the server: name for Ansible}; two tags never become one group."""
    return _kept_apart({tag: "tag_" + to_safe_group_name(tag, force=True, silent=True) for tag in tags})


def _kept_apart(safe):
    """Return the same names, with a digest where several things would have one or nothing is left of the name."""
    bearers = {}
    for short in safe.values():
        bearers[short] = bearers.get(short, 0) + 1
    return {
        name: f"{short}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        if bearers[short] > 1 or not short.strip("_")
        else short
        for name, short in safe.items()
    }


def host_keys(record):
    """Return the pinned keys of a record as ["type base64"]; raise BadConnection when one is no SSH public key."""
    keys = record.get("ssh_host_keys") or []
    if not isinstance(keys, list) or not all(isinstance(line, str) and _is_host_key(line) for line in keys):
        raise BadConnection("SSH host key")
    return keys


def _is_host_key(line):
    """Whether C(type base64) is a whole public key of that type: what the server keeps, and nothing else."""
    match = _KEY.match(line)
    if not match:
        return False
    kind, encoded = match.groups()
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    parts = _key_parts(blob)
    if not parts or parts[0] != kind.encode() or base64.b64encode(blob).decode() != encoded:
        return False
    if kind == "ssh-ed25519":
        return [len(part) for part in parts[1:]] == [32]
    if len(parts) != 3:
        return False
    if kind == "ssh-rsa":
        modulus = int.from_bytes(parts[2], "big")
        return _is_positive(parts[1]) and _is_positive(parts[2]) and 1024 <= modulus.bit_length() <= 16384
    return parts[1] == kind.rpartition("-")[2].encode() and len(parts[2]) == _POINT_LENGTHS[kind] and parts[2][0] == 4


def _key_parts(blob):
    """The strings of a key, each behind its length in four bytes; none when they do not fill the blob."""
    parts, at = [], 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        if end > len(blob) or len(parts) == 3:
            return []
        parts.append(blob[at + 4 : end])
        at = end
    return parts


def _is_positive(number):
    """Whether it is a positive number of the SSH protocol without needless bytes."""
    if not number or number[0] & 0x80:
        return False
    return number[0] != 0 or (len(number) > 1 and number[1] & 0x80 != 0)


def _checked(value, field, pattern):
    if not isinstance(value, str) or not pattern.match(value):
        raise BadConnection(field)
    return value


def _address(value):
    if isinstance(value, str) and "%" not in value:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    return _checked(value, "address", _DNS_NAME)


def _choice(value, field, choices):
    if value not in choices:
        raise BadConnection(field)
    return value


def connection_variables(record, local):
    """Return the C(ansible_*) variables of a record that has an address.

    C(local) tells that this machine is the one that the server itself runs on; only then may a device be reached without
    a connection. Raise BadConnection when a field is malformed.
    """
    given = record.get("connection") or {}
    if not isinstance(given, dict):
        raise BadConnection("connection")
    kind = _choice(given.get("type", "ssh"), "connection type", CONNECTIONS)
    if kind == "local" and not local:
        kind = "ssh"
    result = {"ansible_host": _address(record["address"]), "ansible_connection": kind}
    port = given.get("port")
    if port is not None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise BadConnection("port")
        result["ansible_port"] = port
    if given.get("user") is not None:
        result["ansible_user"] = _checked(given["user"], "user", _USER)
    if given.get("become") is True:
        result["ansible_become"] = True
    if given.get("shell") is not None:
        result["ansible_shell_type"] = _choice(given["shell"], "shell", SHELLS)
    if given.get("python") is not None:
        result["ansible_python_interpreter"] = _checked(given["python"], "python", _PYTHON)
    return result


def key_alias(record):
    """Return the name under which known_hosts holds the keys of a device: addresses move, the agent's id does not."""
    return "patchherd-" + _checked(record.get("agent_id"), "agent_id", _AGENT_ID)


def ssh_arguments(alias, known_hosts):
    """Return the C(ansible_ssh_common_args) that let ssh accept only the keys of C(alias) in the file C(known_hosts)."""
    path = str(known_hosts).replace("%", "%%")
    options = [
        f'UserKnownHostsFile="{path}"' if " " in path else f"UserKnownHostsFile={path}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        f"HostKeyAlias={alias}",
    ]
    return " ".join(f"-o {shlex.quote(option)}" for option in options)
