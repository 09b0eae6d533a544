# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""Command line of the lab: python3 -m tests.lab.patchlab --help"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import control
from .fixtures import STAGES
from .hosts import FAMILIES
from .lab import HOST_ACTIONS, busy_labs, sweep_abandoned
from .rootfs import build, purge
from .system import PACKAGES_FILE, LabError, check_machine

EXIT_CANNOT = 77


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.patchlab",
                                     description="Throw-away managed hosts and signed repositories for tests.")
    parser.add_argument("--lab", default="lab", metavar="NAME", help="1-6 characters; labs run side by side")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help=f"can this machine run a lab? exit status {EXIT_CANNOT} when not")
    commands.add_parser("packages", help="install the Debian packages that the lab calls")
    commands.add_parser("build", help="fill the cache: file trees and repositories")
    for name, text in (("up", "start the lab, or find it up, and print its inventory"), ("keep", argparse.SUPPRESS)):
        command = commands.add_parser(name, help=text)
        for family in FAMILIES:
            command.add_argument(f"--{family}", type=int, default=int(family == "deb"), metavar="N")
    commands.add_parser("inventory", help="print the Ansible inventory")
    commands.add_parser("status", help="what is up, as JSON")
    command = commands.add_parser("publish", help="switch what upstream offers")
    command.add_argument("stage", choices=STAGES)
    for action in HOST_ACTIONS:
        command = commands.add_parser(action, help=f"{action} hosts")
        command.add_argument("hosts", nargs="+", metavar="HOST")
    command = commands.add_parser("ssh", help="a shell or a command as root")
    command.add_argument("host", metavar="HOST")
    command.add_argument("remote", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("down", help="end the lab; nothing of it stays")
    commands.add_parser("purge", help="end the lab and delete the cache")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    name = arguments.lab
    shape = {family: getattr(arguments, family) for family in FAMILIES if hasattr(arguments, family)}
    match arguments.command:
        case "check":
            reasons = check_machine()
            print("\n".join(reasons) or "this machine can run a lab")
            return EXIT_CANNOT if reasons else 0
        case "packages":
            return subprocess.call(["apt-get", "install", "-y", "--no-install-recommends",
                                    *PACKAGES_FILE.read_text().split()])
        case "build":
            if reasons := check_machine():
                raise LabError("; ".join(reasons))
            build(FAMILIES)
        case "keep":
            control.keep(name, shape)
        case "up":
            control.up(name, shape)
            print(Path(control.call(name, "status")["inventory"]).read_text(), end="")
        case "inventory":
            print(Path(control.call(name, "status")["inventory"]).read_text(), end="")
        case "status":
            print(json.dumps(control.call(name, "status"), indent=1))
        case "publish":
            control.call(name, "publish", stage=arguments.stage)
        case "ssh":
            remote = arguments.remote[1:] if arguments.remote[:1] == ["--"] else arguments.remote
            command = [*control.call(name, "ssh", host=arguments.host)["command"], *remote]
            os.execvp(command[0], command)  # noqa: S606 - no shell is the point
        case "down":
            control.down(name)
        case "purge":
            control.down(name)
            sweep_abandoned()
            if busy := busy_labs():
                raise LabError(f"labs that are up use the cache: {' '.join(busy)}")
            purge()
        case action:
            control.call(name, "power", action=action, hosts=arguments.hosts)
    return 0
