"""Where the entries of a batch belong: what a log reads out of their bodies, and what it does not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from stationkeeper.engine.codec import seal
from stationkeeper.engine.entry import Entry
from stationkeeper.engine.events import GatewayLost, GatewayStopped, StationRemoved
from stationkeeper.engine.log.plan import CONCERN_ALL, messages_settled, place, run_ended_by

LOST = seal(GatewayLost(run="r1", alive_at=1, listened=1.0, found_by="g"), id="r1:lost", at=2, run="r2")


def test_gateways_webhooks_and_a_restore_concern_every_station_and_nothing_else_does() -> None:
    assert {kind.partition(".")[0] for kind in CONCERN_ALL} == {"gateway", "webhook", "log"}
    assert {"gateway.started", "gateway.lapsed", "webhook.added", "webhook.removed", "log.restored"} <= CONCERN_ALL


@pytest.mark.parametrize(
    ("entry", "run"),
    [
        (LOST, "r1"),
        (seal(GatewayStopped(listened=1.0), id="a", at=1, run="r2"), "r2"),
        (seal(StationRemoved(), id="a", at=1, run="r2"), ""),
        (replace(LOST, body=b"{}"), ""),
        (replace(LOST, body=b"no JSON"), ""),
    ],
    ids=["lost", "stopped", "another kind", "without the run", "malformed"],
)
def test_an_end_names_the_run_that_it_ends(entry: Entry, run: str) -> None:
    assert run_ended_by(entry) == run
    ended = place([entry], head=6, known=lambda id: None, ended=()).ended
    assert ended == ([(run, 7)] if run else [])


def test_a_malformed_outcome_settles_no_message() -> None:
    malformed = replace(LOST, kind="delivery.parked", body=b"{")

    assert set(messages_settled([malformed, LOST])) <= {""}
