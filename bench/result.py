"""What a benchmark found: a value, its unit, and the target that it is held to."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from attrs import asdict, frozen
from machine import spread

COLLECT = "BENCH_RESULTS"
"""Names the file to which `report` also adds its results, a JSON object a line; `run.py` sets it."""


@frozen(kw_only=True)
class Result:
    """One figure."""

    part: str
    """The benchmark that found it."""
    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""
    """Spread, sizes, and what the value was compared with."""

    @classmethod
    def of(
        cls,
        part: str,
        name: str,
        values: Sequence[float],
        *,
        unit: str,
        scale: float = 1.0,
        at_most: float | None = None,
    ) -> Result:
        """Return the median of several rounds, and their spread as its note."""
        each = [value * scale for value in values]
        return cls(part=part, name=name, value=statistics.median(each), unit=unit, at_most=at_most, note=spread(each))

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"<= {short(self.at_most)}"
        return f">= {short(self.at_least)}" if self.at_least is not None else ""

    @property
    def reached(self) -> bool:
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)


@frozen(kw_only=True)
class Curve:
    """Something over something: material for the picture."""

    part: str
    name: str
    points: Sequence[tuple[float, float]]


def short(number: float) -> str:
    """Write a number with as many digits as mean something."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def ratio(
    part: str,
    above: str,
    dear: Sequence[float],
    below: str,
    cheap: Sequence[float],
    *,
    at_least: float | None = None,
) -> Result:
    """Return how many times dearer one side is than another: the median of the rounds' ratios, with their spread."""
    each = [one / other for one, other in zip(dear, cheap, strict=True)]
    value = statistics.median(each)
    return Result(part=part, name=f"{above} / {below}", value=value, unit="x", at_least=at_least, note=spread(each))


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    rows = [("part", "figure", "value", "unit", "target", "", "note")]
    rows += [("---",) * 7]
    for one in results:
        verdict = "" if not one.target else "reached" if one.reached else "MISSED"
        rows.append((one.part, one.name, short(one.value), one.unit, one.target, verdict, one.note))
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(results: Sequence[Result], curves: Sequence[Curve] = ()) -> None:
    """Print the results; or hand them, and what is only drawn, to `run.py`, where that is what runs this."""
    collect = os.environ.get(COLLECT)
    if collect is None:
        print(table(results))
        return
    with Path(collect).open("a") as file:
        file.writelines(json.dumps(asdict(one)) + "\n" for one in results)
        file.writelines(json.dumps(asdict(curve)) + "\n" for curve in curves)
