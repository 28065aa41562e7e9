# SPDX-License-Identifier: Apache-2.0
"""Shapes and scales for inline SVG. Colours come from the page's CSS: classes `arm0`, `arm1`, …

Class and marker go together, so that arms can be told apart without colour. The baseline is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

MARKERS = 6


def figure(width: float, height: float, title: str, text: str, body: Iterable[str]) -> str:
    """An SVG image with its name and description for those who do not see it."""
    return (
        f'<div class="plot" style="max-width:{width:g}px"><svg viewBox="0 0 {width:g} {height:g}" '
        f'style="min-width:{0.75 * width:g}px" role="img" '
        f'aria-label="{escape(f"{title}. {text}")}">{"".join(body)}</svg></div>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" '
        f'class="{kind}"/>'
    )


def label(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{classes}>{escape(words)}</text>'


def marker(x: float, y: float, arm: int, tip: str, size: float = 4) -> str:
    """The arm's sign at a place, with a tip for the mouse."""
    s = size
    paths = (
        f"M{-s} 0a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0",  # circle
        f"M{-s} {-s}h{2 * s}v{2 * s}h{-2 * s}z",  # square
        f"M0 {-1.25 * s}L{1.2 * s} {s}H{-1.2 * s}z",  # triangle up
        f"M0 {-1.4 * s}L{1.4 * s} 0L0 {1.4 * s}L{-1.4 * s} 0z",  # diamond
        f"M0 {1.25 * s}L{1.2 * s} {-s}H{-1.2 * s}z",  # triangle down
        f"M{-s} {-0.4 * s}H{-0.4 * s}V{-s}H{0.4 * s}V{-0.4 * s}H{s}V{0.4 * s}H{0.4 * s}V{s}"
        f"H{-0.4 * s}V{0.4 * s}H{-s}z",  # plus
    )
    return (
        f'<path d="{paths[arm % MARKERS]}" transform="translate({x:.1f} {y:.1f})" '
        f'class="point arm{arm % MARKERS}"><title>{escape(tip)}</title></path>'
    )


def polyline(points: Sequence[tuple[float, float]], kind: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" class="{kind}"/>'


class Scale:
    """From values to places, linear or by logarithms. Values outside land on the edges."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, log: bool = False
    ) -> None:
        self._log = log
        self.low, self.high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self._log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self._start + share * (self._end - self._start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values between the two, evenly spaced."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def ratio_ticks(low: float, high: float) -> list[float]:
    """Values around 1 for a logarithmic axis, some six of them, as far to both sides."""
    below, above = (0.125, 0.25, 0.5), (2.0, 4.0, 8.0)
    near: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = (
        ((0.9, 0.95), (1.05, 1.1)),
        ((0.8, 0.9), (1.1, 1.2)),
        ((0.67, 0.8, 0.9), (1.1, 1.25, 1.5)),
        ((0.5, 0.67, 0.8), (1.25, 1.5, 2.0)),
        ((0.25, 0.5, 0.7), (1.4, 2.0, 4.0)),
    )
    reach = max(high, 1 / low)
    chosen = next(((b, a) for b, a in near if reach <= a[-1] * 1.15), (below, above))
    return [value for value in (*chosen[0], 1.0, *chosen[1]) if low <= value <= high]
