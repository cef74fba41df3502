"""The PROXY protocol, version 2: what a proxy in front says of the station behind it. No sockets, no clock.

The format is that of HAProxy's `proxy-protocol.txt`, 2.2: a signature, version and command, family, a length, the
addresses, and typed values. The header stands before everything else, also before TLS. It is believed of those that
are trusted to send it, and these must: otherwise anybody could choose an address, or be taken for the proxy itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from struct import unpack_from
from typing import Final, TypeAlias

from attrs import frozen

from ...engine.errors import WrongSetting
from ..admission import Certificate
from .answers import Refused

Network: TypeAlias = IPv4Network | IPv6Network

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
VERSION_1: Final = b"PROXY "
_FIXED: Final = 16
"""Bytes up to and with the length."""
MAX_HEADER: Final = 4096
"""Bytes. The specification asks for room for 536; a certificate's names and a cloud's own values fit eight times."""
_LOCAL, _PROXY = 0x20, 0x21
_IPV4, _IPV6 = 1, 2
_ADDRESSES: Final = {0: 0, _IPV4: 12, _IPV6: 36, 3: 216}
_CRC32C, _SSL = 0x03, 0x20
_SSL_VERSION, _SSL_CN = 0x21, 0x22
_OVER_TLS: Final = 0x01
_CERTIFIED: Final = 0x06
"""A certificate was shown on this connection, or earlier in its TLS session."""


class HealthCheck(Exception):
    """The proxy speaks for itself (LOCAL): it looks whether we are there."""


@frozen(kw_only=True)
class Announced:
    """What a proxy says of the peer behind it."""

    remote: str | None = None
    """Its address; None if the proxy does not tell."""
    tells_tls: bool = False
    """Whether it says anything about TLS."""
    tls: str | None = None
    """The version of the TLS that the proxy ended, as `TLSv1.3`; None: the peer came without TLS."""
    certificate: Certificate | None = None
    """A client certificate that the proxy has verified. Of its subject only the common name is known."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks, as `10.0.0.7` and `2001:db8::/64`.

    Raises:
        WrongSetting: one is neither.
    """
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise WrongSetting(f"{text!r} is no address, and no network as 10.0.0.0/8: {error}") from None
    return tuple(found)


def trusted(remote: str, networks: Collection[Network]) -> bool:
    """Return whether an address is one of those that speak for others."""
    if not networks:
        return False
    try:
        address: IPv4Address | IPv6Address = ip_address(remote.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def missing(received: bytes | bytearray) -> int:
    """Return how many bytes have to be read next, and not one more; 0 once the header is whole.

    Raises:
        Refused: this is no PROXY header of version 2.
    """
    if received[: len(SIGNATURE)] != SIGNATURE[: len(received)]:
        raise _no_header(received)
    if len(received) < _FIXED:
        return _FIXED - len(received)
    length = _FIXED + int.from_bytes(received[14:16], "big")
    if length > MAX_HEADER:
        raise _malformed(f"it is {length} bytes long; at most {MAX_HEADER} are read")
    return length - len(received)


def parse_proxy(header: bytes) -> Announced:
    """Read a whole header.

    Raises:
        HealthCheck: the proxy speaks for itself.
        Refused: it is malformed.
    """
    command, family = header[12], header[13] >> 4
    if command == _LOCAL:
        raise HealthCheck
    if command != _PROXY:
        raise _malformed(f"version and command {command:#04x} are unknown")
    size = _ADDRESSES.get(family)
    if size is None or len(header) < _FIXED + size:
        raise _malformed("its addresses are cut off, or of an unknown family")
    values = _values(header, _FIXED + size)
    if _CRC32C in values:
        _check_sum(header, values[_CRC32C])
    tells_tls, tls, certificate = _read_tls(values[_SSL]) if _SSL in values else (False, None, None)
    return Announced(remote=_source(header, family), tells_tls=tells_tls, tls=tls, certificate=certificate)


def misplaced(received: bytes | bytearray) -> Refused | None:
    """Return the refusal of one that sends a PROXY header, and is not trusted to; None if what it sends is none."""
    if not received.startswith((SIGNATURE[:5], VERSION_1)):
        return None
    hint = "it sends a PROXY header, and is no proxy that is trusted: see [stations] proxy_protocol and trusted_proxies"
    return Refused(400, "proxy_not_trusted", hint)


def _source(header: bytes, family: int) -> str | None:
    if family == _IPV4:
        return str(IPv4Address(header[16:20]))
    if family == _IPV6:
        address = IPv6Address(header[16:32])
        return str(address.ipv4_mapped or address)
    return None


def _values(data: bytes, at: int) -> dict[int, tuple[int, bytes]]:
    """Return the typed values from *at* on: type -> where its value begins, and the value."""
    values: dict[int, tuple[int, bytes]] = {}
    while at < len(data):
        if at + 3 > len(data):
            raise _malformed("a value in it is cut off")
        kind, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        at += 3
        if at + length > len(data):
            raise _malformed("a value in it is cut off")
        values[kind] = (at, data[at : at + length])
        at += length
    return values


def _read_tls(found: tuple[int, bytes]) -> tuple[bool, str | None, Certificate | None]:
    value = found[1]
    if len(value) < 5:
        raise _malformed("what it says about TLS is cut off")
    client, verify = unpack_from("!BI", value)
    inner = _values(value, 5)
    if not client & _OVER_TLS:
        return True, None, None
    tls = _text(inner[_SSL_VERSION][1]) if _SSL_VERSION in inner else "TLS"
    if not client & _CERTIFIED or verify != 0 or _SSL_CN not in inner:
        return True, tls, None
    return True, tls, Certificate(serial="", names=(_text(inner[_SSL_CN][1]),))


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("a name in it is not UTF-8") from None


def _check_sum(header: bytes, found: tuple[int, bytes]) -> None:
    at, value = found
    blanked = header[:at] + bytes(len(value)) + header[at + len(value) :]
    if len(value) != 4 or int.from_bytes(value, "big") != crc32c(blanked):
        raise _malformed("its checksum is wrong")


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli; RFC 3720, appendix B.4) of a few bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _no_header(received: bytes | bytearray) -> Refused:
    if received.startswith(VERSION_1[: len(received)]):
        hint = "the proxy sends version 1 of the PROXY protocol; it must send version 2 (HAProxy: send-proxy-v2)"
        return Refused(400, "malformed_proxy_header", hint)
    hint = (
        "it came from a trusted proxy without a PROXY header: have the proxy send one (HAProxy: send-proxy-v2), or "
        "take its address out of [stations] trusted_proxies"
    )
    return Refused(400, "no_proxy_header", hint)


def _malformed(what: str) -> Refused:
    return Refused(400, "malformed_proxy_header", f"the PROXY header is malformed: {what}")
