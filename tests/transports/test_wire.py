"""The wire alone, on real sockets, under a clock that the tests set."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.lowlevel
import trio.testing
import trustme
from raw_station import frame

from stationkeeper.engine.stations import Ending
from stationkeeper.transports.bounds import Bounds, Suspects
from stationkeeper.transports.frames import PING, close_frame
from stationkeeper.transports.sockets.nonblocking import peek
from stationkeeper.transports.websocket.wire import Wire


class Remembers:
    """An owner that remembers what it was told."""

    def __init__(self) -> None:
        self.messages = 0
        self.chunks = 0
        self.endings: list[Ending] = []
        self.closings = 0

    def heard(self, messages: int) -> None:
        self.messages = messages
        self.chunks += 1

    def ended(self, ending: Ending) -> None:
        self.endings.append(ending)

    def ended_by_library(self) -> None:
        self.closings += 1

    @property
    def causes(self) -> list[str]:
        return [ending.cause for ending in self.endings]


class Pair:
    """A wire, and the peer's end of it."""

    def __init__(self, wire: Wire, owner: Remembers, peer: socket.socket) -> None:
        self.wire = wire
        self.owner = owner
        self.peer = peer

    async def gets(self, data: bytes) -> bytes:
        """Have the peer send bytes, and the wire receive them."""
        self.peer.send(data)
        return await self.wire.receive_some()

    def read(self) -> bytes:
        """Return all that has reached the peer."""
        read = b""
        with suppress(BlockingIOError):
            while data := self.peer.recv(1 << 20):
                read += data
        return read


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    peer.setblocking(False)
    sock.setblocking(False)
    owner = Remembers()
    with peer, sock:
        wire = Wire(sock, Suspects(Bounds()), owner)
        wire.release()
        yield Pair(wire, owner, peer)


# --- frames and messages that take too long ---------------------------------------------------------------------------


async def test_a_frame_that_comes_drop_by_drop_for_too_long_is_ended(
    pair: Pair, mock_clock: trio.testing.MockClock
) -> None:
    for byte in frame(b"slow")[:-1]:
        await pair.gets(bytes([byte]))
        mock_clock.jump(4)
        pair.wire.check(trio.current_time())

    assert pair.owner.causes[:1] == ["stalled_frame"]


@pytest.mark.parametrize("cut", [1, 4, 8])
async def test_frames_that_overlap_reads_are_each_given_their_time(
    pair: Pair, mock_clock: trio.testing.MockClock, cut: int
) -> None:
    one = frame(b"abc")
    await pair.gets(one[:cut])
    for _ in range(20):
        mock_clock.jump(20)
        pair.wire.check(trio.current_time())
        await pair.gets(one[cut:] + one[:cut])

    assert (pair.owner.causes, pair.owner.messages) == ([], 20)


async def test_a_message_in_many_frames_has_a_time_as_a_whole(pair: Pair, mock_clock: trio.testing.MockClock) -> None:
    await pair.gets(frame(b"a", fin=False))
    for _ in range(7):
        mock_clock.jump(10)
        pair.wire.check(trio.current_time())
        await pair.gets(frame(b"a", opcode=0, fin=False))

    assert pair.owner.causes == ["stalled_frame"]


async def test_bytes_that_came_while_we_stood_are_not_held_against_the_peer(
    pair: Pair, mock_clock: trio.testing.MockClock
) -> None:
    one = frame(b"abc")
    await pair.gets(one[:4])
    pair.peer.send(one[4:])
    mock_clock.jump(3600)
    pair.wire.check(trio.current_time())

    assert pair.owner.causes == []


async def test_an_idle_wire_is_no_suspect(pair: Pair) -> None:
    suspects = pair.wire._suspects.wires
    await pair.gets(frame(b"whole"))
    idle = len(suspects)
    await pair.gets(b"\x81")
    begun = len(suspects)
    await pair.gets(frame(b"")[1:])

    assert (idle, begun, len(suspects)) == (0, 1, 0)


# --- writing ----------------------------------------------------------------------------------------------------------


async def fill(pair: Pair, nursery: trio.Nursery) -> bytes:
    """Start a sender, and return what it sends once it waits for the peer to read."""
    data = frame(b"x" * 60_000, masked=False) * 200
    nursery.start_soon(pair.wire.send_all, data)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert pair.wire.waiting
    return data


async def test_a_peer_that_never_reads_is_noticed_however_much_the_kernel_still_takes(
    pair: Pair, mock_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        await fill(pair, nursery)
        for _ in range(5):
            mock_clock.jump(5)
            pair.wire.check(trio.current_time())
        nursery.cancel_scope.cancel()

    assert pair.owner.causes == ["slow_reader"]


async def test_a_ping_goes_behind_the_frame_that_is_being_written(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        data = await fill(pair, nursery)
        pair.wire.write(PING)
        read = b""
        while len(read) < len(data) + len(PING):
            read += pair.read()
            await trio.testing.wait_all_tasks_blocked(0.001)

    assert read == data + PING


async def test_a_sender_that_is_cancelled_leaves_no_half_frame_behind(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        data = await fill(pair, nursery)
        nursery.cancel_scope.cancel()
    pair.wire.write(PING)
    read = b""
    while len(read) < len(data) + len(PING):
        read += pair.read()
        pair.wire.check(trio.current_time())

    assert read == data + PING


async def test_after_the_last_word_nothing_is_written(pair: Pair) -> None:
    pair.wire.write_last(close_frame(1001))
    pair.wire.write(PING)
    await pair.wire.send_all(frame(b"late", masked=False))

    assert pair.read() == close_frame(1001)


async def test_the_librarys_answer_to_a_close_is_the_last_word(pair: Pair) -> None:
    await pair.wire.send_all(close_frame(1000))
    pair.wire.write(PING)

    assert pair.wire.close_seen
    assert pair.read() == close_frame(1000)


async def test_writing_to_a_lost_connection_raises_for_who_waits_and_for_nobody_else(pair: Pair) -> None:
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.peer.close()
    pair.wire.write(PING)
    pair.wire.write(PING)

    with pytest.raises(trio.BrokenResourceError):
        await pair.wire.send_all(b"x")
    assert pair.owner.causes == ["network_lost"]


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_the_end_of_the_peer_is_told_where_it_is_met(pair: Pair) -> None:
    assert not pair.wire.gone()
    pair.peer.shutdown(socket.SHUT_WR)
    await trio.lowlevel.checkpoint()

    assert (pair.wire.gone(), pair.wire.look()) == (True, False)
    assert await pair.wire.receive_some() == b""
    assert pair.owner.endings == [Ending(side="network", cause="network_lost")]


async def test_a_reset_is_a_loss(pair: Pair) -> None:
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.peer.close()

    with pytest.raises(trio.BrokenResourceError):
        await pair.wire.receive_some()
    assert (pair.wire.gone(), pair.wire.look()) == (True, False)
    assert pair.owner.causes == ["network_lost"]


async def test_an_abort_throws_away_what_is_unsent_and_resets(pair: Pair) -> None:
    pair.wire.abort()
    pair.wire.close()

    with pytest.raises(ConnectionResetError):
        pair.peer.recv(1)


async def test_lingering_ends_with_the_peer_or_with_patience(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    await pair.wire.linger(5.0)
    waited = trio.current_time()
    pair.peer.close()
    await pair.wire.linger(5.0)

    assert (waited, trio.current_time()) == (5.0, 5.0)


# --- TLS --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def secured(pair: Pair) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    """Do the TLS handshake from both ends, and give the peer's."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("station.example").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    tcp = trio.SocketStream(trio.socket.from_stdlib_socket(pair.peer.dup()))
    stream = trio.SSLStream(tcp, client, server_hostname="station.example", https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.wire.secure, server)
        await stream.do_handshake()
    try:
        yield stream
    finally:
        pair.wire.close()
        await trio.aclose_forcefully(stream)


async def test_a_look_finds_what_openssl_has_decrypted_and_nobody_has_read(pair: Pair) -> None:
    async with secured(pair) as stream:
        await stream.send_all(b"x" * 100)
        await pair.wire.receive(10)

        assert pair.wire.look()
        assert not pair.wire.gone()
        await pair.wire.receive(1000)
        assert not pair.wire.look()


async def test_a_reset_before_the_tls_handshake_is_an_error_that_leaves_the_socket_ours(pair: Pair) -> None:
    sock = pair.wire.sock
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.peer.close()

    with pytest.raises(ConnectionResetError):
        await pair.wire.secure(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    assert pair.wire.sock is sock
    assert sock.fileno() >= 0


async def test_a_wire_whose_socket_was_lost_in_wrapping_can_be_parted_from(pair: Pair) -> None:
    os.close(pair.wire.sock.detach())  # as CPython does with a socket that is reset just before it is wrapped
    pair.wire.abort()
    await pair.wire.linger(1.0)
    pair.wire.close()


async def test_under_tls_as_well_nothing_is_torn_apart(pair: Pair) -> None:
    async with secured(pair) as stream, trio.open_nursery() as nursery:
        data = await fill(pair, nursery)
        pair.wire.write(PING)
        read = b""
        while len(read) < len(data) + len(PING):
            read += await stream.receive_some(1 << 20)

        assert read == data + PING


def test_a_socket_that_we_closed_is_gone() -> None:
    one, other = socket.socketpair()
    one.close()
    with other:
        assert peek(one) == b""
