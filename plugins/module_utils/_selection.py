# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report of a Linux host offers, and what of it somebody wants. Private to the collection.

Used on the controller by the filters and on hosts by the modules: standard library only, Python 3.6 or newer.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch
import re

CATEGORIES = ("security", "bugfix", "enhancement", "newpackage", "unspecified")

# The names end up as arguments of apt and dnf, where a wildcard, a path or a trailing minus would mean something else.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+-]*[A-Za-z0-9_.+])?\Z")
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.+~:^%-]*[A-Za-z0-9.~^])?\Z")
_SEVERITIES = ("Critical", "Important", "Moderate", "Low")
_SEVERITY_WORDS = {"critical": "Critical", "important": "Important", "high": "Important", "moderate": "Moderate",
                   "medium": "Moderate", "low": "Low"}


def architectures_of(entries):
    """{package name: the architectures it is installed for}."""
    found = {}
    for entry in entries:
        found.setdefault(entry["name"], set()).add(entry.get("architecture"))
    return found


def native_architecture(report, architectures):
    """The host's architecture as its packages call it; None when nothing tells."""
    # What uname calls x86_64, Debian calls amd64; dpkg itself is always of the native architecture.
    if report.get("packageManager") == "dnf":
        return report.get("architecture")
    return next(iter(architectures.get("dpkg", [None])))


def specification(entry, version, manager, native, alone):
    """Return (argument, name) for the package manager, None when name or version are malformed.

    `alone` tells that the name is installed for one architecture.
    """
    name, architecture = entry["name"], entry.get("availableArchitecture") or entry.get("architecture") or ""
    if not (_NAME.match(name) and _VERSION.match(version) and (not architecture or _NAME.match(architecture))):
        return None
    if manager == "dnf":
        # A package may become noarch, or cease to be; only where several are installed does the architecture choose.
        plain = not architecture or (alone and architecture in ("noarch", native))
        return "%s-%s" % (name, version) + ("" if plain else "." + architecture), name
    if architecture not in ("", "all", native):
        name = "%s:%s" % (name, architecture)
    return "%s=%s" % (name, version), name


def replacements(entry):
    """What takes the place of an installed package under other names: entries like it, with currentVersion the new one."""
    return [
        {"name": new["name"], "architecture": new.get("architecture"), "currentVersion": new["version"]}
        for new in entry.get("replacedBy") or []
    ]


def specifications(entry, version, manager, native, alone):
    """The (argument, name) pairs that bring an update; [] when something about it is malformed. See `specification`."""
    new = replacements(entry)
    if not new:
        found = [specification(entry, version, manager, native, alone)]
    else:
        # By the very architecture that dnf has chosen: nothing is installed that would tell.
        found = [specification(package, package["currentVersion"], manager, native, False) for package in new]
    return found if all(found) else []


def doubts(report):
    """(why it is unknown what the host misses or "", what else limits the truth of the report)."""
    # Packages that are installed incompletely are for the package manager to complete, and no doubt about the others.
    stated = [text for text in report.get("problems") or [] if not text.startswith("not completely installed: ")]
    unknown = ""
    if not report.get("metadataUpdated"):
        reason = "; ".join(stated) or "its package metadata has never been refreshed"
        unknown = "what this host misses is unknown: " + reason
    return unknown, stated


def updates_of(report):
    """The updates that a report offers or says to be blocked, a dict each, in the order of the report."""
    architectures = architectures_of(report["packages"])
    native = native_architecture(report, architectures)
    found = []
    for entry in report["packages"]:
        version = entry.get("availableVersion")
        blocked = entry.get("blocked")
        if not version or not (entry.get("needsUpdate") or blocked):
            continue
        alone = len(architectures[entry["name"]]) == 1
        arguments = specifications(entry, version, report["packageManager"], native, alone)
        advisories = entry.get("advisories") or []
        words = [_SEVERITY_WORDS.get((advisory.get("severity") or "").lower()) for advisory in advisories]
        replaced = replacements(entry)
        for number, new in enumerate(replaced or [dict(entry, currentVersion=version)]):
            name, version = new["name"], new["currentVersion"]
            argument = arguments[number] if arguments else None
            same = next((update for update in found if replaced and argument and update["id"] == argument[0]), None)
            if same:  # it replaces several packages
                same["replaces"] = sorted(set(same["replaces"] + [entry["name"]]))
                same["blocked"], same["blocked_detail"] = same["blocked"] or blocked, (
                    same["blocked_detail"] or entry.get("blockedDetail"))
                continue
            found.append({
                "id": argument[0] if argument else "%s %s" % (name, version),
                "title": "%s %s" % (name, version),
                "name": name,
                "package": argument[1] if argument else name,
                "architecture": new.get("architecture"),
                "installed_version": entry["currentVersion"],
                "version": version,
                "replaces": [entry["name"]] if replaced else [],
                "categories": _categories(entry, advisories),
                "severity": next((severity for severity in _SEVERITIES if severity in words), None),
                "advisories": sorted({advisory["id"] for advisory in advisories}),
                "cves": sorted({cve for advisory in advisories for cve in advisory.get("cves") or []}),
                "origin": entry.get("sourceRepository"),
                "held": bool(entry.get("held")),
                "phased": entry.get("phased"),
                "blocked": blocked,
                "blocked_detail": entry.get("blockedDetail"),
                "well_formed": argument is not None,
            })
    return found


def _categories(entry, advisories):
    found = {advisory.get("type") for advisory in advisories} & set(CATEGORIES)
    if entry.get("isSecurityUpdate"):
        found.add("security")
    return sorted(found) or ["unspecified"]


def matches(update, patterns):
    """Whether one of the patterns names the update: its package (V(php*)), or one of its advisories."""
    names = [update["name"], update["package"]] + update["replaces"] + update["advisories"]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def filtered_reasons(update, accept_list, reject_list, category_names, advisories, cves):
    """Why an update is not wanted or cannot be installed; [] for one that is chosen. Empty lists filter nothing."""
    reasons = []
    if accept_list and not matches(update, accept_list):
        reasons.append("accept_list")
    if reject_list and matches(update, reject_list):
        reasons.append("reject_list")
    if "*" not in category_names and not set(category_names) & set(update["categories"]):
        reasons.append("category_names")
    if advisories and not set(advisories) & set(update["advisories"]):
        reasons.append("advisories")
    if cves and not set(cves) & set(update["cves"]):
        reasons.append("cves")
    if update["blocked"]:
        reasons.append(update["blocked"])
    if not update["well_formed"]:
        reasons.append("malformed")
    return reasons
