"""Secrets at rest are sealed: what stands in the file tells nothing, and what was changed there is an error."""

from __future__ import annotations

import json
import os
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from faulting import folder_in_memory
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeeper.engine.errors import LogDamaged, SecretsSealed, WrongSetting
from stationkeeper.engine.log import secrets_file
from stationkeeper.engine.log.sealing import Seal, SecretsKey
from stationkeeper.engine.log.secrets import SecretsFile, forget_damaged, open_secrets, rotate_key, secrets_path
from stationkeeper.engine.log.secrets_file import head_of, hold, stored_under
from stationkeeper.engine.log.secrets_key import KeyFile, KeySource, default_key_file

CANARY = b"canary-7Hq2vX9sLw4pZ8tR"
KEY = SecretsKey(bytes(range(32)))
OTHER = SecretsKey(bytes(32))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


def opened(log: Path, log_id: str = "log-1", *, key: KeySource = KEY, create: bool = False) -> SecretsFile:
    secrets = open_secrets(log, log_id, create=create, key=key)
    assert secrets is not None
    return secrets


def made(log: Path, **secrets: bytes) -> None:
    with closing(opened(log, create=True)) as kept:
        kept.keep_all(secrets)


def made_unsealed(log: Path, log_id: str = "log-1", *, held: bool = False, **secrets: bytes) -> None:
    """Make a secrets file of layout 1, as earlier releases left it."""
    path = secrets_path(log)
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE secret (id TEXT PRIMARY KEY, secret BLOB NOT NULL) STRICT, WITHOUT ROWID")
        file.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID")
        file.execute(f"PRAGMA application_id = {0x53544B53}")
        file.execute("PRAGMA user_version = 1")
        file.executemany("INSERT INTO meta VALUES (?, ?)", [("log", log_id), *([("held", "")] if held else [])])
        file.executemany("INSERT INTO secret VALUES (?, ?)", secrets.items())
        file.commit()


def change(log: Path, query: str, *values: object) -> None:
    with closing(sqlite3.connect(secrets_path(log))) as file:
        file.execute(query, values)
        file.commit()


def bytes_beneath(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def tells(content: bytes, secret: bytes) -> bool:
    """Return whether a secret stands in some bytes, as it is, in base64 at any offset, or in hex."""
    forms = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    forms += [b64encode(secret[shift:])[:-4] for shift in range(3)]
    return any(form in content for form in forms)


# --- one value -------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100), st.text(max_size=20), st.text(max_size=20))
def test_what_was_sealed_opens_under_its_id_in_its_log(secret: bytes, log_id: str, id: str) -> None:
    stored = Seal(KEY, log_id).close(id, secret)

    assert Seal(KEY, log_id).open(id, stored) == secret
    assert Seal(KEY, log_id).close(id, secret) != stored
    for seal, name in (
        (Seal(OTHER, log_id), id),
        (Seal(KEY, log_id + "x"), id),
        (Seal(KEY, log_id), id + "x"),
        (Seal(KEY, log_id + id), ""),
    ):
        if (seal.key, seal.log_id, name) != (KEY, log_id, id):
            with pytest.raises(LogDamaged):
                seal.open(name, stored)


def test_what_a_released_version_sealed_opens_for_ever() -> None:
    lines = (Path(__file__).parents[2] / "vectors" / "sealed.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        key = SecretsKey.parse(line["key"], "the vector")
        assert key.id == line["key_id"]
        opened = Seal(key, line["log"]).open(line["id"], bytes.fromhex(line["stored"]))
        assert opened.hex() == line["secret"]
    assert lines


@given(st.binary(max_size=60), st.data())
def test_a_stored_value_with_any_change_does_not_open(secret: bytes, data: st.DataObject) -> None:
    seal = Seal(KEY, "log-1")
    stored = bytearray(seal.close("a", secret))
    at = data.draw(st.integers(0, len(stored) - 1))
    cut = bytes(stored[:at])
    stored[at] ^= data.draw(st.integers(1, 255))

    for wrong in (bytes(stored), cut, bytes(stored) + b"x", "text", None, 7):
        with pytest.raises(LogDamaged, match="the secret 'a' is damaged, or was changed or moved"):
            seal.open("a", wrong)


@pytest.mark.parametrize(
    "text", ["", "short", "not base64!", b64encode(bytes(31)).decode(), b64encode(bytes(33)).decode()]
)
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(WrongSetting, match="32 random bytes, written as base64") as refused:
        SecretsKey.parse(text, "the variable X")
    assert not text or text not in str(refused.value)


def test_a_key_does_not_show_itself() -> None:
    assert SecretsKey.parse(KEY.text() + "\n", "x").key == KEY.key
    assert not tells(f"{KEY!r} {KEY} {KEY.id}".encode(), KEY.key)


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        ("UPDATE secret SET secret = substr(secret, 1, 20) WHERE id = 'a'",),
        ("UPDATE secret SET secret = x'' WHERE id = 'a'",),
        ("UPDATE secret SET secret = ? WHERE id = 'a'", CANARY),
        ("UPDATE secret SET secret = (SELECT secret FROM secret WHERE id = 'b') WHERE id = 'a'",),
        ("UPDATE secret SET id = 'c' WHERE id = 'a'",),
        ("UPDATE meta SET value = 'log-2' WHERE key = 'log'",),
    ],
)
def test_what_was_changed_moved_or_cut_in_the_file_is_an_error_that_says_what_to_do(
    log: Path, damage: tuple[object, ...]
) -> None:
    made(log, a=CANARY, b=b"another")
    change(log, *damage)  # type: ignore[arg-type]
    id = "c" if "'c'" in str(damage) else "a"
    log_id = "log-2" if "log-2" in str(damage) else "log-1"

    with pytest.raises(LogDamaged, match=rf"secret '{id}' is damaged.*backup.*keys forget fleet.db {id}\)"):
        opened(log, log_id)
    if log_id == "log-1":
        assert not forget_damaged(log, "log-1", "b", KEY)
        assert forget_damaged(log, "log-1", id, KEY)
        with closing(opened(log)) as secrets:
            assert {id: secrets.get(id) for id in secrets.ids()} == {"b": b"another"}


def test_an_empty_secret_that_opens_is_not_damaged(log: Path) -> None:
    made(log, a=b"")

    assert not forget_damaged(log, "log-1", "a", KEY)
    assert not forget_damaged(log, "log-1", "nobody", KEY)
    with closing(opened(log)) as secrets:
        assert secrets.get("a") == b""


def test_under_another_key_nothing_opens_and_nothing_changes(log: Path) -> None:
    made(log, a=CANARY)
    before = bytes_beneath(log.parent)

    for create in (False, True):
        with pytest.raises(
            SecretsSealed, match=f"sealed under the key {KEY.id}, but the key that was given is the key"
        ):
            open_secrets(log, "log-1", create=create, key=OTHER)
    assert bytes_beneath(log.parent) == before


def test_without_its_key_file_nothing_opens_and_no_new_key_is_made(log: Path) -> None:
    with closing(opened(log, key=default_key_file(log), create=True)) as secrets:
        secrets.keep("a", CANARY)
    key = default_key_file(log).path
    away = key.rename(key.with_name("away"))

    for create in (False, True):
        with pytest.raises(SecretsSealed, match=r"there is no .*fleet\.db\.key; bring that key back"):
            open_secrets(log, "log-1", create=create)
        assert not key.exists()
    away.rename(key)
    with closing(opened(log, key=default_key_file(log))) as secrets:
        assert secrets.get("a") == CANARY


# --- what earlier releases left --------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_secrets_of_an_earlier_release_are_sealed_at_the_first_opening(log: Path, held: bool) -> None:
    made_unsealed(log, held=held, a=CANARY, b=CANARY * 1000)
    assert tells(bytes_beneath(log.parent), CANARY)
    old = secrets_path(log).open("rb")

    with closing(opened(log)) as secrets:
        assert (secrets.get("a"), secrets.get("b"), secrets.held) == (CANARY, CANARY * 1000, held)
    with old:
        assert not old.read().strip(b"\0"), "the old file's bytes are overwritten, though its name is gone"
    assert not tells(bytes_beneath(log.parent), CANARY)
    assert head_of(secrets_path(log)) == secrets_file.Head(2, "log-1", KEY.id, held)
    assert sorted(os.listdir(log.parent)) == ["fleet.db.secrets"]
    assert secrets_path(log).stat().st_mode & 0o777 == 0o600


def test_what_still_has_another_name_is_not_overwritten(log: Path) -> None:
    """Backups by hard link exist; what is in them is their owner's."""
    made_unsealed(log, a=CANARY)
    os.link(secrets_path(log), log.with_name("snapshot"))

    opened(log).close()

    assert tells(log.with_name("snapshot").read_bytes(), CANARY)


def test_another_logs_unsealed_secrets_are_left_as_they_are(log: Path) -> None:
    made_unsealed(log, "log-2", a=CANARY)
    before = bytes_beneath(log.parent)

    assert open_secrets(log, "log-1", create=False) is None
    assert bytes_beneath(log.parent) == before


def test_a_file_that_cannot_be_written_anew_stays_as_it_was(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_unsealed(log, a=CANARY)

    def fail(*_: object) -> None:
        raise OSError("the power is gone")

    with monkeypatch.context() as broken:
        broken.setattr(secrets_file, "publish", fail)
        with pytest.raises(OSError, match="power"):
            opened(log)
    assert head_of(secrets_path(log)).layout == 1
    with closing(opened(log)) as secrets:
        assert secrets.get("a") == CANARY


# --- a model ---------------------------------------------------------------------------------------------------------

Steps = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.sampled_from("abc"), st.binary(max_size=40)),
        st.tuples(st.just("forget"), st.sampled_from("abc")),
        st.sampled_from([("reopen",), ("rotate",), ("elsewhere",), ("adopt",), ("hold",)]),
    ),
    max_size=14,
)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@settings(max_examples=40, deadline=None)
@given(steps=Steps, unsealed=st.booleans())
def test_whatever_is_done_the_file_is_like_a_dictionary(
    memory: Path, steps: list[tuple[Any, ...]], unsealed: bool
) -> None:
    folder = memory / os.urandom(8).hex()
    folder.mkdir()
    log, log_id, source = folder / "fleet.db", "log-0", default_key_file(folder / "fleet.db")
    model: dict[str, bytes] = {}
    if unsealed:
        made_unsealed(log, log_id, a=b"from before")
        model["a"] = b"from before"
    secrets = open_secrets(log, log_id, create=True, key=source)
    for number, step in enumerate(steps, start=1):
        assert secrets is not None
        match step:
            case ("keep", id, secret):
                secrets.keep(id, secret)
                model[id] = secret
            case ("forget", id):
                secrets.forget(id)
                model.pop(id, None)
            case _:
                secrets.close()
                if step == ("rotate",):
                    rotate_key(log, log_id, source)
                elif step == ("elsewhere",):
                    old, source = source, KeyFile(folder / f"{number}.key")
                    rotate_key(log, log_id, old, source)
                    assert not old.path.exists()
                elif step == ("adopt",):
                    log_id = f"log-{number}"
                elif step == ("hold",):
                    hold(secrets_path(log), held=True)
                secrets = open_secrets(log, log_id, create=step == ("adopt",), key=source)
        assert secrets is not None
        assert {id: secrets.get(id) for id in secrets.ids()} == model
        found = bytes_beneath(folder)
        assert not any(tells(found, secret) for secret in model.values() if len(secret) > 8)
        assert len(list(folder.iterdir())) == 2
    assert secrets is not None
    secrets.close()


# --- changing the key ------------------------------------------------------------------------------------------------


def test_after_a_change_of_keys_the_old_key_is_gone_and_opens_nothing(log: Path) -> None:
    source = default_key_file(log)
    with closing(opened(log, key=default_key_file(log), create=True)) as secrets:
        secrets.keep("a", CANARY)
        old = secrets.key
    before = stored_under(secrets_path(log), "a")

    new = rotate_key(log, "log-1", source)

    assert old.text().encode() not in bytes_beneath(log.parent)
    assert (before or b"")[20:] not in bytes_beneath(log.parent)
    assert head_of(secrets_path(log)).key == new.id != old.id
    with pytest.raises(SecretsSealed):
        open_secrets(log, "log-1", create=False, key=old)
    with closing(opened(log, key=default_key_file(log))) as secrets:
        assert secrets.get("a") == CANARY


def test_the_same_file_by_another_name_is_changed_in_place(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(log.parent)
    opened(log, key=default_key_file(log), create=True).close()
    old = default_key_file(log).read()

    new = rotate_key(log, "log-1", default_key_file(log), KeyFile(Path("fleet.db.key")))

    assert old is not None
    assert new.id != old.id
    opened(log, key=default_key_file(log)).close()


def test_a_key_that_was_given_can_only_be_changed_for_one_in_a_file(log: Path, tmp_path: Path) -> None:
    made(log, a=CANARY)

    with pytest.raises(WrongSetting, match="cannot be replaced from here: name a file for the new key"):
        rotate_key(log, "log-1", KEY)
    new = KeyFile(tmp_path / "new.key")
    rotate_key(log, "log-1", KEY, new)
    with closing(opened(log, key=new)) as secrets:
        assert secrets.get("a") == CANARY
