"""Lanes with a destination, messages for them, and attempts that fail; for tests of the scheduler."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from stationkeeper.engine.delivery.lanes import Lanes
from stationkeeper.engine.sending import Answer, Destination, Owed
from stationkeeper.engine.settings import Retry

OK = Answer(status=200)
ILL = Answer(status=500, error="answered 500")
GONE = Answer(status=410, error="answered 410")
DAY = 86400.0


def destination(webhook: str = "w", **changes: Any) -> Destination:
    return evolve(Destination(webhook=webhook, url="https://example.com", secrets=("s",), state="active"), **changes)


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


def lanes(*webhooks: str, concurrency: int = 64, webhook_concurrency: int = 16, retry: Retry | None = None) -> Lanes:
    machine = Lanes(retry or Retry(), concurrency=concurrency, webhook_concurrency=webhook_concurrency)
    for webhook in webhooks or ("w",):
        machine.direct(webhook, destination(webhook), 0.0)
    return machine


def put(machine: Lanes, *messages: Owed, now: float = 0.0) -> None:
    for message in messages:
        machine.head(message.webhook, message.subject, message, now)


def started(machine: Lanes, now: float = 0.0) -> list[Owed]:
    return list(iter(lambda: machine.start(now), None))


def fail(machine: Lanes, now: float, answer: Answer = ILL) -> float:
    """Fail the one attempt that may begin now, and return when the next may."""
    (message,) = started(machine, now)
    verdict = machine.answered(message, answer, now)
    assert verdict.outcome == "failed"
    return now + verdict.delay


def outage(machine: Lanes, lanes: int = 100) -> None:
    """Let a receiver with many lanes be ill from the start."""
    put(machine, *(owed(n, f"CP-{n}") for n in range(lanes)))
    for message in started(machine):
        machine.answered(message, ILL, 0.0)
    assert started(machine) == []
