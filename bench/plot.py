"""Small SVG charts, drawn from numbers alone: bars and lines. No rule about benchmarks lives here.

Colours are chosen to be told apart in light and dark pages; every chart carries its own background.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

_COLOURS = ("#1f6feb", "#8a8f98", "#d97706", "#0f9d74", "#b3478c", "#7a5cd6")
_WIDTH = 760
_FONT = "font-family='system-ui,sans-serif'"

Points = Sequence[tuple[float, float]]


def bars(title: str, unit: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Draw horizontal bars: group -> series -> value. Each group has its own scale, its highest bar is full."""
    series = list(dict.fromkeys(name for values in groups.values() for name in values))
    y = 64.0
    parts = []
    for group, values in groups.items():
        parts.append(_text(16, y + 4, group, size=13, weight=600))
        y += 12
        most = max(values.values(), default=1.0) or 1.0
        for name, value in values.items():
            width = max(value / most * (_WIDTH - 300), 1.5)
            colour = _COLOURS[series.index(name) % len(_COLOURS)]
            parts.append(_text(150, y + 12, name, anchor="end"))
            parts.append(f"<rect x='158' y='{y + 2:.1f}' width='{width:.1f}' height='13' rx='2' fill='{colour}'/>")
            parts.append(_text(164 + width, y + 12, _number(value)))
            y += 17
        y += 18
    return _page(title, unit, y, parts)


def lines(title: str, x_label: str, y_label: str, series: Mapping[str, Points], *, log_y: bool = True) -> str:
    """Draw lines over a logarithmic x axis; points must have x > 0, and y > 0 on a logarithmic y axis."""
    points = [point for line in series.values() for point in line]
    if not points:
        return _page(title, y_label, 100, [])
    left, top, width, height = 70.0, 70.0, _WIDTH - 230.0, 280.0
    x_axis = _Axis([x for x, _ in points], left, left + width, is_log=True)
    y_axis = _Axis([y for _, y in points], top + height, top, is_log=log_y)
    parts = []
    for value in x_axis.ticks():
        parts.append(_rule(x_axis.at(value), top, x_axis.at(value), top + height))
        parts.append(_text(x_axis.at(value), top + height + 18, _number(value), anchor="middle"))
    for value in y_axis.ticks():
        parts.append(_rule(left, y_axis.at(value), left + width, y_axis.at(value)))
        parts.append(_text(left - 8, y_axis.at(value) + 4, _number(value), anchor="end"))
    parts.append(_text(left + width / 2, top + height + 40, x_label, anchor="middle"))
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in line)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts.append(f"<rect x='{left + width + 20}' y='{top + number * 20}' width='12' height='12' fill='{colour}'/>")
        parts.append(_text(left + width + 38, top + number * 20 + 10, name))
    return _page(title, y_label, top + height + 56, parts)


class _Axis:
    """Maps values to pixels."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, is_log: bool) -> None:
        self._is_log = is_log
        self._start, self._end = start, end
        low = float(math.floor(math.log10(min(values)))) if is_log else 0.0
        high = float(math.ceil(math.log10(max(values)))) if is_log else max(values) * 1.05
        self._low, self._high = low, high if high > low else low + 1

    def at(self, value: float) -> float:
        place = math.log10(value) if self._is_log else value
        return self._start + (place - self._low) / (self._high - self._low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        if self._is_log:
            return [10.0**power for power in range(int(self._low), int(self._high) + 1)]
        step = 10.0 ** math.floor(math.log10(self._high))
        step = step if self._high / step >= 3 else step / 5
        return [step * number for number in range(int(self._high / step) + 1)]


def _page(title: str, subtitle: str, height: float, parts: Sequence[str]) -> str:
    size = f"width='{_WIDTH}' height='{height:.0f}' viewBox='0 0 {_WIDTH} {height:.0f}'"
    head = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-label='{escape(title, quote=True)}'>",
        f"<rect width='{_WIDTH}' height='{height:.0f}' rx='8' fill='#ffffff' stroke='#d0d7de'/>",
        _text(16, 28, title, size=16, weight=600),
        _text(16, 46, subtitle),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, size: int = 12, weight: int = 400, anchor: str = "start") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' text-anchor='{anchor}'"
        f" {_FONT} fill='#1f2328'>{escape(text)}</text>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='#e3e7eb'/>"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
