"""Draws curves as SVG: for reports and notebooks, which have neither a server nor scripts. Pure; text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 10, 24
"""Pixels around the curves, for the marks of the axes."""
MARKS = 4
NAMESPACE = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Curve:
    """One line: its points, and how it looks."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    """The place in the palette: class `c0`, `c1`, ... of the line, for a style sheet."""
    stroke: str = "#0072b2"
    dash: str = ""


def short_number(found: float) -> str:
    """Five significant digits; integers in full while they are short."""
    if math.isfinite(found) and found == int(found) and abs(found) < 1e6:
        return str(int(found))
    return f"{found:.5g}"


def svg_chart(title: str, curves: Iterable[Curve], width: int = WIDTH, height: int = HEIGHT) -> str:
    """The curves over their steps, with marks at round numbers. Gaps where a value is not finite."""
    drawn = [curve for curve in curves if len(curve.x)]
    xs = _range(at for curve in drawn for at in curve.x)
    ys = _range(value for curve in drawn for value in curve.y if math.isfinite(value))

    def across(at: float) -> float:
        return LEFT + (at - xs[0]) / (xs[1] - xs[0]) * (width - LEFT - RIGHT)

    def down(value: float) -> float:
        return TOP + (ys[1] - value) / (ys[1] - ys[0]) * (height - TOP - BOTTOM)

    style = "max-width:100%;height:auto;font:11px system-ui,sans-serif"
    parts = [f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}" width="{width}" role="img" style="{style}" ']
    parts.append(f'aria-label="{escape(title, quote=True)}">')
    for value in round_marks(*ys):
        y = down(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{width - RIGHT}" stroke="currentColor" stroke-opacity=".13"/>')
        parts.append(_text(LEFT - 6, y + 4, "end", short_number(value)))
    for at in round_marks(*xs, whole=True):
        parts.append(_text(across(at), height - 6, "middle", short_number(at)))
    for curve in drawn:
        dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
        points = [
            (across(at), down(value) if math.isfinite(value) else math.nan) for at, value in zip(curve.x, curve.y)
        ]
        parts.append(
            f'<path class="c{curve.colour}" d="{_path(points)}" fill="none" stroke="{curve.stroke}" stroke-width="1.6" '
            f'stroke-linejoin="round" stroke-linecap="round"{dash}><title>{escape(curve.label)}</title></path>'
        )
    return "".join([*parts, "</svg>"])


def round_marks(low: float, high: float, whole: bool = False) -> list[float]:
    """About four round numbers in a range; `whole`: only integers."""
    step = (high - low) / MARKS
    power = 10.0 ** math.floor(math.log10(step))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step)
    if whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    low, high = max(low, -1e300), min(high, 1e300)  # the width of the range must be a number
    if low == high:
        room = abs(low) * 0.05 or 0.5
        return low - room, high + room
    return low, high


def _path(points: Sequence[tuple[float, float]]) -> str:
    """`M` begins a line, also behind a gap; a lone point is a line of no length, which round caps make visible."""
    parts: list[str] = []
    pen = False
    for x, y in points:
        if y != y:
            pen = False
            continue
        parts.append(f"{'L' if pen else 'M'}{x:.1f} {y:.1f}" + ("" if pen else "h0"))
        pen = True
    return "".join(parts)


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" fill-opacity=".7">{text}</text>'
