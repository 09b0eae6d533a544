# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Patches of the whole fleet, the devices that miss one, and the evidence behind a verdict."""

from __future__ import annotations

import re
from typing import Any

from flask import make_response, render_template, request
from flask.typing import ResponseReturnValue

from patchherd.devices.groups import Tree
from patchherd.devices.pages import device_page
from patchherd.devices.registry import find_device
from patchherd.errors import invalid
from patchherd.http import settings
from patchherd.identity.access import requires
from patchherd.packages.applicability.explain import explain
from patchherd.packages.listing import fleet_patches
from patchherd.packages.patches import VERDICTS
from patchherd.packages.reasons import replacements
from patchherd.packages.severity import SEVERITIES
from patchherd.web import words
from patchherd.web.room import room, with_query

PAGE = 50
TEXT = 300
EXPLAINED = 20
"""Architectures and updates of one name that are explained on one page."""

KINDS = {"security": "Security", "exploited": "Known to be exploited", "other": "Not security"}
SYSTEMS = {"debian": "Debian, Ubuntu", "redhat": "Red Hat family", "windows": "Windows"}
VERDICT_CHOICES = {verdict: words.VERDICTS[verdict] for verdict in VERDICTS if verdict != "missing"}
"""Who chooses none sees what is missing."""
_KIND_FILTERS = {"security": {"security": True}, "exploited": {"exploited": True}, "other": {"security": False}}

room.add_app_template_global(replacements, "replacements")
for _name in ("reason_words", "step_words", "witness", "age"):
    room.add_app_template_global(getattr(words, _name), _name)
room.app_context_processor(lambda: {"verdict_words": words.VERDICTS, "verdict_classes": words.VERDICT_CLASSES})


@room.get("/patches")
@requires("devices:read")
def fleet_patch_page() -> ResponseReturnValue:
    """What the fleet misses, one row a package; a changed filter also changes the page's address."""
    chosen = _chosen()
    filters = _filters(chosen)
    found = fleet_patches(settings(), filters, limit=PAGE, after=_after(), group_by="package")
    page = render_template(
        "patches.html",
        chosen=chosen,
        found=found,
        known=found["counts"]["total"] > 0 or not found["unknown_devices"] or _is_any_known(filters),
        groups=list(Tree.load().groups.values()),
        severities=SEVERITIES,
        severity_choices={name: name for name in SEVERITIES},
        kinds=KINDS,
        systems=SYSTEMS,
        verdicts=VERDICT_CHOICES,
        after=_after(),
        with_query=with_query,
    )
    response = make_response(page)
    if request.headers.get("HX-Request") == "true":
        response.headers["HX-Replace-Url"] = with_query("/patches", **chosen)
    return response


@room.get("/patches/devices")
@requires("devices:read")
def patch_device_page() -> str:
    """The devices behind one row of the fleet's patches."""
    package = _text("package")
    if not package:
        raise invalid("package", "a package is needed", "query", package)
    ecosystem = _one_of("ecosystem", ("deb", "rpm", "windows"))
    chosen = _chosen()
    filters = _filters({**chosen, "q": ""}) | {"package": [package]}
    if ecosystem:
        filters["ecosystem"] = [ecosystem]
    return render_template(
        "patch.html",
        package=package,
        ecosystem=ecosystem,
        chosen=chosen,
        found=fleet_patches(settings(), filters, limit=PAGE, after=_after()),
        after=_after(),
        with_query=with_query,
    )


@room.get("/devices/<reference>/why")
@requires("devices:read")
def why(reference: str) -> str:
    """The evidence for one package of a device: a page, or for htmx the part of it that a dialog shows."""
    package = _text("package")
    if not package:
        raise invalid("package", "a package is needed", "query", package)
    device = find_device(reference)
    found = explain(settings(), device, package, _text("architecture") or None)
    is_part = request.headers.get("HX-Request") == "true"
    explanations = found["explanations"]
    return render_template(
        "_why.html" if is_part else "why.html",
        heading="h2" if is_part else "h1",
        device={"id": device.id, "name": device.hostname or device.friendly_name},
        package=package,
        found=found,
        explanations=explanations[:EXPLAINED],
        more=max(0, len(explanations) - EXPLAINED),
    )


@room.app_template_global()
def why_address(device_id: int, row: dict[str, Any]) -> str:
    """Where a row of patches is explained."""
    package = row["update_id"] or row["package"]
    return with_query(f"/devices/{device_id}/why", package=package, architecture=row["architecture"])


def _is_any_known(filters: dict[str, Any]) -> bool:
    """Whether the state of any of these devices is known: without one, no number is true, not even zero."""
    about: dict[str, Any] = {name: filters[name] for name in ("os_family", "group") if name in filters}
    return bool(device_page(settings(), {**about, "patch_status": "missing,current"}, fields=("id",), limit=1).rows)


def _text(name: str) -> str:
    return request.args.get(name, "").strip()[:TEXT]


def _one_of(name: str, choices: tuple[str, ...]) -> str:
    value = request.args.get(name, "")
    return value if value in choices else ""


def _after() -> str | None:
    return request.args.get("after", "")[: TEXT + 20] or None


def _chosen() -> dict[str, str]:
    """What the address asks for, without words that are no filter."""
    return {
        "q": _text("q"),
        "severity": _one_of("severity", SEVERITIES),
        "kind": _one_of("kind", tuple(KINDS)),
        "verdict": _one_of("verdict", tuple(VERDICT_CHOICES)),
        "system": _one_of("system", tuple(SYSTEMS)),
        "group": _text("group"),
    }


def _filters(chosen: dict[str, str]) -> dict[str, Any]:
    """The same as `listing.fleet_patches` takes it."""
    filters: dict[str, Any] = {"verdict": [chosen["verdict"] or "missing"]}
    if chosen["severity"]:
        filters["severity"] = [chosen["severity"]]
    filters |= _KIND_FILTERS.get(chosen["kind"], {})
    if chosen["system"]:
        filters["os_family"] = chosen["system"]
    if chosen["group"]:
        filters["group"] = chosen["group"]
    return filters | _searched(chosen["q"])


def _searched(text: str) -> dict[str, list[str]]:
    """A KB, a CVE, or a part of a name; names are compared letter by letter, so likely writings are tried."""
    if not text:
        return {}
    if re.fullmatch(r"(?i)kb\d{4,10}", text):
        return {"kb": [text]}
    if re.fullmatch(r"(?i)cve-\d{4}-\d{4,10}", text):
        return {"cve": [text]}
    return {"package": [f"*{one}*" for one in dict.fromkeys((text, text.lower(), text.capitalize(), text.title()))]}
