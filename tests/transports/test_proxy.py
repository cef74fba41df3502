"""The PROXY protocol, version 2, as bytes and over the sockets of each transport."""

from __future__ import annotations

import ssl
import struct
from contextlib import suppress
from socket import AF_INET, AF_INET6, inet_pton

import pytest
import trio
import trustme
from doorstep import TRANSPORTS, Registry, Transport, doorstep
from hypothesis import given
from hypothesis import strategies as st
from raw_station import dial_tcp, request

from stationkeeper.engine.errors import WrongSetting
from stationkeeper.transports import AnyStation, Knock, Welcome
from stationkeeper.transports.admission import Certificate
from stationkeeper.transports.handshake.answers import Refused
from stationkeeper.transports.handshake.proxy import (
    MAX_HEADER,
    SIGNATURE,
    Announced,
    HealthCheck,
    crc32c,
    missing,
    networks,
    parse_proxy,
    trusted,
)
from stationkeeper.transports.handshake.reception import Manners, Reception

LOOPBACK = ("127.0.0.0/8", "::1")


def value(kind: int, content: bytes) -> bytes:
    return struct.pack("!BH", kind, len(content)) + content


def tls_value(client: int = 1, verify: int = 0, version: bytes = b"TLSv1.3", name: bytes | None = None) -> bytes:
    inner = value(0x21, version) + (b"" if name is None else value(0x22, name)) + value(0x23, b"AES")
    return value(0x20, struct.pack("!BI", client, verify) + inner)


def header(*values: bytes, source: str = "192.0.2.7", command: int = 0x21, family: int | None = None) -> bytes:
    """Return a header as a proxy sends it."""
    wide = ":" in source
    packed = inet_pton(AF_INET6 if wide else AF_INET, source)
    content = packed + packed + struct.pack("!HH", 50000, 9000) + b"".join(values)
    kind = (0x21 if wide else 0x11) if family is None else family
    return SIGNATURE + bytes([command, kind]) + struct.pack("!H", len(content)) + content


def refusal(data: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_proxy(data)
    return caught.value


# --- as bytes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "remote"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7"), ("::ffff:192.0.2.7", "192.0.2.7")],
)
def test_the_address_behind_a_proxy_is_read(source: str, remote: str) -> None:
    assert parse_proxy(header(source=source)) == Announced(remote=remote)


@pytest.mark.parametrize(("family", "size"), [(0x00, 0), (0x31, 216)])
def test_a_proxy_may_tell_no_address(family: int, size: int) -> None:
    data = SIGNATURE + bytes([0x21, family]) + struct.pack("!H", size + 3) + bytes(size) + value(0x04, b"")

    assert parse_proxy(data) == Announced()


def test_a_health_check_of_the_proxy_is_told_apart() -> None:
    with pytest.raises(HealthCheck):
        parse_proxy(SIGNATURE + b"\x20\x00\x00\x00")
    with pytest.raises(HealthCheck):
        parse_proxy(header(command=0x20))


@pytest.mark.parametrize(
    ("told", "announced"),
    [
        (tls_value(client=0), Announced(remote="192.0.2.7", tells_tls=True)),
        (tls_value(), Announced(remote="192.0.2.7", tells_tls=True, tls="TLSv1.3")),
        (tls_value(client=7, verify=1, name=b"CP-1"), Announced(remote="192.0.2.7", tells_tls=True, tls="TLSv1.3")),
        (tls_value(client=1, name=b"CP-1"), Announced(remote="192.0.2.7", tells_tls=True, tls="TLSv1.3")),
        (
            tls_value(client=7, name="Säule 1".encode()),
            Announced(
                remote="192.0.2.7",
                tells_tls=True,
                tls="TLSv1.3",
                certificate=Certificate(serial="", names=("Säule 1",)),
            ),
        ),
    ],
)
def test_what_the_proxy_says_of_tls_is_read(told: bytes, announced: Announced) -> None:
    assert parse_proxy(header(value(0x02, b"host.example"), told, value(0xEA, b"vpce-1"))) == announced


def test_a_checksum_is_checked() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C

    blank = header(tls_value(), value(0x03, bytes(4)))
    right = blank[:-4] + struct.pack("!I", crc32c(blank))
    assert parse_proxy(right).tls == "TLSv1.3"
    assert "checksum" in str(refusal(right[:16] + b"\xff" + right[17:]).hint)


@pytest.mark.parametrize(
    "data",
    [
        header(command=0x11),
        header(command=0x22),
        header(family=0x41),
        header(family=0x21),
        header(b"\x04"),
        header(struct.pack("!BH", 4, 9) + b"short"),
        header(value(0x20, b"\x01")),
        header(tls_value(version=b"\xff")),
        header(value(0x03, b"\0")),
    ],
)
def test_a_malformed_header_is_refused(data: bytes) -> None:
    assert refusal(data).reason == "malformed_proxy_header"


@given(st.binary(max_size=80), st.integers(0, 3), st.integers(0, 255))
def test_whatever_comes_is_read_or_refused(junk: bytes, command: int, family: int) -> None:
    data = SIGNATURE + bytes([0x20 + command, family]) + struct.pack("!H", len(junk)) + junk

    assert missing(data) == 0
    with suppress(Refused, HealthCheck):
        parse_proxy(data)


@given(st.lists(st.integers(1, 40), max_size=8))
def test_no_byte_behind_the_header_is_asked_for(pieces: list[int]) -> None:
    data = header(tls_value()) + request()
    at, sizes = 0, iter(pieces)
    while needed := missing(data[:at]):
        at += min(needed, next(sizes, needed))

    assert data[at:] == request()


@pytest.mark.parametrize(
    ("received", "reason", "word"),
    [
        (b"GET /ocpp/CP-1 H", "no_proxy_header", "send-proxy-v2"),
        (b"G", "no_proxy_header", "send-proxy-v2"),
        (b"\x16\x03\x01", "no_proxy_header", "send-proxy-v2"),
        (b"PROXY TCP4 192.0", "malformed_proxy_header", "version 1"),
        (SIGNATURE + b"\x21\x11" + struct.pack("!H", MAX_HEADER), "malformed_proxy_header", "at most"),
    ],
)
def test_what_is_no_header_is_refused_as_soon_as_that_is_clear(received: bytes, reason: str, word: str) -> None:
    with pytest.raises(Refused) as caught:
        missing(received)

    assert caught.value.reason == reason
    assert word in str(caught.value.hint)


def test_who_is_trusted_is_a_matter_of_networks() -> None:
    known = networks(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])

    for address in ("10.1.2.3", "2001:db8::9", "192.0.2.7", "::ffff:10.0.0.1", "2001:db8::9%eth0"):
        assert trusted(address, known)
    for address in ("11.0.0.1", "2001:db9::", "192.0.2.8", "", "somewhere"):
        assert not trusted(address, known)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "", "10.0.0.0/33"])
def test_what_is_no_network_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(WrongSetting, match=r"as 10\.0\.0\.0/8"):
        networks([text])


def test_tls_that_ends_here_counts_unless_the_proxy_has_ended_the_stations() -> None:
    manners = Manners(admit=AnyStation(), path="/ocpp", proxies=networks(LOOPBACK))
    mine = Certificate(serial="1", names=("proxy",))
    heard: list[str | None] = []
    for told in ((), (tls_value(client=0),), (tls_value(version=b"TLSv1.2"),)):
        reception = Reception(manners, "127.0.0.1")
        reception.announce(header(*told))
        reception.secured("TLSv1.3", mine)
        assert (reception.certificate == mine) == (not told)
        heard.append(reception.tls)

    assert heard == ["TLSv1.3", None, "TLSv1.2"]


# --- over a socket ----------------------------------------------------------------------------------------------------

over_each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@over_each_transport
async def test_a_station_behind_a_proxy_is_known_by_its_own_address(transport: Transport) -> None:
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=LOOPBACK) as at:
        told = header(tls_value(client=7, name=b"CP-1"), source="2001:db8::7")
        answer = await at.say(told + request())
        opened = await at.opened()

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert opened.tls == "TLSv1.3"
    assert registry.knocks == [
        Knock(
            station="CP-1",
            offered=("ocpp1.6",),
            remote="2001:db8::7",
            tls="TLSv1.3",
            certificate=Certificate(serial="", names=("CP-1",)),
        )
    ]


@over_each_transport
async def test_a_header_may_come_byte_by_byte(transport: Transport) -> None:
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=LOOPBACK) as at:
        async with await dial_tcp(at.url) as stream:
            for byte in header() + request()[:10]:
                await stream.send_all(bytes([byte]))
                await trio.lowlevel.checkpoint()
            await stream.send_all(request()[10:])
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        assert registry.knocks[0].remote == "192.0.2.7"


@over_each_transport
async def test_the_header_stands_before_tls(transport: Transport) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=LOOPBACK, tls=server) as at:
        tcp = await dial_tcp(at.url)
        await tcp.send_all(header())
        async with trio.SSLStream(tcp, client, server_hostname="127.0.0.1", https_compatible=True) as stream:
            await stream.send_all(request())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        opened = await at.opened()

    assert opened.tls == "TLSv1.3"
    assert registry.knocks[0].remote == "192.0.2.7"


@over_each_transport
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (request(), "no_proxy_header"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n" + request(), "malformed_proxy_header"),
        (header(command=0x2F) + request(), "malformed_proxy_header"),
    ],
)
async def test_a_trusted_proxy_must_send_a_header(transport: Transport, said: bytes, reason: str) -> None:
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=LOOPBACK) as at:
        answer = await at.say(said)
        refused = await at.refused()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (refused.reason, refused.claimed) == (reason, "")


@over_each_transport
@pytest.mark.parametrize("said", [header() + request(), b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n" + request()])
@pytest.mark.parametrize("proxies", [(), ("192.0.2.0/24",)])
async def test_nobody_else_may_send_one(transport: Transport, said: bytes, proxies: tuple[str, ...]) -> None:
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=proxies) as at:
        answer = await at.say(said)
        refused = await at.refused()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert refused.reason == "proxy_not_trusted"
    assert registry.knocks == []


@over_each_transport
async def test_who_is_no_proxy_is_a_plain_station(transport: Transport) -> None:
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=("192.0.2.0/24",)) as at:
        assert (await at.ask()).startswith(b"HTTP/1.1 101 ")
        assert registry.knocks[0].remote == "127.0.0.1"


@over_each_transport
async def test_a_health_check_is_let_go_without_a_word(transport: Transport) -> None:
    registry = Registry(Welcome(station="CP-1"))
    async with doorstep(transport, registry, trusted_proxies=LOOPBACK) as at:
        assert await at.say(SIGNATURE + b"\x20\x00\x00\x00") == b""
        await at.say(header() + request("/ocpp/CP-2"))
        refused = await at.refused()  # the only one

    assert refused.claimed == "CP-2"
