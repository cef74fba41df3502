"""A world let happen and judged, and what a person reads of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import asdict, frozen

from ...engine import Log, Projection
from ...engine.log.memory import MemoryLog
from ...engine.sending import Sender
from ...engine.stations import StationTransport
from ...projections import outbox, presence
from .history import Told
from .judge import TRUTHS, Judge
from .plan import Plan
from .world import World

COMMAND = "python -m stationkeeper.daemon.proving"


@frozen(kw_only=True)
class Proof:
    """What came of a world."""

    seed: int
    stations: int
    hours: float
    ping_interval: float
    station_hours: float
    """Simulated, until everything had come to rest."""
    events: int
    """Rows in the log."""
    messages: int
    """Attempts that reached a receiver."""
    pings: int
    sockets: int
    """Dialled in all."""
    lives: int
    """Of the gateway."""
    seconds: float
    """That it took here, by the clock on the wall ..."""
    processor: float
    """... and of a processor."""
    digest: str
    """Of all that happened: the same again for the same plan."""
    findings: tuple[str, ...]
    """What the judge found wrong, as `truth: words`."""

    @property
    def replay(self) -> str:
        """The command that lets the same happen again, for a plan that was drawn."""
        return f"{COMMAND} --seed {self.seed} --stations {self.stations} --hours {self.hours:g}"


def prove(
    plan: Plan,
    *,
    log: Callable[[], Log] = MemoryLog,
    transport: Callable[[StationTransport], StationTransport] = lambda links: links,
    sender: Callable[[Sender], Sender] = lambda receivers: receivers,
    projections: Iterable[Projection[Any, Any]] = (presence, outbox),
) -> Proof:
    """Let a world happen and judge it; see `World` for the seams."""
    began, busy = time.perf_counter(), time.process_time()
    world = World(plan, log=log, transport=transport, sender=sender, projections=projections)
    history = world.run()
    try:
        findings = tuple(Judge(history).findings)
    except Exception as error:
        # The log says what no log should be able to say; that too is found, and the other worlds go on.
        findings = (f"log: the judge can make no sense of it: {error!r}",)
    return Proof(
        seed=plan.seed,
        stations=plan.stations,
        hours=plan.hours,
        ping_interval=plan.settings.liveness.ping_interval,
        station_hours=plan.stations * world.elapsed / 3600,
        events=len(history.rows),
        messages=sum(isinstance(fact, Told) for fact in history.facts),
        pings=world.network.pings,
        sockets=world.network.sockets,
        lives=world.lives,
        seconds=time.perf_counter() - began,
        processor=time.process_time() - busy,
        digest=history.digest(),
        findings=findings,
    )


@frozen(kw_only=True)
class Sum:
    """What came of many worlds."""

    worlds: int
    station_hours: float
    events: int
    messages: int
    pings: int
    sockets: int
    lives: int
    seconds: float
    processor: float
    failed: tuple[Proof, ...]

    @property
    def speed(self) -> float:
        """Simulated seconds of one station for each second here."""
        return self.station_hours * 3600 / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        failed = [{**asdict(proof), "replay": proof.replay} for proof in self.failed]
        return {**asdict(self), "speed": self.speed, "truths": TRUTHS, "failed": failed}


def prove_drawn(drawn: tuple[int, int | None, float | None]) -> Proof:
    """Prove the world of a seed, with so many stations and hours; what is none is drawn.

    It stands here because the processes of a pool import no package's `__main__`, and could not be handed it there.
    """
    seed, stations, hours = drawn
    return prove(Plan.draw(seed, stations=stations, hours=hours))


def add_up(proofs: Iterable[Proof], seconds: float) -> Sum:
    """Add worlds up that took so many seconds together."""
    proofs = list(proofs)
    return Sum(
        worlds=len(proofs),
        station_hours=sum(proof.station_hours for proof in proofs),
        events=sum(proof.events for proof in proofs),
        messages=sum(proof.messages for proof in proofs),
        pings=sum(proof.pings for proof in proofs),
        sockets=sum(proof.sockets for proof in proofs),
        lives=sum(proof.lives for proof in proofs),
        seconds=seconds,
        processor=sum(proof.processor for proof in proofs),
        failed=tuple(proof for proof in proofs if proof.findings),
    )


def in_words(proof: Proof) -> Iterator[str]:
    """Yield what came of a world, for people, a line each."""
    yield (
        f"Seed {proof.seed}: {proof.stations:,} stations for {proof.hours:g} hours and until all was at rest, "
        f"pinged after {proof.ping_interval:g} s of silence."
    )
    yield from _findings(proof)


def sum_in_words(total: Sum) -> Iterator[str]:
    """Yield what came of many worlds, for people, a line each."""
    worlds = "1 world" if total.worlds == 1 else f"{total.worlds:,} worlds"
    yield (
        f"{worlds}, {total.station_hours:,.0f} station-hours: {total.sockets:,} connections dialled, "
        f"{total.pings:,} pings, {total.lives:,} lives of the gateway, {total.events:,} events, "
        f"{total.messages:,} messages told."
    )
    yield (
        f"{total.seconds:,.1f} s here, {total.processor:,.1f} s of a processor; "
        f"{total.speed:,.0f} times as fast as a station lives."
    )
    if total.failed:
        yield f"FAILED: {len(total.failed)} of {worlds}. Again:"
        yield from (f"  {proof.replay}" for proof in total.failed)
    else:
        yield f"Every truth held: {', '.join(TRUTHS)}."


def _findings(proof: Proof) -> Iterator[str]:
    for finding in proof.findings[:20]:
        yield f"  {finding}"
    if len(proof.findings) > 20:
        yield f"  and {len(proof.findings) - 20:,} more"
