"""The command `keys`, and where every command looks for the key of a log's secrets."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import pytest
from calling import Call, on_log
from copybook import files
from served import PATIENCE, plain_environment, serving
from websockets.exceptions import InvalidStatus

from stationkeeper.daemon.secrets_key import CREDENTIAL, VARIABLE, find_key_source
from stationkeeper.engine.errors import WrongSetting
from stationkeeper.engine.log.sealing import SecretsKey
from stationkeeper.engine.log.secrets_key import KeyFile

KEY = SecretsKey(bytes(range(32)))
OTHER = SecretsKey(bytes(32))


@pytest.fixture(autouse=True)
def _no_key_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "CREDENTIALS_DIRECTORY", "STATIONKEEPER_LOG_SECRETS_KEY_FILE", "STATIONKEEPER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def add_station(call: Call) -> None:
    assert on_log(call, "station", "add", "CP-7", "--generate").code == 0


def shown(call: Call) -> dict[str, object]:
    found: dict[str, object] = json.loads(call("keys", "show", "x.db", "--format", "json").out)
    return found


# --- where it comes from ---------------------------------------------------------------------------------------------


def test_the_key_is_looked_for_in_order_and_leaves_the_environment(tmp_path: Path) -> None:
    (tmp_path / CREDENTIAL).write_text(OTHER.text() + "\n")
    environ = {VARIABLE: KEY.text(), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    file = tmp_path / "file.key"

    first = find_key_source(file, environ)
    second = find_key_source(file, environ)
    (tmp_path / CREDENTIAL).unlink()
    third = find_key_source(file, environ)

    assert isinstance(first, SecretsKey)
    assert isinstance(second, SecretsKey)
    assert isinstance(third, KeyFile)
    assert (first.id, second.id, third.path) == (KEY.id, OTHER.id, file)
    assert VARIABLE not in environ
    assert find_key_source(None, environ) is None


def test_what_is_no_key_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / CREDENTIAL).write_bytes(b"\xff\xfe")

    for environ in ({VARIABLE: "aGVsbG8="}, {VARIABLE: ""}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
        with pytest.raises(WrongSetting, match="a secrets key is 32 random bytes"):
            find_key_source(None, environ)


@pytest.mark.parametrize("way", ["variable", "credential", "setting"])
def test_secrets_are_sealed_under_the_key_that_is_given_and_no_file_is_made(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / CREDENTIAL).touch(0o600)
    (given / CREDENTIAL).write_text(KEY.text())

    def give() -> None:
        if way == "variable":
            monkeypatch.setenv(VARIABLE, KEY.text())
        elif way == "credential":
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
        else:
            monkeypatch.setenv("STATIONKEEPER_LOG_SECRETS_KEY_FILE", str(given / CREDENTIAL))

    give()
    add_station(call)
    give()
    found = shown(call)

    assert VARIABLE not in os.environ
    assert (found["sealed_under"], found["key"], found["problem"]) == (KEY.id, KEY.id, None)
    assert not (tmp_path / "x.db.key").exists()
    for words in (("station", "list", "--log", "x.db"), ("keys", "show", "x.db")):
        give()
        assert call(*words).code == 0


def test_without_the_key_every_command_that_needs_it_says_so_and_changes_nothing(call: Call, tmp_path: Path) -> None:
    add_station(call)
    (tmp_path / "x.db.key").rename(tmp_path / "away")
    before = files(tmp_path)

    for words in (
        ("serve", "--log", "x.db", "--http", "127.0.0.1:0", "--stations", "127.0.0.1:0"),
        ("serve", "--log", "x.db", "--http", "127.0.0.1:0", "--stations", "127.0.0.1:0", "--adopt"),
        ("station", "list", "--log", "x.db"),
        ("redact", "x.db", "CP-7"),
        ("restore", "x.db", "x.db"),
        ("keys", "rotate-secrets", "x.db"),
        ("keys", "rotate-secrets", "x.db", "--new-key-file", "new.key"),
        ("keys", "forget", "x.db", "pepper"),
    ):
        refused = call(*words)
        assert (refused.code, "there is no x.db.key; bring that key back" in refused.err) == (3, True), (words, refused)
    assert files(tmp_path) == before
    assert call("keys", "show", "x.db").code == 1
    for looking in (("verify", "x.db"), ("replay", "x.db"), ("backup", "x.db", "b.db", "--with-secrets")):
        assert call(*looking).code == 0


def test_another_key_is_not_called_none(call: Call, tmp_path: Path) -> None:
    add_station(call)
    (tmp_path / "x.db.key").write_text(OTHER.text() + "\n")
    other = call("keys", "show", "x.db")
    found = shown(call)
    (tmp_path / "x.db.key").unlink()
    none = call("keys", "show", "x.db")

    assert f"ANOTHER ONE, {OTHER.id}, which opens nothing here" in other.out
    assert "NOT THERE" not in other.out
    assert (found["key"], found["other_key"]) == (None, OTHER.id)
    assert "NOT THERE" in none.out


def test_a_key_file_that_others_may_read_is_refused(call: Call, tmp_path: Path) -> None:
    add_station(call)
    (tmp_path / "x.db.key").chmod(0o640)

    refused = on_log(call, "station", "list")

    assert refused.code == 3
    assert "x.db.key holds the key of the secrets, but others may read or write it (mode 0640)" in refused.err
    assert (tmp_path / "x.db.secrets").stat().st_mode & 0o777 == 0o600


# --- changing it -----------------------------------------------------------------------------------------------------


def test_the_key_is_changed_and_stations_do_not_notice(tmp_path: Path, call: Call) -> None:
    password = "canary-password-0123456789"
    assert on_log(call, "station", "add", "CP-7", "--password-stdin", stdin=password.encode()).code == 0
    before = (tmp_path / "x.db.key").read_bytes()

    done = call("keys", "rotate-secrets", "x.db")

    assert done.code == 0
    assert f"sealed under the key {shown(call)['key']}, in" in done.out
    assert "Backups made before need the key from before" in done.err
    assert not any(before.strip() in content for content in files(tmp_path).values())
    with serving(tmp_path) as served:
        served.ready()
        refused = call("keys", "rotate-secrets", "x.db")
        assert (refused.code, "is being written by process" in refused.err) == (3, True)
        with served.dial("CP-7", password.encode()):
            served.stop()


def test_the_key_moves_to_another_place(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_station(call)

    done = call("keys", "rotate-secrets", "x.db", "--new-key-file", "elsewhere.key")

    assert (done.code, (tmp_path / "x.db.key").exists()) == (0, False)
    assert "name that file in [log] secrets_key_file" in done.err
    assert on_log(call, "station", "list").code == 3
    (tmp_path / "stationkeeper.toml").write_text('[log]\nsecrets_key_file = "elsewhere.key"\n')
    assert on_log(call, "station", "list").code == 0
    monkeypatch.setenv(VARIABLE, (tmp_path / "elsewhere.key").read_text())
    assert on_log(call, "station", "list").code == 0


def test_an_old_key_that_a_crash_left_is_named(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_station(call)
    assert shown(call)["left_over"] is None
    old = (tmp_path / "x.db.key").read_text()
    assert call("keys", "rotate-secrets", "x.db", "--new-key-file", "elsewhere.key").code == 0
    monkeypatch.setenv("STATIONKEEPER_LOG_SECRETS_KEY_FILE", "elsewhere.key")
    assert shown(call)["left_over"] is None

    # As it is when the process dies between the sealing and the end.
    (tmp_path / "x.db.key").touch(0o600)
    (tmp_path / "x.db.key").write_text(old)

    assert shown(call)["left_over"] == "x.db.key"
    told = call("keys", "show", "x.db")
    assert (told.code, "x.db.key opens nothing here" in told.out) == (0, True)
    for spoil in (lambda: (tmp_path / "x.db.key").chmod(0o644), lambda: (tmp_path / "x.db.key").write_text("no key")):
        spoil()
        assert shown(call)["left_over"] == "x.db.key", "it may be one, all the same"
    (tmp_path / "x.db.key").write_text((tmp_path / "elsewhere.key").read_text())
    (tmp_path / "x.db.key").chmod(0o600)
    assert shown(call)["left_over"] is None, "the same key, kept twice"


def test_a_damaged_secret_can_be_done_without(call: Call, tmp_path: Path) -> None:
    add_station(call)
    with closing(sqlite3.connect(tmp_path / "x.db.secrets")) as file:
        ((id,),) = file.execute("SELECT id FROM secret WHERE id LIKE 'cred%'").fetchall()
        file.execute("UPDATE secret SET secret = zeroblob(60) WHERE id = ?", (id,))
        file.commit()

    refused = on_log(call, "station", "list")
    whole = call("keys", "forget", "x.db", "pepper")
    gone = call("keys", "forget", "x.db", id)

    assert refused.code == 3
    assert f"the secret '{id}' is damaged" in refused.err
    assert f"(stationkeeper keys forget x.db {id})" in refused.err
    assert (whole.code, "is no damaged secret" in whole.out) == (1, True)
    assert (gone.code, gone.out) == (0, f"{id} is gone\n")
    assert on_log(call, "station", "update", "CP-7", "--generate").code == 0


def test_backups_say_that_the_key_is_kept_apart(call: Call, tmp_path: Path) -> None:
    add_station(call)

    done = call("backup", "x.db", "b.db", "--with-secrets")

    assert f"b.db.secrets is sealed under the key {shown(call)['key']}, which was NOT copied" in done.err
    assert not (tmp_path / "b.db.key").exists()
    assert call("backup", "x.db", "c.db").err == ""


# --- truth 21 --------------------------------------------------------------------------------------------------------


def test_planted_secrets_are_nowhere_while_the_daemon_runs_and_after(tmp_path: Path) -> None:
    """The key comes by the environment, so that no file holds it; then nothing in the folder tells any secret."""
    password, header, token = (f"canary-{what}-0123456789" for what in ("password", "header", "token"))
    (tmp_path / "tokens").write_text(f"admin {token}\n")

    def command(*words: str, stdin: str = "", url: str) -> str:
        environ = {**plain_environment(), "STATIONKEEPER_URL": url, "STATIONKEEPER_TOKEN": token}
        done = subprocess.run(
            [sys.executable, "-m", "stationkeeper", *words],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            env=environ,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    (tmp_path / "auth").write_text(header)
    with serving(tmp_path, "--hold", environ={VARIABLE: KEY.text()}) as served:
        url = served.ready()["http"]
        command("station", "add", "CP-7", "--password-stdin", stdin=password, url=url)
        made = command(
            "webhook", "add", "https://8.8.8.8/", "--header-file", "X-Canary=auth", "--format", "json", url=url
        )
        secret = json.loads(made)["secret"].removeprefix("whsec_")
        (tmp_path / "auth").unlink()
        with served.dial("CP-7", password.encode()), pytest.raises(InvalidStatus):
            served.dial("CP-7", b"wrong-" + password.encode())
        shown = command("webhook", "list", "--format", "json", url=url)
        cmdline = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
        at_work = files(tmp_path)
        served.stop()
    seen = {**{f"at work: {name}": content for name, content in at_work.items()}, **files(tmp_path)}
    seen = {name: content for name, content in seen.items() if not name.endswith("tokens")}
    seen |= {"cmdline": cmdline, "said": json.dumps(served.said).encode(), "shown": shown.encode()}

    assert {"x.db", "x.db.secrets"} <= seen.keys()
    assert "x.db.key" not in seen
    for canary in (password, header, token, secret, KEY.text()):
        for form in (canary.encode(), b64encode(canary.encode()).rstrip(b"="), canary.encode().hex().encode()):
            assert [name for name, content in seen.items() if form in content] == []
