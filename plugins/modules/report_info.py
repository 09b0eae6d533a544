#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: report_info
short_description: Collect the patch report of a Linux host
version_added: 0.1.0
description:
  - Collects what the Patchherd agent reports about a host, which are its packages with the versions offered for them,
    its repositories, hardware, network and whether it needs a reboot.
  - Nothing is sent anywhere. A deployment takes one report before and one after it has installed patches, and the
    server reads both from the task results.
  - Works on hosts with C(apt) and C(dpkg), and on hosts with C(dnf) and C(rpm).
author:
  - Patchherd contributors (@patchherd)
requirements:
  - Python 3.6 or newer on the host
options:
  phase:
    description:
      - Which moment of a deployment the report describes. It is returned unchanged.
    type: str
    choices: [before, after]
    default: before
  refresh:
    description:
      - Whether to refresh the package metadata first, from the sources that are configured on the host.
      - V(auto) refreshes it where it is absent or older than O(refresh_hours).
      - A refresh writes the package manager's cache and changes nothing else, therefore it happens in check mode too.
    type: str
    choices: [auto, never, always]
    default: auto
  refresh_hours:
    description:
      - Age in hours at which package metadata is too old for O(refresh=auto).
    type: float
    default: 4
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
"""

EXAMPLES = r"""
- name: Take the report before patching
  patchherd.fleet.report_info:
    phase: before
  become: true
  register: before

- name: Read the report on the controller
  ansible.builtin.command:
    argv:
      - python3
      - -c
      - import base64, sys, zlib; sys.stdout.buffer.write(zlib.decompress(base64.b64decode(sys.stdin.read())))
    stdin: "{{ before.report_encoded }}"
  delegate_to: localhost
  changed_when: false
  check_mode: false
  register: report

- name: Show what the host misses
  ansible.builtin.debug:
    msg: "{{ (report.stdout | from_json).packages | selectattr('needsUpdate') | map(attribute='name') }}"

- name: Take the report after patching, against metadata that is new
  patchherd.fleet.report_info:
    phase: after
    refresh: always
  become: true
"""

RETURN = r"""
phase:
  description: The moment that was asked for.
  returned: success
  type: str
  sample: before
report_encoded:
  description:
    - The report, a JSON document compressed with zlib and encoded with Base64.
    - A host with 1,500 packages would otherwise cost Ansible seconds for a single task result.
    - Its C(metadataUpdated) is null where the metadata has never been refreshed from all sources. What the host misses
      is then unknown, and C(problems) says why.
  returned: success
  type: str
  sample: eJyrVipKLcgvKglLLSrOzM9TsjKsBQBKSAcq
"""

import base64
import json
import zlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.patchherd.fleet.plugins.module_utils._agent import METADATA_HOURS, AgentError, collect


def main():
    module = AnsibleModule(
        argument_spec={
            "phase": {"type": "str", "choices": ["before", "after"], "default": "before"},
            "refresh": {"type": "str", "choices": ["auto", "never", "always"], "default": "auto"},
            "refresh_hours": {"type": "float", "default": METADATA_HOURS},
        },
        supports_check_mode=True,
    )
    try:
        report = collect(module.params["refresh"], module.params["refresh_hours"])
    except AgentError as error:
        module.fail_json(msg="Cannot collect the report: %s" % error)
    encoded = base64.b64encode(zlib.compress(json.dumps(report, separators=(",", ":")).encode())).decode()
    module.exit_json(changed=False, phase=module.params["phase"], report_encoded=encoded)


if __name__ == "__main__":
    main()
