# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Endpoints: scripts, software and images."""

from __future__ import annotations

from typing import Any

from flask import jsonify

from patchherd.automation import schemas, scripts, software
from patchherd.automation.shapes import ImageView, ScriptView, SoftwareView, VersionDetails, VersionView
from patchherd.http import Room, settings
from patchherd.identity.access import current, requires

room = Room("automation", __name__, description="Scripts, software and images")

PAGED = {"X-Pagination": {"schema": {"type": "string"}}}


def paged(found: tuple[list[Any], int | None], query: dict[str, Any]) -> tuple[list[Any], dict[str, str]]:
    """The rows of a page, and the header that tells where the next one starts."""
    rows, following = found
    return rows, {"X-Pagination": jsonify({"limit": query["limit"], "next_after": following}).get_data(as_text=True)}


def created(row: Any, path: str) -> tuple[Any, dict[str, str]]:
    """A new row, and the header that tells where it is."""
    number = row["id"] if isinstance(row, dict) else row.id
    return row, {"Location": f"{settings().api_prefix}{path}/{number}"}


# -- scripts ---------------------------------------------------------------------------------------------------------


@room.route("/scripts")
@requires("automation:read")
@room.arguments(schemas.ListQuery, location="query")
@room.response(200, ScriptView(many=True), headers=PAGED)
def list_scripts(query: dict[str, Any]) -> Any:
    """List scripts by id; `X-Pagination` tells where the next page starts"""
    return paged(scripts.list_scripts(**query), query)


@room.route("/scripts", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.NewScript)
@room.response(201, ScriptView)
def create_script(body: dict[str, Any]) -> Any:
    """Create a script"""
    return created(scripts.create_script(body, current().name), "/scripts")


@room.route("/scripts/<int:script_id>")
@requires("automation:read")
@room.response(200, ScriptView)
def get_script(script_id: int) -> Any:
    """One script"""
    return scripts.find_script(script_id)


@room.route("/scripts/<int:script_id>", methods=["PUT", "PATCH"])
@requires("automation:write")
@room.arguments(schemas.ScriptChange)
@room.response(200, ScriptView)
def change_script(body: dict[str, Any], script_id: int) -> Any:
    """Change the given fields of a script; other content makes a new version"""
    return scripts.change_script(script_id, body, current().name)


@room.route("/scripts/<int:script_id>", methods=["DELETE"])
@requires("automation:write")
@room.response(204)
def delete_script(script_id: int) -> None:
    """Delete a script and its versions; refused while tasks use it"""
    scripts.delete_script(script_id)


@room.route("/scripts/<int:script_id>/versions")
@requires("automation:read")
@room.arguments(schemas.VersionQuery, location="query")
@room.response(200, VersionView(many=True))
def list_versions(query: dict[str, Any], script_id: int) -> Any:
    """The versions of a script, newest first"""
    return scripts.list_versions(script_id, **query)


@room.route("/scripts/<int:script_id>/versions/<int:version>")
@requires("automation:read")
@room.response(200, VersionDetails)
def get_version(script_id: int, version: int) -> Any:
    """One version of a script, with its content"""
    return scripts.find_version(script_id, version)


# -- software --------------------------------------------------------------------------------------------------------


@room.route("/software-items")
@requires("automation:read")
@room.arguments(schemas.ListQuery, location="query")
@room.response(200, SoftwareView(many=True), headers=PAGED)
def list_software(query: dict[str, Any]) -> Any:
    """List software items by id; `X-Pagination` tells where the next page starts"""
    return paged(software.list_software(**query), query)


@room.route("/software-items", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.NewSoftware)
@room.response(201, SoftwareView)
def create_software(body: dict[str, Any]) -> Any:
    """Create a software item"""
    return created(software.create_software(body), "/software-items")


@room.route("/software-items/<int:software_id>")
@requires("automation:read")
@room.response(200, SoftwareView)
def get_software(software_id: int) -> Any:
    """One software item"""
    return software.find_software(software_id)


@room.route("/software-items/<int:software_id>", methods=["PUT", "PATCH"])
@requires("automation:write")
@room.arguments(schemas.SoftwareChange)
@room.response(200, SoftwareView)
def change_software(body: dict[str, Any], software_id: int) -> Any:
    """Change the given fields of a software item"""
    return software.change_software(software_id, body)


@room.route("/software-items/<int:software_id>", methods=["DELETE"])
@requires("automation:write")
@room.response(204)
def delete_software(software_id: int) -> None:
    """Delete a software item; refused while tasks use it"""
    software.delete_software(software_id)


# -- images ----------------------------------------------------------------------------------------------------------


@room.route("/os-images")
@requires("automation:read")
@room.arguments(schemas.ListQuery, location="query")
@room.response(200, ImageView(many=True), headers=PAGED)
def list_images(query: dict[str, Any]) -> Any:
    """List operating system images by id; `X-Pagination` tells where the next page starts"""
    return paged(software.list_images(**query), query)


@room.route("/os-images", methods=["POST"])
@requires("automation:write")
@room.arguments(schemas.NewImage)
@room.response(201, ImageView)
def create_image(body: dict[str, Any]) -> Any:
    """Create an operating system image"""
    return created(software.create_image(body), "/os-images")


@room.route("/os-images/<int:image_id>")
@requires("automation:read")
@room.response(200, ImageView)
def get_image(image_id: int) -> Any:
    """One operating system image"""
    return software.find_image(image_id)


@room.route("/os-images/<int:image_id>", methods=["PUT", "PATCH"])
@requires("automation:write")
@room.arguments(schemas.ImageChange)
@room.response(200, ImageView)
def change_image(body: dict[str, Any], image_id: int) -> Any:
    """Change the given fields of an operating system image"""
    return software.change_image(image_id, body)


@room.route("/os-images/<int:image_id>", methods=["DELETE"])
@requires("automation:write")
@room.response(204)
def delete_image(image_id: int) -> None:
    """Delete an operating system image"""
    software.delete_image(image_id)
