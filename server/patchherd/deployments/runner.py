# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Run one job in the process that `python -m patchherd.job` starts. The only module that knows ansible-runner.

The process owns the job's lease. It ends when the lease is lost, and ansible-playbook ends with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ansible_runner
import msgspec
import structlog

from patchherd import database, logs
from patchherd.deployments import ledger, processes
from patchherd.deployments.kinds import Kind, kind_of
from patchherd.deployments.models import OPEN_HOST_STATES, Deployment, DeploymentHost
from patchherd.deployments.recorder import Recorder
from patchherd.devices.ansible import job_host_vars, known_hosts_lines
from patchherd.devices.conditions import in_maintenance
from patchherd.devices.models import Device
from patchherd.settings import Settings, load_settings, with_secret_key

log = structlog.get_logger("patchherd.runner")


def run_job(settings: Settings, job_id: int) -> str:
    """Carry out a queued job. Returns its final state, or `taken` when another worker has it."""
    owner = f"{processes.machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    with database.connection():
        job = ledger.take(job_id, owner, settings.lease_seconds)
        if job is None:
            return "taken"
        deployment = Deployment.get_by_id(job.deployment_id)
    kind = kind_of(deployment)
    mark = processes.deployment_mark(settings.data, deployment.id)
    processes.end_marked(mark)  # what an earlier attempt may have left
    log.info("job started", job=job_id, deployment=deployment.id, attempt=job.attempt)
    directory = processes.run_directory(processes.installation_mark(settings.data), job_id, settings.data / "runs")
    lease = Lease(settings, job_id, owner, lambda: kind.watch(directory, mark))
    lease.start()
    events = 0
    try:
        with database.connection():
            recorder = Recorder(job, kind)
            inputs = _write_inputs(settings, kind, directory)
        state, message = "succeeded", ""
        if inputs:
            state, message = _run_playbook(settings, kind, directory, inputs, mark, recorder, lease)
        events = recorder.received
    except Exception as exc:  # the job must be closed whatever happened, and say what
        log.exception("job failed", job=job_id)
        state, message = "failed", f"{type(exc).__name__}: {exc}"
    finally:
        processes.end_marked(mark)
        shutil.rmtree(directory, ignore_errors=True)
        lease.stop()
    with database.connection():
        if state == "lost":
            kept = False
            ledger.lose(job_id, owner, message)
        else:
            kept = ledger.finish(job_id, owner, state, message, events)
            kind.ended(settings)
    log.info("job ended", job=job_id, state=state if kept else "lost", events=events, message=message[:200])
    return state if kept else "lost"


class Lease(threading.Thread):
    """Renews the lease, and asks for the end of the run when it is lost or the deployment is canceled."""

    def __init__(self, settings: Settings, job_id: int, owner: str, watch: Callable[[], None] = lambda: None) -> None:
        super().__init__(name="lease", daemon=True)
        self.settings, self.job_id, self.owner, self.watch = settings, job_id, owner, watch
        self.ended = threading.Event()
        self.canceled = False
        self.lost = False

    def run(self) -> None:
        life = self.settings.lease_seconds
        renewed = time.monotonic()
        while not self.ended.wait(1.0):
            moment = time.monotonic()
            try:
                with database.connection():
                    self.canceled = self.canceled or ledger.cancel_requested(self.job_id)
                    if moment - renewed >= life / 4:
                        self.lost = self.lost or not ledger.renew(self.job_id, self.owner, life)
                        renewed = moment
                    self.watch()
            except Exception:
                log.exception("lease cannot be renewed", job=self.job_id)
            if moment - renewed >= life:  # nobody may work on without one
                self.lost = True

    def must_end(self) -> bool:
        return self.canceled or self.lost

    def stop(self) -> None:
        self.ended.set()
        self.join()


def _write_inputs(settings: Settings, kind: Kind, directory: Path) -> dict[str, Any]:
    """Write inventory and pinned host keys of the hosts that have no result yet; the playbook's extra variables.

    A device that was deleted, or put into maintenance, meanwhile is left out. Returns nothing when no host is left.
    """
    is_open = (DeploymentHost.deployment == kind.deployment) & DeploymentHost.state.in_(OPEN_HOST_STATES)
    deleted = Device.select(Device.id).where(Device.deleted_at.is_null(False))
    DeploymentHost.update(state="skipped", message="the device was deleted", finished_at=database.now()).where(
        is_open & DeploymentHost.device.in_(deleted)
    ).execute()
    resting = Device.select(Device.id).where(in_maintenance())
    DeploymentHost.update(state="skipped", message="in maintenance", finished_at=database.now()).where(
        is_open & DeploymentHost.device.in_(resting)
    ).execute()
    DeploymentHost.update(attempts=DeploymentHost.attempts + 1).where(is_open).execute()
    query = DeploymentHost.select(DeploymentHost, Device).join(Device).where(is_open).order_by(DeploymentHost.id)
    hosts = list(query)
    if not hosts:
        return {}
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(known_hosts_lines(host.device for host in hosts))
    own = kind.host_variables(is_open)
    key = settings.ssh_key.resolve()
    variables = {host.name: literal({**job_host_vars(host.device, key, known_hosts), **own[host.id]}) for host in hosts}
    inventory = directory / "inventory"
    inventory.mkdir()
    (inventory / "hosts.json").write_bytes(msgspec.json.encode({"all": {"hosts": variables}}))
    return kind.variables(directory)


def literal(value: Any) -> Any:
    """The same value with every string marked so that Ansible never takes it for a template.

    Names of packages, titles of updates and the like come from managed hosts: as plain strings of an inventory,
    `{{ … }}` in them would run on this machine.
    """
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return value


def _run_playbook(
    settings: Settings,
    kind: Kind,
    directory: Path,
    extra_vars: dict[str, Any],
    mark: str,
    recorder: Recorder,
    lease: Lease,
) -> tuple[str, str]:
    """Run the playbook to its end; (job state, message)."""
    runner = ansible_runner.interface.init_runner(
        private_data_dir=str(directory),
        playbook=kind.playbook,
        inventory=str(directory / "inventory" / "hosts.json"),
        extravars=extra_vars,
        forks=settings.forks,
        envvars=_environment(settings, directory, mark, kind.ssh_retries),
        settings={"pexpect_timeout": 1, "job_timeout": settings.job_timeout_minutes * 60, "suppress_output_file": True},
        event_handler=recorder.put,
        cancel_callback=lease.must_end,
        suppress_env_files=True,
        quiet=True,
    )
    # ansible-playbook outlives a killed parent and would go on patching
    runner.config.command = [*processes.DIE_WITH_PARENT, *runner.config.command]
    recorder.start()
    try:
        status, return_code = runner.run()
    finally:
        recorder.close()
    if lease.lost:
        return "lost", "the lease was lost"
    if status == "canceled":
        return "canceled", "canceled while it ran; the next report shows what was installed"
    if status == "timeout":
        return "failed", f"not finished within {settings.job_timeout_minutes} minutes"
    if not recorder.has_stats:
        return "failed", f"ansible-playbook ended early (exit {return_code}): {recorder.last_words()}"
    return "succeeded", ""


def _environment(settings: Settings, directory: Path, mark: str, ssh_retries: int = 1) -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return {
        "PATH": f"{binaries}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}",
        processes.JOB_MARK: mark,
        "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner turns it off where it is not set here
        "ANSIBLE_CONFIG": str(_write_config(directory, ssh_retries)),
        "ANSIBLE_COLLECTIONS_PATH": collections_path(settings),
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
        "LC_ALL": "C.UTF-8",
    }


def _write_config(directory: Path, ssh_retries: int) -> Path:
    """The whole Ansible configuration of a job: nothing of the machine's or the user's own leaks in."""
    file = directory / "ansible.cfg"
    file.write_text(
        "[defaults]\n"
        "retry_files_enabled = false\n"
        "interpreter_python = auto_silent\n"
        "gathering = explicit\n"
        "callback_result_format = json\n"
        "display_args_to_stdout = false\n"
        "timeout = 20\n"
        "[connection]\n"
        "pipelining = true\n"
        "[ssh_connection]\n"
        "pipelining = true\n"
        f"retries = {ssh_retries}\n"
        "ssh_args = -C -o ControlMaster=auto -o ControlPersist=30s -o ServerAliveInterval=10 -o ServerAliveCountMax=3\n"
    )
    return file


def collections_path(settings: Settings) -> str:
    """Where Ansible finds the collections: the setting, the checkout's `collection/`, then Ansible's own places."""
    places = []
    if settings.collections_path:
        places.append(settings.collections_path)
    checkout = Path(__file__).resolve().parents[3] / "collection"
    if (checkout / "ansible_collections").is_dir():
        places.append(str(checkout))
    windows = find_spec("ansible_collections")
    if windows and windows.submodule_search_locations:
        places += [str(Path(location).parent) for location in windows.submodule_search_locations]
    places += [str(Path.home() / ".ansible/collections"), "/usr/share/ansible/collections"]
    return ":".join(dict.fromkeys(places))


def main() -> None:
    """The job process: `DATA_DIR JOB_ID` in its arguments."""
    settings = with_secret_key(load_settings(Path(sys.argv[1])))
    logs.configure(settings)
    database.configure(settings.resolved_database_url, connections=6)
    for name in [name for name in os.environ if name.startswith(("ANSIBLE_", "PATCHHERD_"))]:
        del os.environ[name]  # the playbook gets neither this server's secrets nor somebody's Ansible settings
    run_job(settings, int(sys.argv[2]))
