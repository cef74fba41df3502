"""The tables of a SQLite log, made and changed by migrations.

All migrations that a log needs run in one transaction, with `user_version` in it: a log is of one layout or of the
next, never between. Tables are made by sqlite-utils; none is ever changed by a plain insert.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from ..names import new_id
from .driver import APPLICATION_ID, LAYOUT, SqliteConnection
from .queries import CONCERNS_ALL, SPAN

_migrations: Final = Migrations("stationkeeper.log")


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
