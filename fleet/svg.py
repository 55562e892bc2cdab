"""Line charts as SVG: a few lines, points with their spread, axes with numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 44
NAME_HEIGHT = 15  # of a line's name, above the plot
# Okabe and Ito's colours: told apart by everyone, on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


@dataclass(frozen=True)
class Mark:
    """A point; ``low`` and ``high`` are the ends of what was seen."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Chart:
    """``even``: the x values stand at even distances, as powers of two do well."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    labels: Sequence[str] = ()


def ticks(highest: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to ``highest`` or a little above."""
    if highest <= 0:
        return [0.0, 1.0]
    raw = highest / count
    scale = 10 ** math.floor(math.log10(raw))
    step = next(scale * m for m in (1, 2, 2.5, 5, 10) if scale * m >= raw)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def number(value: float) -> str:
    """At most three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def chart(found: Chart) -> str:
    """One ``<svg>`` element; without any point it says so."""
    marks = [mark for line in found.lines for mark in line.marks]
    if not marks:
        return _svg(found.title, [_text(WIDTH / 2, HEIGHT / 2, "not measured", anchor="middle")])
    xs = sorted({mark.x for mark in marks})
    levels = ticks(max(mark.high for mark in marks))
    place = _Place(xs, levels[-1], TOP + NAME_HEIGHT * len(found.lines))
    parts = [*_axes(found, place, xs, levels)]
    for index, line in enumerate(found.lines):
        parts += _line(line, place, COLOURS[index % len(COLOURS)])
        parts += _legend(line.name, index, COLOURS[index % len(COLOURS)])
    return _svg(found.title, parts)


class _Place:
    """From values to pixels."""

    def __init__(self, xs: Sequence[float], highest: float, top: int) -> None:
        self._at = {x: i for i, x in enumerate(xs)}
        self._highest = highest
        self._top = top
        self._steps = max(len(xs) - 1, 1)

    def x(self, value: float) -> float:
        share = self._at[value] / self._steps if len(self._at) > 1 else 0.5
        return LEFT + 14 + (WIDTH - LEFT - RIGHT - 28) * share

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - self._top - BOTTOM) * value / self._highest


def _svg(title: str, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">'
    )
    return "".join([head, _text(LEFT, 18, title, weight="bold"), *parts, "</svg>"])


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    words = f'text-anchor="{anchor}" font-weight="{weight}" fill="#222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {words}>{escape(text)}</text>'


def _axes(found: Chart, place: _Place, xs: list[float], levels: list[float]) -> list[str]:
    parts = []
    for level in levels:
        y = place.y(level)
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line {ends} stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, number(level), anchor="end"))
    for i, x in enumerate(xs):
        label = found.labels[i] if found.labels else number(x)
        parts.append(_text(place.x(x), HEIGHT - BOTTOM + 16, label, anchor="middle"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 8, found.x, anchor="middle"))
    middle = f"rotate(-90 14 {HEIGHT / 2:.0f})"
    parts.append(f'<g transform="{middle}">{_text(14, HEIGHT / 2, found.y, anchor="middle")}</g>')
    return parts


def _line(line: Line, place: _Place, colour: str) -> list[str]:
    marks = sorted(line.marks, key=lambda mark: mark.x)
    path = " ".join(f"{place.x(m.x):.1f},{place.y(m.y):.1f}" for m in marks)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for mark in marks:
        x, y = place.x(mark.x), place.y(mark.y)
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{place.y(mark.low):.1f}"'
        parts.append(f'<line {ends} y2="{place.y(mark.high):.1f}" stroke="{colour}"/>')
        said = f"{line.name}: {number(mark.y)} ({number(mark.low)} to {number(mark.high)})"
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
        parts.append(f"{circle}<title>{escape(said)}</title></circle>")
    return parts


def _legend(name: str, index: int, colour: str) -> list[str]:
    y = TOP + NAME_HEIGHT * index
    box = f'<rect x="{LEFT + 8}" y="{y - 8}" width="10" height="10" fill="{colour}"/>'
    return [box, _text(LEFT + 24, y + 1, name)]
