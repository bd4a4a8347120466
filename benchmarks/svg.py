"""Draws lines over two logarithmic axes as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 540, 50, 340
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Colours that people with colour blindness can distinguish (Okabe and Ito)."""

_FONT = 'font-family="sans-serif" font-size="13"'


@dataclass(frozen=True)
class Line:
    """Points of one line, by size; ``kind`` selects the colour, and yardsticks are dashed."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: int = 0
    is_yardstick: bool = False


class _Axis:
    """A logarithmic axis from one power of ten to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._first = math.floor(math.log10(min(values)))
        self._last = max(math.ceil(math.log10(max(values))), self._first + 1)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._first) / (self._last - self._first)
        return round(self._start + share * (self._end - self._start), 1)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._first, self._last + 1)]


def picture(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> str:
    """Return the picture of lines. Raise ValueError when there is no point, or a point that is not
    greater than zero."""
    points = [point for line in lines for point in line.points]
    if not points or min(min(point) for point in points) <= 0:
        raise ValueError("a picture needs points, and each greater than zero")
    x_axis = _Axis([x for x, _ in points], _LEFT, _RIGHT)
    y_axis = _Axis([y for _, y in points], _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="28" font-weight="bold">{escape(title)}</text>',
        *_grid(x_axis, y_axis),
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 44}" text-anchor="middle">'
        f"{escape(x_label)}</text>",
        f'<text transform="translate(20 {(_TOP + _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for number, line in enumerate(lines):
        parts += _drawn(line, number, x_axis, y_axis)
    return "\n".join([*parts, "</svg>", ""])


def _grid(x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    for tick in x_axis.ticks:
        at = x_axis.at(tick)
        yield f'<path d="M{at} {_TOP}V{_BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{at}" y="{_BOTTOM + 20}" text-anchor="middle">{_text(tick)}</text>'
    for tick in y_axis.ticks:
        at = y_axis.at(tick)
        yield f'<path d="M{_LEFT} {at}H{_RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{_text(tick)}</text>'


def _drawn(line: Line, number: int, x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    colour = _COLOURS[line.kind % len(_COLOURS)]
    dash = ' stroke-dasharray="5 4"' if line.is_yardstick else ""
    style = f'fill="none" stroke="{colour}" stroke-width="2"{dash}'
    places = [f"{x_axis.at(x)} {y_axis.at(y)}" for x, y in sorted(line.points)]
    yield f'<path d="M{" L".join(places)}" {style}/>'
    for place in places:
        x, y = place.split()
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
    at = _TOP + 10 + number * 22
    yield f'<path d="M{_RIGHT + 16} {at}h28" {style}/>'
    yield f'<text x="{_RIGHT + 50}" y="{at + 4}">{escape(line.name)}</text>'


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
