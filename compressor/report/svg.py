"""What charts are made of, as SVG: a canvas, axes with round ticks, lines and text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

N_TICKS = 5
MAX_LOG_TICKS = 8


@dataclass(frozen=True)
class Canvas:
    """Size of a chart in pixels, and the part of it that holds the data."""

    width: int
    height: int
    left: int = 52
    right: int = 18
    top: int = 28
    bottom: int = 46

    @property
    def x_ends(self) -> tuple[int, int]:
        """Left and right end of the data."""
        return self.left, self.width - self.right

    @property
    def y_ends(self) -> tuple[int, int]:
        """Lower and upper end of the data."""
        return self.height - self.bottom, self.top


@dataclass(frozen=True)
class Axis:
    """A range of numbers laid along one side of a chart, in pixels."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    is_whole: bool = False
    """Ticks stand at whole numbers only."""

    def at(self, value: float) -> float:
        """Pixel of a number."""
        low, high, value = (math.log(x) if self.is_log else x for x in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers within the range: 1, 2 and 5 times a power of ten on a logarithmic axis."""
        if self.is_log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            round_numbers = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
            round_numbers = [value for value in round_numbers if self.low <= value <= self.high]
            if len(round_numbers) > MAX_LOG_TICKS:
                return [10.0**power for power in decades if self.low <= 10.0**power <= self.high]
            if len(round_numbers) > 1:
                return round_numbers
        raw = max((self.high - self.low) / N_TICKS, float(self.is_whole))
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(digit * unit for digit in (1, 2, 5, 10) if digit * unit >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def frame(canvas: Canvas, x: Axis, y: Axis, x_title: str, y_title: str) -> list[str]:
    """Draw grid lines, ticks and titles."""
    (left, right), (bottom, _) = canvas.x_ends, canvas.y_ends
    parts = [segment(left, bottom, right, bottom, "axis")]
    for value in y.ticks():
        parts.append(segment(left, y.at(value), right, y.at(value), "grid"))
        parts.append(text(left - 8, y.at(value) + 4, f"{value:g}", "tick end"))
    for value in x.ticks():
        parts.append(segment(x.at(value), bottom, x.at(value), bottom + 4, "axis"))
        parts.append(text(x.at(value), bottom + 18, f"{value:g}", "tick middle"))
    parts.append(text((left + right) / 2, canvas.height - 8, x_title, "title middle"))
    parts.append(text(left, canvas.top - 14, y_title, "title start"))
    return parts


def padded(values: Sequence[float], canvas: Canvas) -> Axis:
    """Make a vertical axis with some air, also where all values are equal."""
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) or 0.01 * abs(high) or 0.01
    return Axis(low - margin, high + margin, *canvas.y_ends)


def segment(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """Draw a line; its class decides how it looks."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, style: str) -> str:
    """Write words at a point."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def drawing(canvas: Canvas, label: str, parts: Iterable[str]) -> str:
    """Put a chart together; the label is read aloud in its place."""
    box = f"0 0 {canvas.width} {canvas.height}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
