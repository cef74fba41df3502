"""RFC 6455, case by case, over a socket: what the peer hears, and that the log tells it as one story."""

from __future__ import annotations

import pytest
import trio
from fronted import TRANSPORTS, Complaints, Frame, Peer, close, fronted
from protocol_cases import LIMIT, Case, End, cases, chopped, code_of, left

CASES = cases()
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
AGREED = b"\r\nSec-WebSocket-Extensions: permessage-deflate"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", CASES)
async def test_a_case_of_the_protocol(transport: str, name: str) -> None:
    case = CASES[name]
    async with fronted(transport, max_message=LIMIT) as front:
        for number, chop in enumerate(case.chops):
            with Complaints() as complaints:
                peer = await Peer.open(f"{front.url}/CP-{number}", extra=[OFFER] if case.deflates else ())
                assert (AGREED in peer.head) == case.deflates
                told = await converse(peer, case, chop)
                closed = await front.closed(f"CP-{number}")

            assert End(told, closed.side, closed.cause, closed.code) in (case.end or left(1000), case.or_else)
            assert complaints.said == []


async def converse(peer: Peer, case: Case, chop: int) -> int | None:
    """Take a case's turns, see that what comes back is what it says, and return the code of the Close in the end."""
    async with peer.stream:
        for turn in case.turns:
            if isinstance(turn, Frame):
                assert await peer.receive() == turn
                continue
            for piece in chopped(turn, chop):
                if not await peer.send(piece):
                    break
                await trio.lowlevel.checkpoint()
        if case.end is None:
            await peer.send(close(1000))
        last = await peer.receive()

        assert last is not None, "the server hung up without a Close"
        assert await peer.receive() is None
        return code_of(last)
