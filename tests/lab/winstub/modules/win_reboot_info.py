#!/usr/bin/python
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time

from ansible.module_utils.basic import AnsibleModule

REASON = {"source": "windows_update",
          "description": "Windows Update has installed updates that require a reboot."}


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    with open("/var/lib/fakewin/state.json") as file:
        pending = json.load(file)["pending_boot"]
    with open("/proc/sys/kernel/random/boot_id") as file:
        required = pending == file.read().strip()
    with open("/proc/uptime") as file:
        epoch = time.time() - float(file.read().split()[0])
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    module.exit_json(changed=False, reboot_required=required, reboot_required_reasons=[REASON] if required else [],
                     last_reboot={"time": started, "time_epoch": epoch, "details": None})


if __name__ == "__main__":
    main()
