"""Where to listen, and what is said when that cannot be done."""

from __future__ import annotations

import errno
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from raw_station import RawStation, dial_tcp
from trio.testing import MockClock

from stationkeeper.engine import open_engine
from stationkeeper.engine.errors import WrongSetting
from stationkeeper.engine.log.memory import MemoryLog
from stationkeeper.engine.stations import StationTransport
from stationkeeper.transports import AnyStation, WebSocketStations
from stationkeeper.transports.gate.gate import Gate
from stationkeeper.transports.gate.pressure import Ease
from stationkeeper.transports.sockets.listening import Acceptor, Address, accept_from, parse_address


def stations(listen: str = "127.0.0.1:0", public_url: str | None = None, path: str = "/ocpp") -> WebSocketStations:
    return WebSocketStations(listen, admit=AnyStation(), public_url=public_url, path=path)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("[::1]:9000", Address("::1", 9000)),
        (":9000", Address("", 9000)),
        ("gateway.example:0", Address("gateway.example", 0)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "9000", "localhost", "localhost:", "::1:9000", "h:65536", "h:-1", "h:٣", "h:http"]
)
def test_what_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(WrongSetting, match=r"write HOST:PORT"):
        stations(text)


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_a_wrong_setting(text: str) -> None:
    with suppress(WrongSetting):
        assert 0 <= parse_address(text).port <= 65535


async def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(WrongSetting, match=rf"{taken}: Address already in use; another program listens there"):
            await stations(taken).bind()


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("192.0.2.1:9000", "this machine has no such address"),
        ("no-such-host.invalid:9000", "no such host is known"),
    ],
)
async def test_an_address_that_is_not_ours_is_named_with_the_remedy(listen: str, message: str) -> None:
    with pytest.raises(WrongSetting, match=message):
        await stations(listen).bind()


async def test_a_picked_port_is_in_the_public_url() -> None:
    transport = stations(path="ocpp/v1/")
    url = await transport.bind()
    (address,) = transport.addresses
    transport.stop_accepting()

    assert isinstance(transport, StationTransport)
    assert url == f"ws://{address}/ocpp/v1"
    assert not address.endswith(":0")
    assert transport.addresses == []


async def test_a_public_url_is_told_as_it_was_given() -> None:
    transport = stations(public_url="wss://csms.example/ocpp")
    url = await transport.bind()
    transport.stop_accepting()

    assert url == "wss://csms.example/ocpp"


async def test_nobody_is_accepted_once_that_was_said_and_who_is_in_stays() -> None:
    transport = stations()
    async with open_engine(MemoryLog(), transports=[transport]) as engine, trio.open_nursery() as nursery:
        station = await RawStation.open(f"{engine.urls[0]}/CP-1", nursery)
        transport.stop_accepting()
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(OSError, match="refused"):
            await dial_tcp(engine.urls[0])
        await station.close()
        nursery.cancel_scope.cancel()


class Troubled(socket.socket):
    """A listening socket whose first accepts fail."""

    errors: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            raise OSError(self.errors.pop(0), "trouble")
        return super().accept()


async def test_peers_that_are_gone_before_they_are_accepted_disturb_nobody() -> None:
    with Troubled() as listener:
        listener.errors = [errno.ECONNABORTED, errno.EMFILE, errno.EMFILE, errno.EPERM]
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepted, kept, welcomed = list[str](), list[float](), trio.Event()

        def welcome(sock: socket.socket, remote: str) -> None:
            sock.close()
            accepted.append(remote)
            welcomed.set()

        async with trio.open_nursery() as nursery:
            accept = partial(
                accept_from,
                listener,
                welcome,
                gate=Gate(),
                room=trio.lowlevel.checkpoint,
                kept_waiting=lambda: kept.append(trio.current_time()),
            )
            nursery.start_soon(accept)
            began = trio.current_time()
            await (await dial_tcp(f"ws://127.0.0.1:{listener.getsockname()[1]}")).aclose()
            await welcomed.wait()
            waited = trio.current_time() - began
            nursery.cancel_scope.cancel()

    assert (listener.errors, accepted) == ([], ["127.0.0.1"])
    assert waited > 0.19  # out of files, twice
    assert len(kept) >= 2  # no grace lapses meanwhile


async def test_while_our_loop_is_late_peers_wait_in_the_queue_but_never_for_long(autojump_clock: MockClock) -> None:
    with socket.socket() as listener, ExitStack() as stack:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peers = [stack.enter_context(socket.socket()) for _ in range(3)]
        for peer in peers:
            peer.connect(listener.getsockname())
        ease = Ease(relieved=-1.0)  # it is never well again
        gate, times, kept = Gate(ease=ease), list[float](), list[float]()
        gate.woke(1.0, trio.current_time())

        def welcome(sock: socket.socket, remote: str) -> None:
            sock.close()
            times.append(trio.current_time())

        accept = partial(
            accept_from,
            listener,
            welcome,
            gate=gate,
            room=trio.lowlevel.checkpoint,
            kept_waiting=lambda: kept.append(trio.current_time()),
            at_once=1,
        )
        with trio.move_on_after(5):
            await accept()

    assert times == pytest.approx([1.0, 2.0, 3.0], abs=0.1)
    assert len(kept) > 100


async def test_accepting_now_takes_no_more_than_asked_and_says_when_it_is_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Troubled() as listener, ExitStack() as stack:
        listener.errors = []
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for _ in range(5):
            stack.enter_context(socket.socket()).connect(listener.getsockname())
        acceptor = Acceptor(listener)
        first = acceptor.accept_now(2)
        listener.errors = [errno.EMFILE]
        none, short = acceptor.accept_now(2), acceptor.short
        listener.errors = [errno.ENFILE]
        acceptor.accept_now(2)
        rest = acceptor.accept_now(9)
        for sock, _ in first + rest:
            sock.close()

    assert [len(some) for some in (first, none, rest)] == [2, 0, 3]
    assert {remote for _, remote in first + rest} == {"127.0.0.1"}
    assert (short, acceptor.short) == (True, False)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("ours", [True, False])
async def test_late_by_our_own_work_is_late_and_late_by_that_of_others_is_not(ours: bool) -> None:
    with socket.socket() as listener, ExitStack() as stack:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for _ in range(8):
            stack.enter_context(socket.socket()).connect(listener.getsockname())
        gate, accepted, held = Gate(), list[socket.socket](), trio.Event()

        async def hold_up() -> None:
            if ours:
                until = time.thread_time() + 2 * Ease().late
                while time.thread_time() < until:
                    pass
            else:
                time.sleep(2 * Ease().late)  # noqa: ASYNC251 (the core is taken away from us)

        async with trio.open_nursery() as nursery:

            def welcome(sock: socket.socket, remote: str) -> None:
                accepted.append(sock)
                if len(accepted) == 4:
                    nursery.start_soon(hold_up)
                if len(accepted) == 8:
                    nursery.cancel_scope.cancel()

            await accept_from(
                listener, welcome, gate=gate, room=trio.lowlevel.checkpoint, kept_waiting=held.set, at_once=4
            )
        for sock in accepted:
            sock.close()

    assert held.is_set() == ours
