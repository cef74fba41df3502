"""A picture of a webhook's last day or week: attempts, its state, and how long its answers took. Pure: SVG out.

It bears no colour and no script: the page's style paints it, light or dark. What colour tells, shape or place tells
too: failed attempts stand on accepted ones, a message given up is a mark above its column, a state has its own height.
Each column says in words what it shows when it is pointed at, and the page tells the same in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import log10
from typing import Final
from xml.sax.saxutils import escape

from attrs import evolve, field, frozen

from ...engine.events import Micros
from ...projections.deliveries import PERIOD, REACH, Fared, Tally
from ..api.deliveries import Past
from ..words import count, duration, number

_SECOND: Final[Micros] = 1_000_000
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR

_WIDTH, _NARROW, _HEIGHT = 960, 340, 300
_LEFT, _MARGIN = 58, 8
_ATTEMPTS: Final = (24, 134)
"""Top and foot of the attempts."""
_STATES: Final = (150, 162)
_ANSWERS: Final = (188, 272)
_FASTEST, _SLOWEST = 0.001, 30.0
"""Seconds: where the scale of the answers begins and ends. It is logarithmic."""
_MARKS: Final = ((0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"))

_THICK: Final[dict[Fared, int]] = {"active": 4, "paused": 6, "disabled": 8, "failing": 10, "suspended": 12}
_NAMES: Final[dict[Fared, str]] = {
    "active": "active",
    "failing": "failing",
    "suspended": "suspended: one message at a time is tried",
    "paused": "paused",
    "disabled": "disabled",
}


@frozen(kw_only=True)
class Span:
    """What a picture shows."""

    name: str
    length: Micros
    column: Micros
    """How much time is one column."""
    step: Micros
    """Between two marks of the axis."""
    form: str
    """How a mark of the axis is written."""
    width: int = _WIDTH


DAY: Final = Span(name="24 hours", length=_DAY, column=PERIOD, step=3 * _HOUR, form="%H:%M")
WEEK: Final = Span(name="7 days", length=REACH, column=_HOUR, step=_DAY, form="%a %d")
NARROW: Final = {
    DAY: evolve(DAY, column=_HOUR, step=6 * _HOUR, width=_NARROW),
    WEEK: evolve(WEEK, column=4 * _HOUR, step=2 * _DAY, width=_NARROW),
}
"""The same for a narrow screen: with fewer columns and marks, so that all of it is seen and can be read."""


@frozen
class Column:
    """What was in one stretch of time."""

    at: Micros
    tally: Tally = field(factory=Tally)
    failing: int = 0
    """Messages that still wait, whose newest attempt failed in it."""

    @property
    def failed(self) -> int:
        """Attempts that failed."""
        return self.tally.failed + self.failing


def columns_of(past: Past, span: Span) -> list[Column]:
    """Return the columns in which something was, oldest first."""
    found: dict[Micros, Column] = {}
    for bucket in past.buckets:
        at = bucket.at - bucket.at % span.column
        before = found.get(at) or Column(at)
        before.tally.add(bucket.tally)
        found[at] = Column(at, before.tally, before.failing + bucket.failing)
    return list(found.values())


def in_words(tally: Tally, failing: int) -> str:
    """Say what was, and how long it took."""
    said = [f"{number(tally.accepted)} accepted" if tally.accepted else "nothing accepted"]
    if tally.parked:
        said.append(f"{number(tally.parked)} given up")
    if tally.failed:
        said.append(count(tally.failed, "failed attempt"))
    if failing:
        said.append(f"{count(failing, 'message')} failed and wait{'s' if failing == 1 else ''}")
    half, most = tally.quantile(0.5), tally.quantile(0.95)
    if half is not None and most is not None:
        said.append(f"answered within {duration(half)} as a rule, {duration(most)} at 95 %")
    return ", ".join(said)


def chart(past: Past, span: Span) -> str:
    """Return the picture."""
    return "".join(_Chart(past, span).lines())


class _Chart:
    def __init__(self, past: Past, span: Span) -> None:
        self._past, self._span = past, span
        self._columns = columns_of(past, span)
        self._since = past.until - span.length
        self._right = span.width - _MARGIN
        self._top = _round_up(max((one.tally.accepted + one.failed for one in self._columns), default=0))

    def lines(self) -> Iterator[str]:
        told = f"{in_words(self._past.sum, sum(one.failing for one in self._columns))}."
        frame = f"0 0 {self._span.width} {_HEIGHT}"
        yield f'<svg viewBox="{frame}" role="img" aria-label="{_text(self._span.name + ": " + told)}">'
        yield from self._grid()
        yield from self._states()
        for column in self._columns:
            yield from self._column(column)
        yield from self._answers()
        yield "</svg>"

    def _x(self, at: Micros) -> float:
        inside = min(max(at, self._since), self._past.until)
        return round(_LEFT + (inside - self._since) * (self._right - _LEFT) / self._span.length, 2)

    def _y(self, many: float) -> float:
        top, foot = _ATTEMPTS
        return round(foot - many * (foot - top) / self._top, 2)

    def _grid(self) -> Iterator[str]:
        top, foot = _ATTEMPTS
        yield f'<text class="what" x="{_LEFT}" y="12">Attempts</text>'
        for many in (0, self._top // 2, self._top) if self._top > 1 else (0, 1):
            y = self._y(many)
            yield f'<path class="grid" d="M{_LEFT} {y}H{self._right}"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{_short(many)}</text>'
        yield f'<text class="what" x="{_LEFT}" y="{_ANSWERS[0] - 8}">Answered within</text>'
        for seconds, label in _MARKS:
            y = _height(seconds)
            yield f'<path class="grid" d="M{_LEFT} {y}H{self._right}"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>'
        first = -(-self._since // self._span.step) * self._span.step
        for at in range(first, self._past.until, self._span.step):
            x = self._x(at)
            label = datetime.fromtimestamp(at // _SECOND, UTC).strftime(self._span.form)
            anchor = "middle" if _LEFT + 24 < x < self._right - 24 else "start" if x < self._span.width / 2 else "end"
            yield f'<path class="grid" d="M{x} {top}V{foot}M{x} {_ANSWERS[0]}V{_ANSWERS[1]}"/>'
            yield f'<text x="{x}" y="{_ANSWERS[1] + 20}" text-anchor="{anchor}">{label}</text>'

    def _states(self) -> Iterator[str]:
        ends = [move.at for move in self._past.moves[1:]] + [self._past.until]
        middle = sum(_STATES) / 2
        yield f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">State</text>'
        for move, end in zip(self._past.moves, ends, strict=False):
            x, thick = self._x(move.at), _THICK[move.state]
            width = max(self._x(end) - x, 1)
            yield f'<rect class="{move.state}" x="{x}" y="{middle - thick / 2}" width="{width:.2f}" height="{thick}">'
            yield f"<title>{_text(_NAMES[move.state])}, since {_moment(max(move.at, self._since))}</title></rect>"

    def _column(self, column: Column) -> Iterator[str]:
        x = self._x(column.at)
        width = max(self._x(column.at + self._span.column) - x - 1, 1)
        accepted, failed = column.tally.accepted, column.failed
        told = f"{_moment(max(column.at, self._since))}: {in_words(column.tally, column.failing)}"
        yield f"<g><title>{_text(told)}</title>"
        yield f'<rect class="all" x="{x}" y="{_ATTEMPTS[0] - 10}" width="{width:.2f}" height="{_HEIGHT - 50}"/>'
        for kind, low, high in (("accepted", 0, accepted), ("failed", accepted, accepted + failed)):
            if high > low:
                y = min(self._y(high), self._y(low) - 1.5)  # one of many is seen, too
                yield f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.2f}" height="{self._y(low) - y:.2f}"/>'
        if column.tally.parked:
            middle, y = x + width / 2, self._y(accepted + failed) - 3
            yield f'<path class="parked" d="M{middle:.2f} {y:.2f}l-4 -7h8z"/>'
        yield "</g>"

    def _answers(self) -> Iterator[str]:
        """Draw a band from half of the answers to 95 of a hundred, with the half as a line."""
        for run in _runs(self._columns, self._span.column):
            points: list[tuple[float, float, float]] = []
            for column in run:
                half, most = column.tally.quantile(0.5), column.tally.quantile(0.95)
                if half is not None and most is not None:
                    middle = (self._x(column.at) + self._x(column.at + self._span.column)) / 2
                    points.append((round(middle, 2), _height(half), _height(most)))
            if len(points) == 1:  # a lone one is as wide as its column
                wide, (x, half, most) = self._x(run[0].at + self._span.column) - self._x(run[0].at), points[0]
                points = [(round(x - wide / 2, 2), half, most), (round(x + wide / 2, 2), half, most)]
            if points:
                upper = "L".join(f"{x} {most}" for x, _, most in points)
                lower = "L".join(f"{x} {half}" for x, half, _ in reversed(points))
                yield f'<path class="band" d="M{upper}L{lower}z"/>'
                yield '<path class="half" d="M' + "L".join(f"{x} {half}" for x, half, _ in points) + '"/>'


def _runs(columns: Iterable[Column], width: Micros) -> Iterator[Sequence[Column]]:
    """Part columns in which something was accepted where there is none between."""
    run: list[Column] = []
    for column in columns:
        if not column.tally.accepted:
            continue
        if run and column.at - run[-1].at > width:
            yield run
            run = []
        run.append(column)
    if run:
        yield run


def _height(seconds: float) -> float:
    top, foot = _ANSWERS
    share = log10(min(max(seconds, _FASTEST), _SLOWEST) / _FASTEST) / log10(_SLOWEST / _FASTEST)
    return round(foot - share * (foot - top), 2)


def _round_up(many: int) -> int:
    """Return a round number that is not below this one, so that the scale bears round numbers."""
    size = 1
    while True:
        for round_one in (1, 2, 4, 6, 8):
            if round_one * size >= many:
                return int(round_one * size)
        size *= 10


def _short(many: int) -> str:
    return f"{many // 1000} k" if many >= 10_000 and many % 1000 == 0 else number(many)


def _moment(at: Micros) -> str:
    return datetime.fromtimestamp(at // _SECOND, UTC).strftime("%a %d %b %H:%M")


def _text(text: str) -> str:
    return escape(text, {'"': "&quot;"})
