"""Lanes with a destination, messages for them, and attempts that fail; for tests of the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from attrs import evolve

from stationkeeper.engine.delivery.scheduling.lanes import Lanes
from stationkeeper.engine.delivery.scheduling.queues import WINDOW
from stationkeeper.engine.sending import Answer, Destination, Owed, Owing
from stationkeeper.engine.settings import EngineSettings

OK = Answer(status=200)
ILL = Answer(status=500, error="answered 500")
GONE = Answer(status=410, error="answered 410")
DAY = 86400.0


def destination(webhook: str = "w", **changes: Any) -> Destination:
    return evolve(
        Destination(webhook=webhook, url=f"https://{webhook}.example", secrets=("s",), state="active"), **changes
    )


def owed(n: int, subject: str = "CP-1", webhook: str = "w", *, round: int = 0) -> Owed:
    return Owed(
        id=f"msg_{n}",
        webhook=webhook,
        subject=subject,
        type="chargestation.online",
        position=n,
        round=round,
        state="pending",
    )


class Book:
    """What a projection knows of lanes, as far as the scheduler asks for it."""

    def __init__(self) -> None:
        self.owed: dict[str, dict[str, list[Owed]]] = {}
        """By webhook and subject: what is owed, in order."""

    def pending(self) -> Iterable[Owed]:
        return [message for lanes in self.owed.values() for lane in lanes.values() for message in lane]

    def subjects(self, webhook: str) -> Iterable[str]:
        return self.owed.get(webhook, {})

    def heads(self, webhook: str) -> Iterator[Owed]:
        yield from (lane[0] for lane in self.owed.get(webhook, {}).values())

    def lane(self, webhook: str, subject: str) -> Iterable[Owed]:
        return self.owed.get(webhook, {}).get(subject, [])

    def put(self, message: Owed) -> None:
        """Let a message stand at the head of its lane, alone."""
        self.owed.setdefault(message.webhook, {})[message.subject] = [message]

    def add(self, message: Owed) -> None:
        """Let a message stand at the end of its lane."""
        self.owed.setdefault(message.webhook, {}).setdefault(message.subject, []).append(message)

    def settle(self, message: Owed) -> None:
        """Take a message out of its lane; one that is empty is gone, and comes back at the end."""
        lane = self.owed[message.webhook][message.subject]
        lane.remove(message)
        if not lane:
            del self.owed[message.webhook][message.subject]


class Machine(Lanes):
    """The scheduler, with a book of what is owed."""

    def __init__(self, settings: EngineSettings, window: int) -> None:
        self.book = Book()
        super().__init__(settings, lambda: cast("Owing", self.book), window=window)

    def tell_head(self, message: Owed, now: float) -> None:
        """Say what stands at the head of a message's lane, as the book has it."""
        self.head(
            message.webhook, message.subject, next(iter(self.book.lane(message.webhook, message.subject)), None), now
        )

    def held(self, webhook: str = "w") -> int:
        """Count the lanes of a webhook that are held in memory."""
        return len(self._queues[webhook].lanes)


def lanes(*webhooks: str, window: int = WINDOW, **settings: Any) -> Machine:
    machine = Machine(EngineSettings(**settings), window)
    for webhook in webhooks or ("w",):
        machine.direct(webhook, destination(webhook), 0.0)
    return machine


def put(machine: Machine, *messages: Owed, now: float = 0.0) -> None:
    for message in messages:
        machine.book.put(message)
        machine.head(message.webhook, message.subject, message, now)


def empty(machine: Machine, subject: str = "CP-1", webhook: str = "w", *, now: float = 0.0) -> None:
    """Let a lane owe nothing more."""
    machine.book.owed[webhook].pop(subject, None)
    machine.head(webhook, subject, None, now)


def delivered(machine: Machine, message: Owed, now: float = 0.0) -> None:
    """Let a message in flight be accepted and recorded, and its lane go on."""
    assert machine.answered(message, OK, now).outcome == "delivered"
    machine.book.settle(message)
    machine.tell_head(message, now)
    machine.recorded(message, now)


def started(machine: Machine, now: float = 0.0) -> list[Owed]:
    return list(iter(lambda: machine.start(now), None))


def fail(machine: Machine, now: float, answer: Answer = ILL) -> float:
    """Fail the one attempt that may begin now, and return when the next may."""
    (message,) = started(machine, now)
    verdict = machine.answered(message, answer, now)
    assert verdict.outcome == "failed"
    return now + verdict.delay


def outage(machine: Machine, lanes: int = 100) -> None:
    """Let a receiver with many lanes be ill from the start."""
    put(machine, *(owed(n, f"CP-{n}") for n in range(lanes)))
    for message in started(machine):
        machine.answered(message, ILL, 0.0)
    assert started(machine) == []
