# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Turn a playbook's events into stored events and proven host results.

The runner's event handler only enqueues; one thread takes batches from there and writes each batch in one
transaction, results included, so that a crash loses nothing that was shown.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

import peewee
import structlog

from patchherd.database import connection, now, write_transaction
from patchherd.deployments.kinds import Kind
from patchherd.deployments.models import DeploymentHost, Job, JobEvent
from patchherd.deployments.texts import failure_text, storable

log = structlog.get_logger("patchherd.recorder")

BATCH = 500
INTERVAL = 0.3
KEPT_EVENTS = frozenset(
    {
        "playbook_on_play_start", "playbook_on_task_start", "playbook_on_stats", "runner_on_ok", "runner_on_failed",
        "runner_on_skipped", "runner_on_unreachable", "runner_retry", "error", "warning", "verbose",
    }
)  # fmt: skip


HOST_EVENTS = frozenset({"runner_on_start", "runner_on_ok", "runner_on_failed", "runner_on_unreachable"})
"""Events that may change the state of their host."""


class Recorder:
    """Records the events of one job; `put` never blocks on the database."""

    def __init__(self, job: Job, kind: Kind) -> None:
        self.job_id = job.id
        self.kind = kind
        self.received = 0
        self.error: BaseException | None = None
        self.has_stats = False
        self.tail: deque[str] = deque(maxlen=20)
        self.queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        hosts = DeploymentHost.select(DeploymentHost.name, DeploymentHost.id)
        self.hosts: dict[str, int] = dict(hosts.where(DeploymentHost.deployment == kind.deployment).tuples())
        self.started: set[int] = set()
        self.thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def put(self, event: dict[str, Any]) -> bool:
        """Event handler of the runner; False keeps ansible-runner from writing a file for each event."""
        self.received += 1
        self.has_stats = self.has_stats or event["event"] == "playbook_on_stats"
        if event["event"] in {"verbose", "error", "warning"}:
            self.tail.append(storable(event.get("stdout") or ""))
        self.queue.put(event)
        return False

    def last_words(self) -> str:
        """The newest lines that ansible-playbook printed outside of tasks."""
        return "\n".join(line for line in self.tail if line.strip())[-2000:]

    def close(self) -> None:
        """Write what is left; raises what went wrong while writing."""
        self.queue.put(None)
        self.thread.join()
        if self.error:
            raise self.error

    def _write_all(self) -> None:
        try:
            with connection():
                while self._write_batch():
                    pass
        except BaseException as exc:  # handed to `close`: the job must fail, not hang
            self.error = exc
            log.exception("events cannot be written", job=self.job_id)

    def _write_batch(self) -> bool:
        """Write the next events in one transaction; False after the end marker."""
        batch: list[dict[str, Any]] = []
        more, deadline = True, None
        while len(batch) < BATCH:
            try:
                event = self.queue.get(timeout=max(0.0, deadline - time.monotonic()) if deadline else None)
            except queue.Empty:
                break
            if event is None:
                more = False
                break
            batch.append(event)
            deadline = deadline or time.monotonic() + INTERVAL
        if batch:
            with write_transaction():
                rows = [row for row in map(self._row, batch) if row is not None]
                if rows:
                    JobEvent.insert_many(rows).execute()
                for event in batch:
                    self._apply_safely(event)
        return more

    def _row(self, event: dict[str, Any]) -> dict[str, Any] | None:
        if event["event"] not in KEPT_EVENTS:
            return None
        data = event.get("event_data") or {}
        result = data["res"] if isinstance(data.get("res"), dict) else {}
        return {
            "job": self.job_id,
            "deployment_id": self.kind.deployment.id,
            "counter": event["counter"],
            "created_at": _moment(event.get("created")),
            "event": event["event"],
            "host": data.get("host"),
            "task": (data.get("task") or data.get("play") or "")[:255] or None,
            "changed": bool(result.get("changed")),
            "message": self.kind.event_message(event, result),
        }

    def _apply_safely(self, event: dict[str, Any]) -> None:
        """Apply an event; what one host sends must not end the recording of the others."""
        data = event.get("event_data") or {}
        host_id = self.hosts.get(data.get("host") or "")
        if host_id is None or event["event"] not in HOST_EVENTS:
            return
        try:
            with write_transaction():
                self._apply(event, host_id, data)
        except (peewee.OperationalError, peewee.InterfaceError):
            raise
        except Exception as exc:
            log.exception("event cannot be applied", job=self.job_id, host=data["host"])
            self.kind.failed(host_id, data.get("task") or "", f"its result is malformed ({type(exc).__name__})")

    def _apply(self, event: dict[str, Any], host_id: int, data: dict[str, Any]) -> None:
        """Let an event change the state of its host."""
        kind, result = event["event"], data["res"] if isinstance(data.get("res"), dict) else {}
        if kind == "runner_on_start":
            if host_id in self.started:
                return
            self.started.add(host_id)
            DeploymentHost.update(state="running", started_at=now()).where(
                (DeploymentHost.id == host_id) & (DeploymentHost.state == "waiting")
            ).execute()
        elif kind == "runner_on_unreachable":
            self.kind.unreachable(host_id, failure_text(event))
        elif kind == "runner_on_failed" and not data.get("ignore_errors"):
            self.kind.failed(host_id, data.get("task") or "", failure_text(event))
        elif kind == "runner_on_ok":
            self.kind.ok(host_id, data, result)


def _moment(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    except ValueError:
        return now()
