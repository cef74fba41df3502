"""Which addresses a webhook may go to: public ones.

Whoever may add a webhook chooses where our requests go. Without this check that would reach into our own network:
loopback, private ranges, a cloud's metadata service. The ranges are those of the IANA special-purpose registries
(RFC 6890) that are not globally reachable, and the transition mechanisms that can carry such an address inside.
`ipaddress.is_global` alone is not enough: Python 3.11 calls 6to4 and NAT64 forms of 127.0.0.1 global.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_SPECIAL_V4: Final = tuple(
    (IPv4Network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All that is assigned for global unicast; whatever lies outside is special."""

_SPECIAL_V6: Final = tuple(
    (IPv6Network(network), name)
    for network, name in (
        ("2001::/23", "reserved (Teredo and others)"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "for documentation"),
    )
)

_CARRYING_V4: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4-mapped addresses and the well-known NAT64 prefix (RFC 6052): as public as the IPv4 address inside, which a
network without IPv4 needs for every receiver that has no other."""


def special(address: str) -> str:
    """Return what is special about an IP address, in words; empty if it is public."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an IP address"
    return _special_v4(parsed) if isinstance(parsed, IPv4Address) else _special_v6(parsed)


def _special_v4(address: IPv4Address) -> str:
    return next((name for network, name in _SPECIAL_V4 if address in network), "")


def _special_v6(address: IPv6Address) -> str:
    if any(address in network for network in _CARRYING_V4):
        return _special_v4(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.is_loopback:
        return "loopback"
    if address not in _GLOBAL_V6:
        return "not global"
    return next((name for network, name in _SPECIAL_V6 if address in network), "")
