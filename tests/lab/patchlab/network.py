# Copyright (c) 2026, Patchherd contributors
# SPDX-License-Identifier: Apache-2.0
"""A bridge without uplink, and for each host a network namespace with one address on it.

Every name starts with "ph-<lab>"; nothing else is created, changed or removed.
"""
from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .system import MACHINE_LOCKS, LabError, locked, run


@dataclass(frozen=True)
class Link:
    """How one host hangs on the bridge."""

    veth: str
    netns: str
    ip: str


def bridge_name(lab: str) -> str:
    return f"ph-{lab}"


def host_link(lab: str, index: int, name: str, network: ipaddress.IPv4Network) -> Link:
    address = network.network_address + 256 + (index // 200) * 256 + index % 200 + 1
    return Link(f"ph-{lab}-{index}", f"ph-{lab}-{name}", str(address))


def create(lab: str, names: Iterable[str]) -> tuple[str, dict[str, Link]]:
    """Create the bridge and the links: (address of the bridge, {host: link})."""
    with locked(MACHINE_LOCKS / "network"):
        network = _free_network()
        gateway = f"{network.network_address + 1}"
        bridge = bridge_name(lab)
        links = {name: host_link(lab, index, name, network) for index, name in enumerate(names)}
        batch = [f"link add {bridge} type bridge", f"addr add {gateway}/{network.prefixlen} dev {bridge}",
                 f"link set {bridge} up"]
        for link in links.values():
            batch += [f"netns add {link.netns}", f"link add {link.veth} type veth peer name eth0 netns {link.netns}",
                      f"link set {link.veth} master {bridge} up"]
        run("ip", "-batch", "-", stdin="\n".join(batch) + "\n")
    # the hosts' default route ends here, whether the machine routes for others or not
    Path(f"/proc/sys/net/ipv4/conf/{bridge}/forwarding").write_text("0")
    for link in links.values():
        run("ip", "-n", link.netns, "-batch", "-",
            stdin=f"link set lo up\naddr add {link.ip}/{network.prefixlen} dev eth0\nlink set eth0 up\n"
                  f"route add default via {gateway}\n")
    return gateway, links


def _free_network() -> ipaddress.IPv4Network:
    taken = [ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
             for interface in json.loads(run("ip", "-json", "-4", "address")) for address in interface["addr_info"]]
    taken += [ipaddress.ip_network(route["dst"]) for route in json.loads(run("ip", "-json", "-4", "route"))
              if route["dst"] != "default"]
    for second in range(200, 250):
        network = ipaddress.IPv4Network(f"10.{second}.0.0/16")
        if not any(network.overlaps(other) for other in taken):
            return network
    raise LabError("none of the networks 10.200.0.0/16 to 10.249.0.0/16 is free")


def set_cable(link: Link, *, plugged: bool) -> None:
    run("ip", "link", "set", link.veth, "up" if plugged else "down")


def remove(lab: str) -> None:
    """Remove whatever carries the lab's name; quiet when there is nothing."""
    batch = [f"netns del {entry['name']}" for entry in json.loads(run("ip", "-json", "netns", "list") or "[]")
             if entry["name"].startswith(f"ph-{lab}-")]
    for interface in json.loads(run("ip", "-json", "link", "show")):
        if re.fullmatch(rf"ph-{lab}(-\d+)?", interface["ifname"]):
            batch.append(f"link del {interface['ifname']}")
    if batch:
        # a veth goes away with its namespace, so some of these fail rightly
        run("ip", "-force", "-batch", "-", stdin="\n".join(batch) + "\n", check=False)
