"""The tables of a SQLite log, made and changed by migrations.

All migrations that a log needs run in one transaction, with `user_version` in it: a log is of one layout or of the
next, never between. Tables are made by sqlite-utils; none is ever changed by a plain insert.
"""

from __future__ import annotations

import re
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from ..errors import LogDamaged
from ..names import new_id
from .driver import APPLICATION_ID, LAYOUT, SqliteConnection
from .queries import CONCERNS_ALL, SPAN, Fetch

_migrations: Final = Migrations("stationkeeper.log")
_OBJECTS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
_HARMLESS: Final = ("CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX ")
"""How what is neither a trigger nor a view is made."""


def migrate(connection: SqliteConnection, *, at: int) -> None:
    """Bring a log, or an empty file, to the newest layout; *at* is now, for the id of a new log."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Without the plug-ins of sqlite-utils: what somebody installed beside us must not touch a log.
        database = Database(connection, execute_plugins=False, recursive_triggers=False)
        _migrations.apply(database)
        connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('log', ?)", (new_id(at),))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check(fetch: Fetch, layout: int, path: Path) -> None:
    """Check that a log's schema is what its layout has, and that nothing was planted in it.

    A trigger may change or drop what is appended, while it is appended. Other tables than ours are harmless, and stay.

    Raises:
        LogDamaged: something was planted, changed or taken away; the message names it.
    """
    ours = _objects(layout)
    tables = {name for kind, name in ours if kind == "table"}
    missing = set(ours)
    for kind, name, table, sql in fetch(_OBJECTS, ()):
        words = _words(sql)
        missing.discard((kind, name))
        if (kind, name) in ours:
            problem = "" if ours[kind, name] == words else "is not what Stationkeeper made"
        else:
            # By its words, too: SQLite does what these say, whatever the row calls it.
            made_safely = not words or words.startswith(_HARMLESS)
            harmless = kind in ("table", "index") and table not in tables and made_safely
            problem = "" if harmless else "was never made by Stationkeeper, and may change what is written"
        if problem:
            raise LogDamaged(
                f"{path} is damaged: its {kind} {name!r} {problem}; look into it, and restore from a backup"
            )
    if missing:
        names = ", ".join(sorted(f"{kind} {name!r}" for kind, name in missing))
        raise LogDamaged(f"{path} is damaged: it has lost its {names}; restore from a backup")


@cache
def _objects(layout: int) -> dict[tuple[str, str], str]:
    """Return what the migrations up to a layout make: kinds and names, each with the words that make it."""
    with closing(SqliteConnection(":memory:", isolation_level=None)) as connection:
        database = Database(connection, execute_plugins=False, recursive_triggers=False)
        names = [migration.name for migration in _migrations.pending(database)]
        _migrations.apply(database, stop_before=names[max(layout, 0) :])
        rows = connection.execute(_OBJECTS).fetchall()
    return {(kind, name): _words(sql) for kind, name, table, sql in rows if table != _migrations.migrations_table}


def _words(sql: str | None) -> str:
    """Return a statement without what may differ from release to release of sqlite-utils: quotes of names, spaces."""
    return " ".join(re.findall(r"'[^']*'|\w+|[^\s\w\"`\[\]]", sql or ""))


def _create(
    database: Database,
    table: str,
    columns: dict[str, type],
    *,
    pk: str | tuple[str, ...],
    null: tuple[str, ...] = (),
) -> None:
    required = [column for column in columns if column not in null and column != pk]
    Table(database, table).create(columns, pk=pk, not_null=required, strict=True)


@_migrations(name="1 the first layout")
def _first_layout(database: Database) -> None:
    _create(
        database,
        "event",
        {
            "position": int,
            "id": str,
            "at": int,
            "kind": str,
            "schema": int,
            "subject": str,
            "gateway": str,
            "run": str,
            "actor": str,
            "body": bytes,
            "private": bytes,
            "salt": bytes,
            "leaf": bytes,
        },
        pk="position",
    )
    database.conn.execute("CREATE UNIQUE INDEX event_id ON event (id)")
    database.conn.execute("CREATE INDEX event_subject ON event (subject, position) WHERE subject <> ''")
    _create(database, "head", {"one": int, "position": int, "latest_at": int}, pk="one")
    database.conn.execute("INSERT INTO head (one, position, latest_at) VALUES (1, 0, 0)")
    _create(database, "ended", {"run": str, "position": int}, pk="run")
    _create(database, "beat", {"run": str, "at": int, "listened": float}, pk="run")
    _create(
        database,
        "attempt",
        {
            "message": str,
            "round": int,
            "number": int,
            "at": int,
            "due": int,
            "delay": float,
            "status": int,
            "error": str,
        },
        pk="message",
        null=("status",),
    )
    _create(
        database, "snapshot", {"name": str, "version": int, "position": int, "leaf": bytes, "state": bytes}, pk="name"
    )
    _create(database, "meta", {"key": str, "value": str}, pk="key")


@_migrations(name="2 redaction, times, attempts")
def _second_layout(database: Database) -> None:
    connection = database.conn
    # What is left of private parts that were erased, so that the leaf can still be computed.
    connection.execute("ALTER TABLE event ADD COLUMN digest BLOB NOT NULL DEFAULT x''")
    connection.execute(f"CREATE INDEX event_concerns_all ON event (position) WHERE {CONCERNS_ALL}")
    # The earliest time of each thousand positions: "as of a time" looks at these instead of at every event.
    _create(database, "span", {"number": int, "earliest": int}, pk="number")
    connection.execute(
        f"INSERT INTO span (number, earliest) SELECT (position - 1) / {SPAN}, min(at) FROM event GROUP BY 1"
    )
    # Every attempt is kept, for a while, instead of the newest alone.
    connection.execute("ALTER TABLE attempt RENAME TO newest_attempt")
    _create(
        database,
        "attempt",
        {
            "message": str,
            "round": int,
            "number": int,
            "at": int,
            "due": int,
            "delay": float,
            "status": int,
            "error": str,
            "settled": int,
        },
        pk=("message", "round", "number"),
        null=("status",),
    )
    connection.execute("CREATE INDEX attempt_at ON attempt (at)")
    columns = "message, round, number, at, due, delay, status, error"
    connection.execute(f"INSERT INTO attempt ({columns}, settled) SELECT {columns}, 0 FROM newest_attempt")
    connection.execute("DROP TABLE newest_attempt")
    # A snapshot is used only if the digest beside it is that of its state. Those from before are folded anew.
    connection.execute("DROP TABLE snapshot")
    _create(
        database,
        "snapshot",
        {"name": str, "version": int, "position": int, "leaf": bytes, "state": bytes, "digest": bytes},
        pk="name",
    )
