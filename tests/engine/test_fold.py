"""The fold: projections in order, what passes them by, and where a newer release's events stop it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from histories import History, record

from stationkeeper.engine import events as e
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.errors import NewerSchema, UnreadableEvent
from stationkeeper.engine.fold import Below, Fold, Projection, fold, in_order


def _note(state: list[str], recorded: Recorded, event: e.Event, below: Below) -> Sequence[str]:
    state.append(recorded.id)
    return (recorded.id,)


def noting(name: str, *kinds: str, needs: tuple[Projection[list[str], str], ...] = ()) -> Projection[list[str], str]:
    """Make a projection that notes the ids of what it folds."""
    return Projection(
        name=name,
        version=1,
        kinds=frozenset(kinds),
        initial=list,
        apply=_note,
        dump=msgspec.json.encode,
        load=msgspec.json.Decoder(list[str]).decode,
        needs=needs,
    )


removals = noting("removals", "station.removed")
pauses = noting("pauses", "webhook.paused", "station.removed", needs=(removals,))


def test_a_projection_folds_its_kinds_in_order_and_the_rest_passes_it_by_unread() -> None:
    events = [
        record(e.StationRemoved(), 1),
        msgspec.structs.replace(record(e.WebhookPaused(), 2), body=b"no JSON"),
        record(e.StationRemoved(), 3),
    ]

    assert fold(removals, events) == ["e1", "e3"]


def test_what_a_projection_stands_on_is_folded_before_it_and_each_once() -> None:
    top = noting("top", "station.removed", needs=(pauses, removals))

    assert in_order([top, removals]) == [removals, pauses, top]


def test_a_projection_sees_the_states_and_changes_below_it_after_the_event() -> None:
    seen: list[tuple[list[str], Sequence[str]]] = []

    def look(state: list[str], recorded: Recorded, event: e.Event, below: Below) -> Sequence[str]:
        noted = below.state(removals)
        seen.append((list(noted), below.changes(removals)))
        return ()

    above = Projection(
        name="above",
        version=1,
        kinds=frozenset({"station.removed", "webhook.paused"}),
        initial=lambda: [""],
        apply=look,
        dump=msgspec.json.encode,
        load=msgspec.json.Decoder(list[str]).decode,
        needs=(removals,),
    )
    fold(above, [record(e.StationRemoved(), 1), record(e.WebhookPaused(), 2)])

    assert seen == [(["e1"], ("e1",)), (["e1"], ())]


def test_a_fold_of_nothing_stands_before_the_first_position() -> None:
    folding = Fold([removals])

    assert (folding.position, folding.leaf) == (0, b"")


def test_a_fold_knows_its_position_and_leaf_and_resumes_there() -> None:
    first, second = record(e.StationRemoved(), 1), record(e.StationRemoved(), 2)
    folding = Fold([removals])
    folding.resume({"removals": ["e1"]}, first.position, first.leaf)
    assert (folding.position, folding.leaf) == (1, first.leaf)

    below = folding.advance(second)

    assert folding.state(removals) == ["e1", "e2"]
    assert (folding.position, folding.leaf) == (2, second.leaf)
    assert below.changes(removals) == ("e2",)


def test_two_folds_share_no_state() -> None:
    one, other = Fold([removals]), Fold([removals])
    one.advance(record(e.StationRemoved(), 1))

    assert other.state(removals) == []


def test_kinds_that_nobody_folds_are_passed_over_and_counted() -> None:
    folding = Fold([removals])
    for position in (1, 2):
        folding.advance(msgspec.structs.replace(record(e.WebhookPaused(), position), kind="station.painted"))

    assert folding.passed_over == {"station.painted": 2}
    assert folding.position == 2


def test_a_newer_schema_of_a_folded_kind_stops_the_fold_and_names_the_release() -> None:
    history = History()
    history.started("r1")
    newer = msgspec.structs.replace(record(e.StationRemoved(), 2, run="r1"), schema=2)
    starts = noting("starts", "gateway.started", "station.removed")

    with pytest.raises(NewerSchema, match=r"position 2 is a station\.removed of schema 2, which 0\.1 wrote.*upgrade"):
        fold(starts, [*history, newer])


def test_where_no_release_is_known_the_stop_says_what_is_needed_all_the_same() -> None:
    newer = msgspec.structs.replace(record(e.StationRemoved(), 2, run="r1"), schema=2)

    with pytest.raises(NewerSchema, match=r"schema 2, which a newer release wrote.*removals needs it: upgrade"):
        fold(removals, [newer])


def test_a_newer_schema_of_another_kind_passes_by() -> None:
    newer = msgspec.structs.replace(record(e.WebhookPaused(), 1), schema=2)

    assert fold(removals, [newer]) == []


def test_bytes_that_are_no_event_stop_the_fold_and_name_the_position() -> None:
    broken = msgspec.structs.replace(record(e.StationRemoved(), 7), body=b"{")

    with pytest.raises(UnreadableEvent, match=r"position 7 is no station\.removed"):
        fold(removals, [broken])
