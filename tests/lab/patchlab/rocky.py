# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""What turns a Debian file tree with dnf into a host that calls itself Rocky Linux 9."""
from __future__ import annotations

_RELEASE = "Rocky Linux release 9.6 (Blue Onyx)\n"

ROCKY_FILES = {
    "usr/lib/os-release": """
        NAME="Rocky Linux"
        VERSION="9.6 (Blue Onyx)"
        ID="rocky"
        ID_LIKE="rhel centos fedora"
        VERSION_ID="9.6"
        PLATFORM_ID="platform:el9"
        PRETTY_NAME="Rocky Linux 9.6 (Blue Onyx)"
        CPE_NAME="cpe:/o:rocky:rocky:9::baseos"
    """,
    "etc/redhat-release": _RELEASE,
    "etc/rocky-release": _RELEASE,
    "etc/system-release": _RELEASE,
    "etc/dnf/vars/releasever": "9\n",
    # Debian keeps the rpm database in the user's home.
    "etc/rpm/macros": "%_dbpath /var/lib/rpm\n",
    # Debian enables a plugin that Red Hat does not ship; it adds a repository which cannot be read.
    "etc/dnf/plugins/local.conf": "[main]\nenabled = false\n",
    "etc/dnf/dnf.conf": """
        [main]
        gpgcheck=1
        installonly_limit=3
        clean_requirements_on_remove=True
        best=True
        skip_if_unavailable=False
    """,
}

DEBIAN_LEFTOVERS = (
    "/usr/bin/apt", "/usr/bin/apt-*", "/usr/bin/dpkg", "/usr/bin/dpkg-*", "/usr/sbin/dpkg-*",
    "/usr/lib/apt", "/usr/lib/dpkg", "/usr/libexec/dpkg", "/usr/share/dpkg", "/usr/lib/python3/dist-packages/apt*",
    "/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt", "/etc/apt", "/etc/dpkg", "/etc/debian_version", "/var/log/*",
)
