"""The picture of what `tradeoff.py` found: per kind of link, time to find a dead station against false offlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

if TYPE_CHECKING:
    from tradeoff import Cell

PANELS = {
    "2 % loss": "2 % of transmissions are lost",
    "RTT spikes": "Radio wakes up in 1 s to 3 s, full buffers",
    "bursts": "Down for 2 s every 10 minutes",
    "poor cellular": "Down for 30 s, 20 times a day",
}
"""The models that are shown, and their titles. The others are all or nothing, and need no picture."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56606a")
"""Of the intervals; told apart by those who see few colours, too (after Okabe and Ito)."""
MARKS = "os^Dv"
DEFAULT = (25.0, 20.0)


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Write the picture as SVG. The same figures give the same bytes."""
    with matplotlib.rc_context():
        pyplot.rc("svg", hashsalt="stationkeeper", fonttype="none")
        pyplot.rc("font", family="sans-serif", size=10)
        figure, grid = pyplot.subplots(2, 2, figsize=(9, 7.4), sharex=True, sharey=True, layout="constrained")
        for (name, title), axes in zip(PANELS.items(), grid.flat, strict=True):
            _panel(axes, cells, name)
            axes.set_title(title, fontsize=11)
        for axes in grid[-1]:
            axes.set_xlabel("seconds until a dead station is found, at most")
        for axes in grid[:, 0]:
            axes.set_ylabel("false offlines a station-year")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def _panel(axes: Axes, cells: Sequence[Cell], name: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axvline(60, color="#90a4ae", linestyle="--", linewidth=1, label="one minute")
    for interval, colour, mark in zip(dict.fromkeys(cell.interval for cell in cells), COLOURS, MARKS, strict=True):
        row = [cell for cell in cells if cell.interval == interval]
        seen = [cell for cell in row if cell.offlines[name].count]
        at = [cell.interval + cell.timeout for cell in seen]
        values = [cell.offlines[name].value for cell in seen]
        axes.plot(at, values, color=colour, marker=mark, markersize=5, label=f"every {interval:g} s")
        for cell in row:
            if not cell.offlines[name].count:
                bound = cell.offlines[name].bounds[1]
                axes.plot(cell.interval + cell.timeout, bound, color=colour, marker=r"$\downarrow$", markersize=9)
    for cell in cells:
        if (cell.interval, cell.timeout) == DEFAULT:
            x, y = cell.interval + cell.timeout, cell.offlines[name].value
            axes.plot(x, y, "o", markersize=13, fillstyle="none", color="#212121", linestyle="", label="the default")
    axes.set_yticks([0.001, 0.01, 0.1, 1, 10, 100, 1000, 10_000])
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes.set_xticks([15, 30, 60, 120, 240], labels=["15", "30", "60", "120", "240"])
    axes.minorticks_off()
    axes.grid(color="#eceff1")
    axes.set_axisbelow(True)
