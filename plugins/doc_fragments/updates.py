# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Which updates are meant, and how fresh the metadata has to be.
    DOCUMENTATION = r"""
requirements:
  - Python 3.6 or newer on the host
options:
  accept_list:
    description:
      - Names of packages, patterns such as V(php*), or identifiers of advisories. Only updates that one of them names are
        chosen; all are when it is empty.
    type: list
    elements: str
    default: []
  reject_list:
    description:
      - The same for updates that are not wanted. It wins over O(accept_list).
    type: list
    elements: str
    default: []
  category_names:
    description:
      - Categories of the wanted updates. An update has those of its advisories; an update from an archive in which a
        distribution publishes its security fixes is V(security), too; one of which nothing tells is V(unspecified).
      - V(*) stands for all of them.
    type: list
    elements: str
    choices: ["*", security, bugfix, enhancement, newpackage, unspecified]
    default: ["*"]
  advisories:
    description:
      - Identifiers of advisories, for example V(RLSA-2026:0001). Only updates that one of them names are chosen.
      - Hosts with C(apt) do not know advisories.
    type: list
    elements: str
    default: []
  cves:
    description:
      - Identifiers of vulnerabilities, for example V(CVE-2026-1001). Only updates that fix one of them, as their advisories
        say, are chosen.
      - Hosts with C(apt) do not know advisories.
    type: list
    elements: str
    default: []
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
"""
