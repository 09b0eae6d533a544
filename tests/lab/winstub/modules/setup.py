#!/usr/bin/python
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket

from ansible.module_utils.basic import AnsibleModule

PRODUCT = "Microsoft Windows Server 2022 Standard"
VERSION = "10.0.20348.0"


def main():
    module = AnsibleModule(supports_check_mode=True, argument_spec={
        "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
        "gather_timeout": {"type": "int", "default": 10},
        "fact_path": {"type": "path"},
        "filter": {"type": "list", "elements": "str", "default": []},
    })
    name = socket.gethostname()
    with open("/proc/uptime") as file:
        uptime = int(float(file.read().split()[0]))
    module.exit_json(ansible_facts={
        "ansible_os_family": "Windows", "ansible_system": "Win32NT", "ansible_distribution": PRODUCT,
        "ansible_os_name": PRODUCT, "ansible_distribution_version": VERSION, "ansible_kernel": VERSION,
        "ansible_distribution_major_version": "10", "ansible_os_product_type": "server",
        "ansible_os_installation_type": "Server", "ansible_architecture": "64-bit", "ansible_architecture2": "x86_64",
        "ansible_hostname": name.upper(), "ansible_fqdn": name, "ansible_nodename": name,
        "ansible_powershell_version": 5, "ansible_uptime_seconds": uptime,
        "ansible_env": {"SystemRoot": "C:\\Windows"}, "module_setup": True,
    })


if __name__ == "__main__":
    main()
