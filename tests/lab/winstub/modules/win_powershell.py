#!/usr/bin/python
# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the one PowerShell script that the role `actions` sends, and refuses every other one.

The action's own text is run by bash, for lack of PowerShell: what is proven is the way there and back.
"""
from __future__ import annotations

import base64
import json
import os
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

PLACE = "/var/lib/fakewin/actions"


def claim(name):
    os.makedirs(PLACE, exist_ok=True)
    try:
        os.close(os.open(os.path.join(PLACE, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def main():
    module = AnsibleModule(argument_spec={"script": {"type": "str", "required": True}, "parameters": {"type": "dict"}})
    script, given = module.params["script"], module.params["parameters"]
    if "counterpart of the module run_script" not in script:
        module.fail_json(msg="fakewin: no answer for this script")
    allowed = {"ScriptEncoded": str, "TimeoutSeconds": (int, str), "Once": str, "ClaimOnly": bool}
    for name, value in given.items():
        # PowerShell makes an [int] of a text, and no [bool]
        if not isinstance(value, allowed.get(name, ())):
            module.fail_json(msg=f"fakewin: parameter {name} is {value!r}")
    result = {"exit_code": None, "already": False, "timed_out": False, "stdout": "", "stderr": "", "stdout_cut": 0,
              "stderr_cut": 0, "started_at": time.time()}
    if given.get("Once") and not claim(given["Once"]):
        result["already"] = True
    elif not given.get("ClaimOnly"):
        text = base64.b64decode(given["ScriptEncoded"])
        try:
            done = subprocess.run(["/bin/bash", "-s"], input=text, timeout=int(given.get("TimeoutSeconds", 1800)),
                                  capture_output=True, check=False)
            result.update(exit_code=done.returncode, stdout=done.stdout.decode(), stderr=done.stderr.decode())
        except subprocess.TimeoutExpired:
            result["timed_out"] = True
    result["ended_at"] = time.time()
    encoded = base64.b64encode(json.dumps(result).encode()).decode()
    module.exit_json(changed=not result["already"], host_out="", host_err="", output=[], error=[], result={
        "exit_code": result["exit_code"], "already": result["already"], "result_encoded": encoded})


if __name__ == "__main__":
    main()
