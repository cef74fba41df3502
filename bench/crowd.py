"""Many stations in one process, as cheap as can be, so that the server is what is measured.

No library and no tasks: non-blocking sockets on one epoll. It speaks just enough WebSocket to be let in, to answer
pings, and to see a close.
"""

from __future__ import annotations

import base64
import resource
import select
import socket
import time
from collections.abc import Iterable
from types import TracebackType


class Refused(Exception):
    """The server answered a handshake with something else than 101, or ended the connection."""


class Member:
    """One station: its socket, and what came that is not yet understood."""

    __slots__ = ("buffer", "open", "socket")

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self.buffer = b""
        self.open = False


class Crowd:
    """Stations that connect to one server, and stay."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.pings = 0
        """Pings answered so far."""
        self._address = address
        self._epoll = select.epoll()
        self._members: dict[int, Member] = {}
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members.values():
            member.socket.close()
        self._epoll.close()

    def connect(self, stations: Iterable[str], *, password: str, at_once: int = 50) -> None:
        """Connect stations, a few at a time, and return when all of them are open.

        Raises:
            Refused: one was not let in.
        """
        waiting: list[Member] = []
        for station in stations:
            waiting.append(self._dial(station, password))
            while len(waiting) >= at_once:
                self._attend(1.0)
                waiting = [member for member in waiting if not member.open]
        while not all(member.open for member in waiting):
            self._attend(1.0)

    def stay(self, seconds: float) -> None:
        """Answer pings for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._attend(left)

    def _dial(self, station: str, password: str) -> Member:
        line = socket.create_connection(self._address)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setblocking(False)
        credentials = base64.b64encode(f"{station}:{password}".encode()).decode()
        line.send(
            f"GET /ocpp/{station} HTTP/1.1\r\nHost: {self._address[0]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic {credentials}\r\n\r\n".encode()
        )
        member = self._members[line.fileno()] = Member(line)
        self._epoll.register(line.fileno(), select.EPOLLIN)
        return member

    def _attend(self, seconds: float) -> None:
        for descriptor, _ in self._epoll.poll(seconds, 512):
            member = self._members[descriptor]
            data = member.socket.recv(65536)
            if not data:
                raise Refused(f"the server ended a connection, having sent {member.buffer!r}")
            member.buffer += data
            if not member.open:
                self._shake_hands(member)
            if member.open:
                self._take_frames(member)

    def _shake_hands(self, member: Member) -> None:
        head, end, rest = member.buffer.partition(b"\r\n\r\n")
        if end:
            if not head.startswith(b"HTTP/1.1 101 "):
                raise Refused(head.decode("latin-1"))
            member.open, member.buffer = True, rest

    def _take_frames(self, member: Member) -> None:
        # Servers do not mask, and these send nothing long: two bytes, then what the second one counts.
        while len(member.buffer) >= 2 and len(member.buffer) >= 2 + member.buffer[1]:
            opcode, length = member.buffer[0] & 0x0F, member.buffer[1]
            payload, member.buffer = member.buffer[2 : 2 + length], member.buffer[2 + length :]
            if opcode == 0x8:
                raise Refused(f"the server closed a connection: {payload!r}")
            if opcode == 0x9:
                member.socket.send(bytes([0x8A, 0x80 | length, 0, 0, 0, 0]) + payload)
                self.pings += 1
