"""Logs that released versions wrote: they open, migrate in one transaction, and say what they said then.

`tests/vectors/logs` keeps, for each layout that was ever released, a log that a real daemon left when it stopped in
order, one that it left when it was killed (with its `-wal`), and what that release folded from them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stationkeeper.engine.entry import Recorded, leaf
from stationkeeper.engine.fold import Fold
from stationkeeper.engine.log import Log
from stationkeeper.engine.log.driver import LAYOUT, connect
from stationkeeper.engine.log.reading import open_reader
from stationkeeper.engine.log.sqlite import open_log
from stationkeeper.projections import outbox, presence, registry, settling, webhooks
from stationkeeper.projections.chargestation import chargestation

KEPT = Path(__file__).parents[2] / "vectors" / "logs"
NAMES = sorted(file.name.removesuffix(".json") for file in KEPT.glob("*.json"))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    for file in KEPT.glob(f"{name}.db*.gz"):
        (tmp_path / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
    return tmp_path / f"{name}.db"


@pytest.fixture
def known(name: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((KEPT / f"{name}.json").read_text())
    return known


def layout_of(path: Path) -> int:
    with closing(connect(path, mode="ro")) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return found


def told(log: Log) -> dict[str, Any]:
    """Return what a log says, as its release wrote it down."""
    fold = Fold([presence, registry, webhooks, outbox, settling])
    stations: dict[str, str] = {}
    shown: list[object] = []
    for recorded in log.read():
        fold.advance(recorded)
        fleet, registered = fold.state(presence), fold.state(registry)
        shown = [chargestation(fleet, registered, id) for id in sorted({*fleet, *registered})]
        stations[str(recorded.position)] = sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
    owing = fold.state(outbox)
    return {
        "events": log.position,
        "leaves": sha256(b"".join(recorded.leaf for recorded in log.read())).hexdigest(),
        "attempts": {id: [a.round, a.number, a.due] for id, a in sorted(log.attempts().items())},
        "stations": stations,
        "chargestations": shown,
        "owed": sorted([o.id, o.webhook, o.subject, o.type, o.position, o.state] for o in owing.pending()),
        "delivered": sorted(o.id for webhook in owing.boxes for o in owing.messages(webhook, "delivered")),
    }


def unbroken(events: Iterable[Recorded]) -> bool:
    return all(recorded.leaf == leaf(recorded) for recorded in events)


def test_there_is_a_log_of_every_layout_that_was_released() -> None:
    layouts = set[int]()
    for file in KEPT.glob("*-stopped.db.gz"):
        header = gzip.decompress(file.read_bytes())[:100]
        layouts.add(int.from_bytes(header[60:64], "big"))
    assert layouts >= set(range(1, LAYOUT))


def test_an_audit_reads_it_as_it_is(path: Path, known: dict[str, Any]) -> None:
    before = {file: file.read_bytes() for file in path.parent.iterdir()}

    with closing(open_reader(path)) as reader:
        assert reader.layout < LAYOUT
        assert reader.log_id == known["log"]
        assert {"log": reader.log_id, **told(reader)} == known
        assert unbroken(reader.read())
    assert {file: file.read_bytes() for file in before} == before


def test_an_audit_finds_in_it_what_it_looks_for(path: Path) -> None:
    # By the indexes that its layout has: later ones are not there to be asked.
    with closing(open_reader(path)) as reader:
        events = list(reader.read())
        for kinds in ({"gateway.started"}, {"connection.opened"}, {"gateway.started", "connection.opened"}):
            assert list(reader.read(kinds=kinds)) == [event for event in events if event.kind in kinds]
        for subject in {event.subject for event in events}:
            assert list(reader.read(subject=subject)) == [event for event in events if event.subject == subject]
        for at in {event.at for event in events}:
            assert reader.position_at(at) == [event.position for event in events if event.at <= at][-1]


def test_it_migrates_and_says_the_same(path: Path, known: dict[str, Any]) -> None:
    with closing(open_log(path)) as log:
        assert {"log": log.log_id, **told(log)} == known
        assert unbroken(log.read())
        moments = {recorded.at for recorded in log.read()}
        after_the_fact = {at: [r.position for r in log.read() if r.at <= at][-1] for at in moments}
        assert {at: log.position_at(at) for at in moments} == after_the_fact
    assert layout_of(path) == LAYOUT


def test_a_migration_that_breaks_off_leaves_the_old_layout(
    path: Path, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stationkeeper.engine.log import schema

    def breaks(*_: object) -> str:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        # The id of the log is written after the last migration, in the same transaction.
        patch.setattr(schema, "new_id", breaks)
        with pytest.raises(OSError, match="the power went"):
            open_log(path)
    assert layout_of(path) == 1
    with closing(open_log(path)) as log:
        assert {"log": log.log_id, **told(log)} == known
