#!/usr/bin/python
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={"data": {"type": "str", "default": "pong"}}, supports_check_mode=True)
    module.exit_json(ping=module.params["data"])


if __name__ == "__main__":
    main()
