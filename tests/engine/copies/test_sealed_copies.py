"""Copies with secrets: sealed under which key, and what a restore needs of it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from copybook import files, make, writing

from stationkeeper.engine.copies.backup import back_up
from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.errors import SecretsSealed
from stationkeeper.engine.log.sealing import SecretsKey
from stationkeeper.engine.log.secrets import MemorySecrets, open_secrets, rotate_key, secrets_path
from stationkeeper.engine.log.secrets_file import head_of
from stationkeeper.engine.log.secrets_key import default_key_file


def test_a_backup_from_before_a_change_of_keys_is_sealed_anew(log: Path, copy: Path) -> None:
    make(log)
    back_up(log, copy, with_secrets=True)
    shutil.copy(default_key_file(log).path, copy.with_name("old key"))
    with writing(log) as (writer, _, _):
        log_id = writer.log_id
    new = rotate_key(log, log_id, default_key_file(log))
    before = files(log.parent)

    with pytest.raises(
        SecretsSealed, match=rf"copy\.db\.secrets is .*fleet\.db\.key holds the key {new.id}.* copy\.db\.key"
    ):
        restore(copy, log)
    assert files(log.parent) == before
    default_key_file(copy).path.write_bytes(SecretsKey.draw().text().encode())
    default_key_file(copy).path.chmod(0o600)
    with pytest.raises(SecretsSealed, match=r"copy\.db\.key holds the key"):
        restore(copy, log)
    assert files(log.parent) == before
    copy.with_name("old key").replace(default_key_file(copy).path)
    of_copy = secrets_path(copy).read_bytes()
    restore(copy, log)

    assert default_key_file(log).read() is not None
    assert head_of(secrets_path(log)).key == new.id
    assert secrets_path(copy).read_bytes() == of_copy
    with writing(log) as (writer, secrets, ledger):
        assert (ledger.protected, secrets.held) == (writer.position, True)


def test_a_backup_of_an_earlier_release_comes_back_sealed(log: Path, copy: Path) -> None:
    make(log)
    back_up(log, copy, with_secrets=True)
    with writing(log) as (writer, secrets, _):
        log_id = writer.log_id
        kept = {id: secrets.get(id) for id in secrets.ids()}
    with closing(sqlite3.connect(secrets_path(copy))) as file:
        file.execute("PRAGMA user_version = 1")
        file.execute("DELETE FROM meta WHERE key = 'key'")
        file.executemany("UPDATE secret SET secret = ? WHERE id = ?", [(secret, id) for id, secret in kept.items()])
        file.commit()

    restore(copy, log)

    with closing(open_secrets(log, log_id, create=False) or MemorySecrets()) as restored:
        assert {id: restored.get(id) for id in restored.ids()} == kept
    assert b"a signing secret" in secrets_path(copy).read_bytes()
    assert b"a signing secret" not in secrets_path(log).read_bytes()
