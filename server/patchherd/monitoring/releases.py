# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Agent releases: publish, withdraw, offer. A file is called by its digest: no name of an upload reaches a path."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from flask import request
from itsdangerous import BadData, URLSafeTimedSerializer

from patchherd.database import now, write_transaction
from patchherd.errors import BadRequest, Conflict, NotFound, TooLarge, Unauthorized, invalid
from patchherd.http import settings as current_settings
from patchherd.identity import audit
from patchherd.identity.locking import AGENT_RELEASES, take_turn
from patchherd.identity.permissions import AGENT_DOWNLOAD
from patchherd.identity.principal import Principal
from patchherd.monitoring.models import AgentRelease
from patchherd.monitoring.semver import is_newer, is_semver, precedence
from patchherd.settings import Settings

PLATFORMS = ("windows", "linux", "any")
LINK_SECONDS = 24 * 3600
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_CHUNK = 1024 * 1024


def directory(settings: Settings) -> Path:
    """Where the files are."""
    return settings.data / "agent-releases"


def publish(
    settings: Settings,
    source: IO[bytes],
    *,
    version: str,
    platform: str,
    changelog: str,
    file_name: str,
    published_by: str,
) -> AgentRelease:
    """Offer a file to agents from now on. Raises BadRequest, Conflict for a version that is there, TooLarge."""
    if not is_semver(version):
        raise invalid("version", "a semantic version such as 1.2.3 is needed", value=version)
    if platform not in PLATFORMS:
        raise invalid("platform", f"one of {', '.join(PLATFORMS)} is needed", value=platform)
    name = file_name.replace("\\", "/").rpartition("/")[2]
    if not _FILE_NAME.fullmatch(name):
        raise invalid("file", "a file name of letters, digits and . _ + - is needed", value=file_name)
    digest, size, partial = _receive(settings, source)
    try:
        with write_transaction():
            take_turn(AGENT_RELEASES)
            if _published().where((AgentRelease.version == version) & (AgentRelease.platform == platform)).exists():
                raise Conflict("Version already published", f"{version} for {platform} is there: withdraw it first")
            release = AgentRelease.create(
                version=version,
                platform=platform,
                changelog=changelog,
                file_name=name,
                sha256=digest,
                size=size,
                published_by=published_by,
                published_at=now(),
            )
            facts = {"platform": platform, "sha256": digest, "size": size}
            audit.record("agent_release.publish", "agent_release", release.id, version, after=facts)
            partial.replace(directory(settings) / digest)
    finally:
        partial.unlink(missing_ok=True)
    return release


def _receive(settings: Settings, source: IO[bytes]) -> tuple[str, int, Path]:
    """(SHA-256, size, file) of what was uploaded, written under a name of its own."""
    folder = directory(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = folder / f".{secrets.token_hex(8)}.part"
    found = hashlib.sha256()
    size = 0
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while block := source.read(_CHUNK):
            size += len(block)
            if size > settings.agent_release_bytes:
                out.close()
                partial.unlink()
                raise TooLarge("Request body too large", f"a release may have {settings.agent_release_bytes} bytes")
            found.update(block)
            out.write(block)
    if not size:
        partial.unlink()
        raise invalid("file", "the file is empty")
    return found.hexdigest(), size, partial


def _published() -> Any:
    return AgentRelease.select().where(AgentRelease.withdrawn_at.is_null())


def list_releases(*, withdrawn: bool = False) -> list[AgentRelease]:
    """Published releases, the newest version first; with `withdrawn` also those taken back."""
    query = AgentRelease.select() if withdrawn else _published()
    return sorted(query, key=lambda release: (precedence(release.version) or (), release.id), reverse=True)


def find_release(number: int) -> AgentRelease:
    """A published release. Raises NotFound."""
    release = _published().where(AgentRelease.id == number).first()
    if release is None:
        raise NotFound("Agent release not found", f"no release {number}")
    return release


def withdraw(settings: Settings, number: int) -> None:
    """Offer a release no longer; its record stays, its file goes when no other release has it. Raises NotFound."""
    with write_transaction():
        take_turn(AGENT_RELEASES)
        release = find_release(number)
        AgentRelease.update(withdrawn_at=now()).where(AgentRelease.id == number).execute()
        audit.record("agent_release.withdraw", "agent_release", number, release.version)
        if not _published().where(AgentRelease.sha256 == release.sha256).exists():
            (directory(settings) / release.sha256).unlink(missing_ok=True)


def newest_for(os_family: str | None) -> AgentRelease | None:
    """The newest release for a device; of equal versions the one made for its platform."""
    platform = "windows" if os_family == "windows" else "linux" if os_family else None
    fitting = [release for release in _published() if release.platform in {platform, "any"}]
    return max(fitting, key=lambda r: (precedence(r.version) or (), r.platform == platform), default=None)


def update_for(settings: Settings, os_family: str | None, running: str | None, base: str) -> dict[str, Any]:
    """The answer to an agent that asks for updates; `base`: URL of this server."""
    release = newest_for(os_family)
    if release is None or not is_newer(release.version, running):
        answer: dict[str, Any] = {"update_available": False}
        return answer if release is None else {**answer, "latest_version": release.version}
    path = f"{settings.api_prefix}/agent-releases/{release.id}/files/{quote(release.file_name)}"
    return {
        "update_available": True,
        "latest_version": release.version,
        "download_url": f"{base}{path}?signature={_signer(settings).dumps(release.id)}",
        "changelog": release.changelog,
        "sha256": release.sha256,
        "size": release.size,
    }


def authenticate_link() -> Principal | None:
    """Scheme of signed addresses: agents fetch a `download_url` without any header. Raises Unauthorized."""
    signature = request.args.get("signature")
    if not signature:
        return None
    try:
        number = _signer(current_settings()).loads(signature, max_age=LINK_SECONDS)
    except BadData:
        raise Unauthorized("Invalid or expired signature", "ask for updates again") from None
    return Principal("link", number, "signed address", frozenset({AGENT_DOWNLOAD}))


def check_link(principal: Principal, number: int) -> None:
    """Raise Unauthorized for a signed address of another release."""
    if principal.kind == "link" and principal.id != number:
        raise Unauthorized("Invalid or expired signature", "it belongs to another release")


def _signer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        settings.secret_key, salt="agent-release", signer_kwargs={"digest_method": hashlib.sha256}
    )


def file_of(settings: Settings, release: AgentRelease, file_name: str) -> Path:
    """The file of a release under the name that it was published with. Raises NotFound."""
    path = directory(settings) / release.sha256
    if file_name != release.file_name or not path.is_file():
        raise NotFound("File not found", "this server does not have the file")
    return path


def by_version(version: str, platform: str) -> AgentRelease:
    """A published release by its version. Raises NotFound."""
    found = _published().where((AgentRelease.version == version) & (AgentRelease.platform == platform)).first()
    if found is None:
        raise NotFound("Agent release not found", f"no release {version} for {platform}")
    return found


def one_file(files: dict[str, Any]) -> Any:
    """The upload of a form. Raises BadRequest."""
    upload = files.get("file")
    if upload is None or not getattr(upload, "filename", None):
        raise BadRequest("Validation failed", "file: a file is needed")
    return upload
