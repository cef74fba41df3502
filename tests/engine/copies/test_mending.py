"""Private bytes that no leaf covers: a start refuses them, and the restore that it names blanks them."""

from __future__ import annotations

from pathlib import Path

import pytest
from copybook import append, events_of, make, tamper, writing

from stationkeeper.engine.copies.restoring import restore
from stationkeeper.engine.entry import NO_PRIVATE, is_genuine, leaf
from stationkeeper.engine.errors import LogContradicted
from stationkeeper.engine.testing.logs import some_entry


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


DOUBTFUL = {
    "no salt": "private = x'41', salt = x''",
    "a salt alone": "private = x''",
    "a short salt": "salt = x'41'",
    "private beside a digest": "digest = randomblob(32)",
    "a digest of nothing": f"private = x'', salt = x'', digest = x'{NO_PRIVATE.hex()}'",
}


@pytest.mark.parametrize("change", DOUBTFUL.values(), ids=list(DOUBTFUL))
@pytest.mark.parametrize("covered", [False, True])
def test_private_bytes_in_doubt_are_refused_until_a_restore_blanks_them(log: Path, change: str, covered: bool) -> None:
    make(log)
    tamper(log, f"UPDATE event SET {change} WHERE position = 3")
    if covered:
        event = events_of(log)[2]
        tamper(log, f"UPDATE event SET leaf = x'{leaf(event).hex()}' WHERE position = 3")
    assert not is_genuine(events_of(log)[2])
    with pytest.raises(LogContradicted), writing(log):
        pass

    assert restore(log, log).changed == [3]

    with writing(log) as (_, _, ledger):
        assert ledger.protected == ledger.size
    assert is_genuine(events_of(log)[2])
    assert (events_of(log)[2].private, events_of(log)[2].salt) == (b"", b"")
    assert restore(log, log).changed == []


def test_private_bytes_beside_none_are_blanked_under_the_same_leaf(log: Path) -> None:
    with writing(log) as (writer, _, ledger):
        append(writer, ledger, [some_entry("e1"), some_entry("e2")])
    wanted = [event.leaf for event in events_of(log)]
    tamper(log, "UPDATE event SET private = x'414141' WHERE position = 2")

    assert restore(log, log).changed == [2]

    assert [event.leaf for event in events_of(log)[:2]] == wanted
    assert events_of(log)[1].private == b""
    with writing(log) as (_, _, ledger):
        assert ledger.protected == ledger.size
