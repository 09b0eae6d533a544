#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: updates
short_description: Search, download and install updates on a Linux host
version_added: 0.1.0
description:
  - Installs updates on a host with C(apt) or C(dnf) as M(ansible.windows.win_updates) does on Windows, exactly those versions
    that the search has found, in one transaction.
  - Only packages that are installed are upgraded. No package is removed but by one that replaces it under another name, none
    is downgraded, and other new packages come only as dependencies.
  - Looks at the host again after an installation. An update counts as installed when its version is there, whatever the
    package manager said, and the module fails where one is not.
  - Fails where the host cannot tell what it misses, because its package metadata has never been refreshed completely.
author:
  - Patchherd contributors (@patchherd)
extends_documentation_fragment:
  - patchherd.fleet.updates
options:
  state:
    description:
      - V(searched) changes nothing.
      - V(downloaded) fetches the packages of the chosen updates into the package manager's cache.
      - V(installed) installs them.
    type: str
    choices: [searched, downloaded, installed]
    default: installed
  lock_timeout:
    description:
      - Seconds to wait for another program that uses the package manager. C(dnf) waits as long as it takes.
    type: int
    default: 120
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details:
      - The package manager works the transaction out and does not carry it out, so that one that is impossible fails.
  diff_mode:
    description: Returns details on what has changed or would change, in diff mode.
    support: none
  idempotent:
    description: When run twice in a row, the second run does not report a change.
    support: full
  platform:
    description: Operating systems the module works on.
    platforms: linux
    support: full
seealso:
  - module: patchherd.fleet.updates_info
  - module: ansible.windows.win_updates
  - module: ansible.builtin.reboot
"""

EXAMPLES = r"""
- name: Install all security updates
  patchherd.fleet.updates:
    category_names: [security]
  become: true
  register: updates

- name: Reboot where that is needed
  ansible.builtin.reboot:
  become: true
  when: updates.reboot_required

- name: Install what one advisory brings
  patchherd.fleet.updates:
    advisories: [RLSA-2026:0001]
  become: true

- name: Download everything but the kernel before the maintenance window
  patchherd.fleet.updates:
    state: downloaded
    reject_list: [kernel*, linux-image-*]
  become: true
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
installed_update_count:
  description: Number of updates that were installed.
  returned: success, and failure of an installation
  type: int
failed_update_count:
  description: Number of updates that should have been installed and are not.
  returned: success, and failure of an installation
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.patchherd.fleet.plugins.module_utils._updates import arguments, report_of_host, search

APT = [
    "apt-get", "-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
    "install", "--only-upgrade", "--no-install-recommends", "--no-remove",
]  # fmt: skip
DNF = ["dnf", "-y", "--setopt=install_weak_deps=False", "install"]
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "LANGUAGE": "C"}


def command(module, manager, chosen):
    """The command line that does what was asked for with exactly these updates."""
    state, simulate = module.params["state"], module.check_mode
    if manager == "apt":
        lock = ["-o", "DPkg::Lock::Timeout=%d" % module.params["lock_timeout"]]
        how = ["--simulate"] if simulate else ["--download-only"] if state == "downloaded" else []
        return APT + lock + how + sorted(chosen)
    how = ["--assumeno"] if simulate else ["--downloadonly"] if state == "downloaded" else []
    return DNF[:1] + how + [part for part in DNF[1:] if not (simulate and part == "-y")] + sorted(chosen)


def automatic_packages(module, manager):
    """The packages that apt has installed as dependencies: naming one on its command line would make it wanted."""
    if manager != "apt":
        return set()
    code, out, _err = module.run_command(["apt-mark", "showauto"], environ_update=ENVIRONMENT)
    return set(out.split()) if code == 0 else set()


def carry_out(module, manager, chosen):
    """Run the package manager; (whether it did its work, what it said)."""
    automatic = automatic_packages(module, manager)
    code, out, err = module.run_command(command(module, manager, chosen), environ_update=ENVIRONMENT)
    dependencies = sorted({update["package"] for update in chosen.values()} & automatic)
    if dependencies and not module.check_mode and module.params["state"] == "installed":
        module.run_command(["apt-mark", "auto"] + dependencies, environ_update=ENVIRONMENT)
    said = (err.strip() or out.strip())[-4000:]
    # Told to assume "no", dnf works the transaction out, prints it and ends with 1.
    refused = module.check_mode and manager == "dnf" and "Operation aborted" in out + err
    return code == 0 or refused, said


def note_installed(module, chosen, result):
    """Look at the host again: which of the chosen updates are there; returns the titles of the others."""
    report = report_of_host(module, "never")[0]
    present = {}
    for entry in report["packages"]:
        if not entry.get("broken"):
            present.setdefault((entry["name"], entry["currentVersion"]), []).append(entry)
    for update in chosen.values():
        is_there = (update["name"], update["version"]) in present
        update["shown"].update(installed=is_there, downloaded=is_there)
    result.update(reboot_required=report["needsReboot"], reboot_reason=report["rebootReason"])
    return [update["title"] for update in chosen.values() if not update["shown"]["installed"]]


def main():
    module = AnsibleModule(
        argument_spec=dict(
            arguments(),
            state={"type": "str", "choices": ["searched", "downloaded", "installed"], "default": "installed"},
            lock_timeout={"type": "int", "default": 120},
        ),
        supports_check_mode=True,
    )
    report, chosen, result = search(module, module.params["refresh"])
    result.update(installed_update_count=0, failed_update_count=0)
    if not chosen or module.params["state"] == "searched":
        module.exit_json(**result)
    good, said = carry_out(module, report["packageManager"], chosen)
    if module.check_mode or module.params["state"] == "downloaded":
        if not good:
            module.fail_json(msg="The updates cannot be %s: %s" % (module.params["state"], said), **result)
        if not module.check_mode:
            for update in chosen.values():
                update["shown"]["downloaded"] = True
        result["changed"] = True
        module.exit_json(**result)
    lacking = note_installed(module, chosen, result)
    installed = len(chosen) - len(lacking)
    result.update(changed=installed > 0, installed_update_count=installed, failed_update_count=len(lacking))
    if lacking or not good:
        named = "not installed: %s; " % ", ".join(sorted(lacking)[:20]) if lacking else ""
        module.fail_json(msg="The installation failed: %s%s" % (named, said), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
