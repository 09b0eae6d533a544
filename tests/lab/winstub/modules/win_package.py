#!/usr/bin/python
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Notes what it was asked to install, and says that this needs a reboot."""
from __future__ import annotations

import json

from ansible.module_utils.basic import AnsibleModule

TEXTS = ("path", "arguments", "checksum", "checksum_algorithm", "product_id", "provider", "state")


def main():
    spec = {name: {"type": "str"} for name in TEXTS}
    module = AnsibleModule(argument_spec={**spec, "wait_for_children": {"type": "bool"}})
    if module.params["provider"] == "registry" and not module.params["product_id"]:
        module.fail_json(msg="product_id is required when checking with the registry provider")
    with open("/var/lib/fakewin/packages.json", "a") as file:
        file.write(json.dumps(module.params) + "\n")
    module.exit_json(changed=True, reboot_required=True, rc=3010)


if __name__ == "__main__":
    main()
