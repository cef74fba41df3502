"""Passwords: what is kept of them, what matches, and what a reconnect costs."""

from __future__ import annotations

import threading
from hashlib import scrypt
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from stationkeeper.daemon.registry import credentials as module
from stationkeeper.daemon.registry.credentials import Credentials, Crowded, draw_key, key_in_hex
from stationkeeper.engine.log.secrets import MemorySecrets

KEY = bytes.fromhex("0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF")
"""The key of OCPP-J 1.6, 6.2."""
HUMAN = "correct horse battery"


async def kept(password: str | bytes) -> Credentials:
    credentials = Credentials(MemorySecrets())
    await credentials.keep("c", password)
    return credentials


@pytest.mark.parametrize("password", [KEY, KEY.hex(), KEY.hex().upper()])
@pytest.mark.parametrize("presented", [KEY, KEY.hex().encode(), KEY.hex().upper().encode()])
async def test_a_key_matches_as_bytes_and_as_hex_digits(password: str | bytes, presented: bytes) -> None:
    credentials = await kept(password)

    assert await credentials.matches("c", presented)


@pytest.mark.parametrize("presented", [HUMAN.encode(), HUMAN.encode().hex().encode()])
async def test_a_text_matches_as_text_and_as_the_hex_of_its_bytes(presented: bytes) -> None:
    credentials = await kept(HUMAN)

    assert await credentials.matches("c", presented)


@pytest.mark.parametrize("presented", [b"", KEY[:-1], KEY + b"\0", KEY.hex().encode()[:-1], b"\xff" * 20, b"x" * 4000])
async def test_anything_else_does_not_match_a_key(presented: bytes) -> None:
    credentials = await kept(KEY)

    assert not await credentials.matches("c", presented)


@pytest.mark.parametrize("presented", [b"", b"x", HUMAN.encode() + b"\0", HUMAN.encode()[:-1], HUMAN.upper().encode()])
async def test_anything_else_does_not_match_a_text(presented: bytes) -> None:
    credentials = await kept(HUMAN)

    assert not await credentials.matches("c", presented)


async def test_what_is_kept_for_one_id_is_worth_nothing_under_another() -> None:
    secrets = MemorySecrets()
    await Credentials(secrets).keep("c", KEY)
    digest = secrets.get("c")
    assert digest is not None
    secrets.keep("d", digest)

    assert not await Credentials(secrets).matches("d", KEY)
    assert not await Credentials(secrets).matches("unknown", KEY)


@pytest.mark.parametrize("password", [KEY, HUMAN])
async def test_the_password_itself_is_kept_nowhere(password: str | bytes) -> None:
    secrets = MemorySecrets()
    await Credentials(secrets).keep("c", password)
    plain = password if isinstance(password, bytes) else password.encode()
    stored = b"".join(secrets.get(id) or b"" for id in secrets.ids())

    assert plain not in stored
    assert plain.hex().encode() not in stored


async def test_only_the_first_look_at_a_human_password_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = await kept(HUMAN)
    assert await credentials.matches("c", HUMAN.encode())

    def too_dear(*args: object, **kwargs: object) -> bytes:
        raise AssertionError("stretched again")

    monkeypatch.setattr(module, "scrypt", too_dear)

    assert await credentials.matches("c", HUMAN.encode())


async def test_a_wrong_password_does_not_push_out_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = await kept(HUMAN)
    assert await credentials.matches("c", HUMAN.encode())
    assert not await credentials.matches("c", b"a wrong password")
    monkeypatch.delattr(module, "scrypt")

    assert await credentials.matches("c", HUMAN.encode())


async def test_a_restart_forgets_what_was_remembered_and_still_knows_the_password() -> None:
    secrets = MemorySecrets()
    await Credentials(secrets).keep("c", HUMAN)

    again = Credentials(secrets)

    assert await again.matches("c", HUMAN.encode())
    assert not await again.matches("c", HUMAN.encode() + b"!")


async def test_a_forgotten_credential_matches_nothing() -> None:
    credentials = await kept(KEY)
    assert await credentials.matches("c", KEY)

    await credentials.forget(["c"])

    assert not await credentials.matches("c", KEY)


async def test_many_strangers_at_once_hold_up_nobody_whose_password_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 3)
    credentials = await kept(HUMAN)
    await credentials.keep("key", KEY)
    assert await credentials.matches("c", HUMAN.encode())
    for number in range(5):
        await credentials.keep(f"c{number}", HUMAN)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(credentials.matches, f"c{number}", b"a guess")
        await trio.testing.wait_all_tasks_blocked()

        with pytest.raises(Crowded):
            await credentials.matches("c", b"one guess more")
        assert await credentials.matches("c", HUMAN.encode())
        assert await credentials.matches("key", KEY)


async def test_guesses_at_one_station_leave_the_threads_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stretching, go_on = threading.Semaphore(0), threading.Event()
    credentials = await kept(HUMAN)
    await credentials.keep("other", HUMAN)
    refused = 0

    def slowly(digest: bytes, **terms: Any) -> bytes:
        stretching.release()
        go_on.wait()
        return scrypt(digest, **terms)

    async def guess(number: int) -> None:
        nonlocal refused
        try:
            await credentials.matches("c", b"guess number %d" % number)
        except Crowded:
            refused += 1

    monkeypatch.setattr(module, "scrypt", slowly)
    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(guess, number)
        nursery.start_soon(credentials.matches, "other", HUMAN.encode())
        await trio.testing.wait_all_tasks_blocked()
        at_once = sum(stretching.acquire(timeout=5) for _ in range(2))
        more = stretching.acquire(blocking=False)
        soon_refused = refused
        go_on.set()

    assert (at_once, more) == (2, False)
    assert soon_refused == 300 - 1 - module._WAITING_FOR_ONE
    assert await credentials.matches("other", HUMAN.encode())


async def test_the_same_password_presented_by_many_is_stretched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, times = await kept(HUMAN), 0

    def counted(digest: bytes, **terms: Any) -> bytes:
        nonlocal times
        times += 1
        return scrypt(digest, **terms)

    monkeypatch.setattr(module, "scrypt", counted)
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await credentials.matches("c", HUMAN.encode()))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)

    assert (answers, times) == ([True] * 4, 1)


@given(st.binary(min_size=16, max_size=64))
def test_a_key_survives_its_hex_digits(key: bytes) -> None:
    assert key_in_hex(key.hex()) == key


@pytest.mark.parametrize("text", ["", "00" * 15, "0" * 33, "zz" * 20, "00 " * 20, "ÿ" * 40])
def test_what_is_no_key_in_hex_is_text(text: str) -> None:
    assert key_in_hex(text) is None


def test_a_drawn_key_is_a_legal_password_of_every_version() -> None:
    key = draw_key()

    assert len(key) == 20
    assert 16 <= len(key.hex()) <= 40
    assert key != draw_key()
