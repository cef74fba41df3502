"""A receiver that is away for a week: on a log on the disk, restarted each day, all is told in order once it is back.

Virtual time; the log, the outbox and the deliveries are the real ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal

import trio
from attrs import define, field
from mailroom import DAY, HOUR, Gateway, Receiver, ill, sending
from trio.testing import MockClock

from stationkeeper.engine.events import (
    DeliveryParked,
    Event,
    WebhookEnabled,
    WebhookFailed,
    WebhookRecovered,
    WebhookResumed,
    WebhookSuspended,
)
from stationkeeper.engine.log.sqlite import SqliteLog, open_log
from stationkeeper.engine.sending import Answer
from stationkeeper.engine.settings import EngineSettings, Retry
from stationkeeper.engine.testing.clock import VirtualClock
from stationkeeper.projections import outbox

STATIONS = 120
FLIPS_A_DAY = 60
PATIENT = Retry(disable_after=30 * DAY)


def well(_: object) -> Answer:
    return Answer(status=200)


@define
class Trial:
    """A log on the disk, and the gateways that run on it one after the other."""

    path: Path
    receiver: Receiver
    retry: Retry
    mode: Literal["every", "latest"] = "every"
    clock: VirtualClock = field(factory=VirtualClock)
    random: Random = field(factory=lambda: Random(5))

    async def live(self, days: float, flips: int, then: Callable[[Gateway], None] = lambda gateway: None) -> Gateway:
        """Run a gateway for some days, with so many flips spread over them, and return it, stopped."""
        log: SqliteLog = open_log(self.path)
        try:
            settings = EngineSettings(retry=self.retry)
            gateway = Gateway(self.receiver, log=log, clock=self.clock, settings=settings)
            if log.position == 0:
                gateway.start()
                gateway.subscribe(mode=self.mode)
            then(gateway)
            async with sending(gateway):
                for _ in range(flips):
                    gateway.flip(f"CP-{self.random.randrange(STATIONS)}")
                    await trio.sleep(days * DAY / (flips + 1))
                await trio.sleep(days * DAY / (flips + 1))
        finally:
            log.close()
        return gateway

    def told_by_the_log(self, *kinds: type[Event]) -> Counter[tuple[str, str]]:
        """Count the events of these kinds by kind and subject."""
        log = open_log(self.path)
        try:
            recorded = log.read(kinds={kind.kind for kind in kinds})
            return Counter((row.kind, row.subject) for row in recorded)
        finally:
            log.close()

    def latest(self, gateway: Gateway) -> dict[str, int]:
        """The version of each station that was ever online."""
        return {id: station.version for id, station in gateway.fold.state(outbox.needs[0]).items()}

    def told(self) -> dict[str, list[int]]:
        """The versions of each station that the receiver accepted, in order."""
        return {id: self.receiver.versions(id) for id in (f"CP-{n}" for n in range(STATIONS))}


def in_virtual_time(test: Callable[[], object]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def trial(tmp_path: Path, retry: Retry, mode: Literal["every", "latest"] = "every") -> Trial:
    receiver = Receiver()
    receiver.answer = ill
    return Trial(tmp_path / "outage.db", receiver, retry, mode)


def test_after_a_week_everything_is_told_in_order(tmp_path: Path) -> None:
    async def week() -> None:
        outage = trial(tmp_path, PATIENT)
        for _ in range(7):
            gateway = await outage.live(1.0, FLIPS_A_DAY)
        # One probe in five minutes, at most, and what is in flight when it is found to be away.
        assert len(outage.receiver.attempts) <= 7 * 24 * 12 + 7 * 16
        outage.receiver.answer = well
        gateway = await outage.live(2.0, 0)

        assert list(gateway.fold.state(outbox).pending()) == []
        told, parked = outage.told(), outage.told_by_the_log(DeliveryParked)
        assert parked, "the oldest were given up after three days"
        for station, version in outage.latest(gateway).items():
            assert told[station] == sorted(set(told[station])), "in order, each once"
            assert len(told[station]) + parked[DeliveryParked.kind, station] == version, "no other is missing"
        life = outage.told_by_the_log(WebhookFailed, WebhookSuspended, WebhookResumed)
        assert life[WebhookSuspended.kind, "w"] == life[WebhookResumed.kind, "w"] == 1

    in_virtual_time(week)


def test_after_a_week_only_the_newest_is_told_to_one_that_asks_for_the_latest(tmp_path: Path) -> None:
    async def week() -> None:
        outage = trial(tmp_path, PATIENT, "latest")
        for _ in range(7):
            gateway = await outage.live(1.0, FLIPS_A_DAY)
        assert not any(outage.told().values())
        outage.receiver.answer = well
        gateway = await outage.live(2.0, 0)

        assert list(gateway.fold.state(outbox).pending()) == []
        told, latest = outage.told(), outage.latest(gateway)
        parked = {station for _, station in outage.told_by_the_log(DeliveryParked)}
        assert sum(map(len, told.values())) > 30
        for station, version in latest.items():
            assert told[station] in ([version], [] if station in parked else [version]), "the newest alone"

    in_virtual_time(week)


def test_after_five_days_it_is_disabled_and_once_enabled_it_may_be_told_all(tmp_path: Path) -> None:
    async def weeks() -> None:
        outage = trial(tmp_path, Retry())
        began = outage.clock.wall()
        for _ in range(7):
            gateway = await outage.live(1.0, FLIPS_A_DAY)
        assert gateway.fold.state(outbox).boxes["w"].webhook.state == "disabled"
        disabled = gateway.fold.state(outbox).boxes["w"].webhook.disabled
        assert disabled is not None
        assert 5 * DAY <= (disabled.at - began) / 1e6 <= 5 * DAY + HOUR

        outage.receiver.answer = well
        gateway = await outage.live(1.0, 0)
        assert outage.receiver.accepted == []

        def recover(gateway: Gateway) -> None:
            gateway.append(WebhookEnabled(), "w")
            gateway.append(WebhookRecovered(since=1, until=gateway.log.position), "w")

        gateway = await outage.live(1.0, 0, recover)
        told, latest = outage.told(), outage.latest(gateway)
        assert list(gateway.fold.state(outbox).pending()) == []
        for station, version in latest.items():
            assert told[station] == list(range(1, version + 1)), "everything, in order"

    in_virtual_time(weeks)
