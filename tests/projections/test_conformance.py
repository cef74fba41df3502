"""All projections, before the public suite that judges any projection."""

from __future__ import annotations

from typing import Any

import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import arbitrary_histories, histories, legal_histories

from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.fold import Projection, fold
from stationkeeper.engine.testing.projections import check_elsewhere, check_projection, check_pure
from stationkeeper.projections import (
    conflicts,
    deliveries,
    feed,
    outbox,
    presence,
    refusals,
    registry,
    sessions,
    settling,
    webhooks,
)

ALL = pytest.mark.parametrize(
    "projection",
    [presence, registry, webhooks, outbox, feed, settling, sessions, conflicts, refusals, deliveries],
    ids=lambda p: p.name,
)


def cuts(history: list[Recorded]) -> st.SearchStrategy[set[int]]:
    """Draw a few places at which to cut: all of them, in each history, would take ten times as long."""
    return st.sets(st.integers(0, len(history)), min_size=1, max_size=3)


@ALL
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(history=arbitrary_histories(), data=st.data())
def test_any_well_formed_history_is_folded_alike_at_once_and_from_any_snapshot(
    projection: Projection[Any, Any], history: list[Recorded], data: st.DataObject
) -> None:
    check_projection(projection, history, cuts=data.draw(cuts(history)))


@ALL
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(history=legal_histories(), data=st.data())
def test_a_legal_history_is_folded_alike_at_once_and_from_any_snapshot(
    projection: Projection[Any, Any], history: list[Recorded], data: st.DataObject
) -> None:
    check_projection(projection, history, cuts=data.draw(cuts(history)))


@ALL
@settings(max_examples=examples(3), suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(60))
def test_hash_seed_zone_and_locale_change_no_byte(projection: Projection[Any, Any], history: list[Recorded]) -> None:
    check_elsewhere(f"stationkeeper.projections:{projection.name}", history)


def contents(state: object) -> object:
    """Return all that a state holds, so that two of them can be compared."""
    if isinstance(state, dict):
        return {key: contents(value) for key, value in state.items()}
    return {name: contents(value) for name, value in vars(state).items()} if hasattr(state, "__dict__") else state


@ALL
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_a_snapshot_keeps_all_that_there_is(projection: Projection[Any, Any], history: list[Recorded]) -> None:
    state = fold(projection, history)

    assert contents(projection.load(projection.dump(state))) == contents(state)


def test_importing_the_projections_brings_in_no_loop_no_database_and_no_network() -> None:
    check_pure("stationkeeper.projections")
