# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: select_updates
short_description: Select what to install from a search for Windows updates
version_added: 0.1.0
author:
  - Patchherd contributors (@patchherd)
description:
  - Compares the updates that P(ansible.windows.win_updates#module) has found with a plan, or makes a plan from them.
  - Only updates that were found are selected. What was planned and is no longer offered is named, not replaced.
positional: _input
options:
  _input:
    description: RV(ansible.windows.win_updates#module:updates) of a search.
    type: dict
    required: true
  plan:
    description:
      - Updates that are wanted on the host, each a dictionary with V(package) (the title) and V(kb), which may be null.
      - Without it, everything that was found is wanted, as far as O(only) and O(packages) let it.
    type: list
    elements: dict
  only:
    description:
      - Which of the updates are wanted. Not used with O(plan).
      - With V(all), all but drivers and upgrades to another release of Windows.
      - With V(security), those of the categories C(Security Updates) and C(Definition Updates).
    type: str
    choices: [all, security]
    default: all
  packages:
    description: KB numbers such as V(KB5050001), titles, or patterns of them; all when empty. Not used with O(plan).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Search
  ansible.windows.win_updates:
    category_names: ["*"]
    state: searched
  register: search

- name: Show the security updates that this host would get
  ansible.builtin.debug:
    msg: "{{ (search.updates | patchherd.fleet.select_updates(only='security')).accept_list }}"
"""

RETURN = r"""
_value:
  description: What to do on the host.
  type: dict
  contains:
    accept_list:
      description: Regular expressions for O(ansible.windows.win_updates#module:accept_list), each matching one title exactly.
      type: list
      elements: str
    left_out:
      description: What was wanted and is not in C(accept_list), each with C(package), C(candidate) and C(reason).
      type: list
      elements: dict
"""

import fnmatch
import re

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var

_NO_PATCH = {"Drivers", "Upgrades"}
_SECURITY = {"Security Updates", "Definition Updates"}


def _kb(number):
    """Return a KB number with its prefix, which win_updates leaves out."""
    return f"KB{str(number).upper().removeprefix('KB')}"


def _is_wanted(update, only, packages):
    categories = set(update.get("categories") or [])
    if categories & _NO_PATCH or (only == "security" and not categories & _SECURITY):
        return False
    names = [update["title"], *map(_kb, update.get("kb") or [])]
    return not packages or any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in packages)


def _exactly(title):
    # Characters outside of ASCII letters and digits are escaped one by one, which .NET and Python read alike.
    return "^" + re.sub(r"([^A-Za-z0-9_ ])", r"\\\1", title) + "$"


def select_updates(updates, plan=None, only="all", packages=()):
    """Return what to install; see DOCUMENTATION."""
    if only not in ("all", "security"):
        raise AnsibleFilterError(f"select_updates: only must be all or security, not {only!r}")
    found = list(updates.values())
    accept, left_out = {}, []
    if plan is None:
        accept = {update["title"]: None for update in found if _is_wanted(update, only, packages)}
    for item in plan or []:
        # The number alone would not do: one number stands for the updates of several products, or for today's definitions.
        same = [update for update in found if update["title"] == item["package"]]
        if item.get("kb"):
            same = [update for update in same if _kb(item["kb"]) in map(_kb, update.get("kb") or [])]
        if same:
            accept[item["package"]] = None
        else:
            left_out.append({"package": item["package"], "candidate": item.get("kb"), "reason": "no longer offered"})
    return wrap_var({"accept_list": [_exactly(title) for title in accept], "left_out": left_out})


class FilterModule:
    def filters(self):
        return {"select_updates": select_updates}
