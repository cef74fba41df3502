"""Which addresses webhooks may go to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from stationkeeper.transports.webhooks.addresses import special

PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "198.17.255.255", "2606:4700::1111", "2a00:1450::1"]

SPECIAL = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.9",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_nothing_special(address: str) -> None:
    assert special(address) == ""


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_are_told_apart(address: str) -> None:
    assert special(address)


@pytest.mark.parametrize("inside", ["127.0.0.1", "8.8.8.8"])
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
