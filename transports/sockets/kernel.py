"""What the kernel can do for a connection, and what it knows of one: keepalive, a bound for bytes that nobody
acknowledges, and TCP_INFO. All of it is Linux's; elsewhere it is passed over, and nothing is known.
"""

from __future__ import annotations

import socket
import sys
from struct import Struct
from typing import Final

from attrs import frozen

from ...engine.events import Reach
from ...engine.settings import Liveness

_LINUX: Final = sys.platform == "linux"

_LATE: Final = 15.0
"""Seconds by which our watchdog may be late and still come before the kernel: its cause says more."""
_SLOW_READER: Final = 35.0
"""Seconds at least until the kernel gives up what is not taken. To TCP_USER_TIMEOUT a station that does not read is
like one that is gone; we find it sooner, after `Bounds.unread_time`, and record it as what it is."""
_PROBES: Final = 4
_LONGEST: Final = 32_767
"""Seconds that TCP_KEEPIDLE and TCP_KEEPINTVL can hold."""

_INFO: Final = Struct("=BBBB4x24I")
"""struct tcp_info, as far as all kernels since 2.6 have it (linux/tcp.h)."""
_AS_LATE: Final = 0.05
"""Seconds by which the kernel's coarse clock may show an answer as older than our question."""


def watch_over(sock: socket.socket, liveness: Liveness) -> None:
    """Have the kernel end a connection whose path is dead, and never before our own watchdog would.

    * *Where pings are sent* there are always bytes under way on a dead path: a ping is written after `ping_interval`,
      and after `ping_timeout` our watchdog ends the connection. TCP_USER_TIMEOUT stands behind that. It counts from
      the oldest byte that is not acknowledged, so both together and the time by which we may be late are its least.
      What it is good for: bytes that we wrote last, to a station that was gone, do not stay in the kernel for a
      quarter of an hour (tcp_retries2). A keepalive would find nothing that pings do not.
    * *Where none are sent* (`ping_interval = 0`) the kernel asks in our place, by keepalive: first after half of
      `silence`, four times in all, so that a dead path is found after three quarters of it (`network_lost`); firmware
      that bears no ping does not see it. What is alive and says nothing is left to the watchdog.
    * *Where nobody watches* the kernel's usual keepalive is on: a peer that is gone must not hold a socket for ever.
    """
    if not _LINUX:
        return
    try:
        if liveness.ping_interval > 0:
            _give_up(sock, liveness.ping_interval + liveness.ping_timeout + _LATE)
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if liveness.silence > 0:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _whole(liveness.silence / 2))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _whole(liveness.silence / 4 / _PROBES))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
            _give_up(sock, liveness.silence * 3 / 4)
    except OSError:
        return  # it is a help, and the connection may be lost already


def _give_up(sock: socket.socket, seconds: float) -> None:
    milliseconds = min(max(seconds, _SLOW_READER) * 1000, 2**31 - 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(milliseconds))


def _whole(seconds: float) -> int:
    return min(max(int(seconds), 1), _LONGEST)


@frozen(kw_only=True)
class TcpInfo:
    """What TCP_INFO says of a connection. Times are seconds."""

    state: int
    """1: established."""
    retransmits: int
    """Times that the oldest unacknowledged segment was sent again."""
    probes: int
    """Keepalives, or questions for a closed window, that are unanswered."""
    unacked: int
    """Segments that are not acknowledged."""
    lost: int
    """Of those, segments taken for lost."""
    last_data_recv: float
    """Since the newest byte came."""
    last_ack_recv: float
    """Since the peer's kernel last acknowledged anything."""
    rtt: float
    """The smoothed round-trip time."""
    rttvar: float
    """Its mean deviation."""


def tcp_info(sock: socket.socket) -> TcpInfo | None:
    """Return what the kernel knows of a connection; None where it does not say, or the socket is closed."""
    if not _LINUX:
        return None
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        return None
    if len(raw) < _INFO.size:
        return None
    state, _, retransmits, probes, *words = _INFO.unpack(raw)
    return TcpInfo(
        state=state,
        retransmits=retransmits,
        probes=probes,
        unacked=words[4],
        lost=words[6],
        last_data_recv=words[11] / 1e3,
        last_ack_recv=words[12] / 1e3,
        rtt=words[15] / 1e6,
        rttvar=words[16] / 1e6,
    )


def reach(sock: socket.socket, waited: float) -> Reach | None:
    """Say whether the peer's network answers, though the peer does not. See `engine.stations.Link.path`."""
    info = tcp_info(sock)
    if info is None:
        return None
    answered = info.last_ack_recv <= waited + _AS_LATE
    if answered and not info.unacked:
        return "acknowledged"
    if not answered and (info.unacked or info.probes):
        return "silent"
    return None


def round_trip(sock: socket.socket) -> float | None:
    """Return the round-trip time to the peer's kernel, in seconds; None if nothing was measured yet."""
    info = tcp_info(sock)
    return info.rtt if info is not None and info.rtt > 0 else None
