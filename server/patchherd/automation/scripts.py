# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Scripts: every edit of what a script holds makes a version, and no version ever changes."""

from __future__ import annotations

from typing import Any

from patchherd.automation import library, tasks
from patchherd.automation.models import Script, ScriptVersion
from patchherd.database import now
from patchherd.errors import Conflict, NotFound
from patchherd.identity import audit


def list_scripts(
    *, after: int, limit: int, search: str | None, with_content: bool = True
) -> tuple[list[Script], int | None]:
    """A page of scripts by id, and where the next one starts."""
    columns = [field for name, field in Script._meta.fields.items() if with_content or name != "content"]
    fields = (Script.name, Script.description)
    return library.page(Script.select(*columns), Script, fields, after=after, limit=limit, search=search)


def find_script(number: int) -> Script:
    """One script. Raises NotFound."""
    return library.find(Script, number, "Script")


def create_script(values: dict[str, Any], author: str) -> Script:
    """A new script in version 1. Raises BadRequest for a taken name."""
    moment = now()
    with library.turn():
        library.refuse_taken(Script.name, values["name"])
        digest = library.digest(values["content"])
        script = Script.create(
            **values, version=1, digest=digest, created_at=moment, updated_at=moment, created_by=author
        )
        _keep(script, author)
        audit.record("script.create", "script", script.id, script.name, after=library.facts(values))
    return script


def change_script(number: int, values: dict[str, Any], author: str, seen: int | None = None) -> Script:
    """Change the given fields; other content makes a new version.

    Raises NotFound, BadRequest for a taken name or when a task that uses the script could not run it any more, and
    Conflict when the script has another version than the one that its author has `seen`.
    """
    with library.turn():
        script = find_script(number)
        if seen is not None and seen != script.version:
            raise Conflict("Changed meanwhile", f"version {script.version} was saved after version {seen} was opened")
        library.refuse_taken(Script.name, values.get("name"), script.id)
        changes = library.differing(script, values)
        if not changes:
            return script
        before = {name: getattr(script, name) for name in changes}
        library.assign(script, changes)
        if "content" in changes:
            script.version += 1
            script.digest = library.digest(script.content)
        script.save()
        if "content" in changes:
            _keep(script, author)
        if changes.keys() & {"language", "target_os_type"}:
            tasks.refuse_misfits(script=script.id)
        audit.record(
            "script.update",
            "script",
            script.id,
            script.name,
            before=library.facts(before),
            after={**library.facts(changes), "version": script.version},
        )
    return script


def delete_script(number: int) -> None:
    """Delete a script and its versions. Raises NotFound, and BadRequest while tasks use it."""
    with library.turn():
        script = find_script(number)
        library.refuse_used("Script", tasks.uses(script=script.id))
        Script.delete().where(Script.id == script.id).execute()
        audit.record("script.delete", "script", script.id, script.name, before={"digest": script.digest})


def list_versions(number: int, *, before: int | None, limit: int) -> list[ScriptVersion]:
    """The versions of a script without their content, newest first. Raises NotFound."""
    script = find_script(number)
    columns = [field for name, field in ScriptVersion._meta.fields.items() if name != "content"]
    query = ScriptVersion.select(*columns).where(ScriptVersion.script == script)
    if before:
        query = query.where(ScriptVersion.version < before)
    return list(query.order_by(ScriptVersion.version.desc()).limit(limit))


def find_version(number: int, version: int) -> ScriptVersion:
    """One version of a script. Raises NotFound."""
    script = find_script(number)
    found = script.versions.where(ScriptVersion.version == min(version, script.version + 1)).first()
    if found is None:
        raise NotFound("Version not found", f"script {number} has no version {version}")
    return found


def _keep(script: Script, author: str) -> None:
    ScriptVersion.create(
        script=script,
        version=script.version,
        content=script.content,
        digest=script.digest,
        created_at=script.updated_at,
        created_by=author,
    )
