"""How fast presence folds events that were read already, decoding included, beside a loop that only decodes.

The history is of one run and 10 000 stations that come and go: opens, closes of every sort, timeouts, takeovers.
Times are CPU time, so that a busy machine counts less; the ratio to the decode loop counts it out.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from machine import spread
from result import Result, report

from stationkeeper.engine.codec import decode, seal
from stationkeeper.engine.entry import Recorded
from stationkeeper.engine.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionPingTimedOut,
    Event,
    GatewayStarted,
    WebhookAdded,
)
from stationkeeper.engine.fold import Projection, fold
from stationkeeper.engine.names import closed_id, connection_name, opened_id, timed_out_id
from stationkeeper.projections import outbox, presence

EVENTS = 250_000
STATIONS = 10_000
ROUNDS = 7
BEGAN = 1_760_000_000_000_000  # microseconds: in October 2025


class Writer:
    """A log in memory, as it would be read."""

    def __init__(self) -> None:
        self.log: list[Recorded] = []

    def write(self, event: Event, id: str, subject: str = "") -> None:
        position = len(self.log) + 1
        entry = seal(event, id=id, at=BEGAN + position * 1000, subject=subject, gateway="bench", run="run")
        self.log.append(Recorded(**{name: getattr(entry, name) for name in entry.__struct_fields__}, position=position))


def history(webhooks: int = 0) -> list[Recorded]:
    """Return a log; with webhooks, each of them is owed a message for every flip."""
    writer = Writer()
    for number in range(webhooks):
        writer.write(WebhookAdded(url="https://hooks.example/"), f"added-{number}", f"w{number}")
    started = GatewayStarted(
        public_url="wss://gateway.example/ocpp", ping_interval=25.0, ping_timeout=20.0, silence=900.0, grace=120.0,
        settling=300.0, rules=1, software="bench", host="bench",
    )  # fmt: skip
    writer.write(started, "run")
    number = 0
    while len(writer.log) < EVENTS:
        number += 1
        visit(writer, number)
    return writer.log[:EVENTS]


def visit(writer: Writer, number: int) -> None:
    """A station opens a connection, and loses it in one of several ways."""
    station, connection = f"CP-{number % STATIONS}", connection_name("run", number)
    at = BEGAN + len(writer.log) * 1000
    opened = ConnectionOpened(
        connection=connection, subprotocol="ocpp1.6", ping_interval=25.0, ping_timeout=20.0, silence=900.0
    )
    writer.write(opened, opened_id(connection), station)
    if number % 10 == 0:
        return  # its next connection takes over
    if number % 4 == 0:
        timed_out = ConnectionPingTimedOut(
            connection=connection, alive_at=at, pinged_at=at, interval=25.0, timeout=20.0, lag=0.01
        )
        writer.write(timed_out, timed_out_id(connection), station)
    closed = ConnectionClosed(
        connection=connection, side="station", code=1000, cause="ping_timeout" if number % 4 == 0 else "station_closed",
        alive_at=at, received=12, sent=12,
    )  # fmt: skip
    writer.write(closed, closed_id(connection), station)


def decoded(events: Iterable[Recorded]) -> None:
    for recorded in events:
        decode(recorded)


def folded(projection: Projection[Any, Any]) -> Callable[[Sequence[Recorded]], None]:
    return lambda events: void(fold(projection, events))


def void(state: object) -> None:
    """Let a state go inside the time that is taken: freeing it is part of the cost."""


def seconds(work: Callable[[Sequence[Recorded]], None], events: Sequence[Recorded]) -> list[float]:
    """Return the CPU seconds of each round."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        work(events)
        rounds.append(time.process_time() - began)
    return rounds


def main() -> None:
    events = history()
    gc.freeze()  # the log that was read is the benchmark's, not the fold's
    decoding = seconds(decoded, events)
    folding = seconds(folded(presence), events)
    rates = [EVENTS / took for took in folding]
    ratio = statistics.median(folding) / statistics.median(decoding)
    owing = seconds(folded(outbox), history(webhooks=1))
    report(
        [
            Result(
                part="fold",
                name="presence, decoding included",
                value=statistics.median(rates),
                unit="events/s",
                at_least=250_000,
                note=f"{min(rates):,.0f} to {max(rates):,.0f} in {ROUNDS} rounds; {STATIONS:,} stations",
            ),
            Result(
                part="fold",
                name="the same over a bare decode loop",
                value=ratio,
                unit="x",
                note=f"decoding alone takes {spread([1e6 * took / EVENTS for took in decoding])} us an event",
            ),
            Result(
                part="fold",
                name="with registry, webhooks and outbox",
                value=EVENTS / statistics.median(owing),
                unit="events/s",
                note="one webhook, owed a message for each flip, none of them delivered yet",
            ),
        ]
    )


if __name__ == "__main__":
    main()
