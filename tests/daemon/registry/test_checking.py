"""Passwords checked: what waits, what does not, and what guessing costs whoever guesses."""

from __future__ import annotations

import hmac
import threading
from hashlib import scrypt
from itertools import count, pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from stationkeeper.daemon.registry import checking as module
from stationkeeper.daemon.registry import credentials
from stationkeeper.daemon.registry.checking import PATIENCE, Checked, Checking
from stationkeeper.daemon.registry.credentials import Credentials, Crowded
from stationkeeper.daemon.registry.guesses import LONGEST
from stationkeeper.engine.log.secrets import MemorySecrets

KEY = bytes(range(20))
HUMAN = b"correct horse battery"
STRETCH = 0.01


@pytest.fixture
async def kept() -> Credentials:
    """A station's machine-made key `key`, and the human-chosen password `c` of another."""
    kept = Credentials(MemorySecrets())
    await kept.keep("key", KEY)
    await kept.keep("c", HUMAN.decode())
    return kept


@pytest.fixture
def stretched(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moments at which a password was stretched, which takes STRETCH, and no thread: virtual time outruns those."""
    moments: list[float] = []

    async def at_once(self: Credentials, pepper: bytes, salt: bytes, password: bytes) -> bytes:
        await trio.sleep(STRETCH)
        moments.append(trio.current_time())
        return hmac.digest(pepper + salt, password, "sha256")

    monkeypatch.setattr(Credentials, "_stretch", at_once)
    return moments


async def check(
    checking: Checking, station: str, ids: list[str], presented: bytes, remote: str = "192.0.2.1"
) -> Checked:
    """Check as the door does."""
    return checking.at_once(station, ids, presented) or await checking.wait(station, ids, presented, remote)


async def guess(checking: Checking, count: int, first: int = 0) -> list[Checked]:
    """Make many guesses at the station of `c` at once, each from an address of its own."""
    answers: list[Checked] = []

    async def one(number: int) -> None:
        remote = f"2001:db8:{number // 65_536:x}:{number % 65_536:x}::1"
        answers.append(await check(checking, "CP-7", ["c"], b"guess number %d" % number, remote))

    async with trio.open_nursery() as nursery:
        for number in range(first, first + count):
            nursery.start_soon(one, number)
    return answers


async def test_a_key_is_let_in_at_once_however_many_guesses_are_under_way(kept: Credentials) -> None:
    checking = Checking(kept)
    wrong = [checking.at_once("CP-7", ["key"], b"guess number %d" % number) for number in range(1000)]

    assert all(answer is not None and answer.credential is None for answer in wrong)
    assert checking.at_once("CP-7", ["key"], KEY) == Checked(credential="key")


async def test_wrong_keys_are_answered_later_and_later_and_then_not_looked_at(kept: Credentials) -> None:
    checking = Checking(kept)
    answers = [checking.at_once("CP-7", ["key"], b"guess number %d" % number) for number in range(20)]
    delays = [answer.delay for answer in answers if answer is not None and answer.too_often is None]

    assert delays == sorted(delays)
    assert 0 < delays[0] < delays[-1] <= PATIENCE
    assert answers[-1] is not None
    assert answers[-1].too_often


async def test_the_same_wrong_key_again_and_again_costs_the_same(kept: Credentials) -> None:
    checking = Checking(kept)
    delays = {answer.delay for _ in range(100) if (answer := checking.at_once("CP-7", ["key"], b"wrong"))}

    assert len(delays) == 1


async def test_guesses_at_one_station_cost_no_other(kept: Credentials) -> None:
    checking = Checking(kept)
    for number in range(100):
        checking.at_once("CP-7", ["key"], b"guess number %d" % number)
    answer = checking.at_once("CP-8", ["key"], b"wrong")

    assert answer is not None
    assert answer.too_often is None


async def test_a_remembered_password_is_let_in_at_once_while_guesses_wait(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    assert (await check(checking, "CP-7", ["c"], HUMAN)).credential == "c"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guess, checking, 100)
        await trio.sleep(1)
        before = trio.current_time()

        assert checking.at_once("CP-7", ["c"], HUMAN) == Checked(credential="c")
        assert trio.current_time() == before


async def test_guesses_are_stretched_ever_more_slowly(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking, number = Checking(kept), 0
    stretched.clear()
    with trio.move_on_after(600):
        while True:
            await guess(checking, 10, number)
            number += 10
            await trio.sleep(0.1)
    gaps = [round(later - earlier, 6) for earlier, later in pairwise(stretched)]

    assert gaps == sorted(gaps)
    assert min(gaps[5:]) >= LONGEST
    assert len(stretched) <= 4 + 600 / LONGEST


async def test_a_right_password_gets_its_turn_among_the_guesses(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    for number in range(20):
        await guess(checking, 1, number)
    begun = trio.current_time()

    assert (await check(checking, "CP-7", ["c"], HUMAN)).credential == "c"
    assert 0 < trio.current_time() - begun <= PATIENCE + STRETCH


@pytest.mark.parametrize("addresses", [["198.51.100.1"], [f"198.51.100.{number}" for number in range(12)]])
@pytest.mark.parametrize("later", [0.0, 0.3, 0.7, 1.1, 1.9, 2.24])
async def test_a_right_password_from_another_address_gets_in_whoever_guesses_without_a_pause(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock, addresses: list[str], later: float
) -> None:
    checking, numbers = Checking(kept), count()

    async def guess_on(remote: str) -> None:
        while True:
            await check(checking, "CP-7", ["c"], b"guess number %d" % next(numbers), remote)
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        for index in range(12):
            nursery.start_soon(guess_on, addresses[index % len(addresses)])
        await trio.sleep(60 + later)  # by then each address has guessed
        begun = trio.current_time()

        assert (await check(checking, "CP-7", ["c"], HUMAN, "192.0.2.1")).credential == "c"
        assert trio.current_time() - begun <= PATIENCE
        nursery.cancel_scope.cancel()


async def test_one_address_has_one_place_in_the_line_of_a_station(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    answers: list[Checked] = []

    async def one(number: int) -> None:
        answers.append(await check(checking, "CP-7", ["c"], b"guess number %d" % number, f"2001:db8::{number}"))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(one, number)

    assert [answer.too_often is None for answer in answers] == [False, False, True]


async def test_those_beyond_a_few_are_told_to_come_later_and_nobody_waits_longer_than_his_patience(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    begun = trio.current_time()
    answers = await guess(checking, 50)

    assert trio.current_time() - begun <= PATIENCE + STRETCH
    assert sum(answer.too_often is None for answer in answers) <= 1 + module._WAITING_FOR_ONE
    assert all(answer.too_often is None or answer.too_often >= 1 for answer in answers)


async def test_all_but_a_few_guesses_of_a_burst_are_refused_at_once(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking, moments = Checking(kept), list[float]()

    async def one(number: int) -> None:
        await guess(checking, 1, number)
        moments.append(trio.current_time())

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(one, number)

    assert moments.count(begun) >= 50 - 1 - module._WAITING_FOR_ONE


async def test_a_guesser_who_hangs_up_is_counted_all_the_same(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    stretched.clear()
    for number in range(20):
        # He goes while the first of the two readings of it is under way.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guess, checking, 1, number)
            await trio.sleep(checking._guesses.wait("CP-7", trio.current_time()) + STRETCH / 2)
            nursery.cancel_scope.cancel()

    assert len(stretched) == 20
    assert stretched[-1] - stretched[0] > 10 * LONGEST


async def test_a_guesser_who_knocks_late_in_his_time_has_an_answer_before_it_is_over(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    for number in range(10):
        await guess(checking, 1, number)
    with trio.move_on_after(1) as scope:
        answer = await check(checking, "CP-7", ["c"], b"one more")

    assert not scope.cancelled_caught
    assert answer.too_often


async def test_a_guesser_gets_no_503_where_all_is_crowded(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking = Checking(kept)
    await guess(checking, 1)
    monkeypatch.setattr(credentials, "_WAITING", 0)

    assert (await check(checking, "CP-7", ["c"], b"another guess")).too_often
    with pytest.raises(Crowded):
        await check(checking, "CP-8", ["c"], b"a first one")


async def test_guesses_at_one_station_leave_the_threads_to_the_others(
    kept: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    stretching, go_on = threading.Semaphore(0), threading.Event()
    checking = Checking(kept)
    await kept.keep("other", HUMAN.decode())

    def slowly(digest: bytes, **terms: Any) -> bytes:
        stretching.release()
        go_on.wait()
        return scrypt(digest, **terms)

    monkeypatch.setattr(credentials, "scrypt", slowly)
    answers: list[Checked] = []

    async def ask() -> None:
        answers.append(await check(checking, "CP-8", ["other"], HUMAN))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guess, checking, 4)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        at_once = sum(stretching.acquire(timeout=5) for _ in range(2))
        more = stretching.acquire(blocking=False)
        go_on.set()

    assert (at_once, more) == (2, False)
    assert answers == [Checked(credential="other")]


@pytest.mark.parametrize("fleet", [1, 3])
async def test_a_storm_of_right_passwords_costs_one_stretch_each(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock, fleet: int
) -> None:
    """10 000 reconnects; each password is stretched once for the life of the process."""
    checking = Checking(kept)
    for number in range(fleet):
        await kept.keep(f"c{number}", HUMAN.decode())
    stretched.clear()
    for _ in range(10_000 // fleet):
        for number in range(fleet):
            assert (await check(checking, f"CP-{number}", [f"c{number}"], HUMAN)).credential == f"c{number}"

    assert len(stretched) == fleet


async def test_those_of_one_station_that_come_together_are_stretched_once(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    stretched.clear()
    answers: list[Checked] = []

    async def ask(remote: str) -> None:
        answers.append(await check(checking, "CP-7", ["c"], HUMAN, remote))

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(ask, f"192.0.2.{number}")

    assert answers == [Checked(credential="c")] * 4
    assert len(stretched) == 1


async def test_nothing_is_left_of_those_who_waited(
    stretched: list[float], kept: Credentials, autojump_clock: MockClock
) -> None:
    checking = Checking(kept)
    await guess(checking, 50)
    with trio.move_on_after(1):
        (refused,) = await guess(checking, 1, 50)

    assert refused.too_often
    assert not checking._lines
