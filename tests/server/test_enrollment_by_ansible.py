# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Playbooks as people write them for enrolment: plain `uri`, `get_url` and `command` against a started server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import Server
from tests.services import unavailable

PCT = """#!/bin/sh
if [ "$1" = list ]; then
    echo 'VMID       Status     Lock         Name'
    echo '100        running                 old'
    echo '101        stopped                 cold'
elif [ "$5" = -f ]; then
    [ "$6" = /etc/patchmon/config.yml ]
fi
"""
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    api: "{{ patchmon_url }}/api/v1"
  tasks:
    - name: Is the server there, and the token good for it
      ansible.builtin.uri:
        url: "{{ api }}/auto-enrollment/tokens"
        headers: {Authorization: "Bearer {{ admin_token }}"}
        status_code: 200
    - name: A group for the containers
      ansible.builtin.uri:
        url: "{{ api }}/host-groups"
        method: POST
        headers: {Authorization: "Bearer {{ admin_token }}"}
        body_format: json
        body: {name: Proxmox LXC}
        status_code: 201
      register: group
    - name: A token for the node
      ansible.builtin.uri:
        url: "{{ api }}/auto-enrollment/tokens"
        method: POST
        headers: {Authorization: "Bearer {{ admin_token }}", Content-Type: application/json}
        body_format: json
        body:
          token_name: "{{ inventory_hostname }}-proxmox"
          max_hosts_per_day: 200
          default_host_group_id: "{{ group.json.id }}"
          allowed_ip_ranges: ["127.0.0.1"]
          expires_at: "2099-12-31T23:59:59Z"
          metadata: {integration_type: proxmox-lxc, environment: production}
        status_code: 201
      register: made
    - name: The script for the node
      vars:
        token: "{{ made.json.token }}"
        query: "type=proxmox-lxc&token_key={{ token.token_key }}&token_secret={{ token.token_secret }}&force=false"
      ansible.builtin.get_url:
        url: "{{ api }}/auto-enrollment/script?{{ query }}"
        dest: "{{ directory }}/enroll.sh"
        mode: "0700"
    - name: Run it
      ansible.builtin.command: "{{ directory }}/enroll.sh"
      environment:
        PATH: "{{ directory }}:{{ lookup('ansible.builtin.env', 'PATH') }}"
        PATCHMON_URL: "{{ patchmon_url }}"
        AUTO_ENROLLMENT_KEY: "{{ made.json.token.token_key }}"
        AUTO_ENROLLMENT_SECRET: "{{ made.json.token.token_secret }}"
        HOST_PREFIX: prod-
        DRY_RUN: "false"
        DEBUG: "true"
        FORCE_INSTALL: "false"
      register: enrolment
    - name: Several hosts at once
      ansible.builtin.uri:
        url: "{{ api }}/auto-enrollment/enroll/bulk"
        method: POST
        headers:
          X-Auto-Enrollment-Key: "{{ made.json.token.token_key }}"
          X-Auto-Enrollment-Secret: "{{ made.json.token.token_secret }}"
          Content-Type: application/json
        body_format: json
        body: {hosts: [{friendly_name: web, machine_id: a}, {friendly_name: db}]}
        status_code: 201
      register: bulk
    - name: What came of it
      ansible.builtin.copy:
        dest: "{{ directory }}/found.json"
        mode: "0600"
        content: "{{ found | to_json }}"
      vars:
        found:
          said: "{{ enrolment.stdout_lines }}"
          enrolled: "{{ enrolment.stdout | regex_search('Successfully Enrolled:\\\\s+(\\\\d+)', '\\\\1') }}"
          failed: "{{ enrolment.stdout | regex_search('Failed:\\\\s+(\\\\d+)', '\\\\1') }}"
          bulk: "{{ bulk.json }}"
          token: "{{ made.json }}"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the script for a Proxmox node asks for root")
def test_a_playbook_makes_a_token_runs_the_script_and_enrols_in_bulk(tmp_path: Path) -> None:
    ansible = Path(sys.executable).parent / "ansible-playbook"
    if not ansible.exists():
        unavailable("ansible-playbook is not installed")
    (tmp_path / "pct").write_text(PCT)
    (tmp_path / "pct").chmod(0o755)
    (tmp_path / "enrol.yml").write_text(PLAYBOOK)
    with Server(tmp_path / "data") as server:
        server.log_in()
        bearer = str(server.session.headers["Authorization"]).removeprefix("Bearer ")
        variables = {"patchmon_url": server.url, "admin_token": bearer, "directory": str(tmp_path)}
        variables["ansible_python_interpreter"] = sys.executable
        (tmp_path / "variables.json").write_text(json.dumps(variables))
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PATCHHERD_"))}
        done = subprocess.run(
            [str(ansible), "-i", "localhost,", "-c", "local", "enrol.yml", "-e", "@variables.json"],
            cwd=tmp_path, env={**plain, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((tmp_path / "found.json").read_text())
        assert (found["enrolled"], found["failed"]) == (["0"], ["0"])
        assert {"prod-old (100) is already enrolled", "Total Containers Found: 2"} <= set(found["said"])
        assert found["bulk"]["message"] == "Bulk enrollment completed: 2 succeeded, 0 failed, 0 skipped"
        assert found["token"]["token"]["default_host_group"]["name"] == "Proxmox LXC"
        (token,) = server.get("/api/v1/auto-enrollment/tokens")
        assert (token["hosts_created_today"], token["max_hosts_per_day"]) == (2, 200)
        assert token["metadata"] == {"integration_type": "proxmox-lxc", "environment": "production"}
        assert [row["groups"] for row in server.get("/api/v1/devices")] == [["Proxmox LXC"]] * 2
