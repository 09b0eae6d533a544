# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Software items and operating system images."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from patchherd.automation import library, tasks
from patchherd.automation.models import OsImage, SoftwareItem
from patchherd.database import now
from patchherd.errors import invalid
from patchherd.identity import audit

FETCHES_ITSELF = frozenset({"winget", "choco"})
"""Installers that need no source."""


def list_software(*, after: int, limit: int, search: str | None) -> tuple[list[SoftwareItem], int | None]:
    """A page of software items by id, and where the next one starts."""
    fields = (SoftwareItem.name, SoftwareItem.slug)
    return library.page(SoftwareItem.select(), SoftwareItem, fields, after=after, limit=limit, search=search)


def find_software(number: int) -> SoftwareItem:
    """One software item. Raises NotFound."""
    return library.find(SoftwareItem, number, "Software")


def create_software(values: dict[str, Any]) -> SoftwareItem:
    """A new software item; its slug is made of the name unless given. Raises BadRequest."""
    values = {**values, "slug": values.get("slug") or _slug(values["name"])}
    _check_source(values)
    moment = now()
    with library.turn():
        library.refuse_taken(SoftwareItem.slug, values["slug"])
        item = SoftwareItem.create(**values, created_at=moment, updated_at=moment)
        audit.record("software.create", "software", item.id, item.name, after=values)
    return item


def change_software(number: int, values: dict[str, Any]) -> SoftwareItem:
    """Change the given fields. Raises NotFound, and BadRequest for what does not fit together or to its tasks."""
    with library.turn():
        item = find_software(number)
        library.refuse_taken(SoftwareItem.slug, values.get("slug"), item.id)
        changes = library.differing(item, values)
        if not changes:
            return item
        before = {name: getattr(item, name) for name in changes}
        library.assign(item, changes)
        _check_source({name: getattr(item, name) for name in ("installer_type", "source_type", "source")})
        item.save()
        if "target_os_type" in changes:
            tasks.refuse_misfits(software=item.id)
        audit.record("software.update", "software", item.id, item.name, before=before, after=changes)
    return item


def delete_software(number: int) -> None:
    """Delete a software item. Raises NotFound, and BadRequest while tasks use it."""
    with library.turn():
        item = find_software(number)
        library.refuse_used("Software", tasks.uses(software=item.id))
        SoftwareItem.delete().where(SoftwareItem.id == item.id).execute()
        audit.record("software.delete", "software", item.id, item.name, before={"slug": item.slug})


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not slug:
        raise invalid("slug", "the name has no letters or digits to make one of: give it", value=name)
    return slug


def _check_source(values: dict[str, Any]) -> None:
    source = values.get("source")
    if source is None:
        if values["installer_type"] not in FETCHES_ITSELF:
            raise invalid("source", f"is required for the installer type {values['installer_type']}")
    elif values["source_type"] == "url" and not re.match(r"https?://[^\s/]+", source, re.IGNORECASE):
        raise invalid("source", "a URL that starts with https:// or http:// is needed", value=source)


# -- images ----------------------------------------------------------------------------------------------------------


def list_images(*, after: int, limit: int, search: str | None) -> tuple[list[OsImage], int | None]:
    """A page of images by id, and where the next one starts."""
    fields = (OsImage.name, OsImage.description)
    return library.page(OsImage.select(), OsImage, fields, after=after, limit=limit, search=search)


def find_image(number: int) -> OsImage:
    """One image. Raises NotFound."""
    return library.find(OsImage, number, "OS image")


def create_image(values: dict[str, Any]) -> OsImage:
    """A new image. Raises BadRequest for a taken name."""
    moment = now()
    with library.turn():
        library.refuse_taken(OsImage.name, values["name"])
        image = OsImage.create(**values, created_at=moment, updated_at=moment)
        audit.record("os_image.create", "os_image", image.id, image.name, after=values)
    return image


def change_image(number: int, values: dict[str, Any]) -> OsImage:
    """Change the given fields. Raises NotFound, and BadRequest for a taken name."""
    with library.turn():
        image = find_image(number)
        library.refuse_taken(OsImage.name, values.get("name"), image.id)
        changes = library.differing(image, values)
        if changes:
            before = {name: getattr(image, name) for name in changes}
            OsImage.update(**changes, updated_at=now()).where(OsImage.id == image.id).execute()
            audit.record("os_image.update", "os_image", image.id, image.name, before=before, after=changes)
    return find_image(number)


def delete_image(number: int) -> None:
    """Delete an image. Raises NotFound."""
    with library.turn():
        image = find_image(number)
        OsImage.delete().where(OsImage.id == image.id).execute()
        audit.record("os_image.delete", "os_image", image.id, image.name)
