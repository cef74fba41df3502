"""Secrets beside a log, in a file of their own: `<log>.secrets`.

Station credentials and signing secrets stand here under random ids; the log holds the ids alone, so that it can be
kept for ever and handed to auditors. They are sealed under a key that stands elsewhere (`sealing`, `secrets_key`), and
what is forgotten is overwritten. The file names the log that it belongs to: a log beside another's secrets, or beside
none, is a copy. Layout 1, of earlier releases, held them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from ..errors import LogDamaged, LogMissing, LogUnavailable, WrongSetting
from .driver import SqliteConnection, SqliteError, explain
from .sealing import Seal, SecretsKey
from .secrets_file import (
    LAYOUT,
    Head,
    Opener,
    drop,
    fill,
    head_of,
    hold,
    make_private,
    open_file,
    put,
    read_head,
    stored_under,
    sweep,
    write_anew,
)
from .secrets_key import KeyFile, KeySource, default_key_file, find_key, make_key


class Secrets(Protocol):
    """Secrets by id. Every change is durable when the call returns."""

    @property
    def held(self) -> bool:
        """Whether they came out of a backup, and nobody has adopted the log since: nothing is to be sent with them."""
        ...

    def keep(self, id: str, secret: bytes) -> None:
        """Keep a secret under an id, in place of an older one."""
        ...

    def get(self, id: str) -> bytes | None:
        """Return a secret; none if there is none of that id."""
        ...

    def forget(self, id: str) -> None:
        """Forget a secret for good: its bytes are overwritten. Twice is harmless."""
        ...

    def ids(self) -> frozenset[str]:
        """Return the ids of all secrets."""
        ...

    def close(self) -> None:
        """Close. Twice is harmless."""
        ...


class MemorySecrets:
    """Secrets that are gone with the process, for tests, examples and logs in memory."""

    def __init__(self) -> None:
        self.held = False
        self._secrets: dict[str, bytes] = {}

    def keep(self, id: str, secret: bytes) -> None:
        self._secrets[id] = secret

    def get(self, id: str) -> bytes | None:
        return self._secrets.get(id)

    def forget(self, id: str) -> None:
        self._secrets.pop(id, None)

    def ids(self) -> frozenset[str]:
        return frozenset(self._secrets)

    def close(self) -> None:
        self._secrets.clear()


class SecretsFile:
    """Secrets in a SQLite file that nobody but its owner may read. `open_secrets` opens one. Any thread may use it.

    They are read from memory, where those who sign and compare need them anyway: `get` and `ids` wait for no disk, nor
    for a change that another thread is writing. All of them are opened at the start, 0.1 s for 100 000, so that one
    that is damaged shows then and not when a station waits.
    """

    def __init__(self, path: Path, connection: SqliteConnection, seal: Seal) -> None:
        """Made by `open_secrets`."""
        self.path = path
        self.key = seal.key
        """Under which they are sealed."""
        self._seal = seal
        self._turn = Lock()
        self._connection: SqliteConnection | None = connection
        self._secrets: dict[str, bytes] = {}
        for id, stored in self._run("SELECT id, secret FROM secret"):
            try:
                self._secrets[id] = seal.open(id, stored)
            except LogDamaged as error:
                raise LogDamaged(
                    f"{path}: {error}; bring the file back from a backup made with secrets, or do without this one "
                    f"(stationkeeper keys forget {path.name.removesuffix('.secrets')} {id})"
                ) from error
        self.held = bool(self._run("SELECT 1 FROM meta WHERE key = 'held'"))
        """Whether they came out of a backup, and nobody has adopted the log since."""

    def keep(self, id: str, secret: bytes) -> None:
        self.keep_all({id: secret})

    def keep_all(self, secrets: Mapping[str, bytes]) -> None:
        """Keep many secrets at one go, all of them or none; durable on return."""
        rows = [(id, self._seal.close(id, secret)) for id, secret in secrets.items()]
        with self._turn:
            put(self._check_open(), self.path, rows)
            self._secrets.update(secrets)

    def get(self, id: str) -> bytes | None:
        self._check_open()
        return self._secrets.get(id)

    def forget(self, id: str) -> None:
        with self._turn:
            self._run("DELETE FROM secret WHERE id = ?", id)
            self._secrets.pop(id, None)

    def ids(self) -> frozenset[str]:
        self._check_open()
        # One step of the interpreter, so that no thread changes the dictionary half way.
        return frozenset(self._secrets.copy())

    def pragma(self, name: str) -> str | int:
        """Return how SQLite is set for this file."""
        with self._turn:
            found: str | int = self._run(f"PRAGMA {name}")[0][0]
        return found

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                connection.close()
                self._secrets = {}

    def _check_open(self) -> SqliteConnection:
        if self._connection is None:
            raise LogUnavailable(f"{self.path} is closed")
        return self._connection

    def _run(self, query: str, *values: str | bytes) -> Sequence[tuple[Any, ...]]:
        connection = self._check_open()
        try:
            return connection.execute(query, values).fetchall()
        except SqliteError as error:
            raise explain(error, self.path) from error


def secrets_path(log: Path) -> Path:
    """Return where a log's secrets stand."""
    return log.with_name(log.name + ".secrets")


def open_secrets(log: Path, log_id: str, *, create: bool, key: KeySource | None = None) -> SecretsFile | None:
    """Open the secrets of a log; whoever calls this holds the log's lock.

    With *create* a missing file is made, one that belonged to another log is taken over, and one that was held speaks
    again: for a new log, or for a copy that is to speak from now on. Without it, None tells that the log is a copy: it
    must send nothing. Without *key* the key stands in `<log>.key`, and is made before the first secret is; secrets that
    an earlier release left unsealed are sealed.

    Raises:
        SecretsSealed: they are sealed under a key that is not there.
        SecretsExposed: others than the owner may read the file, or that of the key.
        LogForeign: it is something else; it is left as it is.
        LogNewer: a newer release wrote it.
        LogDamaged: a secret is not what was kept; the message names it.
        LogUnavailable: it cannot be read or written.
        WrongSetting: the key is none.
    """
    path, source = secrets_path(log), key or default_key_file(log)
    if not path.exists():
        if not create:
            return None
        # Before the file, so that there is none whose key was lost with the power.
        _key_for(Head(), source, log)
        make_private(path)
    head = head_of(path)
    if head.log != log_id and not create:
        return None
    seal = Seal(_key_for(head, source, log), log_id)
    sweep(path)
    if isinstance(source, KeyFile):
        source.tidy(seal.key)
    if head.layout in range(1, LAYOUT) or (head.layout and head.log != log_id):
        write_anew(path, _opener(head, seal.key), seal)
    if head.held and create:
        hold(path, held=False)
    connection = open_file(path)
    try:
        read_head(connection, path)
        if not head.layout:
            fill(connection, path, log_id, seal.key.id)
        return SecretsFile(path, connection, seal)
    except BaseException:
        connection.close()
        raise


def belong(log: Path, log_id: str) -> bool:
    """Return whether secrets stand beside a log that are this log's.

    Raises:
        LogError: what stands there cannot be read.
    """
    path = secrets_path(log)
    return path.exists() and head_of(path).log == log_id


def rotate_key(log: Path, log_id: str, source: KeySource, new: KeyFile | None = None) -> SecretsKey:
    """Seal the secrets of a log under a new key, and return it. Whoever calls this holds the log's lock.

    The key in a file is replaced by one that is drawn; with *new* the key in that file, drawn if there is none, is the
    one from now on, and the old key file is removed. At every moment the secrets and their key are on the disk.

    Raises:
        LogMissing: there are no secrets.
        WrongSetting: the old key stands in no file, and *new* is missing.
        LogError: as `open_secrets`; or a file cannot be written.
    """
    if new is not None and isinstance(source, KeyFile) and new.path.resolve() == source.path.resolve():
        new = None
    if new is None and not isinstance(source, KeyFile):
        raise WrongSetting(
            f"{source.source} cannot be replaced from here: name a file for the new key (--new-key-file), and then let "
            "its content take that place"
        )
    opened = open_secrets(log, log_id, create=False, key=source)
    if opened is None:
        raise LogMissing(f"{log} has no secrets of its own beside it, so it is a copy, and there is nothing to seal")
    opened.close()
    if new is not None:
        key = new.make(like=log)
        new.sync()
        reseal(opened.path, log_id, opened.key, key)
        if isinstance(source, KeyFile):
            source.forget()
        return key
    assert isinstance(source, KeyFile)
    key = source.draw_new()
    reseal(opened.path, log_id, opened.key, key)
    source.put_new_in_place()
    return key


def reseal(path: Path, log_id: str, old: SecretsKey, new: SecretsKey) -> None:
    """Seal the secrets in a file under another key, which is durable already.

    Raises:
        LogError: one of them does not open, or the file cannot be written; nothing was changed.
    """
    write_anew(path, Seal(old, log_id).open, Seal(new, log_id))


def forget_damaged(log: Path, log_id: str, id: str, source: KeySource) -> bool:
    """Remove a secret that does not open; return whether there was such a one. One that opens stays.

    Raises:
        LogError: as `open_secrets`.
    """
    path = secrets_path(log)
    head = head_of(path)
    seal = Seal(find_key(source, head.key, path), log_id)
    stored = stored_under(path, id)
    if stored is None:
        return False
    try:
        seal.open(id, stored)
    except LogDamaged:
        drop(path, id)
        return True
    return False


def _key_for(head: Head, source: KeySource, log: Path) -> SecretsKey:
    """Return the key that opens a secrets file; or that is to open it, where nothing in it is sealed yet."""
    if head.key:
        return find_key(source, head.key, secrets_path(log))
    return make_key(source, like=log)


def _opener(head: Head, key: SecretsKey) -> Opener:
    return Seal(key, head.log).open if head.key else lambda _, stored: stored
