"""The picture of what stations cost: memory, handshake and ping side by side, goodput under overload, and a storm.

Hand-written SVG, for a benchmark should need no more than it measures. A panel is drawn for each part that was run; the
picture is written only if all were, so that a run of one part does not spoil what the others drew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from result import Curve, Result, short

BARS = {
    "density": ("Memory of an idle station", "kB", 2.0),
    "handshake": ("CPU of a handshake with credentials; ours is durable", "µs", None),
    "ping": ("CPU of a ping and its pong", "µs", 25.0),
}
"""Title, unit and target of each panel of bars."""
CURVES = {
    "overload": ("Stations let in over stations that come, a second", "arrivals/s", "visits/s"),
    "storm": ("Stations back after a restart of the daemon", "seconds since it was ready", "stations"),
}
WIDTH, LEFT, ROW, GAP = 720, 170, 22, 58
PLOT = 190
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Told apart by those who see few colours, too (after Okabe and Ito)."""
STYLE = """
    text { font: 13px system-ui, sans-serif }
    .title { font-size: 15px; font-weight: 600 }
    .faint { fill: #5a6970; font-size: 12px }
    .tick { stroke: #cfd8dc; stroke-width: 1 }
    .target { stroke: #212121; stroke-width: 1; stroke-dasharray: 4 3 }
"""


def draw(results: Sequence[Result], curves: Sequence[Curve], path: Path) -> bool:
    """Write the picture, if there is something for each of its panels; return whether there was."""
    parts = {one.part for one in results} & {*BARS, *CURVES}
    if parts != {*BARS, *CURVES}:
        return False
    lines: list[str] = []
    top = 8
    for part, (title, unit, target) in BARS.items():
        # Ratios are named "one / other", and variants "one, how": neither is a bar.
        alone = [one for one in results if one.part == part and not {"/", ","} & {*one.name}]
        bars = [(one.name, one.value) for one in alone]
        lines += _bars(title, unit, target, bars, top)
        top += GAP + ROW * len(bars)
    for part, words in CURVES.items():
        lines += _plot(*words, [curve for curve in curves if curve.part == part], top)
        top += PLOT + GAP + 40
    with path.open("w") as file:
        print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">', file=file)
        print("  <title>What stations cost, ours beside others</title>", file=file)
        print(f"  <style>{STYLE}  </style>", file=file)
        print(f'  <rect width="{WIDTH}" height="{top}" fill="#ffffff"/>', file=file)
        print(*(f"  {line}" for line in lines), "</svg>", sep="\n", file=file)
    return True


def _bars(title: str, unit: str, target: float | None, bars: list[tuple[str, float]], top: int) -> Iterator[str]:
    longest = max(value for _, value in bars)
    scale = (WIDTH - LEFT - 90) / longest
    yield _text(16, top + 20, f"{title}, {unit}", "title")
    for number, (name, value) in enumerate(bars):
        y = top + 34 + number * ROW
        colour = COLOURS[0] if name in ("dense", "trio-websocket") else "#9aa7ad"
        yield _text(LEFT - 10, y + 12, name, anchor="end")
        yield f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{ROW - 7}" fill="{colour}"/>'
        yield _text(LEFT + value * scale + 6, y + 12, short(value))
    if target is not None:
        x, end = LEFT + target * scale, top + 30 + ROW * len(bars)
        yield f'<path class="target" d="M{x:.1f} {top + 30} V{end}"><title>target: {target:g} {unit}</title></path>'


def _plot(title: str, across: str, up: str, curves: list[Curve], top: int) -> Iterator[str]:
    right = max(x for curve in curves for x, _ in curve.points) or 1.0
    high = max(y for curve in curves for _, y in curve.points) or 1.0
    left, width, floor = 90, WIDTH - 120, top + 40 + PLOT

    def place(x: float, y: float) -> str:
        return f"{left + x / right * width:.1f},{floor - y / high * PLOT:.1f}"

    yield _text(16, top + 20, title, "title")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = floor - share * PLOT, left + share * width
        yield f'<path class="tick" d="M{left} {y:.1f} H{left + width}"/>'
        yield _text(left - 8, y + 4, short(high * share) if share else "0", "faint", anchor="end")
        yield _text(x, floor + 18, short(right * share) if share else "0", "faint", anchor="middle")
    yield _text(left + width, floor + 34, across, "faint", anchor="end")
    yield _text(left + width, top + 34, up, "faint", anchor="end")
    for number, (curve, colour) in enumerate(zip(curves, COLOURS * len(curves), strict=False)):
        dashes = ("", "6 3", "2 3")[number // len(COLOURS) % 3]
        points = " ".join(place(x, y) for x, y in curve.points)
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        yield f'<polyline points="{points}" {style}/>'
        yield f'<path d="M{left + 12} {top + 52 + 18 * number} h22" {style}/>'
        yield _text(left + 40, top + 56 + 18 * number, curve.name)


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
