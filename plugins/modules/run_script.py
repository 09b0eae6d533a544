#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: run_script
short_description: Run a script on a Linux host, bounded in time and output
version_added: 0.1.0
description:
  - Runs the text of a script with an interpreter, and returns its exit code and what it printed.
  - The text is never part of a command line, of the host's log or of a template. It goes through Ansible's connection
    into a file that only the account which runs it can read, and is gone afterwards.
  - The script ends with its connection. Where Ansible is stopped or the connection breaks, all processes of the script
    are killed within a second or two. They are killed at O(timeout) too.
  - An exit code other than 0 is a result and no failure of the task, because its output is what is wanted then.
author:
  - Patchherd contributors (@patchherd)
requirements:
  - Python 3.6 or newer on the host
options:
  script_encoded:
    description:
      - The script, encoded with Base64. So encoded, no template engine and no type conversion takes it for anything else.
    type: str
    required: true
  interpreter:
    description:
      - The program that runs the script, with its arguments. The name of the script's file is added.
    type: list
    elements: str
    default: [/bin/bash]
  timeout:
    description:
      - Seconds after which the script and everything that it has started are killed.
    type: int
    default: 1800
  limit:
    description:
      - Bytes of each of the two outputs that are kept, one half from the beginning and one half from the end.
    type: int
    default: 65536
  once:
    description:
      - A name for this very run. The host notes it before the script starts, for 30 days, and refuses a second run of
        the same name. A run whose outcome got lost can then not happen twice.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and return the same result as outside of it.
    support: none
  diff_mode:
    description: Returns details on what has changed or would change, in diff mode.
    support: none
  idempotent:
    description: When run twice in a row, the second run does not report a change.
    support: none
  platform:
    description: Operating systems the module works on.
    platforms: linux
    support: full
"""

EXAMPLES = r"""
- name: Run a script
  patchherd.fleet.run_script:
    script_encoded: "{{ lookup('ansible.builtin.file', 'tidy.sh') | b64encode }}"
    timeout: 60
  become: true
  register: tidied

- name: Show what it printed
  ansible.builtin.debug:
    msg: "{{ (tidied.result_encoded | b64decode | from_json).stdout }}"

- name: Fail where it failed
  ansible.builtin.fail:
    msg: "exit code {{ tidied.exit_code }}"
  when: tidied.exit_code != 0
"""

RETURN = r"""
exit_code:
  description:
    - What the script ended with, 128 and the signal's number where a signal ended it. Null where it was killed at its
      timeout, and where it did not run.
  returned: always
  type: int
  sample: 0
already:
  description: Whether the script did not run because a run of this O(once) has been started before.
  returned: always
  type: bool
  sample: false
result_encoded:
  description:
    - A JSON document encoded with Base64, with C(exit_code), C(already), C(timed_out), C(stdout), C(stderr),
      C(stdout_cut) and C(stderr_cut) (how many bytes are left out), C(started_at) and C(ended_at) (seconds since 1970).
    - So encoded, nothing that a script prints is shown in Ansible's own output or taken for a template.
  returned: always
  type: str
  sample: eyJleGl0X2NvZGUiOiAwfQ==
"""

import base64
import ctypes
import errno
import json
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule

KEEP_SECONDS = 30 * 24 * 3600
KILL_SECONDS = 2.0
DRAIN_SECONDS = 0.5
PR_SET_CHILD_SUBREAPER = 36


class QuietModule(AnsibleModule):
    """A module that does not write its arguments into the host's log: they hold the script."""

    def _log_invocation(self):
        pass


class Output:
    """The beginning and the end of a stream of any length."""

    def __init__(self, limit):
        self.half = max(1, limit // 2)
        self.head, self.tail, self.total = b"", b"", 0

    def add(self, data):
        self.total += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail = (self.tail + data[room:])[-self.half :]

    @property
    def cut(self):
        return self.total - len(self.head) - len(self.tail)

    def text(self):
        mark = ("\n[... %d bytes are left out here ...]\n" % self.cut).encode() if self.cut else b""
        return (self.head + mark + self.tail).decode("utf-8", "replace")


def claim(name):
    """Note that the run of this name starts; False where it has been noted before."""
    if os.geteuid() == 0:
        place = "/var/lib/patchherd-actions"
    else:
        place = os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".local/state/patchherd-actions")
    os.makedirs(place, mode=0o700, exist_ok=True)
    for entry in os.listdir(place):
        path = os.path.join(place, entry)
        try:
            if time.time() - os.lstat(path).st_mtime > KEEP_SECONDS:
                os.unlink(path)
        except OSError:
            pass
    try:
        handle = os.open(os.path.join(place, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return False
        raise
    os.fsync(handle)
    os.close(handle)
    return True


def parents():
    """Process id -> its parent's, of all processes."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry, "rb") as file:
                    found[int(entry)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError):
                pass
    return found


def descendants():
    """Every process below this one; a new session or a dead parent in between hides none."""
    table, found = parents(), set()
    waiting = {os.getpid()}
    while waiting:
        waiting = {pid for pid, parent in table.items() if parent in waiting} - found
        found |= waiting
    return found


def kill_all(process):
    """End all processes of the script: politely first, then for good."""
    deadline = time.time() + KILL_SECONDS
    for pid in descendants():
        send(pid, signal.SIGTERM)
    while process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    deadline = time.time() + KILL_SECONDS
    while time.time() < deadline:
        rest = descendants()
        if not rest:
            break
        for pid in rest:
            send(pid, signal.SIGKILL)
        reap()
        time.sleep(0.02)


def reap():
    """Collect the children that have ended: orphans of the script are children of this process."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except OSError:
        pass


def send(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass


def follow(process, limit, timeout):
    """Read until the script ends; (stdout, stderr, why it was killed or None)."""
    outputs = {process.stdout.fileno(): Output(limit), process.stderr.fileno(): Output(limit)}
    result = list(outputs.values())
    poll = select.poll()
    for number in outputs:
        os.set_blocking(number, False)
        poll.register(number, select.POLLIN)
    # Where the answer of this module goes: nobody reads it any more once Ansible or the connection is gone.
    poll.register(1, 0)
    deadline, ended = time.time() + timeout, None
    while True:
        moment = time.time()
        if ended is None and process.poll() is not None:
            ended = moment
        # What the script has left running may hold the pipes open for ever.
        if ended is not None and (not outputs or moment - ended > DRAIN_SECONDS):
            return result[0], result[1], None
        if ended is None and moment > deadline:
            kill_all(process)
            return result[0], result[1], "timeout"
        for number, event in poll.poll(50 if ended is not None or not outputs else 200):
            if number == 1:
                if event & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                    kill_all(process)
                    return result[0], result[1], "gone"
                continue
            try:
                data = os.read(number, 65536)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    continue
                data = b""
            if data:
                outputs[number].add(data)
            else:
                poll.unregister(number)
                del outputs[number]


def run(script, interpreter, limit, timeout):
    """Run the script; what `result_encoded` holds."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        pass  # then only processes that stay below the script are found when it is killed
    place = tempfile.mkdtemp(prefix="patchherd-")
    try:
        path = os.path.join(place, "script")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as file:
            file.write(script)
        started = time.time()
        with open(os.devnull, "rb") as nothing:
            process = subprocess.Popen(
                interpreter + [path],
                stdin=nothing,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        stdout, stderr, killed = follow(process, limit, timeout)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    code = None
    if not killed:
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return {
        "exit_code": code,
        "already": False,
        "timed_out": killed == "timeout",
        "stdout": stdout.text(),
        "stderr": stderr.text(),
        "stdout_cut": stdout.cut,
        "stderr_cut": stderr.cut,
        "started_at": round(started, 3),
        "ended_at": round(time.time(), 3),
    }


def main():
    module = QuietModule(
        argument_spec={
            "script_encoded": {"type": "str", "required": True},
            "interpreter": {"type": "list", "elements": "str", "default": ["/bin/bash"]},
            "timeout": {"type": "int", "default": 1800},
            "limit": {"type": "int", "default": 65536},
            "once": {"type": "str"},
        },
    )
    once = module.params["once"]
    if once is not None and not re.match(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z", once):
        module.fail_json(msg="once: letters, digits, _ and - are allowed, 100 at most", invocation={})
    try:
        script = base64.b64decode(module.params["script_encoded"], validate=True)
    except ValueError:
        module.fail_json(msg="script_encoded: no Base64", invocation={})
    try:
        if once is not None and not claim(once):
            result = {"exit_code": None, "already": True}
        else:
            result = run(script, module.params["interpreter"], module.params["limit"], module.params["timeout"])
    except OSError as error:
        module.fail_json(msg="the script cannot be started: %s" % error, invocation={})
    module.exit_json(
        changed=not result["already"],
        exit_code=result["exit_code"],
        already=result["already"],
        result_encoded=base64.b64encode(json.dumps(result).encode()).decode(),
        invocation={},  # Ansible would add the arguments, the script among them
    )


if __name__ == "__main__":
    main()
