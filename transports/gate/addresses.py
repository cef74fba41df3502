"""What an address is counted under: whoever has one of a block has all of it."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address


def is_shared(remote: str) -> bool:
    """Return whether all may come from this address: a proxy on this machine tells no other."""
    return remote == "::1" or remote.startswith("127.")


def block_of(remote: str) -> str:
    """Return what an address is counted under: itself, or the network that whoever has an IPv6 address has all of
    (RFC 6177). An IPv4 address is itself however it is written (RFC 4291, 2.5.5.2)."""
    if ":" not in remote:
        return remote
    try:
        address = IPv6Address(remote.partition("%")[0])
    except AddressValueError:
        return remote
    mapped = address.ipv4_mapped
    return address.packed[:8].hex() if mapped is None else str(mapped)
