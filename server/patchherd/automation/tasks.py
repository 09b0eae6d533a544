# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Tasks of profiles, and the rules by which script, software and profile fit together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import peewee

from patchherd.automation import library
from patchherd.automation.models import Profile, ProfileTask, Script, SoftwareItem
from patchherd.automation.platforms import ACTION_LANGUAGES, language_fits, overlap
from patchherd.database import chunked, now
from patchherd.errors import BadRequest, NotFound, invalid
from patchherd.identity import audit

MAX_TASKS = 500
_GAP = 10


def list_tasks(profile_id: int) -> list[ProfileTask]:
    """The tasks of a profile in their order, with the names of what they use. Raises NotFound."""
    query = (
        ProfileTask.select(ProfileTask, Script.id, Script.name, SoftwareItem.id, SoftwareItem.name)
        .left_outer_join(Script)
        .switch(ProfileTask)
        .left_outer_join(SoftwareItem)
        .where(ProfileTask.profile == _profile(profile_id))
    )
    return list(query.order_by(ProfileTask.order_index, ProfileTask.id))


def task_counts(profiles: Iterable[int]) -> dict[int, int]:
    """Profile id -> how many tasks it has."""
    count = peewee.fn.COUNT(ProfileTask.id)
    query = ProfileTask.select(ProfileTask.profile, count).group_by(ProfileTask.profile)
    rows = (row for part in chunked(list(profiles), 1) for row in query.where(ProfileTask.profile.in_(part)).tuples())
    return dict(rows)


def find_task(profile_id: int, number: int) -> ProfileTask:
    """A task of this profile. Raises NotFound."""
    profile, task = _profile(profile_id), library.find(ProfileTask, number, "Task")
    if task.profile_id != profile.id:
        raise NotFound("Task not found", f"profile {profile.id} has no task {number}")
    return task


def create_task(profile_id: int, values: dict[str, Any]) -> ProfileTask:
    """A new task, the last one unless `order_index` says where.

    Raises NotFound for an unknown script or software, BadRequest for what does not fit together.
    """
    with library.turn():
        profile = _profile(profile_id)
        if profile.tasks.count() >= MAX_TASKS:
            raise BadRequest("Too many tasks", f"a profile has at most {MAX_TASKS} tasks")
        last = profile.tasks.select(peewee.fn.MAX(ProfileTask.order_index)).scalar()
        values = {"order_index": _after(last), **values}
        _check(profile, [values], [""])
        task = _create(profile, values)
        _note("task_create", profile, after=_facts(task))
    return task


def change_task(profile_id: int, number: int, values: dict[str, Any]) -> ProfileTask:
    """Change the given fields of a task. Raises what `create_task` does, and NotFound."""
    with library.turn():
        task = find_task(profile_id, number)
        profile = task.profile
        changes = library.differing(task, values)
        if not changes:
            return task
        before = _facts(task)
        library.assign(task, changes)
        _check(profile, [task.__data__], [""])
        task.save()
        _note("task_update", profile, before=before, after=_facts(task))
    return task


def delete_task(profile_id: int, number: int) -> None:
    """Delete a task. Raises NotFound."""
    with library.turn():
        task = find_task(profile_id, number)
        profile = task.profile
        task.delete_instance()
        _note("task_delete", profile, before=_facts(task))


def replace_tasks(profile_id: int, rows: list[dict[str, Any]]) -> list[ProfileTask]:
    """Make these the tasks of a profile; a row with the `id` of a task that is there changes that one.

    Without `order_index` they run as they stand. Raises what `create_task` does; then nothing is changed.
    """
    with library.turn():
        profile = _profile(profile_id)
        known = {task.id: task for task in profile.tasks}
        before = [_facts(task) for task in known.values()]
        wanted: list[tuple[ProfileTask | None, dict[str, Any]]] = []
        last: int | None = None
        for place, row in enumerate(rows):
            number, values = row.get("id"), {name: value for name, value in row.items() if name != "id"}
            task = known.pop(number, None) if number is not None else None
            if number is not None and task is None:
                raise NotFound(
                    "Task not found", f"tasks[{place}].id: profile {profile.id} has no task {number}, or twice"
                )
            last = values.setdefault("order_index", _after(last))
            wanted.append((task, values))
        _check(profile, [values for _, values in wanted], [f"tasks[{place}]." for place in range(len(rows))])
        for part in chunked(list(known), 1):
            ProfileTask.delete().where(ProfileTask.id.in_(part)).execute()
        for task, values in wanted:
            if task is None:
                _create(profile, values)
            else:
                library.assign(task, {**_BLANK, **values})
                task.save()
        tasks = list_tasks(profile.id)
        _note("tasks", profile, before={"tasks": before}, after={"tasks": [_facts(task) for task in tasks]})
    return tasks


def copy_tasks(source: Profile, target: Profile) -> None:
    """Give `target` the tasks of `source`; call it in a turn."""
    for task in list_tasks(source.id):
        _create(target, {name: getattr(task, name) for name in _COLUMNS})


def uses(script: int | None = None, software: int | None = None) -> list[str]:
    """The tasks that use a script or software item, as text for people."""
    query = ProfileTask.select(ProfileTask.id, ProfileTask.name, Profile.id, Profile.name).join(Profile)
    rows = query.where(_use(script, software)).order_by(ProfileTask.id)
    return [f"task {task.id} '{task.name}' of profile {task.profile.id} '{task.profile.name}'" for task in rows]


def refuse_misfits(script: int | None = None, software: int | None = None, profile: int | None = None) -> None:
    """Refuse a change of a script, software item or profile after which one of its tasks does not fit any more.

    Call it after the change, in its transaction. Raises BadRequest.
    """
    query = (
        ProfileTask.select(ProfileTask, Profile, Script, SoftwareItem)
        .join(Profile)
        .switch(ProfileTask)
        .left_outer_join(Script)
        .switch(ProfileTask)
        .left_outer_join(SoftwareItem)
        .where(ProfileTask.profile == profile if profile else _use(script, software))
    )
    for task in query:
        if found := _misfit(task.profile, task.action_type, task.script, task.software):
            raise invalid(
                "language" if script and found[2] else "target_os_type", f"task {task.id} '{task.name}': {found[1]}"
            )


# -- the rules -------------------------------------------------------------------------------------------------------

_BLANK = {
    "description": None, "script_id": None, "software_id": None, "payload": None, "timeout_seconds": None,
    "continue_on_error": True,
}  # fmt: skip
_COLUMNS = ("name", "action_type", "order_index", *_BLANK)


def _check(profile: Profile, rows: Iterable[dict[str, Any]], paths: Iterable[str]) -> None:
    """Raises NotFound for references to nothing, BadRequest for tasks that could not run."""
    rows = [{**_BLANK, **_by_column(row)} for row in rows]
    scripts = _by_id(Script, [row["script_id"] for row in rows])
    software = _by_id(SoftwareItem, [row["software_id"] for row in rows])
    for path, row in zip(paths, rows, strict=True):
        _check_parts(path, row)
        for name, known, word in (("script_id", scripts, "Script"), ("software_id", software, "Software")):
            if row[name] is not None and row[name] not in known:
                raise NotFound(f"{word} not found", f"{path}{name}: no {word.lower()} {row[name]}")
        found = _misfit(profile, row["action_type"], scripts.get(row["script_id"]), software.get(row["software_id"]))
        if found:
            raise invalid(path + found[0], found[1])


def _check_parts(path: str, row: dict[str, Any]) -> None:
    """What each action type needs, and nothing besides: what is not used would mislead."""
    kind = row["action_type"]
    runs_script = kind in ACTION_LANGUAGES
    if runs_script and row["script_id"] is None and row["payload"] is None:
        raise invalid(f"{path}script_id", f"{kind} needs a script_id or a payload")
    if runs_script and row["script_id"] is not None and row["payload"] is not None:
        raise invalid(f"{path}payload", "either a script_id or a payload is possible")
    if kind == "install_software" and row["software_id"] is None:
        raise invalid(f"{path}software_id", f"{kind} needs a software_id")
    for name, meant in (
        ("script_id", runs_script),
        ("payload", runs_script),
        ("software_id", kind == "install_software"),
    ):
        if row[name] is not None and not meant:
            raise invalid(path + name, f"{kind} takes none")


def _misfit(profile: Profile, kind: str, script: Any, software: Any) -> tuple[str, str, bool] | None:
    """(field, why, whether it is about the language) of a task that no device could run; None when it fits."""
    language = ACTION_LANGUAGES.get(kind)
    if script is not None and script.language != language:
        return "script_id", f"script {script.id} '{script.name}' is {script.language}, {kind} runs {language}", True
    if language and not language_fits(language, profile.target_os_type):
        return "action_type", f"{language} does not run on {_target(profile, 'profile')}", True
    for field, item, word in (("script_id", script, "script"), ("software_id", software, "software")):
        if item is not None and not overlap(item.target_os_type, profile.target_os_type):
            return field, f"{_target(item, word)} does not fit {_target(profile, 'profile')}", False
    return None


def _profile(number: int) -> Profile:
    return library.find(Profile, number, "Profile")


def _target(item: Any, word: str) -> str:
    return f"{word} {item.id} '{item.name}' for {item.target_os_type}"


def _use(script: int | None, software: int | None) -> Any:
    return ProfileTask.script == script if script is not None else ProfileTask.software == software


def _after(last: int | None) -> int:
    return 0 if last is None else min(last + _GAP, 2**31 - 1)


def _by_column(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a model or of a request, by column name."""
    return {{"script": "script_id", "software": "software_id"}.get(name, name): value for name, value in row.items()}


def _by_id(model: Any, numbers: Iterable[int | None]) -> dict[int | None, Any]:
    wanted = sorted({number for number in numbers if number is not None})
    columns = (model.id, model.name, model.target_os_type, *([model.language] if model is Script else []))
    return {row.id: row for part in chunked(wanted, 1) for row in model.select(*columns).where(model.id.in_(part))}


def _create(profile: Profile, values: dict[str, Any]) -> ProfileTask:
    task = ProfileTask(profile=profile, created_at=now())
    library.assign(task, values)
    task.save()
    return task


def _note(
    what: str, profile: Profile, *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
) -> None:
    Profile.update(updated_at=now()).where(Profile.id == profile.id).execute()
    audit.record(f"profile.{what}", "profile", profile.id, profile.name, before=before, after=after)


def _facts(task: ProfileTask) -> dict[str, Any]:
    return library.facts({"task": task.id, **{name: getattr(task, name) for name in _COLUMNS}})
