# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Scripts with their versions, software and profiles; scripts are written here, too."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from marshmallow import ValidationError

from patchherd.automation import profiles, scripts, software, tasks
from patchherd.automation.platforms import LANGUAGES
from patchherd.automation.schemas import NewScript
from patchherd.devices.os_types import OS_TYPES
from patchherd.devices.registry import MAX_ID
from patchherd.errors import ApiError
from patchherd.identity.access import current, requires
from patchherd.web.formats import sentences
from patchherd.web.room import attempt, room, with_query

PAGE = 50
FIELDS = ("name", "description", "language", "target_os_type", "content")
LISTS = ("scripts", "software", "profiles", "templates")


@room.get("/automation")
@requires("automation:read")
def automation() -> str:
    """Every list, a page of each."""
    search = request.args.get("q", "").strip()[:100]
    after = {name: min(max(request.args.get(name, 0, type=int), 0), MAX_ID) for name in LISTS}
    page: dict[str, dict[str, Any]] = {
        name: {"after": after[name], "limit": PAGE, "search": search or None} for name in LISTS
    }
    found: dict[str, tuple[list[Any], int | None]] = {
        "scripts": scripts.list_scripts(**page["scripts"], with_content=False),
        "software": software.list_software(**page["software"]),
        "profiles": profiles.list_profiles(**page["profiles"], is_template=False),
        "templates": profiles.list_profiles(**page["templates"], is_template=True),
    }
    numbers = [row.id for name in ("profiles", "templates") for row in found[name][0]]
    return render_template(
        "automation.html",
        search=search,
        rows={name: rows for name, (rows, _) in found.items()},
        first={name: with_query("/automation", q=search) if after[name] else "" for name in LISTS},
        following={
            name: with_query("/automation", q=search, **{name: following}) if following else ""
            for name, (_, following) in found.items()
        },
        tasks=tasks.task_counts(numbers),
    )


@room.get("/automation/profiles/<int:profile_id>")
@requires("automation:read")
def profile(profile_id: int) -> str:
    """A profile or template and its tasks."""
    return render_template("profile.html", profile=profiles.with_tasks(profiles.find_profile(profile_id)))


@room.get("/automation/scripts/new")
@requires("automation:write")
def new_script() -> str:
    """The form of a new script."""
    return _form({"language": "powershell"})


@room.post("/automation/scripts")
@requires("automation:write")
def create_script() -> ResponseReturnValue:
    """Create a script; what is wrong is said above the form, which keeps what was written."""
    return _save(None)


@room.get("/automation/scripts/<int:script_id>")
@requires("automation:read")
def script(script_id: int) -> str:
    """A script in its newest version, or another one."""
    found = scripts.find_script(script_id)
    wanted = request.args.get("version", found.version, type=int)
    version = scripts.find_version(script_id, wanted)
    older = scripts.list_versions(script_id, before=None, limit=100)
    return render_template("script.html", script=found, version=version, versions=older)


@room.get("/automation/scripts/<int:script_id>/edit")
@requires("automation:write")
def edit_script(script_id: int) -> str:
    """The form of a script."""
    found = scripts.find_script(script_id)
    return _form({**{name: getattr(found, name) or "" for name in FIELDS}, "version": found.version}, found)


@room.post("/automation/scripts/<int:script_id>")
@requires("automation:write")
def change_script(script_id: int) -> ResponseReturnValue:
    """Save a script; other content makes a new version."""
    return _save(script_id)


@room.post("/automation/scripts/<int:script_id>/delete")
@requires("automation:write")
def delete_script(script_id: int) -> ResponseReturnValue:
    """Delete a script and its versions."""

    def delete() -> str:
        scripts.delete_script(script_id)
        return "/automation"

    return attempt(delete, "The script is deleted.", f"/automation/scripts/{script_id}")


def _save(script_id: int | None) -> ResponseReturnValue:
    known = None if script_id is None else scripts.find_script(script_id)
    form = {name: request.form.get(name, "") for name in FIELDS}
    form["content"] = _line_ends(form["content"], known.content if known else "")
    try:
        values: dict[str, Any] = NewScript().load(form)
        if known is None:
            saved = scripts.create_script(values, current().name)
        else:
            seen = request.form.get("version", type=int)
            saved = scripts.change_script(known.id, values, current().name, seen=seen)
    except ValidationError as error:
        fields = error.messages.items() if isinstance(error.messages, dict) else [("", error.messages)]
        problem = "; ".join(f"{name}: {' '.join(sentences(texts))}" for name, texts in fields)
        return _form({**form, "version": request.form.get("version", "")}, known, problem), 400
    except ApiError as error:
        shown = {**form, "version": request.form.get("version", "")}
        return _form(shown, known, f"{error.error}: {error.message}"), error.status
    flash(f"Saved as version {saved.version}.", "ok")
    return redirect(f"/automation/scripts/{saved.id}", 303)


def _line_ends(text: str, before: str) -> str:
    """Browsers send CR LF for every line end: a script keeps the kind that it had, and a new one gets LF."""
    text = text.replace("\r\n", "\n")
    return text.replace("\n", "\r\n") if "\r\n" in before else text


def _form(form: dict[str, Any], script: Any = None, problem: str = "") -> str:
    return render_template(
        "script_form.html", form=form, script=script, problem=problem, languages=LANGUAGES, os_types=OS_TYPES
    )
