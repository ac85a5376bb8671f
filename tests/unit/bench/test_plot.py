"""Charts are well-formed SVG whose marks follow the numbers."""

import itertools
import xml.etree.ElementTree as ET

from bench import plot

_SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_their_values() -> None:
    root = ET.fromstring(plot.bars("Cost <of> & all", "us", {"fan-in": {"a": 1.0, "b": 4.0}}))
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{_SVG}rect")][1:]
    assert widths[1] / widths[0] == 4.0


def test_lines_rise_with_their_values_on_logarithmic_axes() -> None:
    root = ET.fromstring(plot.lines("t", "x", "y", {"a": [(1, 1.0), (10, 10.0), (100, 100.0)]}))
    (line,) = root.iter(f"{_SVG}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    steps = [(b[0] - a[0], a[1] - b[1]) for a, b in itertools.pairwise(points)]
    assert steps[0] == steps[1]
    assert steps[0][1] > 0


def test_empty_chart_is_still_a_page() -> None:
    assert ET.fromstring(plot.lines("t", "x", "y", {})).tag == f"{_SVG}svg"
