"""A picture of a window: a row for each station, its time as bars. Pure: spans in, SVG out, the same for the same.

Shape tells what colour tells: online is a low bar, offline a high one, not observed is hatched, unknown is a line. The
colours are told apart by the colour-blind (Okabe and Ito's). Whatever was offline at all is at least a column wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final
from xml.sax.saxutils import escape

from ...engine.clock import rfc3339
from ...projections.uptime import Shade, Uptime, Window
from ...projections.uptime_watch import Span
from ..availability import percent
from .printing import visible

ROWS: Final = 100
"""Stations in one picture: more are no picture any more."""

_COLUMNS: Final = 720
_LEFT: Final = 150
_TOP: Final = 74
_ROW: Final = 26
_NAME: Final = 19
"""Characters of a station's id that find room."""

_SHADES: Final[tuple[Shade, ...]] = ("unknown", "online", "not observed", "offline")
"""A later one covers an earlier one where both fall into one column."""
_HEIGHTS: Final[dict[Shade, int]] = {"unknown": 2, "online": 12, "not observed": 12, "offline": 20}
_SECOND: Final = 1_000_000
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_STEPS: Final = tuple(
    step * _SECOND
    for step in (
        *(1, 5, 15, 60, 300, 900, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
        *(days * _DAY for days in (1, 2, 7, 14, 30, 90, 365)),
    )
)
"""Between two marks of the axis, in microseconds."""
_STYLE: Final = """\
    text { fill: #1c2529; font: 13px system-ui, sans-serif }
    .title { font-size: 16px; font-weight: 600 }
    .faint { fill: #5a6970; font-size: 12px }
    .tick { stroke: #cfd8dc; stroke-width: 1 }
    .online { fill: #56b4e9 }
    .offline { fill: #d55e00 }
    .unknown { fill: #b0bec5 }
    .not-observed { fill: url(#hatched); stroke: #78868d; stroke-width: 0.5 }
"""


class Picture:
    """What a window was for each station, by columns; `draw` is told as a `Measure` counts."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._columns: dict[str, bytearray] = {}

    def draw(self, station: str, shade: Shade, span: Span) -> None:
        """Paint a span of a station's row."""
        row = self._columns.setdefault(station, bytearray(_COLUMNS))
        since, length, rank = self.window.since, self.window.length, _SHADES.index(shade)
        begin = (span[0] - since) * _COLUMNS // length
        end = -(-(span[1] - since) * _COLUMNS // length)
        for column in range(begin, min(max(end, begin + 1), _COLUMNS)):
            row[column] = max(row[column], rank)

    def svg(self, uptimes: Sequence[Uptime]) -> Iterator[str]:
        """Yield the lines of the picture, with a row for each of these stations: at most `ROWS`."""
        height = _TOP + _ROW * len(uptimes) + 44
        width = _LEFT + _COLUMNS + 98
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'aria-labelledby="title desc">'
        )
        yield f'  <title id="title">{_text(self._title())}</title>'
        yield f'  <desc id="desc">{_text("; ".join(map(_told, uptimes)))}</desc>'
        yield f"  <style>\n{_STYLE}  </style>"
        yield (
            '  <pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect width="6" height="6" fill="#f4f6f7"/><rect width="2" height="6" fill="#78868d"/></pattern>'
        )
        yield f'  <rect width="{width}" height="{height}" fill="#ffffff"/>'
        yield f'  <text class="title" x="16" y="26">{_text(self._title())}</text>'
        yield f'  <text class="faint" x="{_LEFT + _COLUMNS + 12}" y="{_TOP - 12}">available</text>'
        yield from self._axis(height)
        for number, uptime in enumerate(uptimes):
            yield from self._row(uptime, _TOP + number * _ROW + _ROW // 2)
        yield from _legend(height - 16)
        yield "</svg>"

    def _title(self) -> str:
        return f"Stations from {_moment(self.window.since)} to {_moment(self.window.until)}, UTC"

    def _axis(self, height: int) -> Iterator[str]:
        for x, label in _ticks(self.window):
            yield f'  <path class="tick" d="M{x} {_TOP - 6} V{height - 40}"/>'
            yield f'  <text class="faint" x="{x}" y="{_TOP - 12}" text-anchor="middle">{label}</text>'

    def _row(self, uptime: Uptime, middle: int) -> Iterator[str]:
        yield f"  <g><title>{_text(_told(uptime))}</title>"
        yield f'    <text x="16" y="{middle + 4}">{_text(_short(uptime.station))}</text>'
        begin = 0
        for rank, run in groupby(self._columns.get(uptime.station, bytearray(_COLUMNS))):
            width = sum(1 for _ in run)
            yield "    " + _bar(_SHADES[rank], _LEFT + begin, width, middle)
            begin += width
        yield f'    <text x="{_LEFT + _COLUMNS + 12}" y="{middle + 4}">{percent(uptime)}</text>'
        yield "  </g>"


def _bar(shade: Shade, x: int, width: int, middle: int) -> str:
    height = _HEIGHTS[shade]
    name = shade.replace(" ", "-")
    return f'<rect class="{name}" x="{x}" y="{middle - height // 2}" width="{width}" height="{height}"/>'


def _legend(y: int) -> Iterator[str]:
    x = _LEFT
    for shade in ("online", "offline", "not observed", "unknown"):
        yield "  " + _bar(shade, x, 22, y - 4)
        yield f'  <text x="{x + 30}" y="{y}">{shade}</text>'
        x += 150


def _ticks(window: Window) -> Iterable[tuple[int, str]]:
    """Return where round times stand, and how they are called: eight at most."""
    step = next((step for step in _STEPS if window.length / step <= 8), _STEPS[-1] * (window.length // _STEPS[-1] + 1))
    first = -(-window.since // step) * step
    for at in range(first, window.until, step):
        x = _LEFT + (at - window.since) * _COLUMNS // window.length
        moment = datetime.fromtimestamp(at // _SECOND, UTC)
        midnight = at % (_DAY * _SECOND) == 0
        form = "%Y-%m-%d" if midnight else "%H:%M:%S" if step < 60 * _SECOND else "%H:%M"
        yield x, moment.strftime(form)


def _told(uptime: Uptime) -> str:
    """Return what stands in a row, in words."""
    outages = "1 outage" if uptime.outages == 1 else f"{uptime.outages} outages"
    return f"{uptime.station}: {percent(uptime).replace('-', 'not observed')} available, {outages}"


def _moment(at: int) -> str:
    """Return a time for a headline: no smaller part than it has."""
    day, _, time = rfc3339(at).rstrip("Z").removesuffix(".000000").partition("T")
    return f"{day} {time.removesuffix(':00')}"


def _short(id: str) -> str:
    seen = visible(id)
    return seen if len(seen) <= _NAME else seen[: _NAME - 1] + "…"


def _text(text: str) -> str:
    return escape(visible(text))
