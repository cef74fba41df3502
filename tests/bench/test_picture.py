"""The picture of what stations cost."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from picture import BARS, CURVES, draw
from result import Curve, Result

SVG = "{http://www.w3.org/2000/svg}"
RESULTS = [
    Result(part=part, name=name, value=value, unit="")
    for part in (*BARS, *CURVES)
    for name, value in (("dense", 2.0), ("<npm> & ws", 8.0), ("a / b", 4.0), ("dense, untuned", 3.0))
]
LINES = [Curve(part=part, name="dense", points=[(0.0, 0.0), (5.0, 10.0)]) for part in CURVES]


def test_each_system_is_a_bar_to_scale_and_each_curve_a_line(tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"

    assert draw(RESULTS, LINES, file)

    root = ElementTree.parse(file).getroot()
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")][1:]
    assert len(widths) == 2 * len(BARS), "ratios and variants are none"
    assert widths[1] == pytest.approx(4 * widths[0], abs=0.2)
    assert len(list(root.iter(f"{SVG}polyline"))) == len(LINES)
    assert "<npm> & ws" in {text.text for text in root.iter(f"{SVG}text")}


def test_a_run_of_some_parts_leaves_the_picture_alone(tmp_path: Path) -> None:
    some = [one for one in RESULTS if one.part != "storm"]

    assert not draw(some, LINES, tmp_path / "picture.svg")
    assert not list(tmp_path.iterdir())
