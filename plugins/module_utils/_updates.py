# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules `updates` and `updates_info` have in common. Private to the collection."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.patchherd.fleet.plugins.module_utils._agent import METADATA_HOURS, AgentError, collect
from ansible_collections.patchherd.fleet.plugins.module_utils._selection import (
    CATEGORIES,
    doubts,
    filtered_reasons,
    updates_of,
)

FILTERS = ("accept_list", "reject_list", "category_names", "advisories", "cves")


def arguments():
    """The options of the doc fragment `updates`."""
    names = {"type": "list", "elements": "str", "default": []}
    return {
        "accept_list": names,
        "reject_list": names,
        "category_names": dict(names, choices=("*",) + CATEGORIES, default=["*"]),
        "advisories": names,
        "cves": names,
        "refresh": {"type": "str", "choices": ["auto", "never", "always"], "default": "auto"},
        "refresh_hours": {"type": "float", "default": METADATA_HOURS},
    }


def report_of_host(module, refresh):
    """The report of this host; the module fails where the host cannot tell what it misses."""
    try:
        report = collect(refresh, module.params["refresh_hours"])
    except AgentError as error:
        module.fail_json(msg="Cannot search for updates: %s" % error)
    unknown, problems = doubts(report)
    if unknown:
        module.fail_json(msg=unknown[:1].upper() + unknown[1:], problems=problems)
    for problem in problems:
        module.warn(problem)
    return report, problems


def search(module, refresh):
    """Search this host: (report, chosen updates, what the module returns)."""
    report, problems = report_of_host(module, refresh)
    chosen, filtered = {}, {}
    for update in updates_of(report):
        reasons = filtered_reasons(update, *[module.params[name] for name in FILTERS])
        shown = {name: value for name, value in update.items() if name not in ("package", "well_formed")}
        if reasons:
            filtered[update["id"]] = dict(shown, filtered_reasons=reasons)
        else:
            chosen[update["id"]] = dict(update, shown=dict(shown, downloaded=False, installed=False))
    result = {
        "changed": False,
        "updates": {number: update["shown"] for number, update in chosen.items()},
        "filtered_updates": filtered,
        "found_update_count": len(chosen),
        "problems": problems,
        "metadata_updated": report["metadataUpdated"],
        "reboot_required": report["needsReboot"],
        "reboot_reason": report["rebootReason"],
    }
    return report, chosen, result
