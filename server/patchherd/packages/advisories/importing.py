# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Import a feed: look through the whole file first, then store it bit by bit from where an import before got to.

A file that cannot be read to its end changes nothing. An entry that cannot be taken leaves what is known of it alone.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from patchherd.database import now, write_transaction
from patchherd.errors import Conflict, PatchherdError, invalid
from patchherd.identity import audit
from patchherd.packages.advisories import csaf, kev, msrc, osv, updateinfo, usn
from patchherd.packages.advisories.feeds import due_feeds
from patchherd.packages.advisories.fetching import Fetched, Progress, fetched
from patchherd.packages.advisories.forgetting import forget_retired
from patchherd.packages.advisories.models import AdvisoryFeed
from patchherd.packages.advisories.reading import Broken, Source
from patchherd.packages.advisories.records import Entry, Exploited, Record, Refusal
from patchherd.packages.advisories.rerating import rate_anew
from patchherd.packages.advisories.store import let_go_of_others, mark, store

log = structlog.get_logger("patchherd.advisories")

READERS: dict[str, Callable[[Source, str | None], Iterator[Entry]]] = {
    "updateinfo": updateinfo.read, "osv": osv.read, "usn": usn.read, "csaf": csaf.read, "msrc": msrc.read,
    "kev": kev.read,
}  # fmt: skip
RULES = 2
"""Raise it when a reader reads something else out of the same file: files are then imported anew."""
BATCH = 200
KEPT_REFUSALS = 100


@dataclass
class Outcome:
    """What an import did; `refusals` are the first ones."""

    feed: str
    taken: int = 0
    changed: int = 0
    refused: int = 0
    refusals: list[dict[str, str | None]] = field(default_factory=list)
    unchanged: bool = False
    """The file is the one that was imported last."""
    error: str | None = None
    """Why nothing of the file was taken."""


@dataclass
class _Survey:
    """What a look through the whole file found."""

    digest: bytes
    taken: int = 0
    refused: int = 0
    refusals: list[dict[str, str | None]] = field(default_factory=list)
    distributions: set[str] = field(default_factory=set)
    listed: set[int] | None = field(default_factory=set)
    """`mark` of each entry; None when the file does not list all that counts."""


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def define_feed(name: str, kind: str, location: str, distribution: str | None = None) -> AdvisoryFeed:
    """The feed of this name, new or with another location. Raises BadRequest for a name of another kind's feed."""
    if kind not in READERS:
        raise invalid("kind", f"one of {', '.join(READERS)} is needed", value=kind)
    if not name or len(name) > 128 or "/" in name or not name.isprintable():
        raise invalid("name", "1 to 128 printable characters without / are needed", value=name)
    if distribution is not None and (not 3 <= len(distribution) <= 64 or ":" not in distribution):
        raise invalid("distribution", "something like rocky:9 is needed", value=distribution)
    with write_transaction():
        feed = AdvisoryFeed.get_or_none(AdvisoryFeed.name == name)
        after = {"kind": kind, "location": location, "distribution": distribution}
        if feed is None:
            feed = AdvisoryFeed.create(name=name, created_at=now(), **after)
            audit.record("feed.create", "feed", feed.id, name, after=after)
        elif feed.kind != kind:
            raise invalid("name", f"the feed {name} is of kind {feed.kind}", value=name)
        elif feed.view_source is not None:
            raise invalid("name", f"the feed {name} belongs to a content view", value=name)
        elif feed.location != location or (distribution and feed.distribution != distribution):
            before = {"location": feed.location, "distribution": feed.distribution}
            feed.location, feed.distribution = location, distribution or feed.distribution
            feed.etag = feed.last_modified = None
            feed.save()
            audit.record("feed.update", "feed", feed.id, name, before=before, after=after)
    return feed


def import_feed(feed: AdvisoryFeed, progress: Progress = quiet) -> Outcome:
    """Get the feed's file, store what is new in it and rate missing patches anew."""
    try:
        with fetched(feed.location, feed.kind, feed.etag, feed.last_modified, progress) as file:
            if feed.view_source is not None:
                file.label = feed.kind  # where it is kept is nothing that people know it by
            outcome = _import(feed, file, progress)
    except Conflict as exc:
        return Outcome(feed.name, error=str(exc))
    except (Broken, PatchherdError, OSError) as exc:
        outcome = Outcome(feed.name, error=str(exc))
    changes: dict[str, Any] = {"last_checked": now(), "requested_at": None, "error": outcome.error}
    changes["state"] = "failed" if outcome.error else "ok"
    with write_transaction():
        AdvisoryFeed.update(changes).where(AdvisoryFeed.id == feed.id).execute()
    rate_anew()
    return outcome


def import_due() -> list[Outcome]:
    """Import the feeds that are due, one after the other."""
    forget_retired()
    outcomes = [import_feed(feed) for feed in due_feeds()]
    for outcome in outcomes:
        log.info(
            "feed imported", feed=outcome.feed, taken=outcome.taken, changed=outcome.changed, refused=outcome.refused,
            error=outcome.error,
        )  # fmt: skip
    if not outcomes:
        rate_anew()  # an import that was killed has left it to be done
    return outcomes


def _import(feed: AdvisoryFeed, file: Fetched, progress: Progress) -> Outcome:
    if file.path is None:
        return Outcome(feed.name, feed.taken, refused=feed.refused, refusals=feed.refusals, unchanged=True)
    digest = _digest(feed, file.path)
    if feed.digest is not None and bytes(feed.digest) == digest:
        _keep_validators(feed, file)
        return Outcome(feed.name, feed.taken, refused=feed.refused, refusals=feed.refusals, unchanged=True)
    survey = _look_through(feed, file, digest, progress)
    outcome = Outcome(feed.name, survey.taken, refused=survey.refused, refusals=survey.refusals)
    if not survey.taken:
        reason = survey.refusals[0] if survey.refusals else None
        first = f"; the first, {reason['position']}: {reason['reason']}" if reason else ""
        outcome.error = f"{file.label}: no entry could be taken, {survey.refused} refused{first}"
        return outcome
    outcome.changed = _store_all(feed, file, survey, progress)
    _keep_validators(feed, file)
    return outcome


def _digest(feed: AdvisoryFeed, path: Path) -> bytes:
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256")
    found.update(f"{RULES} {feed.kind} {feed.distribution}".encode())
    return found.digest()


def _entries(feed: AdvisoryFeed, source: Source) -> Iterator[Entry]:
    return READERS[feed.kind](source, feed.distribution)


def _look_through(feed: AdvisoryFeed, file: Fetched, digest: bytes, progress: Progress) -> _Survey:
    assert file.path is not None  # noqa: S101 - the caller asked
    survey = _Survey(digest)
    is_complete = feed.kind in {"updateinfo", "usn", "kev"} or (feed.kind == "osv" and zipfile.is_zipfile(file.path))
    marks: set[int] = set()
    with closing(Source(file.path, file.label)) as source:
        size = file.path.stat().st_size
        for entry in _entries(feed, source):
            if isinstance(entry, Refusal):
                survey.refused += 1
                if len(survey.refusals) < KEPT_REFUSALS:
                    survey.refusals.append(
                        {"file": file.label, "position": entry.position, "record": entry.record, "reason": entry.reason}
                    )
                is_complete = is_complete and bool(entry.names)
                marks.update(mark(*name, None) for name in entry.names)
            elif isinstance(entry, Record):
                survey.taken += 1
                survey.distributions.update(fix.distribution for fix in entry.fixes)
                marks.add(mark(entry.source, entry.name, entry.part))
            elif isinstance(entry, Exploited):
                survey.taken += 1
                marks.add(mark("kev", entry.cve, None))
            progress("check", min(source.packed, size), size)
    survey.listed = marks if is_complete else None
    return survey


def _store_all(feed: AdvisoryFeed, file: Fetched, survey: _Survey, progress: Progress) -> int:
    """Store the entries in transactions of `BATCH`, the place reached with each; how many changed something."""
    assert file.path is not None  # noqa: S101
    resumed = feed.cursor_digest is not None and bytes(feed.cursor_digest) == survey.digest
    reached = feed.cursor if resumed else 0
    _claim(feed, survey, reached)
    changed = 0
    with closing(Source(file.path, file.label)) as source:
        entries = islice(_entries(feed, source), reached, None)
        while batch := list(islice(entries, BATCH)):
            with write_transaction():
                found = store(feed, batch)
                _advance(feed, survey.digest, reached, reached + len(batch), found)
            changed += found
            reached += len(batch)
            progress("store", reached, survey.taken + survey.refused)
    with write_transaction():
        gone = 0 if survey.listed is None else let_go_of_others(feed, survey.listed)
        _advance(feed, survey.digest, reached, 0, gone)
        known = survey.distributions if survey.listed is not None else {*feed.distributions, *survey.distributions}
        AdvisoryFeed.update(
            digest=survey.digest,
            cursor_digest=None,
            taken=survey.taken,
            refused=survey.refused,
            refusals=survey.refusals,
            distributions=sorted(known),
            completed_at=now(),
        ).where(AdvisoryFeed.id == feed.id).execute()
    return changed + gone


def _claim(feed: AdvisoryFeed, survey: _Survey, reached: int) -> None:
    changes = {
        "state": "running",
        "last_checked": now(),
        "cursor_digest": survey.digest,
        "cursor": reached,
        "digest": None,
    }
    with write_transaction():
        AdvisoryFeed.update(changes).where(AdvisoryFeed.id == feed.id).execute()


def _advance(feed: AdvisoryFeed, digest: bytes, before: int, after: int, changed: int) -> None:
    """Note the place reached. Raises Conflict when another import of this feed moved it."""
    values: dict[str, Any] = {"cursor": after}
    if changed:
        values |= {"changes": AdvisoryFeed.changes + changed, "rating_due": True}
    mine = (AdvisoryFeed.cursor_digest == digest) & (AdvisoryFeed.cursor == before)
    if AdvisoryFeed.update(values).where((AdvisoryFeed.id == feed.id) & mine).execute() != 1:
        raise Conflict("Import under way", f"another import of the feed {feed.name} is running")


def _keep_validators(feed: AdvisoryFeed, file: Fetched) -> None:
    """What the next download asks with; only now, for an interrupted import must get its file again."""
    if (feed.etag, feed.last_modified) != (file.etag, file.last_modified):
        values = {"etag": file.etag, "last_modified": file.last_modified}
        with write_transaction():
            AdvisoryFeed.update(values).where(AdvisoryFeed.id == feed.id).execute()
