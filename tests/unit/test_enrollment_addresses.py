# SPDX-License-Identifier: Apache-2.0
"""Address ranges of enrolment tokens."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchherd.enrollment.addresses import is_allowed, parse_range

addresses = st.ip_addresses()
networks = st.one_of(
    st.builds(lambda a, n: f"{a}/{n}", st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda a, n: f"{a}/{n}", st.ip_addresses(v=6), st.integers(0, 128)),
    st.ip_addresses().map(str),
)


@given(addresses)
def test_every_address_matches_itself(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert is_allowed(str(address), [str(address)])
    assert is_allowed(str(address), [])


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_mapped_and_plain_ipv4_are_the_same(
    address: ipaddress.IPv4Address, base: ipaddress.IPv4Address, length: int
) -> None:
    plain, mapped = f"{base}/{length}", f"::ffff:{base}/{length + 96}"
    expected = address in ipaddress.ip_network(plain, strict=False)
    for text in (str(address), f"::ffff:{address}"):
        assert is_allowed(text, [plain]) is expected
        assert is_allowed(text, [mapped]) is expected


@given(addresses, networks)
def test_a_range_decides_as_its_bits_do(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> None:
    network = parse_range(text)
    plain = getattr(address, "ipv4_mapped", None) or address
    shift = plain.max_prefixlen - network.prefixlen
    same = plain.version == network.version and int(plain) >> shift == int(network.network_address) >> shift
    assert is_allowed(str(address), [text]) is same


@given(st.text())
def test_rubbish_is_refused_and_never_allowed(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_range(text)
    assert is_allowed(text, ["0.0.0.0/0", "::/0"]) == _is_address(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("address", [None, "", "unknown", "10.0.0.1:80", "10.0.0.256"])
def test_an_unreadable_client_is_not_allowed(address: str | None) -> None:
    assert not is_allowed(address, ["10.0.0.0/8"])
    assert is_allowed("fe80::1%eth0", ["fe80::/10"])
