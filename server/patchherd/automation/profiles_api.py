# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: profiles, their tasks, and templates."""

from __future__ import annotations

from typing import Any

from patchherd.automation import profiles, schemas, tasks
from patchherd.automation.api import PAGED, created, paged
from patchherd.automation.shapes import ProfileDetails, ProfileView, TaskView
from patchherd.http import Room
from patchherd.identity.access import requires

room = Room("profiles", __name__, description="Profiles, their tasks, and the templates that profiles are made of")


@room.route("/profiles")
@requires("automation:read")
@room.arguments(schemas.ProfileQuery, location="query")
@room.response(200, ProfileView(many=True), headers=PAGED)
def list_profiles(query: dict[str, Any]) -> Any:
    """List profiles by id; `X-Pagination` tells where the next page starts"""
    return paged(profiles.list_profiles(**query), query)


@room.route("/profiles", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.NewProfile)
@room.response(201, ProfileDetails)
def create_profile(body: dict[str, Any]) -> Any:
    """Create a profile without tasks"""
    return created(profiles.with_tasks(profiles.create_profile(body)), "/profiles")


@room.route("/profiles/<int:profile_id>")
@requires("automation:read")
@room.response(200, ProfileDetails)
def get_profile(profile_id: int) -> Any:
    """One profile or template with its tasks"""
    return profiles.with_tasks(profiles.find_profile(profile_id))


@room.route("/profiles/<int:profile_id>", methods=["PUT", "PATCH"])
@requires("automation:write")
@room.arguments(schemas.ProfileChange)
@room.response(200, ProfileDetails)
def change_profile(body: dict[str, Any], profile_id: int) -> Any:
    """Change the given fields of a profile or template"""
    return profiles.with_tasks(profiles.change_profile(profiles.find_profile, profile_id, body))


@room.route("/profiles/<int:profile_id>", methods=["DELETE"])
@requires("automation:write")
@room.response(204)
def delete_profile(profile_id: int) -> None:
    """Delete a profile or template and its tasks; refused while devices have it"""
    profiles.delete_profile(profiles.find_profile, profile_id)


# -- tasks -----------------------------------------------------------------------------------------------------------


@room.route("/profiles/<int:profile_id>/tasks")
@requires("automation:read")
@room.response(200, TaskView(many=True))
def list_tasks(profile_id: int) -> Any:
    """The tasks of a profile in their order"""
    return tasks.list_tasks(profile_id)


@room.route("/profiles/<int:profile_id>/tasks", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.NewTask)
@room.response(201, TaskView)
def create_task(body: dict[str, Any], profile_id: int) -> Any:
    """Add a task to a profile"""
    return created(tasks.create_task(profile_id, body), f"/profiles/{profile_id}/tasks")


@room.route("/profiles/<int:profile_id>/tasks", methods=["PUT"])
@requires("automation:write")
@room.arguments(schemas.TaskList)
@room.response(200, TaskView(many=True))
def replace_tasks(body: dict[str, Any], profile_id: int) -> Any:
    """Replace the tasks of a profile; one with an `id` keeps it"""
    return tasks.replace_tasks(profile_id, body["tasks"])


@room.route("/profiles/<int:profile_id>/tasks/<int:task_id>")
@requires("automation:read")
@room.response(200, TaskView)
def get_task(profile_id: int, task_id: int) -> Any:
    """One task of a profile"""
    return tasks.find_task(profile_id, task_id)


@room.route("/profiles/<int:profile_id>/tasks/<int:task_id>", methods=["PUT", "PATCH"])
@requires("automation:write")
@room.arguments(schemas.TaskChange)
@room.response(200, TaskView)
def change_task(body: dict[str, Any], profile_id: int, task_id: int) -> Any:
    """Change the given fields of a task"""
    return tasks.change_task(profile_id, task_id, body)


@room.route("/profiles/<int:profile_id>/tasks/<int:task_id>", methods=["DELETE"])
@requires("automation:write")
@room.response(204)
def delete_task(profile_id: int, task_id: int) -> None:
    """Delete a task"""
    tasks.delete_task(profile_id, task_id)


# -- templates -------------------------------------------------------------------------------------------------------


@room.route("/templates")
@requires("automation:read")
@room.arguments(schemas.ListQuery, location="query")
@room.response(200, ProfileView(many=True), headers=PAGED)
def list_templates(query: dict[str, Any]) -> Any:
    """List templates by id; `X-Pagination` tells where the next page starts"""
    return paged(profiles.list_profiles(is_template=True, **query), query)


@room.route("/templates", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.NewTemplate)
@room.response(201, ProfileDetails)
def create_template(body: dict[str, Any]) -> Any:
    """Create a template without tasks"""
    return created(profiles.with_tasks(profiles.create_profile({**body, "is_template": True})), "/templates")


@room.route("/templates/<int:template_id>")
@requires("automation:read")
@room.response(200, ProfileDetails)
def get_template(template_id: int) -> Any:
    """One template with its tasks"""
    return profiles.with_tasks(profiles.find_template(template_id))


@room.route("/templates/<int:template_id>", methods=["PUT", "PATCH"])
@requires("automation:write")
@room.arguments(schemas.TemplateChange)
@room.response(200, ProfileDetails)
def change_template(body: dict[str, Any], template_id: int) -> Any:
    """Change the given fields of a template"""
    return profiles.with_tasks(profiles.change_profile(profiles.find_template, template_id, body))


@room.route("/templates/<int:template_id>", methods=["DELETE"])
@requires("automation:write")
@room.response(204)
def delete_template(template_id: int) -> None:
    """Delete a template and its tasks; profiles made of it stay"""
    profiles.delete_profile(profiles.find_template, template_id)


@room.route("/templates/<int:template_id>/instantiate", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.Instantiation, required=False)
@room.response(201, ProfileDetails)
def instantiate_template(body: dict[str, Any], template_id: int) -> Any:
    """Make a profile of a template"""
    profile = profiles.instantiate(template_id, body["name"], body["description"])
    return created(profiles.with_tasks(profile), "/profiles")
