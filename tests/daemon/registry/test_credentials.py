"""Passwords: what is kept of them, what matches, and what a reconnect costs."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote_from_bytes

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


@pytest.mark.parametrize(
    ("presented", "told"),
    [
        (KEY.hex().encode() + b"\n", "white space"),
        (b'"' + KEY.hex().encode() + b'"', "quotation marks"),
        (KEY.hex().encode().hex().encode(), "hex digits twice"),
        (b64encode(KEY), "Base64"),
        (b64encode(KEY.hex().encode()), "Base64"),
        (b"CP-7:" + KEY.hex().encode(), "user name in front"),
        (quote_from_bytes(KEY).encode(), "percent-encoded"),
        (b"something else", ""),
        (KEY, ""),
    ],
)
async def test_a_password_that_is_nearly_right_is_told_how(presented: bytes, told: str) -> None:
    credentials = await kept(KEY)

    likeness = credentials.likeness(["c"], presented)

    assert told in likeness
    assert bool(likeness) == bool(told)


@given(st.binary(max_size=600))
def test_whatever_is_presented_it_is_judged_and_no_stranger_is_told_to_be_near(presented: bytes) -> None:
    async def judge() -> None:
        credentials = await kept(KEY)
        likeness, right = credentials.likeness(["c"], presented), credentials.known("c", presented)

        assert not likeness
        assert right is False

    trio.run(judge)


async def test_capitals_are_told_of_a_key_that_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = await kept(b"0123456789abcdefghij")

    assert "capitals" in credentials.likeness(["c"], b"0123456789ABCDEFGHIJ")


async def test_a_text_is_compared_with_what_was_right_before_and_never_stretched_for_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = await kept(HUMAN)
    before = credentials.likeness(["c"], HUMAN.encode() + b"\r\n")
    assert await credentials.matches("c", HUMAN.encode())
    monkeypatch.delattr(module, "scrypt")

    assert before == ""
    assert "line break" in credentials.likeness(["c"], HUMAN.encode() + b"\r\n")


async def test_what_has_to_be_stretched_is_not_known_until_it_was() -> None:
    credentials = await kept(HUMAN)
    await credentials.keep("key", KEY)
    before = credentials.known("c", HUMAN.encode()), credentials.known("c", b"wrong")
    await credentials.matches("c", b"wrong")
    wrong = credentials.known("c", b"wrong")
    await credentials.matches("c", HUMAN.encode())

    assert before == (None, None)
    assert wrong is False
    assert (credentials.known("c", HUMAN.encode()), credentials.known("c", b"wrong")) == (True, None)
    assert (credentials.known("key", KEY), credentials.known("key", b"wrong")) == (True, False)
    assert credentials.known("nobody", KEY) is False


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
