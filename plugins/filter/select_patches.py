# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: select_patches
short_description: Select what to install from the report of a Linux host
version_added: 0.1.0
author:
  - Patchherd contributors (@patchherd)
description:
  - Compares the report of P(patchherd.fleet.report_info#module) with a plan, or makes a plan from the report.
  - Only versions that the report offers are selected. What was planned and is no longer offered is named, not replaced.
positional: _input
options:
  _input:
    description: RV(patchherd.fleet.report_info#module:report_encoded) of a host.
    type: str
    required: true
  plan:
    description:
      - Transitions that are wanted on the host, each a dictionary with V(package), V(architecture) and V(candidate).
      - V(replaced_by) names the packages of other names that are to take its place, each a dictionary with V(name), V(version)
        and V(architecture); V(candidate) is then the version of the first one.
      - Without it, everything that the report offers is wanted, as far as O(only) and O(packages) let it.
    type: list
    elements: dict
  only:
    description: Which of the offered updates are wanted. Not used with O(plan).
    type: str
    choices: [all, security]
    default: all
  packages:
    description: Names, or patterns such as V(php*), of the packages that are wanted; all when empty. Not used with O(plan).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Take the report
  patchherd.fleet.report_info:
  register: report

- name: Show the security updates that this host would get
  ansible.builtin.debug:
    msg: "{{ (report.report_encoded | patchherd.fleet.select_patches(only='security')).install }}"
"""

RETURN = r"""
_value:
  description: What to do on the host.
  type: dict
  contains:
    manager:
      description: The package manager, V(apt) or V(dnf).
      type: str
    install:
      description: Exact versions, in the form that the package manager takes.
      type: list
      elements: str
      sample: [openssl=3.0.17-1~deb12u2]
    names:
      description: The names in C(install), without version.
      type: list
      elements: str
    left_out:
      description: What was wanted and is not in C(install), each with C(package), C(candidate) and C(reason).
      type: list
      elements: dict
    blocked:
      description: Why the report is no base for a decision; empty when it is.
      type: str
    needs_reboot:
      description: Whether the host needs a reboot.
      type: bool
    reboot_reason:
      description: Why it does.
      type: str
"""

import base64
import fnmatch
import json
import zlib

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.patchherd.fleet.plugins.module_utils._selection import (
    architectures_of,
    doubts,
    native_architecture,
    specifications,
)


def _wanted(entries, plan, only, packages):
    """Yield (entry to install or None, package, candidate, reason why not)."""
    if plan is None:
        for entry in entries:
            names = [entry["name"], *_versions(entry.get("replacedBy"))]
            named = not packages or any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in packages)
            offered = entry.get("needsUpdate") or entry.get("blocked")
            if offered and named and (only == "all" or entry.get("isSecurityUpdate")):
                reason = _why_blocked(entry)
                yield None if reason else entry, entry["name"], entry["availableVersion"], reason
        return
    by_name = {}
    for entry in entries:
        by_name.setdefault(entry["name"], []).append(entry)
    for item in plan:
        package, candidate, architecture = item["package"], item["candidate"], item.get("architecture")
        wanted = _versions(item.get("replaced_by")) or {package: candidate}
        instances = [
            entry
            for entry in by_name.get(package, [])
            if architecture is None or entry.get("architecture") in (None, architecture)
        ]
        if item.get("replaced_by"):
            if not instances and _are_there(item["replaced_by"], by_name):
                continue
        elif any(entry["currentVersion"] == candidate for entry in instances):
            continue
        offered = [entry for entry in instances if entry.get("needsUpdate")]
        match = next((entry for entry in offered if _proposed(entry) == wanted), None)
        reason = ""
        if match is None:
            reason = f"{_shown(offered[0])} is offered now" if offered else "no longer offered"
            if not instances:
                reason = "not installed"
            blocked = [entry for entry in instances if _proposed(entry) == wanted]
            reason = next(filter(None, map(_why_blocked, blocked)), reason)
        yield match, package, candidate, reason


def _versions(replaced_by):
    """Return {name: version} of what replaces a package."""
    return {new["name"]: new["version"] for new in replaced_by or []}


def _proposed(entry):
    """Return what the host offers for an entry of its report: {name: version}."""
    return _versions(entry.get("replacedBy")) or {entry["name"]: entry.get("availableVersion")}


def _shown(entry):
    versions = _versions(entry.get("replacedBy"))
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or entry["availableVersion"]


def _are_there(replaced_by, by_name):
    return all(
        any(entry["currentVersion"] == new["version"] for entry in by_name.get(new["name"], [])) for new in replaced_by
    )


def _why_blocked(entry):
    """Why the host's package manager does not install what it offers; empty when it does."""
    return f"{entry['blocked']}: {entry.get('blockedDetail') or ''}" if entry.get("blocked") else ""


def select_patches(report_encoded, plan=None, only="all", packages=()):
    """Return what to install; see DOCUMENTATION. Raise AnsibleFilterError when the report cannot be read."""
    if only not in ("all", "security"):
        raise AnsibleFilterError(f"select_patches: only must be all or security, not {only!r}")
    try:
        report = json.loads(zlib.decompress(base64.b64decode(report_encoded)))
        manager, entries = report["packageManager"], report["packages"]
    except (ValueError, TypeError, KeyError, zlib.error) as error:
        raise AnsibleFilterError(f"select_patches: not a report: {error}") from error
    architectures = architectures_of(entries)
    native = native_architecture(report, architectures)
    install, left_out = {}, []
    for entry, package, candidate, reason in _wanted(entries, plan, only, packages):
        arguments = entry and specifications(entry, candidate, manager, native, len(architectures[package]) == 1)
        if entry and entry.get("held"):
            reason = "held on the host"
        elif entry and not arguments:
            reason = "its name or version is malformed"
        if reason:
            left_out.append({"package": package, "candidate": candidate, "reason": reason})
        else:
            install.update(arguments)
    blocked, stated = doubts(report)
    if not blocked and stated and not install and (plan is None or left_out):
        blocked = "nothing to install was found, but the report is not complete: " + "; ".join(stated)
    return wrap_var(
        {
            "manager": manager,
            "install": list(install),
            "names": list(install.values()),
            "left_out": left_out,
            "blocked": blocked,
            "needs_reboot": bool(report.get("needsReboot")),
            "reboot_reason": report.get("rebootReason") or "",
        }
    )


class FilterModule:
    def filters(self):
        return {"select_patches": select_patches}
