"""Many stations in one process, as cheap as can be, so that the server is what is measured.

No library and no tasks: non-blocking sockets on one epoll. It speaks just enough WebSocket to be let in, to answer
pings, and to see a close. `Crowd` is patient and wants everybody in; `returning` and `visiting` build on `Callers`.
"""

from __future__ import annotations

import base64
import errno
import select
import socket
import ssl
import time
from collections.abc import Iterable
from types import TracebackType

from machine import many_sockets

IP_BIND_ADDRESS_NO_PORT = 24
"""So that the kernel picks the port at connect, when it knows the other end, and a port serves many (ip(7))."""
SOURCES = 100
"""Addresses that stations come from: ports of one would not do, nor what a server allows to one."""


class Refused(Exception):
    """The server answered a handshake with something else than 101, or ended the connection."""


class Member:
    """One station: its socket, and what came that is not yet understood."""

    __slots__ = ("buffer", "dialled", "line", "open", "said", "station")

    def __init__(self, station: str, line: socket.socket) -> None:
        self.station = station
        self.line = line
        self.buffer = b""
        self.dialled = time.monotonic()
        self.said = False
        """Whether its request is sent."""
        self.open = False


class Callers:
    """Sockets of stations on one epoll. What becomes of a call is told to `opened` and `ended`."""

    def __init__(self, address: tuple[str, int], password: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.pings = 0
        """Pings answered so far."""
        self._address = address
        self._password = password
        self._tls = tls
        self._epoll = select.epoll()
        self._members: dict[int, Member] = {}
        self._calls = 0
        many_sockets()

    def dialled(self, member: Member) -> None:
        """A call began."""

    def opened(self, member: Member) -> None:
        """The station was let in."""

    def ended(self, member: Member, answer: bytes) -> None:
        """Its call is over; *answer* is what the server said, if it did not let it in."""

    def dial(self, station: str) -> None:
        """Begin a call."""
        self._calls += 1
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        line.bind((f"127.0.1.{1 + self._calls % SOURCES}", 0))
        member = self._members[line.fileno()] = Member(station, line)
        self.dialled(member)
        if line.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self._drop(member)
            return
        self._epoll.register(line.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def attend(self, seconds: float) -> None:
        """Wait so long at most for something to come, and take what came."""
        for descriptor, events in self._epoll.poll(seconds, 512):
            member = self._members.get(descriptor)
            if member is not None:
                try:
                    if events & select.EPOLLOUT:
                        self._epoll.modify(descriptor, select.EPOLLIN)
                    self._take(member, events)
                except (ssl.SSLWantReadError, BlockingIOError):
                    pass
                except OSError:
                    self._drop(member)

    def hang_up(self, member: Member) -> None:
        """End a call without a word."""
        self._members.pop(member.line.fileno(), None)
        member.line.close()

    def _take(self, member: Member, events: int) -> None:
        if not member.said:
            self._say(member)
        if events & ~select.EPOLLOUT:
            while True:
                data = member.line.recv(65536)
                member.buffer += data
                if not member.open:
                    self._shake_hands(member)
                if member.open:
                    self._take_frames(member)
                if not data:
                    self._drop(member)
                if not data or self._tls is None:
                    return  # beneath TLS there may be more that epoll does not know of

    def _say(self, member: Member) -> None:
        if self._tls is not None:
            if not isinstance(member.line, ssl.SSLSocket):
                member.line = self._tls.wrap_socket(
                    member.line, do_handshake_on_connect=False, server_hostname=self._address[0]
                )
            member.line.do_handshake()
        credentials = base64.b64encode(f"{member.station}:{self._password}".encode()).decode()
        member.line.send(
            f"GET /ocpp/{member.station} HTTP/1.1\r\nHost: {self._address[0]}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic {credentials}\r\n\r\n".encode()
        )
        member.said = True

    def _shake_hands(self, member: Member) -> None:
        head, end, rest = member.buffer.partition(b"\r\n\r\n")
        if end and head.startswith(b"HTTP/1.1 101 "):
            member.open, member.buffer = True, rest
            self.opened(member)
        elif end:
            self._drop(member)

    def _take_frames(self, member: Member) -> None:
        # Servers do not mask, and these send nothing long: two bytes, then what the second one counts.
        while len(member.buffer) >= 2 and len(member.buffer) >= 2 + member.buffer[1]:
            opcode, length = member.buffer[0] & 0x0F, member.buffer[1]
            payload, member.buffer = member.buffer[2 : 2 + length], member.buffer[2 + length :]
            if opcode == 0x9:
                member.line.send(bytes([0x8A, 0x80 | length, 0, 0, 0, 0]) + payload)
                self.pings += 1
            elif opcode == 0x8:
                member.buffer = b"close: " + payload
                self._drop(member)
                return

    def _drop(self, member: Member) -> None:
        if self._members.pop(member.line.fileno(), None) is not None:
            member.line.close()
            self.ended(member, member.buffer)


class Crowd(Callers):
    """Stations that connect to one server, and stay."""

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in list(self._members.values()):
            self.hang_up(member)
        self._epoll.close()

    def ended(self, member: Member, answer: bytes) -> None:
        raise Refused(f"the connection of {member.station} ended: {answer!r}")

    def connect(self, stations: Iterable[str], *, at_once: int = 50) -> None:
        """Connect stations, a few at a time, and return when all of them are open.

        Raises:
            Refused: one was not let in.
        """
        for station in stations:
            self.dial(station)
            while len(self._members) - self._open >= at_once:
                self.attend(1.0)
        while len(self._members) > self._open:
            self.attend(1.0)

    _open = 0

    def opened(self, member: Member) -> None:
        self._open += 1

    def stay(self, seconds: float) -> None:
        """Answer pings for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.attend(left)
