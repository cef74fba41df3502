"""What the judge of the proving ground lets a receiver miss: what was parked, and what a full lane skips (O5)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from attrs import evolve
from histories import History as Story

from stationkeeper.daemon.proving import Fate, History, Judge, Plan, World, world
from stationkeeper.daemon.proving.history import Told
from stationkeeper.daemon.proving.stations import Behaviour
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.sending import Owed
from stationkeeper.projections import box


class Life:
    """A log of stations that flip, and what one webhook is told of it."""

    def __init__(self) -> None:
        self.story = Story()
        self.story.started("r1")
        self.story.subscribed("w", stations=("CP*",))
        self.flips: list[tuple[int, str, int]] = []
        """Position, station, version."""
        self._connections = 0

    def flip(self, station: str = "CP") -> Recorded:
        version = 1 + sum(known == station for _, known, _ in self.flips)
        if version % 2:
            self._connections += 1
            row = self.story.opened(station, f"r1-{self._connections}")
        else:
            row = self.story.closed(station, f"r1-{self._connections}")
        self.flips.append((row.position, station, version))
        return row

    def owed(self, version: int, station: str = "CP") -> Owed:
        position = next(p for p, *flip in self.flips if flip == [station, version])
        return Owed(f"m-{station}-{version}", "w", station, "", position, 0, "pending")

    def findings(self, told: Iterable[tuple[str, int]]) -> list[str]:
        """Return what the judge misses if the webhook took these versions."""
        history = History()
        history.rows = self.story.events
        for station, version in told:
            fact = Told(
                at=0.0, begun=0.0, run="r1", webhook="w", message=f"m-{station}-{version}", type="", station=station,
                version=version, online=version % 2 == 1, taken=True, status=None, durable=0, asked=(True, 999),
            )  # fmt: skip
            history.note(fact)
        return [finding for finding in Judge(history).findings if finding.startswith("told: ")]


def test_however_often_a_station_flips_nothing_of_it_may_be_missed_while_its_lane_is_short() -> None:
    life = Life()
    for version in range(1, 101):
        life.flip()
        life.story.delivered(life.owed(version))
    all_of_it = [("CP", version) for version in range(1, 101)]

    assert life.findings(all_of_it) == []
    for missed in (0, 49, 99):
        found = life.findings(all_of_it[:missed] + all_of_it[missed + 1 :])
        assert f"told: w was never told version {missed + 1} of CP" in found


@pytest.mark.parametrize(("flips", "skipped"), [(64, []), (65, [2, 3]), (66, [2, 3]), (67, [2, 3, 4, 5])])
def test_of_a_full_lane_the_pairs_behind_the_head_may_be_missed_and_nothing_else(
    flips: int, skipped: list[int]
) -> None:
    life = Life()
    for _ in range(flips):
        life.flip()
    needed = [version for version in range(1, flips + 1) if version not in skipped]

    assert life.findings([("CP", version) for version in needed]) == []
    for missed in needed:
        told = [("CP", version) for version in range(1, flips + 1) if version != missed]
        assert life.findings(told) == [f"told: w was never told version {missed} of CP"]


@pytest.mark.parametrize("parked", [False, True])
def test_an_outcome_makes_room_in_a_lane(parked: bool) -> None:
    life = Life()
    for _ in range(64):
        life.flip()
    (life.story.parked if parked else life.story.delivered)(life.owed(1))
    life.flip()
    told = [("CP", version) for version in range(2 if parked else 1, 66)]

    assert life.findings(told) == []
    assert life.findings([one for one in told if one[1] != 2]) == ["told: w was never told version 2 of CP"]


def test_what_was_parked_for_one_station_excuses_no_other_of_the_same_lapse() -> None:
    life = Life()
    life.flip("CP-A")
    life.flip("CP-B")
    life.story.stopped("r1")
    lapsed = life.story.lapsed("r1").position
    life.flips += [(lapsed, "CP-A", 2), (lapsed, "CP-B", 2)]
    life.story.parked(life.owed(2, "CP-A"))

    assert life.findings([("CP-A", 1), ("CP-B", 1), ("CP-B", 2)]) == []
    assert life.findings([("CP-A", 1), ("CP-B", 1), ("CP-A", 2)]) == ["told: w was never told version 2 of CP-B"]


def test_a_parking_of_what_was_delivered_or_belongs_to_another_webhook_excuses_nothing() -> None:
    life = Life()
    life.flip()
    life.story.delivered(life.owed(1))
    life.story.parked(life.owed(1))
    life.flip()
    owed = life.owed(2)
    life.story.parked(Owed(owed.id, "another", "CP", "", owed.position, 0, "pending"))

    assert "told: w was never told version 1 of CP" in life.findings([("CP", 2)])
    assert life.findings([("CP", 1)]) == ["told: w was never told version 2 of CP"]


# --- in whole worlds -------------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A world in which lanes are full for an hour: restless stations, and a receiver that is away."""
    restless = Behaviour(up=40.0, down=10.0, troubles=("close",))
    monkeypatch.setattr(world, "BEHAVIOURS", {"restless": restless})
    return evolve(
        Plan.draw(3, stations=2, hours=2),
        behaviours=("restless",),
        flaky=1.0,
        backoff=5.0,
        fates=(
            Fate(at=10.0, kind="receiver", webhook="all", mood="away"),
            Fate(at=6000.0, kind="receiver", webhook="all", mood="well"),
        ),
    )


def test_in_a_world_with_full_lanes_nothing_is_wrong_and_whatever_else_was_not_told_is_found(crowded: Plan) -> None:
    history = World(crowded).run()
    taken = [fact for fact in history.facts if isinstance(fact, Told) and fact.taken and fact.webhook == "all"]

    assert Judge(history).findings == []
    assert max(fact.version for fact in taken) > len(taken)  # skipped
    for gone in taken[::20]:
        tampered = History()
        tampered.facts = [fact for fact in history.facts if not isinstance(fact, Told) or fact.message != gone.message]
        tampered.rows, tampered.acknowledged = history.rows, history.acknowledged
        missing = f"told: all was never told version {gone.version} of {gone.station}"
        assert missing in Judge(tampered).findings


def test_an_outbox_that_skips_too_soon_is_found(crowded: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "LANE", 62)

    assert [finding for finding in Judge(World(crowded).run()).findings if finding.startswith("told: all was never ")]
