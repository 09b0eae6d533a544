# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Actions on the double of a Windows host: the way there and back. The PowerShell itself has run nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.product import Product
from tests.lab.test_actions import ended, profile


@pytest.mark.usefixtures("windows_double")
def test_scripts_and_packages_on_windows(windows_product: Product) -> None:
    product = windows_product
    product.enrol_windows()
    host = product.lab["win1"]

    def run(**body: Any) -> dict[str, Any]:
        return ended(product, product.server.post("/api/v1/devices/win1/actions", body, 201)["id"])

    done = run(type="powershell_inline", payload="echo '{{ 7 * 7 }} ü \"'; echo no >&2; exit 5")
    assert (done["status"], done["exit_code"], done["message"]) == ("failed", 5, "exit code 5"), done
    assert (done["stdout"], done["stderr"]) == ('{{ 7 * 7 }} ü "\n', "no\n")
    done = run(type="powershell_inline", payload="sleep 30", timeout_seconds=1)
    assert done["message"] == "not finished within 1 s, and killed"

    def item(name: str, **more: Any) -> int:
        body = {"name": name, "source_type": "url", **more}
        return int(product.server.post("/api/v1/software-items", body, 201)["id"])

    for name, more, expected in [
        ("7zip", {"installer_type": "msi", "install_args": "ALLUSERS=1", "checksum": "a" * 64},
         {"provider": "msi", "product_id": None, "arguments": "ALLUSERS=1", "checksum": "a" * 64}),
        ("Tool {{ 1 }}", {"installer_type": "exe"},
         {"provider": "registry", "product_id": "Tool {{ 1 }}", "arguments": None, "checksum": None}),
    ]:  # fmt: skip
        source = f"https://x.example/{more['installer_type']}"
        number = item(name, source=source, **more)
        done = run(type="install_software", software_id=number)
        assert done["status"] == "succeeded", done["message"]
        assert "a reboot is needed" in done["stdout"] + done["message"]
        last = json.loads(host.ssh("tail -1 /var/lib/fakewin/packages.json").stdout)
        assert last.items() >= {"path": source, "state": "present", **expected}.items()
    number = item("Mozilla.Firefox", installer_type="winget")
    done = run(type="install_software", software_id=number)
    assert done["status"] == "failed", "bash knows no winget, but it got the call"
    assert "winget" in done["stderr"]


@pytest.mark.usefixtures("windows_double")
def test_a_profile_on_windows_stops_where_it_must(windows_product: Product) -> None:
    product = windows_product
    product.enrol_windows()
    steps = [{"name": str(n), "action_type": "powershell_inline", "payload": f"exit {int(n == 1)}",
              "continue_on_error": n != 1} for n in range(3)]  # fmt: skip
    number = profile(product, "windows", *steps)
    queued = product.server.post(f"/api/v1/profiles/{number}/apply", {"device_ids": ["win1"]}, 201)["actions"]
    assert [ended(product, one)["status"] for one in queued] == ["succeeded", "failed", "skipped"]
