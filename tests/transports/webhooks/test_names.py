"""Names of receivers: looked up once at a time, at nobody else's cost, and whose fault it is if there is no answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
import trio
from name_servers import Zone, again, gone
from trio.testing import MockClock

from stationkeeper.transports.webhooks.connecting.names import KEPT_SECONDS, SLOW, THREADS, THREADS_FOR_SLOW, Names
from stationkeeper.transports.webhooks.connecting.proof import PROOF_SECONDS
from stationkeeper.transports.webhooks.targets import LocalTrouble, Trouble


async def trouble_with(names: Names, host: str, timeout: float = 5.0) -> Trouble:
    with pytest.raises(Trouble) as refusal:
        await names.find(host, 443, timeout)
    return refusal.value


# --- answers ---------------------------------------------------------------------------------------------------------


async def test_addresses_come_with_the_port_and_the_families_in_turns(zone: Zone) -> None:
    zone.names["r.example"] = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"]

    found = await Names().find("r.example", 8443, 5)

    assert [where[0] for _, where in found] == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]
    assert {where[1] for _, where in found} == {8443}
    assert [family == socket.AF_INET6 for family, _ in found] == [True, False, True, False, True]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
async def test_an_address_is_not_looked_up(zone: Zone, host: str) -> None:
    zone.names[host] = gone()

    ((_, where),) = await Names().find(host, 443, 5)

    assert where[:2] == (host, 443)
    assert zone.asked[host] == 0


async def test_a_name_is_asked_for_once_by_all_who_come_within_seconds(zone: Zone, patient_clock: MockClock) -> None:
    zone.names["r.example"] = ["192.0.2.1"]
    names = Names()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(names.find, "r.example", 443, 5)
    await names.find("r.example", 80, 5)
    assert zone.asked["r.example"] == 1

    zone.names["r.example"] = ["192.0.2.2"]
    await trio.sleep(KEPT_SECONDS)
    ((_, where),) = await names.find("r.example", 443, 5)

    assert where[0] == "192.0.2.2"
    assert zone.asked["r.example"] == 2


async def test_what_failed_is_asked_again_at_once(zone: Zone) -> None:
    zone.names["r.example"] = gone()
    names = Names()
    await trouble_with(names, "r.example")
    zone.names["r.example"] = ["192.0.2.1"]

    assert await names.find("r.example", 443, 5)


# --- silence ---------------------------------------------------------------------------------------------------------


async def test_a_name_that_hangs_holds_one_thread_however_often_it_is_asked_for(
    zone: Zone, patient_clock: MockClock
) -> None:
    zone.names["mute.example"] = zone.nobody_answers
    names = Names()
    for _ in range(5):
        await trouble_with(names, "mute.example", 1.0)

    assert zone.asked["mute.example"] == 1


async def test_names_that_were_slow_hold_up_none_that_was_not(zone: Zone, patient_clock: MockClock) -> None:
    mute = [f"mute{number}.example" for number in range(THREADS)]
    first, second = threading.Event(), threading.Event()
    zone.names |= dict.fromkeys(mute, first) | {"well.example": ["192.0.2.1"]}
    names = Names()
    async with trio.open_nursery() as nursery:
        for name in mute:
            nursery.start_soon(trouble_with, names, name, SLOW + 1)
    first.set()  # these were unknown, and all of them at once is the worst that they can do
    await until(lambda: not names.under_way)

    zone.names |= dict.fromkeys(mute, second)
    async with trio.open_nursery() as nursery:
        for name in mute:
            nursery.start_soon(trouble_with, names, name, SLOW + 1)
    assert sum(zone.asked[name] for name in mute) == THREADS + THREADS_FOR_SLOW
    assert await names.find("well.example", 443, 5)
    second.set()


async def test_a_slow_name_has_its_turn_though_nobody_waits_any_more_and_is_well_again(
    zone: Zone, patient_clock: MockClock
) -> None:
    slow = [f"slow{number}.example" for number in range(THREADS_FOR_SLOW + 1)]
    first, second = threading.Event(), threading.Event()
    names, late = Names(), ""
    for release in (first, second):
        zone.names |= dict.fromkeys(slow, release)
        async with trio.open_nursery() as nursery:
            for name in slow:
                nursery.start_soon(trouble_with, names, name, SLOW + 1)
        if release is second:
            (late,) = [name for name in slow if zone.asked[name] == 1]
            zone.names[late] = ["192.0.2.1"]
        release.set()
        await until(lambda: not names.under_way)

    assert zone.asked[late] == 2
    assert late not in names.slow


async def test_threads_are_our_own(zone: Zone, patient_clock: MockClock) -> None:
    """Others, who write files in threads, do not wait for name servers."""
    zone.names |= {f"mute{number}.example": zone.nobody_answers for number in range(THREADS * 2)}
    names = Names()
    async with trio.open_nursery() as nursery:
        for name in zone.names:
            nursery.start_soon(trouble_with, names, name, 1.0)
        await trio.sleep(0.5)
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        assert sum(zone.asked.values()) == THREADS


# --- whose fault -----------------------------------------------------------------------------------------------------


async def test_a_name_that_nobody_knows_is_the_receivers_fault(zone: Zone) -> None:
    zone.names["gone.example"] = gone()

    trouble = await trouble_with(Names(), "gone.example")

    assert str(trouble) == "the name gone.example cannot be resolved: Name or service not known"
    assert not isinstance(trouble, LocalTrouble)


async def test_a_name_without_an_address_is_the_receivers_fault(zone: Zone) -> None:
    zone.names["bare.example"] = []

    assert not isinstance(await trouble_with(Names(), "bare.example"), LocalTrouble)


@pytest.mark.parametrize("silent", [False, True])
async def test_no_answer_is_our_fault_unless_another_name_had_one_lately(
    zone: Zone, patient_clock: MockClock, silent: bool
) -> None:
    zone.names |= {"a.example": ["192.0.2.1"], "b.example": ["192.0.2.2"]}
    zone.names["mute.example"] = zone.nobody_answers if silent else again()
    names = Names()
    assert isinstance(await trouble_with(names, "mute.example"), LocalTrouble)

    await names.find("b.example", 443, 5)
    assert not isinstance(await trouble_with(names, "mute.example"), LocalTrouble)

    await trio.sleep(PROOF_SECONDS)
    assert isinstance(await trouble_with(names, "mute.example"), LocalTrouble)


async def test_that_a_name_had_an_answer_itself_proves_nothing(zone: Zone, patient_clock: MockClock) -> None:
    zone.names |= {"a.example": ["192.0.2.1"], "b.example": ["192.0.2.2"]}
    names = Names()
    await names.find("a.example", 443, 5)
    await trio.sleep(KEPT_SECONDS)
    zone.names["a.example"] = again()
    assert isinstance(await trouble_with(names, "a.example"), LocalTrouble)

    await names.find("b.example", 443, 5)
    assert not isinstance(await trouble_with(names, "a.example"), LocalTrouble)


async def test_the_last_answer_does_not_hide_the_one_before(zone: Zone, patient_clock: MockClock) -> None:
    zone.names |= {"a.example": ["192.0.2.1"], "b.example": ["192.0.2.2"]}
    names = Names()
    for name in ("a.example", "b.example"):
        await names.find(name, 443, 5)
    await trio.sleep(KEPT_SECONDS)
    zone.names["b.example"] = again()

    assert not isinstance(await trouble_with(names, "b.example"), LocalTrouble)


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_SYSTEM, "System error"), OSError(24, "Too many files")])
async def test_a_resolver_that_fails_is_ours(zone: Zone, error: OSError) -> None:
    zone.names["r.example"] = error

    assert isinstance(await trouble_with(Names(), "r.example"), LocalTrouble)


async def test_where_no_thread_can_be_started_that_is_ours(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.names |= {"r.example": ["192.0.2.1"]}
    names = Names()
    with monkeypatch.context() as patched:
        patched.setattr("trio.lowlevel.start_thread_soon", refuse)
        assert isinstance(await trouble_with(names, "r.example"), LocalTrouble)

    assert await names.find("r.example", 443, 5)


async def test_where_no_thread_can_be_started_all_who_wait_are_told(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [f"h{number}.example" for number in range(600)]
    zone.names |= dict.fromkeys(hosts, zone.nobody_answers)
    zone.names["r.example"] = ["192.0.2.1"]
    names = Names()
    async with trio.open_nursery() as nursery:
        for host in hosts:
            nursery.start_soon(trouble_with, names, host)
        await until(lambda: sum(zone.asked.values()) == THREADS)
        with monkeypatch.context() as patched:
            patched.setattr("trio.lowlevel.start_thread_soon", refuse)
            zone.nobody_answers.set()
            await until(lambda: not names.under_way)

    assert await names.find("r.example", 443, 5)


def refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")


async def until(condition: Callable[[], bool]) -> None:
    """Wait, in real time, for threads."""
    while not condition():
        await trio.to_thread.run_sync(threading.Event().wait, 0.005)
