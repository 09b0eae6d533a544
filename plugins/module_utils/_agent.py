# -*- coding: utf-8 -*-
# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Patchherd agent for Linux: collects one report about this host and sends it. It only reports.

Private to the collection as a module util; the server hands the same file to hosts, where it runs as
``python3 patchherd_agent.py --once``. Standard library only, Python 3.6 or newer, and nothing that the
server answers is ever executed.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import argparse
import fcntl
import fnmatch
import glob
import gzip
import hashlib
import http.client
import itertools
import json
import os
import platform
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone

VERSION = "0.1.0"
REPORT_VERSION = 1
CONFIG_PATH = "/etc/patchherd/agent.json"
FULL_REPORT_EVERY = 24 * 3600
COLLECT_EVERY = 3600
HEARTBEAT_EVERY = 240  # the server calls a host online for 300 s after a sign of life
METADATA_HOURS = 4
GATED_HASHES = ("packagesHash", "reposHash", "interfacesHash", "hostnameHash")
MAX_AGENT_BYTES = 2 * 1024 * 1024


class AgentError(Exception):
    """What the agent cannot do, in words meant for the operator."""


# --------------------------------------------------------------------------- child processes and files


def run(argv, timeout=60):
    """Run a command in the C locale and UTC; return (exit code, stdout, stderr).

    A command that is missing gives exit code 127, one that took too long 124; both say so on stderr.
    """
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C", "LANGUAGE": "C",
           "TZ": "UTC", "HOME": os.environ.get("HOME", "/root"), "DEBIAN_FRONTEND": "noninteractive"}
    env.update((name, value) for name, value in os.environ.items() if name.lower() in
               ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"))
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=env, start_new_session=True)
    except OSError as error:
        return 127, "", "%s: %s" % (argv[0], error.strerror)
    try:
        out, err = child.communicate(timeout=timeout)
        code = child.returncode
    except subprocess.TimeoutExpired:
        # The whole group: apt and dnf start helpers that would otherwise keep their locks.
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        code, err = 124, err + ("\n%s: no answer within %d s" % (argv[0], timeout)).encode()
    return code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def read_text(path, default=""):
    """The stripped text of a file, or the default when it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return handle.read().decode("utf-8", "replace").strip()
    except OSError:
        return default


def read_json(path, default):
    """The JSON document in a file, or the default when there is none or it is damaged."""
    try:
        return json.loads(read_text(path))
    except ValueError:
        return default


def write_private(path, data, like=None):
    """Replace a file atomically with bytes only its owner can read, or with mode and owner of the status `like`."""
    temporary = path + ".new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        if like is not None:
            os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, like.st_mode & 0o7777)
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def state_directory():
    """Where the agent remembers things between runs; made when it does not exist."""
    if os.geteuid() == 0:
        path = "/var/lib/patchherd"
    else:
        path = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "patchherd")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def iso(timestamp):
    """Epoch seconds as ISO-8601 UTC; None stays None."""
    if timestamp is None:
        return None
    return datetime.fromtimestamp(int(timestamp), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def modified(path):
    """Modification time of a path in epoch seconds, None when it does not exist."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def parse_assignments(text):
    """`KEY=value` lines with shell quoting as a dict, as /etc/os-release has them."""
    values = {}
    for line in text.splitlines():
        match = re.match(r"^([A-Z][A-Z0-9_]*)=(.*)$", line.strip())
        if match:
            value = match.group(2).strip()
            if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
                value = value[1:-1]
            values[match.group(1)] = re.sub(r"\\(.)", r"\1", value)
    return values


# --------------------------------------------------------------------------- version order


def split_version(version):
    """(epoch, upstream, release) of a Debian or RPM version string."""
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, _dash, release = rest.rpartition("-")
    return (int(epoch), upstream, release) if _dash else (int(epoch), rest, "")


def _deb_part_key(part):
    """Sort key of one Debian version part: `~` before the end, the end before letters, letters before the rest."""
    key = []
    for text, digits in re.findall(r"(\D*)(\d*)", part):
        key.append([-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in text] + [0])
        key.append([int(digits or 0)])
    while key and key[-1] == [0]:
        key.pop()
    # What lacks counts as zero; no more than two zeros follow each other, so that three of them outlast any `~`.
    return key + [[0]] * 3


def deb_version_key(version):
    """Sort key with the order of dpkg."""
    epoch, upstream, revision = split_version(version)
    return epoch, _deb_part_key(upstream), _deb_part_key(revision)


def _rpm_part_key(part):
    """Sort key of an RPM version or release: `~` < end < `^` < letters < numbers."""
    key = []
    for token in re.findall(r"\d+|[a-zA-Z]+|~|\^", part):
        if token == "~":
            key.append((0,))
        elif token == "^":
            key.append((2,))
        elif token.isdigit():
            key.append((4, int(token)))
        else:
            key.append((3, token))
    return key + [(1,)]


def rpm_version_key(version):
    """Sort key with the order of rpm."""
    epoch, upstream, release = split_version(version)
    return epoch, _rpm_part_key(upstream), _rpm_part_key(release)


def rpm_version(epoch, version, release):
    """`[epoch:]version-release`, the epoch left out when there is none."""
    text = "%s-%s" % (version, release)
    return text if epoch in ("", "0", "(none)", None) else "%s:%s" % (epoch, text)


def block(package, code, detail):
    """Say that the newer version of a package is there and cannot be installed, and why.

    `code` is held, pinned, excluded, module, dependency, esm or phased, `detail` a short text for people.
    """
    package.update(needsUpdate=False, blocked=code, blockedDetail=" ".join(detail.split())[:300])


# --------------------------------------------------------------------------- apt


def parse_dpkg(text):
    """Installed packages from dpkg-query output of DPKG_FORMAT; removed ones with config files left are dropped."""
    packages = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 7 or fields[6] not in ("installed", "triggers-pending", "triggers-awaited", "half-configured",
                                                "unpacked", "half-installed"):
            continue
        query, name, architecture, version, source, want, status = fields
        if not version:
            continue
        package = {"name": name, "currentVersion": version, "architecture": architecture, "needsUpdate": False,
                   "isSecurityUpdate": False, "sourceName": source or name}
        if want == "hold":
            package["held"] = True
        if status in DPKG_BROKEN:
            package["broken"] = status
        packages.append((query, package))
    return packages


# deb-triggers(5): a package that waits for triggers is installed; these are not, whatever version dpkg shows for them
DPKG_BROKEN = ("half-configured", "unpacked", "half-installed")


def broken_problems(packages):
    """One sentence about the packages that an interrupted or failed run of dpkg has left behind; [] without such."""
    names = ["%s (%s)" % (package["name"], package["broken"]) for package in packages if "broken" in package]
    more = " and %d more" % (len(names) - 20) if len(names) > 20 else ""
    return ["not completely installed: %s%s" % (", ".join(names[:20]), more)] if names else []


DPKG_FORMAT = ("${binary:Package}\\t${Package}\\t${Architecture}\\t${Version}\\t${source:Package}\\t"
               "${db:Status-Want}\\t${db:Status-Status}\\n")


def parse_policy(text):
    """`apt-cache policy NAME…` output as {name: {"candidate", "versions": [{"version","priority","phased","sources"}]}}."""
    found, entry, version = {}, None, None
    for line in text.splitlines():
        if line and not line[0].isspace() and line.endswith(":"):
            entry = found.setdefault(line[:-1], {"candidate": None, "versions": []})
        elif entry is None:
            continue
        elif line.startswith("  Candidate: "):
            candidate = line[13:].strip()
            entry["candidate"] = None if candidate == "(none)" else candidate
        elif re.match(r"^ (\*\*\*|   ) \S", line):
            fields = line[5:].split()
            version = {"version": fields[0], "priority": fields[1] if len(fields) > 1 else "", "phased": None,
                       "sources": []}
            phased = re.search(r"phased (\d+)%", line)
            version["phased"] = int(phased.group(1)) if phased else None
            entry["versions"].append(version)
        elif version is not None and re.match(r"^ {6,}-?\d+ ", line):
            version["sources"].append(line.strip().split(" ", 1)[1].strip())
    return found


def parse_sizes(text):
    """{(name, architecture, version): bytes of the archive} from `apt-cache show`."""
    sizes = {}
    for record in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Architecture|Version|Size): (\S+)$", record, re.M))
        if len(fields) == 4 and fields["Size"].isdigit():
            sizes[fields["Package"], fields["Architecture"], fields["Version"]] = int(fields["Size"])
    return sizes


TARGET_FIELDS = ("DESCRIPTION", "REPO_URI", "SITE", "RELEASE", "COMPONENT", "CODENAME", "SUITE", "ORIGIN", "LABEL",
                 "TRUSTED", "FILENAME", "METAKEY")
TARGET_FORMAT = "\t".join("$(%s)" % field for field in TARGET_FIELDS)


def parse_targets(text):
    """Index targets printed with TARGET_FORMAT as a list of dicts; fields that apt does not know are empty."""
    targets = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == len(TARGET_FIELDS):
            targets.append({name.lower(): "" if value == "$(%s)" % name else value
                            for name, value in zip(TARGET_FIELDS, fields)})  # noqa: B905
    return targets


def has_release_file(target):
    """Whether the Release file of an index target's suite is there; an empty suite has that and no index."""
    prefix = target["filename"][:-len(target["metakey"].replace("/", "_"))]
    return os.path.exists(prefix + "InRelease") or os.path.exists(prefix + "Release")


def is_security_archive(origin):
    """Whether a release is one where its distribution publishes security fixes."""
    if origin["origin"] == "Debian":
        return origin["label"] == "Debian-Security"
    if origin["origin"] == "Ubuntu":
        return origin["suite"].endswith("-security")
    return origin["origin"] in ("UbuntuESM", "UbuntuESMApps") and origin["suite"].endswith("-security")


def is_opt_in(target):
    """Whether the suite of an index target offers its versions only to who asks for them, as backports do."""
    prefix = target["filename"][:-len(target["metakey"].replace("/", "_"))]
    for path in (prefix + "InRelease", prefix + "Release"):
        try:
            with open(path, "rb") as handle:
                return b"\nNotAutomatic: yes" in handle.read(4096)  # the fields are at the head, checksums follow
        except OSError:
            continue
    return False


def policy_name(query, native):
    """The name that apt gives to what dpkg calls `query`: without the host's own architecture."""
    return query[:-len(native) - 1] if query.endswith(":" + native) else query


def apply_policy(installed, policy, targets, native):
    """Add candidate, origins and security flag to the packages of parse_dpkg; return the plain list.

    A package is upgradable when apt's candidate (pins respected) is newer than what is installed, as in
    `apt list --upgradable`; it counts as security when any newer version comes from a security archive,
    because the upgrade skips over that fix. A newer version that is not the candidate is a blocked one.
    """
    by_description = {}
    for target in targets:
        by_description.setdefault(target["description"], target)
    packages = []
    for query, package in installed:
        packages.append(package)
        entry = policy.get(query) or policy.get(policy_name(query, native))
        if entry is None:
            continue
        current = deb_version_key(package["currentVersion"])
        newer = [version for version in entry["versions"] if deb_version_key(version["version"]) > current]
        chosen = next((version for version in newer if version["version"] == entry["candidate"]), None)
        if chosen is not None:
            offer(package, chosen, newer, by_description)
            if package.get("held"):
                block(package, "held", "held by dpkg")
            continue
        hidden = [version for version in newer if version["sources"] and not all(
            by_description.get(source, {}).get("optIn") for source in version["sources"])]
        if hidden:
            offer(package, hidden[0], newer, by_description)
            block(package, *why_not_candidate(hidden[0], entry))
    return packages


def offer(package, chosen, newer, by_description):
    """Name a newer version of a package, where it comes from, and whether the way to it fixes vulnerabilities."""
    package.update(availableVersion=chosen["version"], needsUpdate=True, origins=[])
    for version in newer:
        origins = [{key: by_description[source][key] for key in
                    ("origin", "label", "suite", "codename", "component")}
                   for source in version["sources"] if source in by_description]
        package["isSecurityUpdate"] = package["isSecurityUpdate"] or any(map(is_security_archive, origins))
        if version is chosen:
            package["origins"].extend(o for o in origins if o not in package["origins"])
    if chosen["phased"] is not None:
        package["phased"] = chosen["phased"]
    if package["origins"]:
        best = ([o for o in package["origins"] if is_security_archive(o)] or package["origins"])[0]
        package["sourceRepository"] = "/".join(filter(None, (best["codename"] or best["suite"], best["component"])))


def why_not_candidate(version, entry):
    """(code, detail): what keeps a newer version of parse_policy from being the candidate."""
    if version["priority"] == "1" and version["phased"] not in (None, 100):  # APT::Get::Phase-Policy
        return "phased", offered_share(version["phased"])
    detail = "%s has priority %s" % (version["version"], version["priority"])
    candidate = next((v for v in entry["versions"] if v["version"] == entry["candidate"]), None)
    return "pinned", detail + (", %(version)s has %(priority)s" % candidate if candidate else "")


def offered_share(percentage):
    """What a phased update's percentage means."""
    return "offered to %s %% of machines" % percentage


def parse_simulation(text):
    """What a simulated run of apt-get does: ({name: version that it installs}, {name that it removes})."""
    return (dict(re.findall(r"(?m)^Inst (\S+) (?:\[[^]]*\] )?\((\S+)", text)),
            set(re.findall(r"(?m)^Remv (\S+)", text)))


def parse_unmet(text):
    """{name: the first relation that cannot be met} from what apt-get says about packages that it cannot install."""
    unmet = {}
    for name, reason in re.findall(r"(?m)^ (\S+) : ([A-Z][A-Za-z-]*: .*)$", text):
        unmet.setdefault(name, reason.strip())
    return unmet


APT_FAILURE = re.compile(r"^(E: |Err:|W: (Failed to fetch|Some index files failed|GPG error|An error occurred during "
                         r"the signature|The repository .* (is not signed|does not have|is no longer signed)))")


def apt_update_problems(code, output):
    """What went wrong in an `apt-get update`, [] when every source was refreshed; exit code 0 does not prove that."""
    # The reason of an Err: line is on the indented line after it.
    lines = [line.strip() for line in re.sub(r"(?m)^(Err:.*)\n  +", r"\1: ", output).splitlines() if APT_FAILURE.match(line)]
    said = [line[3:] for line in lines if not line.startswith("Err:")] or lines
    if not said and code != 0:
        said = [(output.strip().splitlines() or ["exit code %d" % code])[-1]]
    specific = [line for line in dict.fromkeys(said) if not line.startswith("Some index files failed")]
    return ["apt-get update failed: " + line for line in specific or said[:1]]


class Apt:
    """Packages of a dpkg host, candidates from the system's lists or, unprivileged, from private ones."""

    def __init__(self, state):
        self.state = state
        self.options = []
        self.lists = "/var/lib/apt/lists"
        self.memory = os.path.join(state, "apt-refresh.json")
        self.problems = []

    def use_private_lists(self):
        """Turn to lists of our own below the state directory: an ordinary user cannot refresh the system's."""
        self.lists = os.path.join(self.state, "apt", "lists")
        cache = os.path.join(self.state, "apt", "cache")
        os.makedirs(os.path.join(self.lists, "partial"), exist_ok=True)
        os.makedirs(os.path.join(cache, "archives", "partial"), exist_ok=True)
        self.options = ["-o", "Dir::State::lists=" + self.lists, "-o", "Dir::Cache=" + cache]
        self.memory = os.path.join(self.state, "apt-private-refresh.json")

    def targets(self, *flags):
        """Package index targets that apt knows: with `--no-release-info` the configured ones, else those present."""
        code, out, err = run(["apt-get"] + self.options + ["indextargets"] + list(flags) +
                             ["--format", TARGET_FORMAT, "Created-By: Packages"])
        if code:
            self.problems.append("apt-get indextargets failed: " + err.strip())
        return parse_targets(out)

    def refreshed(self):
        """(epoch seconds of the last refresh that reached every source or None, problems of the last attempt)."""
        targets = self.targets("--no-release-info")
        configured = {(t["repo_uri"], t["release"]) for t in targets}
        absent = sorted(configured - {(t["repo_uri"], t["release"]) for t in targets if has_release_file(t)})
        memory = read_json(self.memory, {})
        if not configured:
            return None, ["no package source is configured"]
        if absent:
            return None, ["no package metadata for %s %s" % pair for pair in absent] + memory.get("problems", [])
        # apt works in partial/ on every refresh, even one in which nothing had changed.
        touched = max(modified(self.lists) or 0, modified(os.path.join(self.lists, "partial")) or 0)
        if self.options or touched <= memory.get("attempt", 0) + 1:
            return memory.get("success"), memory.get("problems", [])
        return touched or None, []

    def refresh(self):
        """Run `apt-get update`, wait a little for a lock somebody else holds, remember how it went."""
        command = ["apt-get", "-q"] + self.options + ["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=2",
                                                     "-o", "Acquire::http::Timeout=30", "update"]
        for attempt in range(6):
            if attempt:
                time.sleep(5)
            code, out, err = run(command, timeout=600)
            if "Could not get lock" not in err and "Unable to lock" not in err:
                break
        problems = apt_update_problems(code, out + "\n" + err)
        moment = time.time()
        memory = read_json(self.memory, {})
        memory.update(attempt=moment, problems=problems, success=memory.get("success") if problems else moment)
        write_private(self.memory, json.dumps(memory).encode())

    def metadata(self, refresh, hours):
        """Bring the lists up to date as `refresh` asks; return the time of the last complete refresh or None."""
        last, problems = self.refreshed()
        stale = last is None or time.time() - last > hours * 3600
        if os.geteuid() != 0 and (stale or refresh == "always") and refresh != "never":
            self.use_private_lists()
            last, problems = self.refreshed()
            stale = last is None or time.time() - last > hours * 3600
        elif os.geteuid() != 0:
            self.options = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
        if refresh == "always" or (refresh == "auto" and stale):
            self.refresh()
            last, problems = self.refreshed()
        self.problems.extend(problems)
        return last

    def collect(self, refresh, hours):
        """(packages, repositories, epoch seconds of the metadata or None, problems)."""
        code, out, err = run(["dpkg-query", "-W", "-f", DPKG_FORMAT])
        if code:
            raise AgentError("dpkg-query failed: " + err.strip())
        installed = parse_dpkg(out)
        self.problems.extend(broken_problems(package for _query, package in installed))
        updated = self.metadata(refresh, hours)
        native = run(["dpkg", "--print-architecture"])[1].strip()
        code, out, err = run(["apt-cache"] + self.options + ["policy"] + [query for query, _package in installed], 180)
        if code:
            self.problems.append("apt-cache policy failed: " + (err.strip() or "exit code %d" % code))
            updated = None
        targets = self.targets()
        for target in targets:
            target["optIn"] = is_opt_in(target)
        packages = apply_policy(installed, parse_policy(out), targets, native)
        self.keep_back({policy_name(query, native): package for query, package in installed if package["needsUpdate"]})
        self.add_sizes([package for package in packages if "availableVersion" in package])
        self.add_esm(installed, native)
        repositories = apt_repositories(self.targets("--no-release-info"), targets)
        return packages, repositories, updated, self.problems

    def add_sizes(self, offered):
        """Add how many bytes apt would download for each of these packages, as far as it tells."""
        asked = ["%(name)s:%(architecture)s=%(availableVersion)s" % package for package in offered]
        sizes = parse_sizes(run(["apt-cache"] + self.options + ["show"] + asked, 180)[1]) if asked else {}
        for package in offered:
            for kind in (package["architecture"], "all"):
                place = package["name"], kind, package["availableVersion"]
                if place in sizes:
                    package["size"] = sizes[place]

    def simulate(self, *arguments):
        """(exit code, output) of apt-get with these arguments and changing nothing; needs no privileges."""
        code, out, err = run(["apt-get"] + self.options + ["-s", "-o", "Debug::NoLocking=1"] + list(arguments), 180)
        return code, out + "\n" + err

    def keep_back(self, wanted):
        """Block those of the updates, {name: package}, that `apt-get dist-upgrade` would not install."""
        if not wanted:
            return
        code, text = self.simulate("dist-upgrade")
        if code:
            said = [line for line in text.splitlines() if line.startswith("E: ")] or ["exit code %d" % code]
            self.problems.append("which updates apt would keep back is unknown: " + said[0].replace("E: ", "", 1))
            return
        kept = {name: package for name, package in wanted.items() if name not in parse_simulation(text)[0]}
        if any(package.get("phased", 100) < 100 for package in kept.values()):
            # Older versions of apt do not tell what they defer from what they cannot install.
            offered = parse_simulation(self.simulate(
                "-o", "APT::Get::Always-Include-Phased-Updates=true", "dist-upgrade")[1])[0]
            for name in [name for name in kept if name in offered]:
                package = kept.pop(name)
                phased = package.get("phased", 100)
                block(package, "phased", offered_share(phased) if phased < 100 else "needs updates that are phased")
        if kept:
            self.explain(kept)

    def explain(self, kept):
        """Block updates that apt keeps back, with what it says when it is asked for them."""
        asked = ["%s=%s" % (name, package["availableVersion"]) for name, package in sorted(kept.items())][:100]
        _code, text = self.simulate("install", *asked)
        unmet, removed = parse_unmet(text), sorted(parse_simulation(text)[1])
        for name, package in kept.items():
            detail = "kept back by apt-get dist-upgrade"
            if name in unmet:
                detail = unmet[name]
            elif removed and name in parse_simulation(text)[0]:
                detail += "; to install it would remove " + ", ".join(removed[:5])
            block(package, "dependency", detail)

    def add_esm(self, installed, native):
        """Name versions that Ubuntu's extended maintenance has for this host and its subscription does not cover.

        Ubuntu's Pro client keeps what these archives offer, whether the host may have it or not, below a directory
        with the layout of apt's own. What the host may have is among its ordinary sources and already known here.
        """
        if not glob.glob(ESM + "/var/lib/apt/lists/*Packages*"):
            return
        usual = self.options
        self.options = ["-o", "Dir=" + ESM, "-o", "Dir::State::status=/var/lib/dpkg/status", "-o",
                        "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "APT::Default-Release="]
        free = [(query, package) for query, package in installed if "availableVersion" not in package]
        out = run(["apt-cache"] + self.options + ["policy"] + [query for query, _package in free], 180)[1]
        apply_policy(free, parse_policy(out), self.targets(), native)
        self.options = usual
        for _query, package in free:
            if "availableVersion" in package:
                block(package, "esm", "Ubuntu Pro (%s) has %s" % (
                    package.get("sourceRepository", "esm"), package["availableVersion"]))


ESM = "/var/lib/ubuntu-advantage/apt-esm"


def apt_machine_id():
    """The machine id by which apt draws the host's share in phased updates; empty when it knows none."""
    out = run(["apt-config", "shell", "CONFIGURED", "APT::Machine-ID", "FILE", "Dir::Etc::machine-id/f", "ETC",
               "Dir::Etc/d"])[1]
    known = parse_assignments(out)
    path = known.get("FILE") or os.path.join(known.get("ETC", "/etc/apt/"), "..", "machine-id")
    lines = [line.strip() for line in read_text(path).splitlines()]
    return known.get("CONFIGURED") or next((line for line in lines if line), "")


def apt_repositories(configured, present):
    """One entry per source, suite and component; secure means that apt has verified its signature."""
    known = {(t["repo_uri"], t["release"], t["component"]): t for t in present}
    result = {}
    for target in configured:
        key = (target["repo_uri"], target["release"], target["component"])
        details = known.get(key, target)
        result[key] = {"name": details["description"].rsplit(" ", 2)[0] or key[0], "url": key[0],
                       "distribution": key[1], "components": key[2], "repoType": "deb", "isEnabled": True,
                       "isSecure": details["trusted"] == "yes"}
    return [result[key] for key in sorted(result)]


def apt_reboot():
    """Why the host asks for a reboot, None when it does not."""
    for directory in ("/run", "/var/run"):
        if os.path.exists(directory + "/reboot-required"):
            names = list(dict.fromkeys(read_text(directory + "/reboot-required.pkgs").split()))
            return "Packages ask for a reboot: " + ", ".join(names) if names else "The system asks for a reboot"
    return None


def apt_kernels(packages):
    """Releases, as `uname -r` would show them, of the installed kernel packages."""
    found = (re.match(r"^linux-image-(?:unsigned-)?(\d\S*)$", package["name"]) for package in packages)
    return sorted({m.group(1) for m in found if m and not m.group(1).endswith("-dbg")}, key=deb_version_key)


# --------------------------------------------------------------------------- dnf


RPM_FORMAT = "%{NAME}\\t%{EPOCH}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{SOURCERPM}\\n"
REPOQUERY_FORMAT = "%{name}|%{epoch}|%{version}|%{release}|%{arch}|%{repoid}|%{downloadsize}\n"


def source_name(source_rpm):
    """`bash` from `bash-5.1.8-9.el9.src.rpm`; None when there is no source package."""
    return source_rpm.rsplit("-", 2)[0] if source_rpm.count("-") > 1 else None


def parse_rpms(text):
    """Installed packages from rpm output of RPM_FORMAT; imported signing keys are not software."""
    packages = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 6 or fields[0] == "gpg-pubkey":
            continue
        package = {"name": fields[0], "currentVersion": rpm_version(*fields[1:4]), "architecture": fields[4],
                   "needsUpdate": False, "isSecurityUpdate": False}
        if source_name(fields[5]):
            package["sourceName"] = source_name(fields[5])
        packages.append(package)
    return sorted(packages, key=lambda p: (p["name"], p["architecture"], rpm_version_key(p["currentVersion"])))


def parse_upgrades(text):
    """Newest offered version per (name, arch) from repoquery output: {(name, arch): (version, repository, size)}."""
    newest = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 7:
            continue
        version, key = rpm_version(*fields[1:4]), (fields[0], fields[4])
        if key not in newest or rpm_version_key(version) > rpm_version_key(newest[key][0]):
            newest[key] = version, fields[5], int(fields[6]) if fields[6].isdigit() else None
    return newest


def split_nevra(text):
    """(name, version, architecture) of `name-[epoch:]version-release.arch`, None when it is not one."""
    match = re.match(r"^(.+)-(?:(\d+):)?([^-]+)-([^-]+)\.([^.-]+)$", text)
    return match and (match.group(1), rpm_version(*match.group(2, 3, 4)), match.group(5))


def parse_advisory_list(text):
    """Rows of `dnf updateinfo list`: [(id, type, severity or None, (name, version, arch))]; dnf 4 and dnf 5 layouts."""
    rows = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        if "/" in fields[1]:
            severity, kind, nevra = fields[1].split("/", 1)[0], "security", fields[2]
        elif len(fields) > 3 and fields[1] in ("security", "bugfix", "enhancement", "newpackage", "unspecified"):
            kind, severity, nevra = fields[1], fields[2], fields[3]
        else:
            kind, severity, nevra = fields[1], None, fields[2]
        package = split_nevra(nevra)
        if package:
            rows.append((fields[0], kind, None if severity in ("Unknown", "None", None) else severity, package))
    return rows


def parse_advisory_cves(text):
    """{advisory id: [CVE, …]} from `dnf updateinfo info`."""
    cves, current, field = {}, None, ""
    for line in text.splitlines():
        match = re.match(r"^\s*([A-Z][A-Za-z ]*?)\s*: (.*)$", line)
        if match:
            field = match.group(1)
            if field in ("Update ID", "Name"):
                current = match.group(2).strip()
        value = match.group(2) if match else re.sub(r"^\s*:", "", line)
        if field in ("CVEs", "Description", "Reference", "Id", "Title") and current:
            if field in ("CVEs", "Id"):
                cves.setdefault(current, []).extend(re.findall(r"CVE-\d+-\d+", value))
    return {advisory: sorted(set(names)) for advisory, names in cves.items()}


def apply_upgrades(packages, upgrades, advisories, cves):
    """Add candidates and the advisories that lead to them to the packages of parse_rpms (sorted, oldest first).

    Of several installed versions (kernels) only the newest can miss an update.
    """
    native = platform.machine()
    newest = {(p["name"], p["architecture"]): p for p in packages}
    by_name = {}
    for package in newest.values():
        by_name.setdefault(package["name"], []).append(package)
    for (name, architecture), (version, repository, size) in upgrades.items():
        package = newest.get((name, architecture))
        if package is None and len(by_name.get(name, ())) == 1:  # noarch became x86_64 or the other way round
            if architecture != native and (name, native) in upgrades:
                continue  # dnf lists it for each architecture, and installs that of the host
            package = by_name[name][0]
        if package is None or rpm_version_key(version) <= rpm_version_key(package["currentVersion"]):
            continue
        package.update(availableVersion=version, needsUpdate=True, sourceRepository=repository)
        if size is not None:
            package["size"] = size
        if architecture != package["architecture"]:
            package["availableArchitecture"] = architecture
        add_advisories(package, {(name, architecture): (package["currentVersion"], version)}, advisories, cves)
    return packages


def add_advisories(package, steps, advisories, cves):
    """Add the advisories of these steps, {(name, architecture): (version before or None, version)}, to a package."""
    keys = {place: [version and rpm_version_key(version) for version in step] for place, step in steps.items()}
    found = {}
    for advisory, kind, severity, (name, fixed, architecture) in advisories:
        if (name, architecture) in keys:
            low, high = keys[name, architecture]
            if (low is None or low < rpm_version_key(fixed)) and rpm_version_key(fixed) <= high:
                found.setdefault(advisory, {"id": advisory, "type": kind, "severity": severity,
                                            "cves": cves.get(advisory, [])})
    package["advisories"] = list(found.values())
    package["isSecurityUpdate"] = any(advisory["type"] == "security" for advisory in found.values())


def parse_obsoletes(text):
    """What replaces installed packages under another name, from `dnf list --obsoletes`.

    {(name, architecture) of the installed one: [(name, architecture, version, repository) of the other]}.
    """
    replacing, row, new, inner = {}, [], None, False
    for line in text.splitlines():
        if not row:
            if "." not in (line.split() or [""])[0]:
                continue  # the heading
            inner = line.startswith(" ")
        row += line.split()  # a row that is too long for the line goes on in the next one
        if len(row) < 3:
            continue
        name, _dot, architecture = row[0].rpartition(".")
        if not inner:
            new = (name, architecture, row[1], row[2])
        elif new:
            replacing.setdefault((name, architecture), []).append(new)
        row = []
    return replacing


def replacements(packages, replacing):
    """What dnf would put in the place of installed packages, from parse_obsoletes.

    [(package, [(name, architecture, version, repository), …])], one entry for each name that takes a part of it.
    What is installed itself is left out: then its update replaces the other package, and is listed.
    """
    native, present = platform.machine(), {package["name"] for package in packages}
    newest = {(package["name"], package["architecture"]): package for package in packages}
    found = []
    for place, offered in sorted(replacing.items()):
        best = {}
        for row in offered:
            fit = (row[1] == place[1], row[1] == native, row[1] == "noarch", rpm_version_key(row[2]))
            if row[0] not in present and (row[0] not in best or fit > best[row[0]][0]):
                best[row[0]] = fit, row
        if place in newest and best:
            found.append((newest[place], [best[name][1] for name in sorted(best)]))
    return found


def replace(package, rows, advisories, cves, secure=()):
    """Report that these rows of `replacements` replace a package; dnf prefers that to newer versions of its own.

    `secure`: names of packages that are security fixes, whatever the advisories say.
    """
    package.pop("size", None)  # of a newer version of its own
    package.update(availableVersion=rows[0][2], needsUpdate=True, sourceRepository=rows[0][3],
                   replacedBy=[{"name": row[0], "architecture": row[1], "version": row[2]} for row in rows])
    add_advisories(package, {row[:2]: (None, row[2]) for row in rows}, advisories, cves)
    if any(row[0] in secure for row in rows):
        package["isSecurityUpdate"] = True


def parse_repositories(text):
    """`dnf repoinfo --all` as a list of dicts: id, name, enabled, url, gpgcheck unknown, updated (epoch or None)."""
    repositories = []
    for line in text.splitlines():
        match = re.match(r"^\s*([A-Za-z][A-Za-z -]*?)\s*: (.*)$", line)
        if not match:
            continue
        field = re.sub(r"^repo[ -]", "", match.group(1).strip().lower())
        value = match.group(2).strip()
        if field == "id":
            repositories.append({"id": value, "name": value, "enabled": True, "url": "", "updated": None})
        elif repositories:
            repository = repositories[-1]
            if field == "name":
                repository["name"] = value
            elif field == "status":
                repository["enabled"] = value.startswith("enabled")
            elif field in ("baseurl", "base url", "metalink", "mirrors") and not repository["url"]:
                repository["url"] = value.split(" (")[0].split(",")[0].strip()
            last = re.search(r"\(last: ([^)]*)\)", value)
            if last:
                repository["updated"] = parse_moment(last.group(1))
    return repositories


def parse_moment(text):
    """Epoch seconds of a UTC time as dnf 4 or dnf 5 writes it, None when it is none."""
    for layout in ("%a %b %d %H:%M:%S %Y", "%a %d %b %Y %I:%M:%S %p UTC", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text.strip(), layout).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            continue
    return None


def repository_options():
    """{repository id: {option: value}} of /etc/yum.repos.d, and the [main] section of dnf.conf under "main"."""
    sections, current = {}, None
    directory = "/etc/yum.repos.d"
    files = [os.path.join(directory, name) for name in sorted(os.listdir(directory) if os.path.isdir(directory) else [])
             if name.endswith(".repo")]
    for path in ["/etc/dnf/dnf.conf"] + files:
        for line in read_text(path).splitlines():
            head = re.match(r"^\[([^]]+)\]", line.strip())
            option = re.match(r"^(\w+)\s*=\s*(.*)$", line.strip())
            if head:
                current = sections.setdefault(head.group(1), {})
            elif option and current is not None:
                current[option.group(1)] = option.group(2).strip()
    return sections


def words(value):
    """The values of an option that takes a list, separated by commas or blanks."""
    return re.split(r"[\s,]+", value.strip()) if value.strip() else []


def exclusions(options):
    """What the configuration hides, {section of `repository_options`: [(option, patterns)]}; {} when nothing."""
    found = {}
    for section, values in options.items():
        for option in ("exclude", "excludepkgs", "includepkgs"):
            if words(values.get(option, "")):
                found.setdefault(section, []).append((option, words(values[option])))
    return found


def why_excluded(name, repository, excluded):
    """Which option hides a package of a repository, for people."""
    for section in ("main", repository):
        for option, patterns in excluded.get(section, ()):
            place = "dnf.conf" if section == "main" else "repository " + section
            fitting = [p for p in patterns if fnmatch.fnmatchcase(name, p) or p.startswith(name + "-")]
            if option == "includepkgs" and not fitting:
                return "not in includepkgs of " + place
            if option != "includepkgs" and fitting:
                return "%s=%s of %s" % (option, fitting[0], place)
    return "excluded by the configuration of dnf"


def parse_module_provides(text):
    """{(name, version, architecture): {"module:stream", …}} from `dnf module provides`."""
    streams, package = {}, None
    for line in text.splitlines():
        module = re.match(r"^Module\s*: ([^:\s]+:[^:\s]+)", line)
        if module and package:
            streams.setdefault(package, set()).add(module.group(1))
        elif re.match(r"^\S+$", line):
            package = split_nevra(line)
    return streams


def module_streams(directory="/etc/dnf/modules.d"):
    """The enabled module streams, `name:stream`, sorted."""
    found = []
    for path in glob.glob(directory + "/*.module"):
        options = dict(re.findall(r"(?m)^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", read_text(path)))
        if options.get("state") == "enabled" and options.get("stream"):
            name = options.get("name") or os.path.basename(path)[:-len(".module")]
            found.append("%s:%s" % (name, options["stream"]))
    return sorted(found)


def parse_skipped(text):
    """{(name, architecture): version} of what `dnf upgrade` says that it skips."""
    skipped, inside = {}, False
    for line in text.splitlines():
        if not line.startswith(" ") and not line.startswith("("):
            inside, row = line.startswith("Skipping packages with"), []
        elif inside and line.startswith(" "):
            # A row that is too long for the line goes on in the next one, further to the right.
            row = line.split() if re.match(r" \S", line) else row + line.split()
            if len(row) > 2:
                skipped[row[0], row[1]] = row[2]
    return skipped


def parse_troubles(text):
    """The blocks of lines in which dnf explains why it cannot have what is best, one list for each problem."""
    troubles = []
    for line in text.splitlines():
        start = re.match(r"^ Problem(?: \d+)?: (.*)", line)
        if start:
            troubles.append([start.group(1)])
        elif troubles and line.startswith("  - "):
            troubles[-1].append(line[4:])
    return troubles


def why_skipped(name, version, architecture, troubles):
    """The line of parse_troubles that tells most about a package that is skipped."""
    nevra = "%s-%s.%s" % (name, version, architecture)
    for lines in troubles:
        if any(nevra in line.split() for line in lines):
            telling = [line for line in lines if not line.startswith("cannot install")]
            return ([line for line in telling if nevra in line.split()] or telling or lines)[0]
    return "skipped by dnf upgrade"


def parse_locks(text):
    """The lines of versionlock.list: (patterns of what may be installed, patterns of what may not)."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [line for line in lines if line[0] != "!"], [line[1:].strip() for line in lines if line[0] == "!"]


def lock_fits(pattern, name, version, architecture):
    """Whether a pattern of versionlock means a package; it may write the epoch 0 and leave the architecture out."""
    epoch, upstream, release = split_version(version)
    plain = "%s-%s-%s" % (name, upstream, release)
    forms = ["%s-%d:%s-%s" % (name, epoch, upstream, release)] + ([plain] if epoch == 0 else [])
    return any(fnmatch.fnmatchcase(form, pattern) or fnmatch.fnmatchcase("%s.%s" % (form, architecture), pattern)
               for form in forms + [name])


def apply_locks(packages, locks):
    """Block updates that the lists of parse_locks forbid; packages with a lock of their own are held."""
    allowed, forbidden = locks
    names = {}
    for pattern in allowed:
        parsed = split_nevra(re.sub(r"\.\*$", ".all", pattern))
        if parsed:
            names.setdefault(parsed[0], []).append(pattern)
    for package in packages:
        name, version = package["name"], package.get("availableVersion")
        asked = (name, version or package["currentVersion"], package["architecture"])
        own = names.get(name, [])
        if package.get("replacedBy"):
            lock = lock_against(package, allowed, names, forbidden)
            if lock:
                package["held"] = True
                block(package, "held", "versionlock " + lock)
            continue
        lock = next((pattern for pattern in forbidden if version and lock_fits(pattern, *asked)), None)
        if lock:
            lock = "!" + lock
        elif own and not (version and any(lock_fits(pattern, *asked) for pattern in own)):
            lock, package["held"] = own[0], True
        if lock and package["needsUpdate"]:
            package["held"] = True
            block(package, "held", "versionlock " + lock)


def lock_against(package, allowed, names, forbidden):
    """The lock that keeps a package from being replaced, None without one: of its own version, or of the others."""
    installed = package["name"], package["currentVersion"], package["architecture"]
    fits = [pattern for pattern in allowed if lock_fits(pattern, *installed)]
    for new in package["replacedBy"]:
        asked = new["name"], new["version"], new["architecture"]
        fits += ["!" + pattern for pattern in forbidden if lock_fits(pattern, *asked)]
        locks = names.get(new["name"], [])
        fits += [] if any(lock_fits(pattern, *asked) for pattern in locks) else locks[:1]
    return fits[0] if fits else None


# Run by dnf's own Python: `dnf updateinfo` tells nothing of packages that are not installed.
ADVISORIES_OF = """
import json, sys
import dnf, hawkey
kinds = {hawkey.ADVISORY_SECURITY: "security", hawkey.ADVISORY_BUGFIX: "bugfix",
         hawkey.ADVISORY_ENHANCEMENT: "enhancement", hawkey.ADVISORY_NEWPACKAGE: "newpackage"}
names, cachedir = json.loads(sys.argv[1])
base = dnf.Base()
base.conf.read()
base.conf.substitutions.update_from_etc("/")
if cachedir:
    base.conf.cachedir = cachedir
base.read_all_repos()
base.repos.all().skip_if_unavailable = True
base.fill_sack_from_repos_in_cache(load_system_repo=False)
found = {}
for package in base.sack.query(flags=hawkey.IGNORE_EXCLUDES).available().filter(name=names):
    for advisory in package.get_advisories(hawkey.EQ | hawkey.LT):
        cves = sorted(r.id for r in advisory.references if r.type == hawkey.REFERENCE_CVE)
        packages = [(p.name, p.evr, p.arch) for p in advisory.packages if p.name in names]
        found[advisory.id] = kinds.get(advisory.type, "unspecified"), advisory.severity, cves, packages
json.dump(found, sys.stdout)
"""


def interpreter(program):
    """The Python in the first line of a program, None when it is no Python script."""
    try:
        with open(program, "rb") as handle:
            line = handle.readline(200)
    except (OSError, TypeError):
        return None
    words = line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []
    return words[0] if words and "python" in words[0] else None


NO_EXCLUDES = ["--setopt=disable_excludes=all,*"]  # dnf 4 knows "all", dnf 5 the star


class Dnf:
    """Packages of an rpm host; candidates from dnf's cache after dnf itself has refreshed what is too old."""

    def __init__(self, state):
        self.problems = []
        # An ordinary user cannot refresh the system's cache, and dnf would read that one and fill another.
        own = [] if os.geteuid() == 0 else ["--setopt=cachedir=" + os.path.join(state, "dnf")]
        self.dnf = ["dnf", "-q"] + own
        # A repository that is away must not hide what the others offer; that it is away is reported.
        self.cached = self.dnf + ["-C", "--setopt=*.skip_if_unavailable=1"]

    def query(self, *arguments):
        """Output of a dnf query against the cache; a failure becomes a problem and empty output."""
        code, out, err = run(self.cached + list(arguments), timeout=180)
        if code:
            asked = next(word for word in arguments if not word.startswith("-"))
            self.problems.append("dnf %s failed: %s" % (asked, (err.strip() or out.strip()).splitlines()[-1:]))
        return out, code == 0

    def refresh(self, refresh, hours):
        """Let dnf download metadata that has expired, or all of it; failures become problems."""
        if refresh == "never":
            return
        age = 1 if refresh == "always" else max(1, int(hours * 3600))
        command = self.dnf + ["--setopt=metadata_expire=%d" % age, "--setopt=*.metadata_expire=%d" % age,
                              "--setopt=*.skip_if_unavailable=0", "makecache"]
        command += ["--refresh"] if refresh == "always" else []
        code, _out, err = run(command, timeout=600)  # dnf itself waits for a lock that somebody else holds
        if code == 0:
            return
        # With every repository required, dnf stops at the first one that fails: fetch the others nevertheless.
        reasons = [line for line in err.splitlines() if line.startswith("Error:")] or err.strip().splitlines()[-1:]
        self.problems.extend("dnf makecache failed: " + line.replace("Error: ", "", 1) for line in reasons)
        run([("--setopt=*.skip_if_unavailable=1" if part.endswith("skip_if_unavailable=0") else part)
             for part in command], timeout=600)

    def repositories(self):
        """(repositories of the report, epoch seconds of the oldest enabled repository's metadata or None)."""
        out, good = self.query("repoinfo", "--all")
        listed = run(self.dnf + ["-C", "repolist", "--all"])[1]
        configured = {line.split()[0]: line.split()[-1] == "enabled" for line in listed.splitlines()
                      if line.split() and line.split()[-1] in ("enabled", "disabled")}
        options = repository_options()
        default = options.get("main", {}).get("gpgcheck", "0")
        result, times = [], []
        for repository in parse_repositories(out):
            # A repository without a cache is shown as disabled by a query against the cache.
            enabled = configured.get(repository["id"], repository["enabled"])
            checked = options.get(repository["id"], {}).get("gpgcheck", default).lower() in ("1", "true", "yes", "on")
            result.append({"name": repository["id"], "url": repository["url"], "distribution": repository["name"],
                           "components": "", "repoType": "rpm", "isEnabled": enabled, "isSecure": checked})
            if enabled:
                times.append(repository["updated"])
                if repository["updated"] is None:
                    self.problems.append("no package metadata for repository " + repository["id"])
        if good and not times:
            self.problems.append("no package repository is enabled")
        return result, min(times) if times and None not in times else None

    def collect(self, refresh, hours):
        """(packages, repositories, epoch seconds of the metadata or None, problems)."""
        code, out, err = run(["rpm", "-qa", "--qf", RPM_FORMAT], timeout=120)
        if code:
            raise AgentError("rpm -qa failed: " + err.strip())
        packages = parse_rpms(out)
        self.refresh(refresh, hours)
        repositories, updated = self.repositories()
        upgrades, good = self.query("repoquery", "--upgrades", "--latest-limit=1", "--qf", REPOQUERY_FORMAT)
        if not good:
            updated = None
        visible, hidden = parse_upgrades(upgrades), {}
        replaced, barred = [], []
        options = repository_options()
        excluded = exclusions(options)
        if good:
            hidden = self.hidden(visible, options, excluded)
            replaced, barred = self.replaced(packages, options, excluded)
        shown = NO_EXCLUDES if hidden else []
        rows = parse_advisory_list(self.query(*(shown + ["updateinfo", "list", "--available"]))[0])
        cves = parse_advisory_cves(self.query(*(shown + ["updateinfo", "info", "--available"]))[0]) if rows else {}
        apply_upgrades(packages, visible, rows, cves)
        told = self.advisories_of([row for _package, rows_of in replaced + barred for row in rows_of])
        for package, rows_of in replaced:
            replace(package, rows_of, *told)
        if os.path.exists(VERSIONLOCK):
            apply_locks(packages, parse_locks(read_text(VERSIONLOCK)))
        free = [package for package in packages if "availableVersion" not in package]
        apply_upgrades(free, {key: found[:3] for key, found in hidden.items()}, rows, cves)
        for package in free:
            if "availableVersion" in package:
                found = hidden.get((package["name"], package["architecture"])) or next(
                    value for key, value in hidden.items() if key[0] == package["name"])
                block(package, *found[3:])
        for package, rows_of in barred:
            if "availableVersion" not in package:
                replace(package, rows_of, *told)
                block(package, "excluded", why_excluded(rows_of[0][0], rows_of[0][3], excluded))
        self.skip([package for package in packages if package["needsUpdate"]])
        return packages, repositories, updated, self.problems

    def hidden(self, visible, options, excluded):
        """Newer versions that only the configuration or a module stream hides.

        {(name, architecture): (version, repository, size, code, detail)}. dnf is asked only where something can hide.
        """
        caches = [option.split("=", 1)[1] for option in self.dnf if option.startswith("--setopt=cachedir=")]
        caches = caches or [options.get("main", {}).get("cachedir", "/var/cache/dnf"), "/var/cache/libdnf5"]
        modular = any(glob.glob(path + "/*/repodata/*modules*") for path in caches)
        query = ["repoquery", "--upgrades", "--latest-limit=1", "--qf", REPOQUERY_FORMAT]
        without = NO_EXCLUDES if excluded else []
        if not without and not modular:
            return {}
        shown = parse_upgrades(self.query(*(without + ["--setopt=*.module_hotfixes=1"] * modular + query))[0])
        found = {key: value for key, value in shown.items() if key not in visible}
        unmasked = found if not modular else {}
        if found and without and modular:
            unmasked = parse_upgrades(self.query(*(without + query))[0])
        masked = ["%s-%s.%s" % (name, value[0], architecture) for (name, architecture), value in sorted(found.items())
                  if unmasked.get((name, architecture), ("",))[0] != value[0]]
        streams = {}
        if masked:
            code, out, _err = run(self.cached + ["module", "provides"] + masked[:500], timeout=180)
            streams = parse_module_provides(out) if code == 0 else {}
        result = {}
        for (name, architecture), (version, repository, size) in found.items():
            if unmasked.get((name, architecture), ("",))[0] == version:
                why = "excluded", why_excluded(name, repository, excluded)
            else:
                stream = ", ".join(sorted(streams.get((name, version, architecture), ())))
                why = "module", ("%s is not enabled" % stream if stream else "hidden by the choice of module streams")
            result[name, architecture] = (version, repository, size) + why
        return result

    def replaced(self, packages, options, excluded):
        """(what dnf replaces by packages of other names, what it would if the configuration did not hide those).

        Both as `replacements` tells it.
        """
        if options.get("main", {}).get("obsoletes", "1").lower() in ("0", "false", "no", "off"):
            return [], []
        visible = replacements(packages, parse_obsoletes(self.query("list", "--obsoletes")[0]))
        if not excluded:
            return visible, []
        shown = replacements(packages, parse_obsoletes(self.query(*(NO_EXCLUDES + ["list", "--obsoletes"]))[0]))
        known = [package for package, _rows in visible]
        return visible, [entry for entry in shown if not any(entry[0] is package for package in known)]

    def advisories_of(self, rows):
        """(advisories, CVEs, names that are security fixes) of packages that are not installed: see `replace`."""
        names = sorted({row[0] for row in rows})
        if not names:
            return [], {}, ()
        cachedir = next((option.split("=", 2)[2] for option in self.dnf if option.startswith("--setopt=cachedir=")), "")
        python = interpreter(shutil.which("dnf", path="/usr/bin:/bin:/usr/local/bin"))
        asked = [python or "", "-c", ADVISORIES_OF, json.dumps([names, cachedir])]
        code, out, _err = run(asked, timeout=180) if python else (1, "", "")
        if code:  # dnf 5 is no Python program; it tells at least which of them are security fixes
            secure = parse_obsoletes(self.query(*(NO_EXCLUDES + ["list", "--obsoletes", "--security"]))[0])
            return [], {}, {row[0] for found in secure.values() for row in found}
        found = json.loads(out)
        listed = [(advisory, kind, severity, (name, re.sub("^0:", "", version), architecture))
                  for advisory, (kind, severity, _cves, fixed) in sorted(found.items())
                  for name, version, architecture in fixed]
        return listed, {advisory: entry[2] for advisory, entry in found.items()}, ()

    def skip(self, wanted):
        """Block those of the updates that `dnf upgrade` would skip; only root is told."""
        if not wanted or os.geteuid() != 0:
            return
        # Not quiet, and without the wish for the best: otherwise dnf lists nothing or gives up.
        command = [part for part in self.cached if part != "-q"] + ["--setopt=best=0", "--assumeno", "upgrade"]
        code, out, err = run(command, timeout=180)
        failed = [line for line in err.splitlines() if line.startswith("Error:")]
        if code not in (0, 1) or failed:
            said = (failed or err.strip().splitlines() or ["exit code %d" % code])[-1]
            self.problems.append("which updates dnf would skip is unknown: " + said.replace("Error: ", "", 1))
            return
        skipped, troubles = parse_skipped(out), parse_troubles(out + "\n" + err)
        for package in wanted:
            for new in package.get("replacedBy") or [dict(package, version=package["availableVersion"])]:
                version = skipped.get((new["name"], new["architecture"]))
                if version is not None and rpm_version_key(version) == rpm_version_key(new["version"]):
                    block(package, "dependency", why_skipped(new["name"], version, new["architecture"], troubles))


VERSIONLOCK = "/etc/dnf/plugins/versionlock.list"


def dnf_reboot():
    """Why the host asks for a reboot, None when it does not or when nothing here can tell."""
    for command in (["dnf", "-q", "-C", "needs-restarting", "-r"], ["needs-restarting", "-r"]):
        code, out, _err = run(command, timeout=120)
        if code == 1 and "eboot is required" in out:
            names = re.findall(r"^\s*\* (\S+)", out, re.M)
            return "Updated since boot: " + ", ".join(names) if names else "The system asks for a reboot"
        if code == 0:
            return None
    return None


def rpm_kernels(packages):
    """{kernel package name: [release as `uname -r` shows it, oldest first]}."""
    kernels = {}
    for package in packages:
        if re.match(r"^kernel(-(rt|64k|uek|lt|ml|debug))*(-core)?$", package["name"]):
            release = "%s.%s" % (package["currentVersion"].split(":")[-1], package["architecture"])
            kernels.setdefault(package["name"], []).append(release)
    return kernels


# --------------------------------------------------------------------------- reboot and kernel


def in_container():
    """Whether the running kernel belongs to somebody else."""
    marks = ("/run/.containerenv", "/.dockerenv", "/run/systemd/container")
    return any(map(os.path.exists, marks)) or "\0container=" in "\0" + read_text("/proc/1/environ")


def newest_kernel(running, ecosystem, packages):
    """Newest installed kernel of the running one's flavour, else of any; None when no kernel package is installed.

    The second value tells whether a reboot would start that kernel instead of an older running one.
    """
    if ecosystem == "deb":
        releases, key = apt_kernels(packages), deb_version_key
        flavours = {release: re.sub(r"^[\d.]+([+~]\w+)?(-\d+)*", "", release) for release in releases + [running]}
        same = [release for release in releases if flavours[running] and flavours[release] == flavours[running]]
    else:
        kernels, key = rpm_kernels(packages), rpm_version_key
        releases = sorted(set(itertools.chain.from_iterable(kernels.values())), key=key)
        own = [name for name, found in kernels.items() if running in found]
        same = sorted(set(itertools.chain.from_iterable(kernels[name] for name in own)), key=key)
    newest = (same or releases or [None])[-1]
    return newest, bool(same) and not in_container() and key(newest) > key(running)


# --------------------------------------------------------------------------- the machine


def hardware():
    """CPU, memory and swap (GiB)."""
    model = re.search(r"^(?:model name|Model|cpu model|Processor)\s*: (.+)$", read_text("/proc/cpuinfo"), re.M)
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", read_text("/proc/meminfo"), re.M))
    return {"cpuModel": model.group(1).strip() if model else platform.machine(), "cpuCores": os.cpu_count() or 1,
            "ramInstalled": round(int(memory.get("MemTotal", 0)) / 1048576.0, 2),
            "swapSize": round(int(memory.get("SwapTotal", 0)) / 1048576.0, 2)}


def disks():
    """Mounted file systems that hold data: block devices once each, and whatever the root is."""
    found, seen = [], set()
    for line in read_text("/proc/self/mounts").splitlines():
        device, mount, kind = (part.encode().decode("unicode_escape") for part in line.split()[:3])
        if kind in ("squashfs", "iso9660") or not (device.startswith("/dev/") or kind == "zfs" or mount == "/"):
            continue
        try:
            status, number = os.statvfs(mount), os.stat(mount).st_dev
        except OSError:
            continue
        if number in seen or not os.path.isdir(mount) or status.f_blocks == 0:
            continue
        seen.add(number)
        size, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        used = size - status.f_bfree * status.f_frsize
        found.append({"device": device, "mountPoint": mount, "size": gigabytes(size), "used": gigabytes(used),
                      "available": gigabytes(free)})
    return found


def gigabytes(number):
    """Bytes as text in GiB, written the way the API's clients show it."""
    return "%.1fGB" % (number / 1073741824.0)


def default_route(table):
    """(interface, gateway) of the best IPv4 default route in /proc/net/route; (None, "") when there is none."""
    routes = [line.split() for line in table.splitlines()[1:]]
    routes = [r for r in routes if len(r) > 7 and r[1] == "00000000" and r[7] == "00000000" and int(r[3], 16) & 1]
    if not routes:
        return None, ""
    best = min(routes, key=lambda r: int(r[6]))
    return best[0], socket.inet_ntoa(struct.pack("<L", int(best[2], 16)))


def interfaces_from_ip(text):
    """Network interfaces from `ip -j addr`, loopback left out."""
    result = []
    for link in json.loads(text):
        if "LOOPBACK" in link.get("flags", ()):
            continue
        addresses = [{"address": a["local"], "family": a["family"], "netmask": str(a["prefixlen"])}
                     for a in link.get("addr_info", ()) if a.get("local")]
        result.append(interface(link["ifname"], link.get("address", ""), addresses))
    return result


def interface(name, mac, addresses):
    """One entry of networkInterfaces; `ip` is the first IPv4 address, else the first that is not link-local."""
    ordered = sorted(addresses, key=lambda a: (a["family"] != "inet", a["address"].startswith("fe80")))
    return {"name": name, "mac": mac, "macAddress": mac, "ip": ordered[0]["address"] if ordered else "",
            "addresses": addresses}


def interfaces_from_kernel():
    """Network interfaces without the `ip` command: /sys, /proc and one ioctl for IPv4."""
    six = {}
    for line in read_text("/proc/net/if_inet6").splitlines():
        fields = line.split()
        packed = bytes(bytearray.fromhex(fields[0]))
        six.setdefault(fields[5], []).append({"address": socket.inet_ntop(socket.AF_INET6, packed), "family": "inet6",
                                              "netmask": str(int(fields[2], 16))})
    result = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            if int(read_text("/sys/class/net/%s/flags" % name, "0x0"), 16) & 8:  # IFF_LOOPBACK
                continue
            addresses = []
            request = struct.pack("256s", name.encode()[:15])
            try:
                address = socket.inet_ntoa(fcntl.ioctl(probe.fileno(), 0x8915, request)[20:24])  # SIOCGIFADDR
                mask = fcntl.ioctl(probe.fileno(), 0x891B, request)[20:24]  # SIOCGIFNETMASK
                addresses.append({"address": address, "family": "inet",
                                  "netmask": str(bin(struct.unpack("!L", mask)[0]).count("1"))})
            except OSError:
                pass
            mac = read_text("/sys/class/net/%s/address" % name)
            result.append(interface(name, mac, addresses + six.get(name, [])))
    return result


def network():
    """Interfaces, gateway, resolvers and the address of the default (else first) interface."""
    code, out, _err = run(["ip", "-j", "addr"], timeout=20)
    try:
        interfaces = interfaces_from_ip(out) if code == 0 else interfaces_from_kernel()
    except (ValueError, KeyError):  # an old iproute2 that does not know -j
        interfaces = interfaces_from_kernel()
    name, gateway = default_route(read_text("/proc/net/route"))
    ordered = sorted(interfaces, key=lambda i: i["name"] != name)
    return {"networkInterfaces": interfaces, "gatewayIp": gateway,
            "ip": next((i["ip"] for i in ordered if i["ip"]), ""),
            "dnsServers": re.findall(r"^\s*nameserver\s+(\S+)", read_text("/etc/resolv.conf"), re.M)}


def uptime(seconds):
    """`3 days, 4 hours, 5 minutes`."""
    minutes = int(seconds) // 60
    parts = ((minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    text = ["%d %s%s" % (n, unit, "" if n == 1 else "s") for n, unit in parts if n]
    return ", ".join(text) or "0 minutes"


LIBRARY_PATHS = ("/usr/", "/lib", "/bin/", "/sbin/", "/opt/")


def maps_deleted_code(maps):
    """Whether a process runs code of a file that has been replaced or removed since; `maps` as in /proc/PID/maps."""
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and "x" in fields[1] and fields[5].endswith(" (deleted)") \
                and fields[5].startswith(LIBRARY_PATHS):
            return True
    return False


def unit_of(cgroups):
    """The system service that a process belongs to, from /proc/PID/cgroup; None for a login session or a container."""
    for line in cgroups.splitlines():
        path = line.split(":", 2)[-1]
        match = re.match(r"^/system\.slice/(?:[^/]+\.slice/)*([^/]+\.service)(?:/|$)", path)
        if match:
            return match.group(1)
    return None


def services_to_restart(proc="/proc", limit=100, seconds=10):
    """Services, else names of processes, that still run code which an update has replaced.

    Only what this user may read is seen, and only processes of this system, not those of its containers. At most
    `limit` names, found within `seconds`.
    """
    def link(pid):
        try:
            return os.readlink("%s/%s/ns/pid" % (proc, pid))
        except OSError:
            return None

    found, own, deadline = set(), link("self"), time.time() + seconds
    for pid in sorted(filter(str.isdigit, os.listdir(proc)), key=int):
        if len(found) >= limit or time.time() > deadline:
            break
        if link(pid) == own and maps_deleted_code(read_text("%s/%s/maps" % (proc, pid))):
            found.add(unit_of(read_text("%s/%s/cgroup" % (proc, pid))) or read_text("%s/%s/comm" % (proc, pid), "?"))
    return sorted(found)


def selinux():
    """`enabled`, `permissive` or `disabled`."""
    return {"1": "enabled", "0": "permissive"}.get(read_text("/sys/fs/selinux/enforce"), "disabled")


def ssh_host_keys(directory="/etc/ssh"):
    """Public SSH host keys, type and key without comment."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    keys = [read_text(os.path.join(directory, n)).split() for n in names if re.match(r"^ssh_host_\w+_key\.pub$", n)]
    return [" ".join(key[:2]) for key in keys if len(key) > 1]


def machine_id():
    """The machine id, empty when the host has none."""
    return read_text("/etc/machine-id") or read_text("/var/lib/dbus/machine-id")


# --------------------------------------------------------------------------- the report


def collect(refresh="auto", refresh_hours=METADATA_HOURS):
    """Collect the whole report of this host.

    `refresh` is "auto" (refresh package metadata that is absent or older than `refresh_hours`), "always" or
    "never". Raises AgentError where the installed packages cannot be told; what merely limits the truth of
    the report is in its `problems`.
    """
    started = time.time()
    release = parse_assignments(read_text("/etc/os-release") or read_text("/usr/lib/os-release"))
    if shutil.which("dpkg-query") and shutil.which("apt-get"):
        ecosystem, manager, source, reboot = "deb", "apt", Apt(state_directory()), apt_reboot
    elif shutil.which("rpm") and shutil.which("dnf"):
        ecosystem, manager, source, reboot = "rpm", "dnf", Dnf(state_directory()), dnf_reboot
    else:
        raise AgentError("this host has neither apt with dpkg nor dnf with rpm")
    packages, repositories, updated, problems = source.collect(refresh, refresh_hours)
    running = os.uname().release
    kernel, outdated = newest_kernel(running, ecosystem, packages)
    reason = reboot() or ("Kernel %s is installed, %s is running" % (kernel, running) if outdated else None)
    report = {
        "reportVersion": REPORT_VERSION, "agentVersion": VERSION, "collectedAt": iso(started),
        "hostname": socket.gethostname(), "machineId": machine_id(), "architecture": platform.machine(),
        "osType": release.get("NAME", "Linux"), "osVersion": release.get("VERSION") or release.get("VERSION_ID", ""),
        "osId": release.get("ID", ""), "osIdLike": release.get("ID_LIKE", "").split(),
        "osVersionId": release.get("VERSION_ID", ""), "osCodename": release.get("VERSION_CODENAME") or None,
        "packageManager": manager, "ecosystem": ecosystem, "packages": packages, "repositories": repositories,
        "metadataUpdated": iso(updated), "problems": list(dict.fromkeys(problems)), "diskDetails": disks(),
        "kernelVersion": running, "installedKernelVersion": kernel, "selinuxStatus": selinux(),
        "systemUptime": uptime(float((read_text("/proc/uptime") or "0").split()[0])),
        "loadAverage": [round(load, 2) for load in os.getloadavg()],
        "bootId": read_text("/proc/sys/kernel/random/boot_id"), "needsReboot": reason is not None,
        "rebootReason": reason, "servicesToRestart": services_to_restart(), "sshHostKeys": ssh_host_keys(),
    }
    if manager == "dnf":
        report["moduleStreams"] = module_streams()
    else:
        report["phasingMachineId"] = apt_machine_id()
    report.update(hardware())
    report.update(network())
    report["executionTime"] = round(time.time() - started, 3)
    return report


def digest(value):
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def report_hashes(report):
    """Hashes that tell what changed between two reports; `stateHash` covers what has no hash of its own on the wire."""
    keys = ("needsReboot", "rebootReason", "bootId", "kernelVersion", "installedKernelVersion", "problems", "osVersion",
            "selinuxStatus", "sshHostKeys", "servicesToRestart", "agentVersion")
    state = [report[key] for key in keys] + [report["metadataUpdated"] is None]
    state += [report[key] for key in ("moduleStreams", "phasingMachineId") if key in report]
    return {"packagesHash": digest(report["packages"]), "reposHash": digest(report["repositories"]),
            "interfacesHash": digest([report["ip"], report["networkInterfaces"]]),
            "hostnameHash": digest(report["hostname"]), "stateHash": digest(state)}


def fingerprint():
    """Cheap evidence that nothing a report is made of has changed since the last collection."""
    paths = ("/var/lib/dpkg/status", "/var/lib/apt/lists", "/var/lib/apt/lists/partial", "/etc/apt/sources.list",
             "/etc/apt/sources.list.d", "/etc/apt/preferences", "/etc/apt/preferences.d", "/etc/apt/apt.conf.d",
             ESM + "/var/lib/apt/lists", "/etc/yum.repos.d", "/etc/dnf/dnf.conf", "/etc/dnf/modules.d", VERSIONLOCK,
             "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite-wal", "/var/lib/rpm/Packages", "/var/cache/dnf", "/var/cache/libdnf5",
             "/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "/run/reboot-required",
             "/etc/machine-id", "/etc/ssh", "/etc/os-release", __file__)
    # A file that is written in place leaves the time of its directory as it was.
    inside = [glob.glob(path + "/*") for path in paths if path.startswith(("/etc/apt/", "/etc/yum", "/etc/dnf/"))]
    paths += tuple(sorted(itertools.chain.from_iterable(inside)))
    return digest([[(path, modified(path)) for path in paths], socket.gethostname(),
                   read_text("/proc/sys/kernel/random/boot_id"), read_text("/proc/net/route")])


# --------------------------------------------------------------------------- transport


def load_config(path):
    """Server address and credentials; refuses a file that others can read and one that lacks something."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise AgentError("cannot read %s: %s" % (path, error.strerror))
    if status.st_mode & 0o077:
        raise AgentError("%s holds credentials and must be readable by its owner only (chmod 600)" % path)
    if status.st_uid not in (0, os.geteuid()):
        raise AgentError("%s must belong to root or to the user who runs the agent" % path)
    config = read_json(path, None)
    if not isinstance(config, dict):
        raise AgentError("%s is not a JSON object" % path)
    for key in ("server", "api_id", "api_key"):
        if not isinstance(config.get(key), str) or not config[key] or re.search(r"[\r\n]", config[key]):
            raise AgentError("%s: %s is missing or not usable" % (path, key))
    if urllib.parse.urlsplit(config["server"]).scheme not in ("http", "https"):
        raise AgentError("%s: server must be an http or https address" % path)
    return config


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Never follow: a redirect would carry the credentials to another address and lose the body."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return None


class Client:
    """Speaks to the server with this host's credentials; TLS is verified, against `ca_file` when there is one."""

    ATTEMPTS = 5
    FIRST_DELAY = 5.0

    def __init__(self, config):
        self.base = "%s/api/%s" % (config["server"].rstrip("/"), config.get("api_version", "v1"))
        self.headers = {"X-API-ID": config["api_id"], "X-API-KEY": config["api_key"], "Accept": "application/json",
                        "Content-Type": "application/json", "User-Agent": "patchherd-agent/" + VERSION}
        handlers = [NoRedirect()]
        if self.base.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=config.get("ca_file") or None)
            except (OSError, ssl.SSLError) as error:
                raise AgentError("cannot use the CA file %s: %s" % (config.get("ca_file"), error))
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self.opener = urllib.request.build_opener(*handlers)
        # The same host waits the same share of each delay, so that a fleet spreads out instead of coming back at once.
        self.jitter = random.Random((machine_id() or socket.gethostname()) + config["api_id"])

    def post(self, path, body):
        """POST JSON, gzip-compressed; return the decoded answer.

        Network failures, 429 and 5xx are tried again with growing delays; everything else is final. Raises
        AgentError.
        """
        data = gzip.compress(json.dumps(body, separators=(",", ":")).encode(), 6)
        return self.decoded(path, self.request(path, data, {"Content-Encoding": "gzip"}, self.ATTEMPTS))

    def get(self, path):
        """GET a JSON document, once. Raises AgentError."""
        return self.decoded(path, self.request(path))

    def decoded(self, path, content):
        """The JSON object that an answer holds. Raises AgentError."""
        try:
            answer = json.loads(content.decode("utf-8", "replace") or "{}")
        except ValueError as error:
            raise AgentError("%s did not answer with JSON: %s" % (self.base + path, error))
        if not isinstance(answer, dict):
            raise AgentError("%s did not answer with a JSON object" % (self.base + path))
        return answer

    def request(self, path, data=None, headers=None, attempts=1, limit=16 * 1024 * 1024):
        """Bytes of an answer, at most `limit` of them: a POST with data, else a GET. Raises AgentError."""
        headers = dict(self.headers, **(headers or {}))
        for attempt in range(attempts):
            request = urllib.request.Request(self.base + path, data=data, headers=headers)
            wait = self.FIRST_DELAY * 2 ** attempt * (0.5 + self.jitter.random())
            try:
                with self.opener.open(request, timeout=60) as answer:
                    announced = answer.headers.get("Content-Length")
                    content = answer.read(limit + 1)
                if len(content) > limit:
                    raise AgentError("%s answered with more than %d bytes" % (self.base + path, limit))
                # A read with a limit does not notice by itself that the connection ended early.
                if announced is None or not announced.isdigit() or int(announced) == len(content):
                    return content
                problem = "%s: the answer is cut short" % (self.base + path)
            except urllib.error.HTTPError as error:
                text = error.read(2000).decode("utf-8", "replace").strip()
                problem = "%s answered %d: %s" % (self.base + path, error.code, text or error.reason)
                if error.code != 429 and error.code < 500:
                    raise AgentError(problem)
                asked = error.headers.get("Retry-After", "")
                wait = max(wait, min(float(asked), 300.0)) if asked.isdigit() else wait
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                problem = "cannot reach %s: %s" % (self.base + path, reason)
                if isinstance(reason, ssl.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(reason):
                    raise AgentError(problem)
            if attempt + 1 < attempts:
                time.sleep(wait)
        raise AgentError(problem)


def send_full(client, report, state_dir):
    """Send a report; keep it in the spool when that fails, and remember its hashes once the server has taken it."""
    spool = os.path.join(state_dir, "spool.json")
    hashes = report_hashes(report)
    try:
        # The hashes of what is sent, so that the next ping with the same ones needs nothing more.
        answer = client.post("/hosts/update", dict(report, hashes={key: hashes[key] for key in GATED_HASHES}))
    except AgentError:
        write_private(spool, json.dumps(report).encode())
        raise
    state = {"hashes": hashes, "sent": time.time(), "collected": time.time(),
             "fingerprint": fingerprint(), "metadataUpdated": report["metadataUpdated"]}
    write_private(os.path.join(state_dir, "state.json"), json.dumps(state).encode())
    if os.path.exists(spool):
        os.unlink(spool)
    return answer


def ping(client, state):
    """Say that the host is alive and what it last reported; return the sections the server wants in full."""
    body = {"hashes": {key: state["hashes"][key] for key in GATED_HASHES}, "agentVersion": VERSION,
            "metadataUpdated": state.get("metadataUpdated"), "bootId": read_text("/proc/sys/kernel/random/boot_id")}
    answer = client.post("/hosts/ping", body)
    return answer.get("requestFull") or [] if answer.get("hashGate") is True else []


def run_once(client, state_dir, full=False, refresh="auto", hours=METADATA_HOURS):
    """One round: a full report where something changed, the last one is a day old or the server asks; else a ping.

    Returns "full" or "ping". What could not be delivered waits in the spool and forces a full report next time.
    """
    state_file, spool = os.path.join(state_dir, "state.json"), os.path.join(state_dir, "spool.json")
    state = read_json(state_file, {})
    known = state.get("hashes", {})
    due = full or os.path.exists(spool) or time.time() - state.get("sent", 0) > FULL_REPORT_EVERY or not known
    fresh = time.time() - state.get("collected", 0) < COLLECT_EVERY and state.get("fingerprint") == fingerprint()
    if not due and fresh and refresh != "always" and not ping(client, state):
        return "ping"
    try:
        report = collect(refresh, hours)
    except AgentError:
        if os.path.exists(spool):
            send_full(client, read_json(spool, {}), state_dir)
        raise
    if not due and not fresh and report_hashes(report) == known:
        state.update(collected=time.time(), fingerprint=fingerprint(), metadataUpdated=report["metadataUpdated"])
        write_private(state_file, json.dumps(state).encode())
        if not ping(client, state):
            return "ping"
    send_full(client, report, state_dir)
    return "full"


def version_key(text):
    """Sort key of a version of the agent, None for what is not digits and dots."""
    return tuple(map(int, text.split("."))) if re.match(r"^\d{1,6}(\.\d{1,6}){0,5}$", str(text)) else None


def self_update(client, path):
    """Replace the file `path`, an agent, by the server's newer one, if the server wants that; return its version.

    None when there is nothing to do. The SHA-256 that the server announces must fit, the version must be newer than
    this one, and the connection must be verified: over plain HTTP only this machine itself is believed. Raises
    AgentError; the file is then as it was.
    """
    offer = client.get("/hosts/agent/version?os=linux&currentVersion=" + VERSION)
    version = version_key(offer.get("latestVersion"))
    if offer.get("autoUpdate") is not True or version is None or version <= version_key(VERSION):
        return None
    address = urllib.parse.urlsplit(client.base)
    if address.scheme != "https" and address.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise AgentError("an update of the agent is only taken over https")
    content = client.request("/hosts/agent/download?os=linux", limit=MAX_AGENT_BYTES)
    got = hashlib.sha256(content).hexdigest()
    if got != offer.get("hash"):
        raise AgentError("the new agent is not what the server announced: %s instead of %s" % (got, offer.get("hash")))
    named = re.search(br'^VERSION = "([^"]+)"', content, re.M)
    try:
        compile(content, path, "exec")
    except (SyntaxError, ValueError) as error:
        raise AgentError("the new agent does not run on this Python: %s" % error)
    if named is None or named.group(1).decode("ascii", "replace") != offer["latestVersion"]:
        raise AgentError("the new agent is not version %s" % offer["latestVersion"])
    status = os.stat(path)
    try:
        write_private(path, content, status)
    except OSError as error:
        raise AgentError("cannot replace %s: %s" % (path, error.strerror))
    return offer["latestVersion"]


def locked(state_dir):
    """Hold the agent's lock; two rounds at once would fight over the package manager."""
    handle = open(os.path.join(state_dir, "lock"), "w")
    deadline = time.time() + 300
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError:
            if time.time() > deadline:
                raise AgentError("another run of the agent has not ended for 5 minutes")
            time.sleep(1)


# --------------------------------------------------------------------------- install and uninstall


# Newer distributions keep the RPM database below /usr, and reading it may need its journal.
SERVICE = """\
[Unit]
Description=Patchherd agent: report packages and system state
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={command}
TimeoutStartSec=30min
Nice=10
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=read-only
ProtectSystem=full
ReadWritePaths={directory} -/usr/lib/sysimage/rpm
"""
TIMER = """\
[Unit]
Description=Run the Patchherd agent regularly

[Timer]
OnActiveSec=1min
OnUnitActiveSec={seconds}s
RandomizedDelaySec=30s
AccuracySec=5s

[Install]
WantedBy=timers.target
"""
UNITS = "/etc/systemd/system"
CRON = "/etc/cron.d/patchherd-agent"


def replace_text(path, text):
    """Whether a file had to be written to hold this text."""
    try:
        with open(path) as handle:
            if handle.read() == text:
                return False
    except OSError:
        pass
    with open(path, "w") as handle:
        handle.write(text)
    os.chmod(path, 0o644)
    return True


def install(config_path):
    """Make this file run regularly: a systemd timer, else a cron entry; else say what to start. Returns that text."""
    interpreter, agent = os.path.abspath(sys.executable), os.path.abspath(__file__)
    words = [interpreter, agent, "--config", config_path]
    if any(re.search(r"[^\w./+-]", word) for word in words):
        raise AgentError("the paths of interpreter, agent and configuration must be plain: " + " ".join(words))
    command = " ".join(words)
    if os.path.isdir("/run/systemd/system"):
        service = SERVICE.format(command=command + " --once", directory=os.path.dirname(agent))
        written = [replace_text(UNITS + "/patchherd-agent.service", service),
                   replace_text(UNITS + "/patchherd-agent.timer", TIMER.format(seconds=HEARTBEAT_EVERY))]
        states = [run(["systemctl", asked, "--quiet", "patchherd-agent.timer"])[0]
                  for asked in ("is-enabled", "is-active")]
        if not any(written) and not any(states):
            return "The systemd timer patchherd-agent.timer already runs the agent"
        for arguments in (["daemon-reload"], ["enable", "--now", "patchherd-agent.timer"]):
            code, _out, err = run(["systemctl"] + arguments)
            if code:
                raise AgentError("systemctl %s failed: %s" % (" ".join(arguments), err.strip()))
        return "The systemd timer patchherd-agent.timer runs the agent"
    if os.path.isdir("/etc/cron.d") and (shutil.which("cron") or shutil.which("crond")):
        step = HEARTBEAT_EVERY // 60
        offset = int(digest(machine_id() or socket.gethostname()), 16) % step
        written = replace_text(CRON, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
                                     "%d-59/%d * * * * root %s --once >/dev/null 2>&1\n" % (offset, step, command))
        return "The cron entry %s %s the agent" % (CRON, "runs" if written else "already runs")
    return "Neither systemd nor cron runs here. Keep this running: %s --loop %d" % (command, HEARTBEAT_EVERY)


def uninstall(config_path):
    """Remove the timer or cron entry, the state, the credentials and the agent's own directory."""
    if os.path.isdir("/run/systemd/system") and os.path.exists(UNITS + "/patchherd-agent.timer"):
        run(["systemctl", "disable", "--now", "patchherd-agent.timer"])
    config = read_json(config_path, {})
    paths = [UNITS + "/patchherd-agent.timer", UNITS + "/patchherd-agent.service", CRON, config_path]
    directory = os.path.dirname(config_path)
    if isinstance(config, dict) and os.path.dirname(str(config.get("ca_file"))) == directory:
        paths.append(config["ca_file"])
    removed = [path for path in paths if os.path.isfile(path)]
    for path in removed:
        os.unlink(path)
    if os.path.isdir("/run/systemd/system"):
        run(["systemctl", "daemon-reload"])
    for path in (state_directory(), os.path.dirname(os.path.abspath(__file__))):
        if os.path.basename(path) == "patchherd":
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    if os.path.isdir(directory) and not os.listdir(directory):
        os.rmdir(directory)
    return removed


# --------------------------------------------------------------------------- command line


def build_parser():
    """The command line."""
    parser = argparse.ArgumentParser(prog="patchherd_agent.py", description="Report this host to a Patchherd server.")
    parser.add_argument("command", nargs="?", choices=["install", "uninstall"], help="set up, remove regular runs")
    parser.add_argument("--config", default=CONFIG_PATH, help="credentials file (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="report once: in full when something changed, else a ping")
    parser.add_argument("--full", action="store_true", help="send the full report whatever has changed")
    parser.add_argument("--loop", type=int, metavar="SECONDS", help="report again and again, for hosts without timers")
    parser.add_argument("--dry-run", action="store_true", help="print the report and send nothing")
    parser.add_argument("--refresh", choices=["auto", "never", "always"], default="auto",
                        help="refresh package metadata (default: when absent or too old)")
    parser.add_argument("--refresh-hours", type=float, default=METADATA_HOURS, metavar="N",
                        help="age at which metadata is too old (default: %(default)s)")
    parser.add_argument("--version", action="version", version="%(prog)s " + VERSION)
    return parser


def one_round(arguments):
    """Load the credentials and do one round under the lock."""
    state_dir = state_directory()
    client = Client(load_config(arguments.config))
    with locked(state_dir):
        sent = run_once(client, state_dir, arguments.full, arguments.refresh, arguments.refresh_hours)
        if sent == "full":  # at least once a day, and not with every sign of life
            try:
                version = self_update(client, os.path.abspath(__file__))
            except AgentError as error:
                print("patchherd: not updated: %s" % error, file=sys.stderr, flush=True)
            else:
                sent += "; version %s of the agent runs from the next time on" % version if version else ""
        return sent


def loop(arguments):
    """Rounds without end; a failed one is told and the next one tries again, an updated agent starts anew."""
    before = modified(__file__)
    time.sleep(random.Random(machine_id() or socket.gethostname()).random() * min(30, arguments.loop))
    while True:
        try:
            print("patchherd: sent " + one_round(arguments), flush=True)
        except AgentError as error:
            print("patchherd: %s" % error, file=sys.stderr, flush=True)
        time.sleep(arguments.loop)
        if modified(__file__) not in (before, None):
            os.execv(sys.executable, [sys.executable, os.path.abspath(__file__)] + sys.argv[1:])


def main(argv=None):
    """Run the command line; returns the exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "install":
            load_config(arguments.config)
            print(install(os.path.abspath(arguments.config)))
        elif arguments.command == "uninstall":
            print("Removed: " + (", ".join(uninstall(os.path.abspath(arguments.config))) or "nothing"))
        elif arguments.dry_run:
            json.dump(collect(arguments.refresh, arguments.refresh_hours), sys.stdout, indent=1, sort_keys=True)
            print()
        elif arguments.loop:
            loop(arguments)
        elif arguments.once or arguments.full:
            print("patchherd: sent " + one_round(arguments))
        else:
            parser.error("nothing to do: give --once, --dry-run, --loop, install or uninstall")
    except AgentError as error:
        print("patchherd: %s" % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
