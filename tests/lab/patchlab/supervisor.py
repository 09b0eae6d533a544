# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The one thread that starts, ends and restarts host processes.

One thread, because the hosts carry PDEATHSIG, which Linux sends when the *thread* that started them ends.
"""
from __future__ import annotations

import contextlib
import os
import queue
import selectors
import signal
import subprocess
import threading
from concurrent.futures import Future

from . import cgroups
from .hosts import Host

ACTIONS = ("start", "stop", "reset", "freeze", "thaw")


class Supervisor:
    """Runs requests one after the other and boots a host again that asked for a reboot."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[tuple[str, Host, Future[None]] | None] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._running: dict[int, Host] = {}  # by pidfd
        self._thread = threading.Thread(target=self._loop, name="lab-supervisor", daemon=True)
        self._thread.start()

    def submit(self, action: str, host: Host) -> Future[None]:
        """Ask for one of ACTIONS; the future carries the exception when it fails."""
        future: Future[None] = Future()
        self._requests.put((action, host, future))
        self._wake()
        return future

    def close(self) -> None:
        """End all hosts and the thread."""
        self._requests.put(None)
        self._wake()
        self._thread.join(30)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_write, b"x")

    def _loop(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                elif key.fd in self._running:
                    self._ended(key.fd)
            while not self._requests.empty():
                request = self._requests.get()
                if request is None:
                    for host in list(self._running.values()):
                        self._kill(host)
                    return
                action, host, future = request
                try:
                    self._perform(action, host)
                    future.set_result(None)
                except Exception as error:  # the caller of submit() gets it
                    future.set_exception(error)

    def _perform(self, action: str, host: Host) -> None:
        if action in ("stop", "reset"):
            self._kill(host)
        if action == "reset":
            host.prepare()
        if action in ("start", "reset") and host.process is None:
            self._boot(host)
        if action in ("freeze", "thaw") and (pid := host.first_pid()):
            os.kill(pid, signal.SIGSTOP if action == "freeze" else signal.SIGCONT)
            host.state = "frozen" if action == "freeze" else "running"

    def _boot(self, host: Host) -> None:
        with (host.directory / "console.log").open("ab") as console:
            host.process = subprocess.Popen(host.boot_command(), stdin=subprocess.DEVNULL, stdout=console,
                                            stderr=console, start_new_session=True)
        host.boots, host.state = host.boots + 1, "running"
        pidfd = os.pidfd_open(host.process.pid)
        self._running[pidfd] = host
        self._selector.register(pidfd, selectors.EVENT_READ)

    def _kill(self, host: Host) -> None:
        if host.process is None:
            return
        # The outer process waits for pid 1, and pid 1 is gone only when its whole namespace is: then the disk is free.
        if pid := host.first_pid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            host.process.kill()
        self._reap(next(fd for fd, running in self._running.items() if running is host))
        host.state = "stopped"

    def _reap(self, pidfd: int) -> int:
        host = self._running.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        status = host.process.wait()
        host.process = None
        cgroups.remove(host.cgroup)
        return status

    def _ended(self, pidfd: int) -> None:
        host = self._running[pidfd]
        status = self._reap(pidfd)
        request = host.directory / "control/request"
        wish = request.read_text().strip() if request.exists() else ""
        if wish == "reboot":
            self._boot(host)
        else:
            host.state = "stopped" if wish or status == 0 else f"died with exit status {status}"
