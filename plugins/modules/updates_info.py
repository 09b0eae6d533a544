#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: updates_info
short_description: Search a Linux host for updates
version_added: 0.1.0
description:
  - Lists the updates that a host with C(apt) or C(dnf) is offered by its own sources, with advisories, vulnerabilities and
    severities as far as the host knows them, and says why an update is left out.
  - Fails where the host cannot tell what it misses, because its package metadata has never been refreshed completely.
  - For Windows there is M(ansible.windows.win_updates).
author:
  - Patchherd contributors (@patchherd)
extends_documentation_fragment:
  - patchherd.fleet.updates
attributes:
  check_mode:
    description: Can run in check mode and return the same result as outside of it.
    support: full
  diff_mode:
    description: Returns details on what has changed or would change, in diff mode.
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    description: When run twice in a row, the second run does not report a change.
    support: full
  platform:
    description: Operating systems the module works on.
    platforms: linux
    support: full
seealso:
  - module: patchherd.fleet.updates
  - module: ansible.windows.win_updates
"""

EXAMPLES = r"""
- name: Search for everything
  patchherd.fleet.updates_info:
  become: true
  register: found

- name: Show what is left out, and why
  ansible.builtin.debug:
    msg: "{{ found.filtered_updates }}"

- name: See whether a host lacks the fix of a vulnerability
  patchherd.fleet.updates_info:
    cves: [CVE-2026-1001]
  become: true
  register: exposed
  failed_when: exposed is failed or exposed.found_update_count > 0
"""

RETURN = r"""
updates:
  description: The chosen updates, by their C(id).
  returned: success
  type: dict
  contains:
    id:
      description: The exact version in the form that the package manager takes.
      type: str
      sample: openssl=3.0.17-1~deb12u2
    title:
      description: Package and version.
      type: str
    name:
      description: Name of the package.
      type: str
    architecture:
      description: Its architecture.
      type: str
    installed_version:
      description: The version that is installed, of a package in C(replaces) where that names any.
      type: str
    version:
      description: The version that is offered.
      type: str
    replaces:
      description:
        - The installed packages that C(dnf) would replace by this one, which has another name; empty for newer versions.
        - O(accept_list) and O(reject_list) find the update by all these names.
      type: list
      elements: str
    categories:
      description: What kind of update it is, as in O(category_names).
      type: list
      elements: str
    severity:
      description: The worst severity that its advisories name; null when none rates it.
      type: str
    advisories:
      description: Identifiers of its advisories.
      type: list
      elements: str
    cves:
      description: Vulnerabilities that its advisories name.
      type: list
      elements: str
    origin:
      description: The repository that offers it.
      type: str
    held:
      description: Whether the host holds the package at its version.
      type: bool
    phased:
      description: Percentage of hosts to which Ubuntu offers it so far; null when it is not phased.
      type: int
    blocked:
      description:
        - Why the package manager does not install it, null when it does.
        - One of C(held), C(pinned), C(excluded), C(module), C(dependency), C(esm), C(phased).
      type: str
    blocked_detail:
      description: The same in words, such as the pin priority, the option, or the dependency that cannot be met.
      type: str
    downloaded:
      description: Whether it has been downloaded.
      type: bool
    installed:
      description: Whether it is installed, as a second look at the host has shown.
      type: bool
filtered_updates:
  description:
    - The other updates that the host is offered, by their C(id), as in RV(updates) and with C(filtered_reasons).
    - A reason is the name of an option, what C(blocked) says, or C(malformed) for names that no package manager would take.
  returned: success
  type: dict
  sample: {"bash=5.2.15-2+b8": {"name": "bash", "filtered_reasons": ["held"]}}
found_update_count:
  description: Number of RV(updates).
  returned: success
  type: int
problems:
  description: What limits the truth of the search, for example a repository that could not be reached.
  returned: success
  type: list
  elements: str
metadata_updated:
  description: When the package metadata was last refreshed from all sources.
  returned: success
  type: str
  sample: "2026-11-22T05:00:00Z"
reboot_required:
  description: Whether the host needs a reboot.
  returned: success
  type: bool
reboot_reason:
  description: Why it does; null when it does not.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.patchherd.fleet.plugins.module_utils._updates import arguments, search


def main():
    module = AnsibleModule(argument_spec=arguments(), supports_check_mode=True)
    result = search(module, module.params["refresh"])[2]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
