"""Ping interval, ping timeout and the link: how soon is a dead station found, how often is a living one called dead?

    python bench/tradeoff.py            # the table, in a few minutes
    python bench/tradeoff.py --write    # the same, into docs/explanation/choosing-ping-settings.md and its picture

It is a study, not a benchmark: time is simulated, the same seed gives the same figures on every machine. What decides
is the real liveness machine, `stationkeeper.engine.watch.liveness.Vigil`; what is modelled is the links alone
(`tradeoff_links.py`). The stations say nothing of their own: each byte that a real one sends saves it a ping.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from math import floor, inf, log10, sqrt
from pathlib import Path
from random import Random
from statistics import fmean, quantiles

from attrs import frozen
from tradeoff_links import Clean, Dying, Forgetful, Link, Loss, Outages, Spikes

from stationkeeper.engine.settings import Liveness
from stationkeeper.engine.watch.liveness import Due, Vigil

YEAR = 365.25 * 86_400
REDIAL = 10.0
"""Seconds from the end of a connection until its station dials again: RetryBackOffWaitMinimum in OCPP 2.0.1's
example."""
INTERVALS = (10, 25, 60, 120, 240)
TIMEOUTS = (5, 10, 20, 40)
DEATHS = 4000
"""Stations that die, a cell."""
ENOUGH = 4000
"""So many false offlines are counted, no more: their rate is then known to 3 %."""
PAGE = Path(__file__).parent.parent / "docs/explanation/choosing-ping-settings.md"
PICTURE = PAGE.parent.parent / "pictures/ping-settings.svg"
BEGIN, END = "<!-- begin of what bench/tradeoff.py wrote -->", "<!-- end of what bench/tradeoff.py wrote -->"
EXCHANGE = 208
"""Bytes on the wire of a ping, its pong and the ACK of that, in IPv4 with TCP timestamps (52 each) and TLS 1.3 (22 a
record): 52 + 22 + 2, 52 + 22 + 6, 52."""


@frozen(kw_only=True)
class Model:
    """A kind of link, and for how many station-years it is watched in each cell, at most."""

    name: str
    years: float
    link: Callable[[Liveness, Random], Link]


MODELS = (
    Model(name="clean", years=10_000, link=lambda settings, random: Clean()),
    Model(
        name="2 % loss",
        years=50_000,
        link=lambda settings, random: Loss(0.02, timeout=settings.ping_timeout, random=random),
    ),
    Model(name="RTT spikes", years=300, link=lambda settings, random: Spikes(random=random)),
    Model(name="bursts", years=500, link=lambda settings, random: Outages(every=600, lasting=2, random=random)),
    Model(
        name="poor cellular",
        years=500,
        link=lambda settings, random: Outages(every=86_400 / 20, lasting=30, random=random),
    ),
    Model(name="NAT 30 s", years=10_000, link=lambda settings, random: Forgetful(forgets=30)),
    Model(name="NAT 5 min", years=10_000, link=lambda settings, random: Forgetful(forgets=300)),
)


@frozen(kw_only=True)
class Rate:
    """How often something happened."""

    count: int
    years: float
    """Station-years in which it was counted."""

    @property
    def value(self) -> float:
        """Times a station-year."""
        return self.count / self.years

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which the true rate lies, with 95 % confidence (Byar's approximation to Poisson's limits).

        Where nothing was counted the upper one is that of the rule of three, and the only one.
        """
        if self.count == 0:
            return 0.0, 3.0 / self.years
        low, high = self.count, self.count + 1
        return (
            low * (1 - 1 / (9 * low) - 1.96 / (3 * sqrt(low))) ** 3 / self.years,
            high * (1 - 1 / (9 * high) + 1.96 / (3 * sqrt(high))) ** 3 / self.years,
        )

    def __str__(self) -> str:
        if self.count == 0:
            return f"< {two_digits(self.bounds[1])}"
        if self.count >= 400:  # known to a tenth
            return two_digits(self.value)
        return f"{two_digits(self.value)} ({' to '.join(map(two_digits, self.bounds))})"


@frozen(kw_only=True)
class Cell:
    """What a ping interval and a ping timeout come to."""

    interval: float
    timeout: float
    found: tuple[float, float, float]
    """Seconds from a station's death until it is reported: the mean, what 99 of 100 stay below, the longest."""
    offlines: dict[str, Rate]
    """False ones, by model."""

    @property
    def megabytes(self) -> float:
        """What pings use up in 30 days where a station says nothing of its own."""
        return 30 * 86_400 / (self.interval + Clean.usual) * EXCHANGE / 1e6


def watch(vigil: Vigil, link: Link, until: float) -> float:
    """Watch one connection. Returns when it is taken to be dead; infinity if not before *until*."""
    cycle = vigil.settings.ping_interval + link.usual
    while True:
        due = vigil.deadline()
        passed_over = link.calm(due, cycle)
        if due + passed_over * cycle >= until:
            return inf
        if passed_over:
            answered = due + (passed_over - 1) * cycle
            vigil.pinged(answered)
            vigil.heard(answered + link.usual)
            due = vigil.deadline()
        agreed(vigil.expire(due), Due.PING)
        vigil.pinged(due)
        deadline = vigil.deadline()
        answer = link.answer(due, deadline)
        if answer > deadline:
            agreed(vigil.expire(deadline), Due.LOOK)  # and the socket is empty: nothing has come yet
            return deadline
        vigil.heard(answer)


def agreed(said: Due | None, expected: Due) -> None:
    if said is not expected:
        raise RuntimeError(f"the liveness machine says {said}, and this study thought {expected}")


def false_offlines(settings: Liveness, link: Link, *, years: float, random: Random, enough: int = ENOUGH) -> Rate:
    """Count how often a station that is well is called dead; each time it dials in again."""
    count, now, until = 0, 0.0, years * YEAR
    while now < until and count < enough:
        now = watch(Vigil(settings, link.dial(now), early=random.random()), link, until) + REDIAL
        count += now < inf
    return Rate(count=count, years=min(now, until) / YEAR)


def times_to_find(settings: Liveness, link: Callable[[], Link], *, deaths: int, random: Random) -> Iterator[float]:
    """Yield how long it takes until a station is called dead that died at a random moment.

    One that is called dead before it dies is no death.
    """
    while deaths:
        way = link()
        cycle = settings.ping_interval + way.usual
        dies = random.uniform(20, 21) * cycle
        said = watch(Vigil(settings, way.dial(0), early=random.random()), Dying(way, dies=dies), inf)
        if said >= dies:
            deaths -= 1
            yield said - dies


def study(interval: float, timeout: float, *, seed: int, effort: float) -> Cell:
    """Fill one cell. Its figures depend on nothing but the settings, the seed and the effort."""
    settings = Liveness(ping_interval=interval, ping_timeout=timeout)
    offlines: dict[str, Rate] = {}
    for model in MODELS:
        random = Random(f"{seed} {interval} {timeout} {model.name}")
        link = model.link(settings, random)
        offlines[model.name] = false_offlines(settings, link, years=model.years * effort, random=random)
    deaths = sorted(times_to_find(settings, Clean, deaths=DEATHS, random=Random(f"{seed} {interval} {timeout}")))
    found = (fmean(deaths), quantiles(deaths, n=100)[98], deaths[-1])
    return Cell(interval=interval, timeout=timeout, found=found, offlines=offlines)


def two_digits(number: float) -> str:
    """Write a number with the two digits that mean something: `0.0083`, `2.4`, `390 000`."""
    if number >= 100:
        return f"{float(f'{number:.2g}'):,.0f}".replace(",", "\N{NO-BREAK SPACE}")
    return f"{number:.{1 - floor(log10(number))}f}"


def table(cells: Sequence[Cell]) -> str:
    """Return the result as a Markdown table, and a sentence on the links that need no column."""
    names = [model.name for model in MODELS if any(cell.offlines[model.name].count for cell in cells)]
    quiet = [f"*{model.name}* ({model.years:,.0f})" for model in MODELS if model.name not in names]
    lines = [
        f"| interval | timeout | found after: mean | 99 % | longest | MB a month | {' | '.join(names)} |",
        f"|{' ---: |' * (6 + len(names))}",
    ]
    for cell in cells:
        found = " | ".join(f"{seconds:.0f} s" for seconds in cell.found)
        rates = " | ".join(str(cell.offlines[name]) for name in names)
        lines.append(f"| {cell.interval} s | {cell.timeout} s | {found} | {two_digits(cell.megabytes)} | {rates} |")
    if quiet:
        lines += ["", f"No false offline was seen on these links (station-years in each cell): {', '.join(quiet)}."]
    return "\n".join(lines)


def write(cells: Sequence[Cell]) -> None:
    """Put the table into its page, and the picture beside it."""
    from tradeoff_plot import draw  # matplotlib is only needed here

    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(cells)}\n\n{END}{after}")
    draw(cells, PICTURE)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the page's table and picture (needs matplotlib)")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--effort", type=float, default=1.0, help="more station-years, by this factor")
    options = parser.parse_args(arguments)
    cells: list[Cell] = []
    for interval in INTERVALS:
        for timeout in TIMEOUTS:
            began = time.monotonic()
            cells.append(study(interval, timeout, seed=options.seed, effort=options.effort))
            print(f"{interval} s, {timeout} s: took {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(table(cells))
    if options.write:
        write(cells)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
