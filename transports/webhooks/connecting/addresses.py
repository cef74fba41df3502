"""Which addresses a webhook may go to: public ones.

Whoever may add a webhook chooses where our requests go. Without this check that would reach into our own network:
loopback, private ranges, a cloud's metadata service. The ranges are those of the IANA special-purpose registries for
IPv4 and IPv6 (RFC 6890), whether or not they are globally reachable: none is where a receiver lives; multicast; what
clouds keep for themselves within public ranges; and the transition mechanisms that can carry such an address inside.
`ipaddress.is_global` alone is not enough: Python 3.11 calls 6to4 and NAT64 forms of 127.0.0.1 global.
"""

from __future__ import annotations

import socket
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_SPECIAL_V4: Final = tuple(
    (IPv4Network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        (
            "168.63.129.16/32",
            "a cloud's own services",
        ),  # Azure's, on every virtual machine, though public by its number
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved (AS112)"),
        ("192.52.193.0/24", "reserved (AMT)"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved (AS112)"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All that is assigned for global unicast; whatever lies outside is special."""

_SPECIAL_V6: Final = tuple(
    (IPv6Network(network), name)
    for network, name in (
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved (AS112)"),
        ("3ffe::/16", "given back (6bone)"),
        ("3fff::/20", "for documentation"),
        # Outside of global unicast, and listed to be called by their names.
        ("::/128", "no address"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b:1::/48", "NAT64 of one's own network"),
        ("100::/64", "discarded"),
        ("5f00::/16", "segment routing (SRv6)"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_CARRYING_V4: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4-mapped addresses and the well-known NAT64 prefix (RFC 6052): as public as the IPv4 address inside, which a
network without IPv4 needs for every receiver that has no other."""

_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""The third quarter of an address that carries an IPv4 address in its last one, under any prefix (RFC 5214, 6.1)."""

_NOBODYS: Final = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "100::1"}
"""On no interface that would work: reserved, and discarded on the way."""


def special(address: str) -> str:
    """Return what is special about an IP address, in words; empty if it is public."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an IP address"
    return _special_v4(parsed) if isinstance(parsed, IPv4Address) else _special_v6(parsed)


def is_own(address: str) -> bool:
    """Return whether an IP address is one of this host's, on whatever interface.

    A public one is as good as loopback: what listens on all interfaces and trusts a firewall before it answers there.
    Only an own address can be bound to; where the kernel lets everything be bound (`ip_nonlocal_bind`), nothing can be
    said, and the answer is no.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return _can_be_bound(family, address) and not _can_be_bound(family, _NOBODYS[family])


def _can_be_bound(family: socket.AddressFamily, address: str) -> bool:
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _special_v4(address: IPv4Address) -> str:
    return next((name for network, name in _SPECIAL_V4 if address in network), "")


def _special_v6(address: IPv6Address) -> str:
    if address.scope_id is not None:
        return "bound to an interface"
    number = int(address)
    if any(address in network for network in _CARRYING_V4):
        return _special_v4(IPv4Address(number & 0xFFFFFFFF))
    if name := next((name for network, name in _SPECIAL_V6 if address in network), ""):
        return name
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return "ISATAP"
    return "" if address in _GLOBAL_V6 else "not global"
