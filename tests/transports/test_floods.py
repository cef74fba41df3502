"""What a peer may cost that sends without end and reads nothing: as much as the kernel holds, and a little of ours."""

from __future__ import annotations

import pytest
import trio
from fronted import TRANSPORTS, Front, Peer, fronted, more, serves_well, text
from raw_station import frame
from trio.testing import MockClock

from stationkeeper.transports.bounds import Bounds

MANY = 24 * 1024 * 1024
"""Bytes that no peer gets rid of unless they are piled up: several times what the kernel buffers on a loopback."""
PATIENT = Bounds(unread_time=1e6, message_time=1e6, frame_time=1e6)
"""Nothing is ended because it takes too long: what holds then is a bound on bytes."""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(b"*" * 125, opcode=9) * 500, id="pings"),
        pytest.param(text("*" * 10_000) * 10, id="messages"),
        pytest.param(more("", fin=False) * 5000, id="empty fragments"),
    ],
)
def test_a_flood_is_stopped_whether_or_not_time_passes(transport: str, flood: bytes) -> None:
    async def world() -> bool:
        async with fronted(transport, bounds=PATIENT, virtual=True) as front:
            peer = await Peer.open(f"{front.url}/flood")
            async with peer.stream:
                stopped = await pour(front, peer, flood)
            await front.closed("flood")
            await serves_well(front)
            return stopped

    assert trio.run(world, clock=MockClock(autojump_threshold=0.02))


async def pour(front: Front, peer: Peer, flood: bytes) -> bool:
    """Send until the gateway ends the connection, or reads no more; return whether it did, before that was too much."""
    poured = 0
    if flood[0] & 0x0F == 0:
        await peer.send(text("", fin=False))
    while poured < MANY:
        with trio.move_on_after(1) as waiting:
            await peer.send(flood)
            await trio.lowlevel.checkpoint()
        if waiting.cancelled_caught or len(front.story("flood")) > 1:
            return True
        poured += len(flood)
    return False
