# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""The cached read-only file trees that hosts are overlays of: one Debian base, layers that make a family of it."""
from __future__ import annotations

import concurrent.futures
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .archive import build_repositories
from .repos_apt import CODENAME, SUITES
from .rocky import DEBIAN_LEFTOVERS, ROCKY_FILES
from .signing import public_key
from .system import HOME, digest, locked, log, machine_mirror, run, write_file

GUEST = Path(__file__).parent / "guest"
WINDOWS_DOUBLE = Path(__file__).parents[1] / "winstub" / "target"
BASE_PACKAGES = ("ca-certificates", "curl", "hostname", "iproute2", "mount", "openssh-server", "procps", "python3",
                 "python3-apt", "sudo", "systemd")
RPM_PACKAGES = ("dnf", "dnf-plugins-core", "python3-dnf", "python3-rpm", "rpm")
UNPRIVILEGED_USER = "deploy"
SSHD_CONFIG = """
    PermitRootLogin prohibit-password
    PasswordAuthentication no
    HostKey /etc/ssh/ssh_host_ed25519_key
    UseDNS no
    PrintMotd no
    MaxStartups 500:30:1000
    MaxSessions 100
"""


def build(families: Iterable[str]) -> tuple[Path, dict[str, list[Path]]]:
    """Build what is not cached yet: (repositories, {family: its layers, top first})."""
    HOME.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        base_job, repositories_job = pool.submit(_base), pool.submit(build_repositories)
        base, repositories = base_job.result(), repositories_job.result()
    layers = {}
    for family in families:
        lower = [_rpm_layer(base), base] if family == "rpm" else [base]
        layers[family] = [SEEDS[family](lower, repositories), *lower]
    return repositories, layers


def _base() -> Path:
    shim = (GUEST / "shutdown.sh").read_text()
    dest = HOME / "rootfs" / f"base-{digest(BASE_PACKAGES, CODENAME, SSHD_CONFIG, shim)}"
    with locked(HOME / "locks" / "base"):
        if dest.is_dir():
            return dest
        log("building the base file tree (half a minute or more)")
        started, tree = time.monotonic(), dest.with_suffix(".tmp")
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(exist_ok=True)
        run("mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(BASE_PACKAGES)}",
            '--aptopt=Apt::Install-Recommends "false"', "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "locale", "doc")),
            CODENAME, tree, machine_mirror())
        write_file(tree / "etc/ssh/sshd_config.d/lab.conf", SSHD_CONFIG)
        for key in (tree / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        run("chroot", tree, "useradd", "-m", "-s", "/bin/bash", UNPRIVILEGED_USER)
        write_file(tree / "etc/sudoers.d/lab", f"{UNPRIVILEGED_USER} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        for file in ("etc/resolv.conf", "etc/machine-id", "etc/apt/sources.list"):
            write_file(tree / file, "")
        for command in ("shutdown", "reboot", "poweroff", "halt"):
            write_file(tree / "usr/sbin" / command, shim, 0o755)
        tree.rename(dest)
        log(f"base file tree built in {time.monotonic() - started:.1f} s")
    return dest


def _layer(name: str, lower: list[Path], prepare: Callable[[Path], None], script: str, *,
           bind: Path | None = None, network: bool = False) -> Path:
    """A cached overlay layer: the files of prepare(upper), then what `script` does in a chroot, `bind` at /mnt."""
    dest = HOME / "layers" / name
    with locked(HOME / "locks" / f"layer-{name.split('-')[0]}"):
        if dest.is_dir():
            return dest
        started, building = time.monotonic(), dest.with_suffix(".tmp")
        shutil.rmtree(building, ignore_errors=True)
        for part in ("upper", "work", "root"):
            (building / part).mkdir(parents=True)
        prepare(building / "upper")
        root = building / "root"
        # the mounts belong to this namespace and are gone with it, however it ends
        run("unshare", "--mount", "--pid", *([] if network else ["--net"]), "--fork", "--kill-child=KILL",
            "--propagation", "private", "/bin/sh", "-euc", f"""
            mount -t overlay overlay \\
              -o "lowerdir={':'.join(map(str, lower))},upperdir={building}/upper,workdir={building}/work" "{root}"
            mount -t proc proc "{root}/proc"
            mount -t tmpfs tmpfs "{root}/run"
            {f'mount --bind "{bind}" "{root}/mnt"' if bind else ''}
            exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \\
              ${{http_proxy:+http_proxy="$http_proxy"}} chroot "{root}" /bin/sh -euc "$0"
            """, script)
        (building / "upper").chmod(0o755)
        (building / "upper").rename(dest)
        shutil.rmtree(building, ignore_errors=True)
        log(f"layer {name} built in {time.monotonic() - started:.1f} s")
    return dest


def _rpm_layer(base: Path) -> Path:
    """Make the base a host that knows only rpm and dnf and says that it is Rocky Linux."""
    def prepare(upper: Path) -> None:
        write_file(upper / "etc/apt/sources.list", f"deb {machine_mirror()} {CODENAME} main\n")
        shutil.copy("/etc/resolv.conf", upper / "etc/resolv.conf")

    # the files come as an archive, because they replace what the packages install
    script = f"""
        apt-get -qq update
        apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends {' '.join(RPM_PACKAGES)} > /tmp/log 2>&1 ||
          {{ cat /tmp/log >&2; exit 1; }}
        : > /etc/resolv.conf
        rm -rf {' '.join(DEBIAN_LEFTOVERS)} /tmp/log
        mkdir -p /usr/libexec
        ln -sf /usr/bin/python3 /usr/libexec/platform-python
        cd /
        tar -xf /mnt/rocky.tar
    """
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        files = Path(scratch) / "files"
        for path, text in ROCKY_FILES.items():
            write_file(files / path, text)
        run("tar", "--owner=0", "--group=0", "--no-overwrite-dir", "-C", files, "-cf", f"{scratch}/rocky.tar",
            *ROCKY_FILES)
        return _layer(f"rpm-{digest(base.name, RPM_PACKAGES, ROCKY_FILES, script)}", [base], prepare, script,
                      bind=Path(scratch), network=True)


def deb_with(package: str) -> list[Path]:
    """The layers, top first, of a deb host that has another Debian package as well."""
    HOME.mkdir(parents=True, exist_ok=True)
    base, repositories = _base(), build_repositories()

    def prepare(upper: Path) -> None:
        write_file(upper / "etc/apt/sources.list", f"deb {machine_mirror()} {CODENAME} main\n")
        shutil.copy("/etc/resolv.conf", upper / "etc/resolv.conf")

    script = f"""
        apt-get -qq update
        apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends {package} > /tmp/log 2>&1 ||
          {{ cat /tmp/log >&2; exit 1; }}
        : > /etc/apt/sources.list
        : > /etc/resolv.conf
        rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /tmp/log
    """
    added = _layer(f"{package}-{digest(base.name, package, script)}", [base], prepare, script, network=True)
    return [_deb_seed([added, base], repositories), added, base]


def _deb_seed(lower: list[Path], repositories: Path) -> Path:
    sources = f"""
        Types: deb
        URIs: http://repo.lab/current/apt
        Suites: {' '.join(CODENAME + suffix for suffix in SUITES)}
        Components: main
        Signed-By: /etc/apt/keyrings/lab.asc
    """
    options = ('Acquire::Languages "none";\nAcquire::Retries "0";\nAcquire::http::Timeout "10";\n'
               'Acquire::http::Proxy "DIRECT";\n')
    # Lists that look fresh would make Ansible's cache_valid_time skip the first update.
    script = """
        ls /mnt/lab-*_1.0_all.deb | grep -v lab-newdep | xargs dpkg -i > /dev/null
        touch -d @0 /var/lib/apt/lists
    """

    def prepare(upper: Path) -> None:
        write_file(upper / "etc/apt/keyrings/lab.asc", public_key())
        write_file(upper / "etc/apt/sources.list.d/lab.sources", sources)
        write_file(upper / "etc/apt/apt.conf.d/90lab", options)

    name = f"debseed-{digest(lower[0].name, repositories.name, sources, options, script)}"
    return _layer(name, lower, prepare, script, bind=repositories / "debs")


def _rpm_seed(lower: list[Path], repositories: Path) -> Path:
    key_file = "etc/pki/rpm-gpg/RPM-GPG-KEY-lab"
    repo = f"""
        [baseos]
        name=Lab BaseOS
        baseurl=http://repo.lab/current/rpm
        enabled=1
        gpgcheck=1
        gpgkey=file:///{key_file}
        metadata_expire=6h
    """
    script = f"""
        rpm --initdb
        rpm --import /{key_file}
        ls /mnt/rocky-release-*.rpm /mnt/*-1.0-1.*.rpm | grep -v lab-newdep | xargs rpm -i --nodeps
    """

    def prepare(upper: Path) -> None:
        write_file(upper / key_file, public_key())
        write_file(upper / "etc/yum.repos.d/lab.repo", repo)

    name = f"rpmseed-{digest(lower[0].name, repositories.name, repo, script)}"
    return _layer(name, lower, prepare, script, bind=repositories / "rpms")


def _win_seed(lower: list[Path], repositories: Path) -> Path:
    shell, state = ((WINDOWS_DOUBLE / name).read_text() for name in ("PowerShell", "state.json"))

    def prepare(upper: Path) -> None:
        write_file(upper / "usr/local/bin/PowerShell", shell, 0o755)
        write_file(upper / "var/lib/fakewin/state.json", state)

    return _layer(f"winseed-{digest(lower[0].name, shell, state)}", lower, prepare, "true")


SEEDS: dict[str, Callable[[list[Path], Path], Path]] = {"deb": _deb_seed, "rpm": _rpm_seed, "win": _win_seed}


def purge() -> None:
    """Delete what build() caches, and nothing else, wherever the cache directory points to."""
    for part in ("rootfs", "layers", "repos", "gnupg", "labs", "locks"):
        shutil.rmtree(HOME / part, ignore_errors=True)
    if HOME.is_dir() and not os.listdir(HOME):
        HOME.rmdir()
