# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Profiles, and the templates that profiles are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patchherd.automation import library, tasks
from patchherd.automation.models import Profile
from patchherd.database import now
from patchherd.devices import changes as device_changes
from patchherd.devices.models import Device
from patchherd.errors import NotFound, invalid
from patchherd.identity import audit

MAX_NAME = 255

Find = Callable[[int], Profile]
"""`find_profile` or `find_template`."""


def list_profiles(
    *, is_template: bool | None, after: int, limit: int, search: str | None
) -> tuple[list[Profile], int | None]:
    """A page of profiles by id, and where the next one starts; `is_template` None: of both kinds."""
    query = Profile.select()
    if is_template is not None:
        query = query.where(Profile.is_template == is_template)
    fields = (Profile.name, Profile.description)
    return library.page(query, Profile, fields, after=after, limit=limit, search=search)


def find_profile(number: int) -> Profile:
    """One profile or template. Raises NotFound."""
    return library.find(Profile, number, "Profile")


def find_template(number: int) -> Profile:
    """One template. Raises NotFound, also for a profile that is none."""
    template = library.find(Profile, number, "Template")
    if not template.is_template:
        raise NotFound("Template not found", f"profile {number} is no template")
    return template


def create_profile(values: dict[str, Any]) -> Profile:
    """A new profile without tasks. Raises BadRequest for a taken name."""
    moment = now()
    with library.turn():
        library.refuse_taken(Profile.name, values["name"])
        profile = Profile.create(**values, created_at=moment, updated_at=moment)
        audit.record("profile.create", "profile", profile.id, profile.name, after=values)
    return profile


def change_profile(find: Find, number: int, values: dict[str, Any]) -> Profile:
    """Change the given fields. `find` tells whether profiles or only templates are meant.

    Raises NotFound, BadRequest for a taken name, a target that its tasks do not fit, a template that devices have.
    """
    with library.turn():
        profile = find(number)
        library.refuse_taken(Profile.name, values.get("name"), profile.id)
        changes = library.differing(profile, values)
        if changes.get("is_template"):
            library.refuse_used("Profile", _devices(profile))
        if changes:
            before = {name: getattr(profile, name) for name in changes}
            Profile.update(**changes, updated_at=now()).where(Profile.id == profile.id).execute()
            if "target_os_type" in changes:
                tasks.refuse_misfits(profile=profile.id)
            audit.record("profile.update", "profile", profile.id, profile.name, before=before, after=changes)
    return find_profile(profile.id)


def delete_profile(find: Find, number: int) -> None:
    """Delete a profile and its tasks. Raises NotFound, BadRequest while devices have it."""
    with library.turn():
        profile = find(number)
        library.refuse_used("Profile", _devices(profile))
        Profile.delete().where(Profile.id == profile.id).execute()
        audit.record("profile.delete", "profile", profile.id, profile.name)


def instantiate(number: int, name: str | None, description: str | None) -> Profile:
    """A profile with copies of a template's tasks. Raises NotFound, BadRequest for a taken or too long name."""
    moment = now()
    with library.turn():
        template = find_template(number)
        name = name or f"{template.name} (copy)"
        if len(name) > MAX_NAME:
            raise invalid("name", f"at most {MAX_NAME} characters are possible: give a shorter one", value=name)
        library.refuse_taken(Profile.name, name)
        profile = Profile.create(
            name=name,
            description=template.description if description is None else description,
            target_os_type=template.target_os_type,
            is_template=False,
            created_at=moment,
            updated_at=moment,
        )
        tasks.copy_tasks(template, profile)
        audit.record("profile.create", "profile", profile.id, profile.name, after={"template": template.id})
    return profile


def with_tasks(profile: Profile) -> dict[str, Any]:
    """A profile's columns and its `tasks`."""
    columns = {name: getattr(profile, name) for name in Profile._meta.fields}
    return {**columns, "tasks": tasks.list_tasks(profile.id)}


def _devices(profile: Profile) -> list[str]:
    rows = Device.select(Device.id, Device.hostname, Device.friendly_name).where(
        (Device.profile_id == profile.id) & Device.deleted_at.is_null()
    )
    return [f"device {row.id} '{row.hostname or row.friendly_name}'" for row in rows.order_by(Device.id)]


def _check_given_profile(columns: dict[str, Any]) -> None:
    """A device gets a profile that exists; called in the transaction of the change."""
    number = columns.get("profile_id")
    if number is not None:
        with library.turn():
            if find_profile(number).is_template:
                raise invalid("profile_id", "is a template: instantiate it", value=number)


device_changes.register_check(_check_given_profile)
