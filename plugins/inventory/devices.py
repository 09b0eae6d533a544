# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: devices
short_description: Devices of a Patchherd server
version_added: 0.1.0
author:
  - Patchherd contributors (@patchherd)
description:
  - Fetches all devices, or those that match O(filters), from a Patchherd server in one request.
  - The result is complete or an error. An answer that is refused, cut off or malformed never becomes a shorter inventory.
  - The configuration file must be named V(patchherd.yml) or end with V(.patchherd.yml); V(.yaml) is as good.
  - Whatever a managed host can write into its record is never evaluated as a template.
notes:
  - O(url) and O(token) may be templates, for example a lookup into a vault, when they are set in the configuration file. A value from
    the environment is taken as it is.
  - A device that has no address yet, or whose connection data is malformed, stays in the inventory. Its C(ansible_host) is a name
    below C(.invalid), which never resolves, so that a play cannot reach another machine that happens to bear the same name.
  - The pinned keys are in a file of the machine on which the inventory is read. Where inventory and plays run in different
    containers, O(known_hosts_path) must be on a volume that both see, or O(host_keys) be V(ignore).
extends_documentation_fragment:
  - patchherd.fleet.api.plugin
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices:
      - patchherd.fleet.devices
      - devices
  filters:
    description:
      - Only devices that match all of these. The server does the selection.
      - Known names are V(group), V(os_family) (V(debian), V(redhat), V(windows)), V(status) (V(online), V(offline), V(unknown)),
        V(patch_status) (V(missing), V(current), V(unknown)), V(hostname) and V(tag).
    type: dict
    default: {}
  group_by:
    description:
      - Groups that are made without any template, which is much faster than O(keyed_groups).
      - V(groups) makes a group for each group of the server, with characters that Ansible does not allow replaced by C(_). V(os_family)
        makes C(os_debian), C(os_redhat) and C(os_windows). V(status), V(patch_status), V(state) and V(architecture) make for example
        C(status_online), C(patch_missing), C(state_pending) and C(arch_x86_64). V(reboot_required) makes C(reboot_required) and
        C(reboot_unknown). V(tags) makes for example C(tag_prod), with C(_) for what Ansible does not allow.
      - A group of the server holds the devices that were put into it, those that its rule selects and those of the groups below it.
    type: list
    elements: str
    choices: [groups, tags, os_family, status, patch_status, reboot_required, state, architecture]
    default: [groups, tags, os_family, status, patch_status, reboot_required]
  hostvars_prefix:
    description:
      - Prefix of the variables that carry fields of the device, such as C(patchherd_os_family) or C(patchherd_missing).
      - C(patchherd_maintenance) tells that the server deploys nothing to a device for the time being. What is run by hand may ask for it.
      - C(patchherd_device_id) and C(patchherd_agent_id) have this name in any case.
    type: str
    default: patchherd_
  host_keys:
    description:
      - With V(pinned), SSH accepts a device only with the host keys that it sent when it enrolled.
      - With V(ignore), SSH is left to its own configuration.
    type: str
    choices: [pinned, ignore]
    default: pinned
  known_hosts_path:
    description:
      - File for the pinned keys. It is replaced by each run that finds other keys, so no two inventory sources may share one.
      - By default a file in C(~/.ansible/patchherd) whose name is derived from the inventory source.
    type: path
"""

EXAMPLES = r"""
# fleet.patchherd.yml - address and token come from PATCHHERD_URL and PATCHHERD_TOKEN
plugin: patchherd.fleet.devices

---
# webservers.patchherd.yml - some of the devices, kept for five minutes
plugin: patchherd.fleet.devices
url: https://patchherd.example.com
token: "{{ lookup('ansible.builtin.file', '/etc/patchherd/token') }}"
filters:
  group: Web servers
  status: online
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.ansible/patchherd/cache
cache_timeout: 300

---
# own groups and variables
plugin: patchherd.fleet.devices
keyed_groups:
  - key: patchherd_os_id + '_' + patchherd_os_major
    prefix: ""
    separator: ""
groups:
  urgent: patchherd_security | default(0, true) > 0 and not patchherd_maintenance
compose:
  ansible_host: patchherd_hostname + '.example.com'
"""

import hashlib
import json
import os
import re
import tempfile
import time
from urllib.parse import urlsplit

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.patchherd.fleet.plugins.module_utils._client import Client, ClientError
from ansible_collections.patchherd.fleet.plugins.plugin_utils import _hosts

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core 2.18 trusts what is not marked

    def trust_as_template(value):
        return value


FILTERS = ("group", "os_family", "status", "patch_status", "hostname", "tag")
VARIABLES = (
    "agent_id",
    "hostname",
    "friendly_name",
    "os_family",
    "os_id",
    "os_version",
    "os_major",
    "architecture",
    "state",
    "status",
    "ansible_reachable",
    "patch_status",
    "missing",
    "security",
    "reboot_required",
    "groups",
    "tags",
    "maintenance",
)
PREFIXES = {"os_family": "os", "status": "status", "patch_status": "patch", "state": "state", "architecture": "arch"}

# No template can be made of these characters. What consists of them is not marked, for the sake of those that read the output of
# ansible-inventory, where a marked string is {"__ansible_unsafe": …}.
HARMLESS = re.compile(r"[\w .,:;@/+=()'-]*\Z")


def _is_id(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _untrusted(value):
    """Return a value of a record, each string in it marked as one that is never a template."""
    if isinstance(value, str) and HARMLESS.match(value):
        return trust_as_template(value)
    if isinstance(value, list):
        return [_untrusted(item) for item in value]
    return wrap_var(value)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "patchherd.fleet.devices"

    def verify_file(self, path):
        name = os.path.basename(path)
        fits = name.endswith((".patchherd.yml", ".patchherd.yaml")) or name in ("patchherd.yml", "patchherd.yaml")
        return fits and super().verify_file(path)

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        url, token = self._templated("url").rstrip("/"), self._templated("token")
        filters = self._filters()
        # What another token may see, or another filter selects, is another answer. The digest does not give the token away.
        source = "\0".join([path, url, token, json.dumps(filters, sort_keys=True)])
        digest = hashlib.sha256(source.encode()).hexdigest()[:24]
        records = self._records(self._answer(f"{self.get_cache_key(path)}_{digest}", cache, url, token, filters))
        known_hosts = self.get_option("known_hosts_path") or os.path.expanduser(
            f"~/.ansible/patchherd/known_hosts_{digest}"
        )
        self._populate(records, known_hosts, urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"))

    def _templated(self, name):
        """Return an option, rendered when it was written in the configuration file and only then: the environment is data."""
        value, origin = self.get_option_and_origin(name)
        if origin == "Direct":
            self.templar.available_variables = self._vars
            value = self.templar.template(value)
        return str(value)

    def _filters(self):
        filters = self.get_option("filters")
        unknown = sorted(set(filters) - set(FILTERS))
        if unknown:
            raise AnsibleParserError(f"unknown filter {', '.join(unknown)}; known are {', '.join(FILTERS)}")
        for name, value in filters.items():
            if not isinstance(value, str) or not value:
                raise AnsibleParserError(f"filter {name} must be a string that is not empty")
        return {name: str(value) for name, value in filters.items()}

    def _answer(self, key, cache, url, token, filters):
        """Return the text of the server's answer, from the cache when that is fresh, and keep it there.

        A refresh asks with the ETag of what is cached. Only an answer of the server begins a new age: then the entry is written,
        otherwise it is not touched.
        """
        cached = None
        if self.get_option("cache"):
            try:
                cached = self._cache[key]
            except KeyError:
                pass  # nothing there, or too old
            if cached and cache:
                return cached["text"]
        headers = {"If-None-Match": cached["etag"]} if cached and cached["etag"] else {}
        try:
            client = Client(
                url,
                token,
                validate_certs=self.get_option("validate_certs"),
                ca_path=self.get_option("ca_path"),
                timeout=self.get_option("timeout"),
                safe_calls_only=True,
            )
            answer = client.request("GET", "/api/v1/inventory", query=filters, headers=headers)
        except ClientError as error:
            raise AnsibleError(f"cannot read the inventory of the Patchherd server: {error}") from error
        if answer.status == 304 and cached:
            text, etag = cached["text"], cached["etag"]
        elif answer.status == 200:
            # Kept as text: a cache plugin may give meaning to some keys of a structure, never to the inside of a string.
            text, etag = json.dumps(answer.body), answer.headers.get("etag")
        else:
            raise AnsibleError(f"cannot read the inventory of the Patchherd server: unexpected status {answer.status}")
        self._records(text)
        if self.get_option("cache"):
            self._cache[key] = {"text": text, "etag": etag, "fetched": time.time()}
        return text

    def _records(self, text):
        """Return the host records of an answer; raise AnsibleError when it is not whole and well-formed."""
        body = json.loads(text)
        records = body.get("hosts") if isinstance(body, dict) else None
        if not isinstance(records, list) or body.get("count") != len(records):
            raise AnsibleError("the answer of the Patchherd server is not a complete inventory")
        ids = set()
        for record in records:
            if not isinstance(record, dict) or not _is_id(record.get("id")) or not isinstance(record.get("name"), str):
                raise AnsibleError("the answer of the Patchherd server holds a host without id or name")
            for field in ("groups", "tags"):
                words = record.get(field) or []
                if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                    raise AnsibleError(
                        f"the answer of the Patchherd server holds malformed {field} for device {record['id']}"
                    )
            ids.add(record["id"])
        if len(ids) != len(records):
            raise AnsibleError("the answer of the Patchherd server holds a device twice")
        return records

    def _populate(self, records, known_hosts, local):
        pinned = self.get_option("host_keys") == "pinned"
        if pinned and any(character in known_hosts for character in '"\n'):
            raise AnsibleError("known_hosts_path must not hold a quote or a line break")
        groups = self._groups(records)
        names = _hosts.host_names(records, groups)
        # Keys first: nothing is in the inventory yet should the file turn out not to be writable.
        variables, lines = {}, []
        for record in records:
            own, keys = self._variables(record, names[record["id"]], known_hosts if pinned else None, local)
            variables[record["id"]] = own
            lines += keys
        if pinned:
            self._write_known_hosts(known_hosts, "".join(lines))

        for group in groups:
            self.inventory.add_group(group)
        for record in records:
            name = names[record["id"]]
            self.inventory.add_host(name)
            for key, value in variables[record["id"]].items():
                self.inventory.set_variable(name, key, value)
        for group, members in groups.items():
            for device in members:
                self.inventory.add_child(group, names[device])
        self._construct(names, variables)

    def _groups(self, records):
        """Return {group: [device id]} for O(group_by)."""
        wanted = self.get_option("group_by")
        result = {}
        own_names, tag_names = {}, {}
        if "groups" in wanted:
            own_names = _hosts.user_group_names({group for record in records for group in record.get("groups") or []})
        if "tags" in wanted:
            tag_names = _hosts.tag_group_names({tag for record in records for tag in record.get("tags") or []})
        for record in records:
            member_of = {own_names[group] for group in record.get("groups") or []} if own_names else set()
            if tag_names:
                member_of.update(tag_names[tag] for tag in record.get("tags") or [])
            for field, prefix in PREFIXES.items():
                if field in wanted and isinstance(record.get(field), str) and record[field]:
                    member_of.add(self._sanitize_group_name(f"{prefix}_{record[field]}"))
            if "reboot_required" in wanted and record.get("reboot_required") is not False:
                member_of.add("reboot_required" if record.get("reboot_required") is True else "reboot_unknown")
            for group in member_of:
                result.setdefault(group, []).append(record["id"])
        return result

    def _variables(self, record, name, known_hosts, local):
        """Return (variables of a host, its lines of known_hosts); known_hosts is None when keys are not pinned."""
        prefix = self.get_option("hostvars_prefix")
        result = {prefix + field: record.get(field) for field in VARIABLES}
        result["patchherd_device_id"] = record["id"]
        result["patchherd_agent_id"] = record.get("agent_id")
        lines = []
        try:
            if record.get("address") is None:
                raise LookupError
            connection = _hosts.connection_variables(record, local)
            if known_hosts and connection["ansible_connection"] == "ssh":
                alias = _hosts.key_alias(record)
                lines = [f"{alias} {key}\n" for key in _hosts.host_keys(record)]
                connection["ansible_ssh_common_args"] = _hosts.ssh_arguments(alias, known_hosts)
        except (LookupError, _hosts.BadConnection) as error:
            if isinstance(error, _hosts.BadConnection):
                self.display.warning(f"{name} cannot be reached: its record holds a malformed {error}")
            # Without this, Ansible would look the name up and patch whatever answers to it.
            connection = {"ansible_host": f"device-{record['id']}.patchherd.invalid"}
        result.update(connection)
        return {key: _untrusted(value) for key, value in result.items()}, lines

    def _construct(self, names, variables):
        strict = self.get_option("strict")
        compose, groups, keyed = (self.get_option(option) for option in ("compose", "groups", "keyed_groups"))
        if not (compose or groups or keyed):
            return
        for device, name in names.items():
            self._set_composite_vars(compose, variables[device], name, strict=strict)
            self._add_host_to_composed_groups(groups, variables[device], name, strict=strict)
            self._add_host_to_keyed_groups(keyed, variables[device], name, strict=strict)

    def _write_known_hosts(self, path, text):
        """Replace the file at once, readable for its owner only; leave it alone when it is right already."""
        try:
            try:
                with open(path, encoding="ascii") as file:
                    if file.read() == text:
                        return
            except (FileNotFoundError, UnicodeDecodeError):
                pass
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".known_hosts_")
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(text)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise AnsibleError(f"cannot write the pinned host keys to {path}: {error.strerror}") from error
