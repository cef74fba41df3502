"""The lobby alone: who waits for a place, and who has to make one."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from stationkeeper.transports.gate.lobby import Lobby
from stationkeeper.transports.gate.places import SILENT, STUCK


async def test_all_who_wait_for_room_are_told_of_it(autojump_clock: MockClock) -> None:
    lobby, leaves = Lobby(places=1, timeout=60.0), trio.Event()

    async def visit() -> None:
        lobby.accepted()
        with lobby.handshake(lambda: None):
            await leaves.wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit)
            await wait_all_tasks_blocked()
            for _ in range(2):  # two listeners, as `localhost` has
                nursery.start_soon(lobby.room)
            await wait_all_tasks_blocked()
            leaves.set()


async def test_who_speaks_within_its_second_stays(autojump_clock: MockClock) -> None:
    lobby, said = Lobby(places=1, timeout=10.0), [0]
    lobby.accepted()
    with trio.move_on_after(3), lobby.handshake(lambda: said[0]) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lobby.room)
            await trio.sleep(0.9)
            said[0] = 1
            await trio.sleep_forever()

    assert (patience.cut, trio.current_time()) == (False, 3.0)


async def test_who_gets_no_further_makes_room(autojump_clock: MockClock) -> None:
    lobby, cut = Lobby(places=1, timeout=10.0), list[bool]()
    lobby.accepted()

    async def visit() -> None:
        with lobby.handshake(lambda: 1) as patience:
            await trio.Event().wait()
        cut.append(patience.cut)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(visit)
        await wait_all_tasks_blocked()
        await lobby.room()

    assert (cut, trio.current_time()) == ([True], SILENT + STUCK)
