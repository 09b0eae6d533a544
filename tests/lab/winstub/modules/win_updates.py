#!/usr/bin/python
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The target's half of win_updates.

The real action plugin starts a task, polls its progress records and cancels it. The updates on offer come from the
repository server, as they would from WSUS; STATE says what this host has of them. `overrides` there, {update id:
keys}, changes what the catalogue says about an update for this host: hidden, install_hresult, download_hresult, ...
"""
from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
import uuid

from ansible.module_utils.basic import AnsibleModule

CATALOGUE = "http://repo.lab/current/windows/updates.json"
STATE = "/var/lib/fakewin/state.json"
TASK = "/run/fakewin-{}"
RECORDS_A_POLL = 3  # few, so that the caller really polls
CATEGORIES = {"CriticalUpdates": "Critical Updates", "DefinitionUpdates": "Definition Updates",
              "DeveloperKits": "Developer Kits", "FeaturePacks": "Feature Packs", "SecurityUpdates": "Security Updates",
              "ServicePacks": "Service Packs", "UpdateRollups": "Update Rollups"}
SUCCEEDED, FAILED = 2, 4
HTTP_NOT_FOUND, CANNOT_CONNECT = 0x80244019, 0x80072EFD


class Abort(Exception):
    """The task ends with a failure; `hresult` 0 when there is none to tell."""

    def __init__(self, message, hresult=0):
        super().__init__(message)
        self.hresult = hresult


def read_json(path):
    with open(path) as file:
        return json.load(file)


def write_json(path, value):
    with open(path + ".new", "w") as file:
        json.dump(value, file, indent=1)
    os.replace(path + ".new", path)


def signed(hresult):
    """HRESULT as PowerShell prints it, a signed 32 bit number."""
    return hresult - (1 << 32) if hresult & 0x80000000 else hresult


def search(state):
    """The updates that the server offers and this host does not have."""
    try:
        with urllib.request.urlopen(CATALOGUE, timeout=10) as answer:
            catalogue = json.load(answer)
    except urllib.error.HTTPError:
        catalogue = {"search_hresult": HTTP_NOT_FOUND}
    except OSError:
        catalogue = {"search_hresult": CANNOT_CONNECT}
    if hresult := catalogue.get("search_hresult"):
        raise Abort(f"Exception from HRESULT: 0x{hresult:08X}", hresult)
    offered = [{**update, **state["overrides"].get(update["id"], {})} for update in catalogue["updates"]]
    present = set(state["installed"])
    return [update for update in offered
            if update["id"] not in present and present.issuperset(update.get("after", ()))]


def matches(update, patterns):
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns
               for text in (update["title"], *update["kb"]))


def reasons_against(update, params):
    """Why the user's filters leave an update out, in the order and words of the real module."""
    wanted = {CATEGORIES.get(name, name).lower() for name in params["category_names"]}
    checks = {
        "accept_list": params["accept_list"] and not matches(update, params["accept_list"]),
        "reject_list": params["reject_list"] and matches(update, params["reject_list"]),
        "hidden": update.get("hidden"),
        "category_names": "*" not in wanted and not wanted & {name.lower() for name in update["categories"]},
        "skip_optional": params["skip_optional"] and update.get("browse_only"),
    }
    return [reason for reason, applies in checks.items() if applies]


def process(updates, phase):
    """Download or install: the records of the updates and whether all succeeded."""
    records = []
    for update in updates:
        hresult = update.get(f"{phase}_hresult", 0)
        records.append({"id": update["id"], "result_code": FAILED if hresult else SUCCEEDED, "hresult": signed(hresult),
                        "reboot_required": bool(update.get("reboot"))})
    return records


def succeeded(records):
    return [record["id"] for record in records if record["result_code"] == SUCCEEDED]


def update_host(params, check_mode, state, boot_id, out):
    """Append the progress records of one run to `out`; return whether anything changed."""
    out.append({"task": "started", "result": {}})
    found = search(state)
    filtered = [{"id": update["id"], "reasons": reasons} for update in found
                if (reasons := reasons_against(update, params))]
    left_out = {entry["id"] for entry in filtered}
    selected = [update for update in found if update["id"] not in left_out]
    out.append({"task": "search_result", "result": {"filtered": filtered, "updates": [
        {**{key: update[key] for key in ("id", "title", "kb", "categories")},
         "is_hidden": update.get("hidden", False), "browse_only": update.get("browse_only", False)}
        for update in found]}})
    if check_mode or params["state"] == "searched" or not selected:
        return bool(selected) and params["state"] != "searched"
    if state["pending_boot"] == boot_id:
        raise Abort("A reboot is required before more updates can be installed")

    downloads = [update for update in selected if update["id"] not in state["downloaded"]]
    if downloads:
        records = process(downloads, "download")
        state["downloaded"] += succeeded(records)
        out.append({"task": "download_result", "result": {"info": records}})
        if len(succeeded(records)) < len(records):
            raise Abort("Failed to download all updates - see updates for more information")
    if params["state"] == "downloaded":
        return bool(downloads)

    for index, update in enumerate(selected):
        out.append({"task": "install", "result": {"progress": {
            "CurrentUpdateId": update["id"], "CurrentUpdateIndex": index, "CurrentUpdatePercentComplete": 100,
            "PercentComplete": (index + 1) * 100 // len(selected)}}})
    records = process(selected, "install")
    state["installed"] += succeeded(records)
    if any(record["reboot_required"] for record in records if record["result_code"] == SUCCEEDED):
        state["pending_boot"] = boot_id
    out.append({"task": "install_result", "result": {"info": records}})
    if len(succeeded(records)) < len(records):
        raise Abort("Failed to install all updates - see updates for more information")
    return True


def run(params, check_mode):
    """One whole run: all its progress records, the last one telling how it ended."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot_id = file.read().strip()
    state, out = read_json(STATE), []
    end = {"changed": False, "failed": False, "action": None, "exception": None}
    try:
        end["changed"] = update_host(params, check_mode, state, boot_id, out)
    except Abort as abort:
        end.update(failed=True, changed=any(record["task"] in ("download_result", "install_result") for record in out),
                   exception={"message": str(abort), "exception": "no script stack trace in a test double"})
        if abort.hresult:
            end["exception"]["hresult"] = signed(abort.hresult)
    write_json(STATE, state)
    end["reboot_required"] = state["pending_boot"] == boot_id
    out.append({"task": "exit", "result": end})
    return out


def main():
    module = AnsibleModule(supports_check_mode=True, argument_spec={
        "accept_list": {"type": "list", "elements": "str"},
        "category_names": {"type": "list", "elements": "str",
                           "default": ["CriticalUpdates", "SecurityUpdates", "UpdateRollups"]},
        "log_path": {"type": "path"},
        "maximum_retries_on_failed_updates": {"type": "int", "default": 1},
        "reboot": {"type": "bool", "default": False},
        "reboot_timeout": {"type": "int", "default": 1200},
        "reject_list": {"type": "list", "elements": "str"},
        "server_selection": {"type": "str", "choices": ["default", "managed_server", "windows_update"],
                             "default": "default"},
        "skip_optional": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["installed", "searched", "downloaded"], "default": "installed"},
        "_operation": {"type": "str", "choices": ["start", "cancel", "poll"], "default": "start"},
        "_operation_options": {"type": "dict", "default": {}},
    })
    operation, options = module.params["_operation"], module.params["_operation_options"]
    if operation == "cancel":
        module.exit_json()
    if operation == "poll":
        path = TASK.format(os.path.basename(options["pipe_name"]))
        records = read_json(path)
        write_json(path, records[RECORDS_A_POLL:])
        module.exit_json(output=records[:RECORDS_A_POLL])
    if options.get("wait"):
        module.fail_json(msg="the test double of win_updates does not do async")
    task = str(uuid.uuid4())
    write_json(TASK.format(task), run(module.params, module.check_mode))
    module.exit_json(cancel_options={"cancel_id": task, "task_pid": os.getpid()}, poll_options={"pipe_name": task})


if __name__ == "__main__":
    main()
