# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What the kinds of deployments differ in: the playbook, its variables, and what its events mean.

Ledger, runner and recorder ask the kind of the deployment and know none by name. Rooms above this one add kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from patchherd.deployments.models import Deployment
from patchherd.deployments.texts import failure_text, storable
from patchherd.settings import Settings

BAD_EVENTS = frozenset({"runner_on_failed", "runner_on_unreachable", "error", "warning"})
MESSAGE_LIMIT = 4000


class Kind:
    """One kind of deployment, for one of them; an instance lives as long as a job, or one change of the ledger."""

    playbook: ClassVar[str]
    ssh_retries: ClassVar[int] = 1
    """How often ssh is tried again after a broken connection: the module then runs twice."""
    can_retry: ClassVar[bool] = True

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def variables(self, directory: Path) -> dict[str, Any]:
        """Extra variables of the playbook; `directory` is the job's own, on the machine that Ansible runs on."""
        raise NotImplementedError

    def host_variables(self, is_open: Any) -> dict[int, dict[str, Any]]:
        """DeploymentHost id -> variables, for the hosts of the condition `is_open`, in a fixed number of queries."""
        raise NotImplementedError

    def ok(self, host_id: int, data: dict[str, Any], result: dict[str, Any]) -> None:
        """A task has succeeded on a host; `data` is the event's, `result` the module's."""

    def failed(self, host_id: int, task: str, text: str) -> None:
        """A task has failed on a host."""

    def unreachable(self, host_id: int, text: str) -> None:
        """A host could not be reached, or no longer."""

    def close(self, state: str, message: str) -> None:
        """The hosts that are still open are about to get this state."""

    def reopen(self, reason: str) -> None:
        """The job was lost; the hosts that are still open after this are run again."""

    def watch(self, directory: Path, mark: str) -> None:
        """Called about every second while the playbook runs."""

    def ended(self, settings: Settings) -> None:
        """The job has ended and its hosts are free."""

    def event_message(self, event: dict[str, Any], result: dict[str, Any]) -> str:
        """What the stored event says."""
        if event["event"] in BAD_EVENTS:
            return failure_text(event)[:MESSAGE_LIMIT]
        return storable(result.get("msg") or "")[:400]


_kinds: dict[str, type[Kind]] = {}
_chores: list[Callable[[Settings], object]] = []
K = TypeVar("K", bound=type[Kind])
C = TypeVar("C", bound=Callable[[Settings], object])


def register(name: str) -> Callable[[K], K]:
    """Add a kind of deployments under the name that `Deployment.kind` holds."""

    def add(kind: K) -> K:
        _kinds[name] = kind
        return kind

    return add


def kind_of(deployment: Deployment) -> Kind:
    """A new instance of the deployment's kind."""
    return _kinds[deployment.kind](deployment)


def chore(work: C) -> C:
    """Let every worker do this every few seconds, with its settings."""
    if work not in _chores:
        _chores.append(work)
    return work


def do_chores(settings: Settings) -> None:
    for work in _chores:
        work(settings)
