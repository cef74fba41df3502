"""What a simulated world is made of: how many stations, how they are watched, and what happens to them and to us."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, Literal, TypeAlias, cast, get_args

from attrs import evolve, field, frozen

from ...engine import EngineSettings, Liveness, Retry
from .receivers import Mood
from .stations import BEHAVIOURS

FateKind: TypeAlias = Literal[
    "ask", "stall", "clock", "storm", "partition", "crash", "stop", "crash before", "crash after", "lost", "written",
    "receiver",
]  # fmt: skip
"""ask           somebody GETs a station
stall         our loop gets no turn for `amount` seconds
clock         the wall clock is set by `amount` seconds
storm         the network resets a share, `amount`, of all connections
partition     nothing gets through for `amount` seconds
crash         the gateway's process dies, and is back after `amount` seconds
stop          the gateway is stopped in order, and is back after `amount` seconds
crash before  the process dies in the next append, before anything is written; back after `amount` seconds
crash after   ... after it was written, and before anybody knew
lost          the next append fails, without a trace; the log cannot be written for `amount` seconds
written       the next append fails, but was written
receiver      the receiver of `webhook` changes to `mood`"""

_KINDS: Final = cast("tuple[FateKind, ...]", get_args(FateKind))
_MOODS: Final = cast("tuple[Mood, ...]", get_args(Mood))
_COMPANIONS: Final[tuple[FateKind, ...]] = ("crash after", "stall", "crash", "clock", "lost", "written", "storm")
HOUR: Final = 3600.0
LARGE: Final = 200
"""Stations from which on a world is large: quiet, and long."""
WEBHOOKS: Final[Mapping[str, str]] = {"all": "*", "even": "*[02468]", "newest": "*[13579]"}
"""The webhooks of every world, and the stations that each asks for."""
LATEST: Final = frozenset({"newest"})
"""Those of them that ask for the newest state alone."""
SHORT_RETRY: Final = Retry(
    delays=(5.0, 30.0, 120.0, 300.0, 600.0, 600.0, 900.0), retry_after_cap=600.0, disable_after=4 * HOUR
)
"""The schedule of three days within an hour, so that parking and disabling happen in a world of hours."""


@frozen(kw_only=True)
class Fate:
    """Something that happens at a moment."""

    at: float
    """Seconds since the world's begin."""
    kind: FateKind
    amount: float = 0.0
    """Seconds, or a share from 0 to 1."""
    webhook: str = "all"
    mood: Mood = "well"


@frozen(kw_only=True)
class Plan:
    """All that decides what happens in a world; with the same plan it happens again, to the byte."""

    seed: int
    stations: int
    hours: float
    """Of simulated time, before everything comes to rest."""
    settings: EngineSettings
    flaky: float = 0.1
    """The share of stations that are not just steady."""
    way: float = 0.2
    """Seconds that the network takes one way, at most."""
    turn: float = 0.0
    """Seconds between two turns of the gateway's reader."""
    backoff: float = 60.0
    """The longest pause of a station between two tries to dial in."""
    patience: float = 300.0
    """Seconds in which a station finds at the latest that its path is dead."""
    behaviours: tuple[str, ...] = field(default=tuple(name for name in BEHAVIOURS if name != "steady"))
    """Of the flaky ones; each is as frequent as the others."""
    fates: tuple[Fate, ...] = ()

    @staticmethod
    def draw(seed: int, *, stations: int | None = None, hours: float | None = None) -> Plan:
        """Draw a world from a seed; its size too, where that is not given.

        Intervals are drawn evenly by their logarithm, from the 25 s that keep the first NATs open to 15 min; worlds
        have as many stations as make about the same number of pings an hour. Small worlds are flaky and short, large
        ones quiet and long, as fleets are.
        """
        draw = Random(seed)
        interval = 25.0 * 36.0 ** draw.random()
        if stations is None:
            small = draw.random() < 0.92
            stations = draw.choice((5, 20, 100)) if small else round(interval * draw.choice((10, 20)))
        large = stations >= LARGE
        if hours is None:
            hours = draw.choice((12.0, 24.0)) if large else draw.choice((1.0, 3.0))
        grace = draw.choice((0.0, 30.0, 120.0, 120.0, 600.0))
        settings = EngineSettings(
            liveness=Liveness(
                ping_interval=round(interval, 3), ping_timeout=draw.choice((5.0, 20.0, 20.0, 60.0)), silence=900.0
            ),
            reconnect_grace=grace,
            retry=SHORT_RETRY,
            snapshot_interval=3600.0 if large else 60.0,
            shutdown_timeout=30.0,
            max_connections=2 * stations + 10,
        )
        return Plan(
            seed=seed,
            stations=stations,
            hours=hours,
            settings=settings,
            flaky=draw.uniform(0.005, 0.03) if large else draw.uniform(0.2, 0.9),
            way=draw.choice((0.001, 0.1, 1.0)),
            turn=draw.choice((0.25, 1.0)) if large else draw.choice((0.0, 0.05, 1.0)),
            backoff=max(60.0 if large else 5.0, grace * draw.choice((0.5, 0.8, 3.0))),
            patience=draw.choice((30.0, 300.0, 900.0)),
            fates=tuple(
                draw_fates(draw, hours, draw.randint(2, 6) if large else draw.randint(1, 3 + round(3 * hours)))
            ),
        )


def draw_fates(draw: Random, hours: float, number: int) -> list[Fate]:
    """Draw what happens in so many hours: about so many things, and some `ask` between."""
    fates: list[Fate] = []
    for _ in range(number):
        at = draw.random() * hours * HOUR
        kind: FateKind = "receiver" if draw.random() < 0.25 else draw.choice(_KINDS)
        fates.append(_fate(draw, at, kind))
        if kind == "receiver":
            fates.append(evolve(fates[-1], at=at + draw.expovariate(1 / 1200), mood="well"))
        if kind in ("stop", "crash", "storm", "lost", "written") and draw.random() < 0.5:
            # Troubles seldom come alone; the next one comes soon after the gateway is back.
            back = at + (fates[-1].amount if kind != "storm" else 0.0)
            fates.append(_fate(draw, back + 20 * draw.random(), draw.choice(_COMPANIONS)))
    fates += [Fate(at=draw.random() * hours * HOUR, kind="ask") for _ in range(20)]
    return sorted(fates, key=lambda fate: fate.at)


def _fate(draw: Random, at: float, kind: FateKind) -> Fate:
    short, long = draw.expovariate(1 / 10), draw.expovariate(1 / 1200)
    amount = short if draw.random() < 0.8 else long
    match kind:
        case "storm":
            amount = draw.random()
        case "stall":
            amount = min(draw.expovariate(1 / 10), 200.0)
        case "clock":
            amount = draw.choice((-3600.0, -30.0, -0.5, 2.0, 30.0, 3600.0))
        case "receiver":
            mood = draw.choice(_MOODS)
            return Fate(at=at, kind=kind, webhook=draw.choice(tuple(WEBHOOKS)), mood=mood)
        case _:
            pass
    return Fate(at=at, kind=kind, amount=round(amount, 3))
