"""Uptime: what each microsecond of a window counts as, told by hand; `test_uptime_model` compares with a slow model."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from histories import SECOND, History, record

from stationkeeper.engine import events as e
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import Cause, Micros
from stationkeeper.projections.uptime import Measure, Outage, Shade, Uptime, Window, watch_of
from stationkeeper.projections.uptime_watch import Span, Spans

NOON: Final = 1_764_072_000 * SECOND
"""When these stories begin; times in them are seconds after it."""


class Story(History):
    """A history whose moments are told: seconds after noon."""

    def __init__(self) -> None:
        super().__init__()
        self.now: float = 0

    def at(self, seconds: float) -> Story:
        """Let what follows happen then."""
        self.now = seconds
        return self

    def add(self, event: e.Event, subject: str = "", **envelope: Any) -> Recorded:
        recorded = record(event, len(self.events) + 1, at=moment(self.now), subject=subject, **envelope)
        self.events.append(recorded)
        return recorded

    def leaves(self, station: str, connection: str, *, alive: float, cause: Cause = "station_closed") -> None:
        self.closed(station, connection, cause, code=1000, alive_at=moment(alive))

    def found_lost(self, run: str, *, alive: float) -> None:
        self.add(e.GatewayLost(run=run, alive_at=moment(alive), listened=1.0, found_by="g"), id=f"{run}:lost")

    def stalled(self, since: float, until: float, run: str = "r1") -> None:
        self.add(e.GatewayStalled(since=moment(since), until=moment(until)), run=run)


def moment(seconds: float) -> Micros:
    return NOON + round(seconds * SECOND)


def measured(
    story: Story, since: float, until: float, *, alive: Mapping[str, float] | None = None
) -> tuple[dict[str, Uptime], list[Outage]]:
    watch = watch_of(
        story,
        alive={run: moment(at) for run, at in (alive or {}).items()},
        latest=max((recorded.at for recorded in story), default=0),
    )
    measure = Measure(Window(moment(since), moment(until)), watch)
    outages = [outage for recorded in story for outage in measure.follow(recorded)] + measure.close()
    return {uptime.station: uptime for uptime in measure.uptimes()}, outages


def told(story: Story, since: float, until: float, **more: Mapping[str, float]) -> tuple[float, float, float, float]:
    """Return what a window was for CP-7, in seconds: online, offline, not observed, unknown."""
    uptime = measured(story, since, until, **more)[0]["CP-7"]
    return tuple(  # type: ignore[return-value]
        part / SECOND for part in (uptime.online, uptime.offline, uptime.not_observed, uptime.unknown)
    )


def watched(story: Story) -> Story:
    """Return a story of a gateway that watches from 0 on."""
    story.at(0).started()
    return story


def ending(story: Story, at: float = 100) -> Story:
    """Let something be recorded then that concerns nobody, so that the gateway is known to have watched until then."""
    story.at(at).registered("elsewhere")
    return story


def test_online_until_the_last_proof_of_life_and_offline_from_there() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(50).leaves("CP-7", "r1-1", alive=30)
    story.at(70).opened("CP-7", "r1-2")
    ending(story)

    assert told(story, 0, 100) == (50, 40, 0, 10)
    uptime = measured(story, 0, 100)[0]["CP-7"]
    assert uptime.availability == 55.5555
    assert (uptime.below(Decimal("55.55")), uptime.below(Decimal("55.56"))) == (False, True)


def test_only_who_was_never_seen_offline_has_100_percent() -> None:
    almost = Uptime("CP-7", online=10**12, offline=1, not_observed=0, unknown=0, outages=1)

    assert almost.availability == 99.9999
    assert almost.below(Decimal(100))


def test_an_outage_is_an_interval_with_its_cause_and_when_we_knew() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(50).timed_out("CP-7", "r1-1", alive_at=moment(30))
    story.at(50).leaves("CP-7", "r1-1", alive=30, cause="ping_timeout")
    story.at(70).opened("CP-7", "r1-2")
    story.at(90).leaves("CP-7", "r1-2", alive=90)
    ending(story)

    assert measured(story, 0, 100)[1] == [
        Outage("CP-7", moment(30), moment(70), 40 * SECOND, 0, "ping_timeout", 1000, moment(50)),
        Outage("CP-7", moment(90), None, 10 * SECOND, 0, "station_closed", 1000, moment(90)),
    ]


def test_only_what_lies_in_the_window_counts_and_an_outage_keeps_its_ends() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(20).leaves("CP-7", "r1-1", alive=20)
    story.at(70).opened("CP-7", "r1-2")
    ending(story)
    uptimes, outages = measured(story, 30, 60)

    assert told(story, 30, 60) == (0, 30, 0, 0)
    assert [(outage.began, outage.ended, outage.offline) for outage in outages] == [
        (moment(20), moment(70), 30 * SECOND)
    ]
    assert uptimes["CP-7"].outages == 1
    assert measured(story, 75, 90)[1] == []


def test_a_takeover_is_no_end() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(40).opened("CP-7", "r1-2")
    story.at(41).leaves("CP-7", "r1-1", alive=20, cause="superseded")
    ending(story)

    assert told(story, 10, 100) == (90, 0, 0, 0)


def test_our_restart_is_not_observed_and_no_outage() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(40).leaves("CP-7", "r1-1", alive=35, cause="shutdown")
    story.at(41).stopped("r1")
    story.at(50).started("r2")
    story.at(60).opened("CP-7", "r2-1")
    ending(story)

    assert told(story, 10, 100) == (65, 0, 25, 0)
    assert measured(story, 10, 100)[1] == []


def test_a_lost_run_is_believed_up_to_its_last_moment_alive() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(50).found_lost("r1", alive=40)
    story.at(50).started("r2")
    story.at(60).opened("CP-7", "r2-1")
    ending(story)

    assert told(story, 10, 100) == (70, 0, 20, 0)


def test_a_station_that_does_not_come_back_is_offline_from_the_lapse_and_its_outage_began_before() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(50).found_lost("r1", alive=40)
    story.at(50).started("r2")
    story.at(70).lapsed("r1")
    story.at(90).opened("CP-7", "r2-1")
    ending(story)

    assert told(story, 10, 100) == (40, 20, 30, 0)
    assert measured(story, 10, 100)[1] == [
        Outage("CP-7", moment(40), moment(90), 20 * SECOND, 30 * SECOND, "lapsed", None, moment(70))
    ]


def test_an_outage_goes_on_while_nobody_listens_but_that_time_is_not_observed() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(20).leaves("CP-7", "r1-1", alive=20)
    story.at(30).stopped("r1")
    story.at(60).started("r2")
    story.at(80).opened("CP-7", "r2-1")
    ending(story)

    assert told(story, 10, 100) == (30, 30, 30, 0)
    (outage,) = measured(story, 10, 100)[1]
    assert (outage.offline, outage.not_observed) == (30 * SECOND, 30 * SECOND)


def test_a_stall_is_not_observed_whether_online_or_offline() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(30).stalled(20, 30)
    story.at(40).leaves("CP-7", "r1-1", alive=40)
    story.at(60).stalled(50, 60)
    ending(story)

    assert told(story, 10, 100) == (20, 50, 20, 0)


def test_another_gateways_stall_hides_nobody_of_ours() -> None:
    story = watched(Story())
    story.started("r2", gateway="h")
    story.at(10).opened("CP-7", "r1-1")
    story.at(30).stalled(20, 30, run="r2")
    story.at(40).leaves("CP-7", "r1-1", alive=40)
    story.at(60).stalled(50, 60, run="r2")
    ending(story)

    assert told(story, 10, 100) == (30, 60, 0, 0)


def test_our_own_stall_hides_who_is_online_here_though_another_gateway_watches() -> None:
    story = watched(Story())
    story.started("r2", gateway="h")
    story.at(10).opened("CP-7", "r1-1")
    story.at(30).stalled(20, 30)
    story.at(40).leaves("CP-7", "r1-1", alive=40)
    story.at(60).stalled(50, 60)
    ending(story)

    assert told(story, 10, 100) == (20, 60, 10, 0)


def test_a_stall_is_over_when_it_is_noted() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(30).stalled(20, 50)
    ending(story)

    assert told(story, 10, 100) == (80, 0, 10, 0)


def test_a_run_that_never_ended_watches_no_longer_than_until_its_gateway_starts_anew() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(20).leaves("CP-7", "r1-1", alive=20)
    story.at(30).opened("CP-8", "r1-2")
    story.at(40).started("r2")
    story.at(60).stopped("r2")
    ending(story)

    assert told(story, 10, 100) == (10, 40, 40, 0)
    assert measured(story, 30, 100)[0]["CP-8"].online == 10 * SECOND


def test_after_the_last_word_of_a_run_nothing_is_observed() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(20).leaves("CP-7", "r1-1", alive=20)
    story.at(30).opened("CP-8", "r1-2")

    assert told(story, 10, 100) == (10, 10, 70, 0)
    assert told(story, 10, 100, alive={"r1": 60}) == (10, 40, 40, 0)
    assert measured(story, 10, 100, alive={"r1": 60})[0]["CP-8"].online == 30 * SECOND


def test_before_its_first_open_a_station_is_unknown() -> None:
    story = watched(Story())
    story.at(50).opened("CP-7", "r1-1")
    ending(story)

    assert told(story, 0, 100) == (50, 0, 0, 50)
    assert told(story, 0, 40) == (0, 0, 0, 40)
    assert measured(story, 0, 40)[0]["CP-7"].availability is None


def test_a_clock_that_was_set_back_makes_no_time_negative_and_counts_none_twice() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(1000).opened("CP-8", "r1-2")
    story.at(1001).leaves("CP-7", "r1-1", alive=1000)
    # The clock had been a quarter of an hour ahead; what came before the step happened no later than it.
    story.at(40).add(e.GatewayClockSet(offset=-960.0), run="r1")
    story.at(60).opened("CP-7", "r1-3")
    ending(story)

    assert told(story, 10, 100) == (70, 20, 0, 0)
    assert told(story, 0, 2000, alive={"r1": 100}) == (70, 20, 1900, 10)


def test_a_station_can_be_measured_from_its_own_life() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(30).opened("CP-8", "r1-2")
    story.at(20).leaves("CP-7", "r1-1", alive=19)
    ending(story)
    own = Story()
    own.events = [recorded for recorded in story if recorded.subject in ("", "CP-7")]

    assert told(own, 0, 90, alive={"r1": 100}) == told(story, 0, 90, alive={"r1": 100})


def test_a_picture_is_told_the_same_as_the_account() -> None:
    story = watched(Story())
    story.at(10).opened("CP-7", "r1-1")
    story.at(30).stalled(20, 25)
    story.at(50).leaves("CP-7", "r1-1", alive=30)
    story.at(60).stopped("r1")
    spans: list[tuple[Shade, Span]] = []

    def draw(station: str, shade: Shade, span: Span) -> None:
        spans.append((shade, span))

    watch = watch_of(story, alive={}, latest=moment(60))
    measure = Measure(Window(NOON, moment(100)), watch, draw=draw)
    for recorded in story:
        measure.follow(recorded)
    measure.close()

    assert [(shade, (since - NOON) // SECOND, (until - NOON) // SECOND) for shade, (since, until) in spans] == [
        ("unknown", 0, 10),
        ("online", 10, 20),
        ("not observed", 20, 25),
        ("online", 25, 30),
        ("offline", 30, 60),
        ("not observed", 60, 100),
    ]


def test_spans() -> None:
    spans = Spans([(5, 7), (1, 3), (2, 4), (9, 9), (7, 8)])

    assert list(spans) == [(1, 4), (5, 8)]
    assert [spans.within(*span) for span in ((0, 9), (2, 6), (4, 5), (3, 3), (6, 2), (7, 20))] == [6, 3, 0, 0, 0, 1]
    assert list(spans.cut(2, 6)) == [(2, 4), (5, 6)]
    assert list(spans.without(Spans([(0, 2), (3, 6), (7, 9)]))) == [(2, 3), (6, 7)]
