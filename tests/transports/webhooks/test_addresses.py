"""Which addresses webhooks may go to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from stationkeeper.transports.webhooks.connecting.addresses import is_own, special

PUBLIC = ["1.1.1.1", "8.8.8.8", "168.63.129.17", "100.63.255.255", "172.32.0.1", "192.0.1.1", "198.17.255.255"]
PUBLIC += ["223.255.255.255", "2001:200::1", "2606:4700::1111", "2a00:1450::1", "2a00::5ffe:7f00:1"]

# The first and the last address of each range, and what lives there.
SPECIAL = {
    "this host": ["0.0.0.0", "0.255.255.255"],
    "private": [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "fc00::",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fdff:ffff::ffff",
    ],
    "shared by carriers (CGNAT)": ["100.64.0.0", "100.100.100.200", "100.127.255.255"],
    "loopback": ["127.0.0.0", "127.255.255.255", "::1"],
    "a cloud's own services": ["168.63.129.16"],
    "link-local": ["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::", "febf:ffff::ffff"],
    "reserved": [
        "192.0.0.0",
        "192.0.0.9",
        "192.0.0.192",
        "192.0.0.255",
        "240.0.0.0",
        "255.255.255.254",
        "2001:1::1",
        "2001:20::",
        "2001:1ff:ffff::",
    ],
    "for documentation": [
        "192.0.2.0",
        "192.0.2.255",
        "198.51.100.0",
        "198.51.100.255",
        "203.0.113.0",
        "203.0.113.255",
        "2001:db8::",
        "2001:db8:ffff::ffff",
        "3fff::",
        "3fff:fff::ffff",
    ],
    "reserved (AS112)": ["192.31.196.0", "192.31.196.255", "192.175.48.0", "192.175.48.255", "2620:4f:8000::1"],
    "reserved (AMT)": ["192.52.193.0", "192.52.193.255"],
    "6to4 relay": ["192.88.99.0", "192.88.99.255"],
    "for benchmarks": ["198.18.0.0", "198.19.255.255"],
    "multicast": ["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ffff::ffff"],
    "broadcast": ["255.255.255.255"],
    "no address": ["::"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "IPv4-translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "NAT64 of one's own network": ["64:ff9b:1::", "64:ff9b:1:ffff::7f00:1"],
    "discarded": ["100::1"],
    "Teredo": ["2001::", "2001:0:ffff::ffff"],
    "6to4": ["2002::", "2002:7f00:1::", "2002:ffff::ffff"],
    "given back (6bone)": ["3ffe::1"],
    "segment routing (SRv6)": ["5f00::", "5f00:ffff::ffff"],
    "site-local": ["fec0::", "feff:ffff::ffff"],
    "ISATAP": ["2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:808:808"],
    "bound to an interface": ["fe80::1%eth0", "2a00:1450::1%1"],
    "not global": ["100:0:0:1::1", "200::1", "400::1", "4000::1", "8000::1", "fe00::1", "64:ff9b:0:1::1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_nothing_special(address: str) -> None:
    assert special(address) == ""


@pytest.mark.parametrize(("name", "address"), [(name, one) for name, several in SPECIAL.items() for one in several])
def test_special_addresses_are_called_by_their_names(name: str, address: str) -> None:
    assert special(address) == name


@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "8.8.8.8"])
def test_an_address_that_carries_another_is_as_special_as_that(inside: str) -> None:
    assert special(f"::ffff:{inside}") == special(f"64:ff9b::{inside}") == special(inside)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "1.2.3.4.5", "127.1"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert special(text)


@given(st.ip_addresses())
@example(ip_address("192.0.0.8"))
def test_whatever_the_standard_library_calls_special_is_special(address: IPv4Address | IPv6Address) -> None:
    carries = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    if not carries and (not address.is_global or address.is_multicast):
        assert special(str(address))


@given(st.ip_addresses(v=4))
def test_no_address_of_the_carriers_hides_another(address: IPv4Address) -> None:
    inside = int(address)
    carried = [IPv6Address(prefix | inside) for prefix in (0xFFFF << 32, 0x64FF9B << 96)]
    assert {special(str(one)) for one in carried} == {special(str(address))}
    assert special(str(IPv6Address(0x2002 << 112 | inside << 80))) == "6to4"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_an_address_of_an_interface_is_ours(address: str) -> None:
    assert is_own(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "240.0.0.1", "2606:4700::1111", "100::1"])
def test_an_address_of_others_is_not_ours(address: str) -> None:
    assert not is_own(address)


def test_where_every_address_could_be_bound_none_is_called_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """`net.ipv4.ip_nonlocal_bind = 1`, as some load balancers need it."""
    monkeypatch.setattr("socket.socket.bind", lambda *_: None)

    assert not is_own("8.8.8.8")
    assert not is_own("2606:4700::1111")
