# SPDX-License-Identifier: Apache-2.0
"""The three plots: ratios with intervals, distributions with every point, time series."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedbench.evaluate.compare import Comparison
from schedbench.evaluate.data import lost, value_of
from schedbench.evaluate.stats import LEVEL
from schedbench.model import Better, Metric, Sample
from schedbench.report.figures import interval, quantity, ratio
from schedbench.report.svg import (
    Scale,
    figure,
    label,
    line,
    marker,
    polyline,
    ratio_ticks,
    rectangle,
    ticks,
)

WIDTH = 860
LEFT, RIGHT = 140, 640  # of the plotting area
ROW = 22
MOST_POINTS = 150  # of one line of a time series
WIDEST = 8.0  # ratios beyond it and its reciprocal are drawn at the edge


@dataclass(frozen=True, slots=True)
class Row:
    """One interval of a forest plot."""

    name: str  # shown where it differs from the row above
    arm: int
    tip: str
    ratio: float | None
    low: float
    high: float | None
    said: str


def of_comparison(row: Comparison, arm: int) -> Row:
    said = f"{ratio(row.ratio)} {interval(row.low, row.high)} {row.verdict}"
    tip = f"{row.workload}, {row.metric}, {row.arm}: {said}"
    return Row(row.workload, arm, tip, row.ratio, row.low, row.high, said)


def forest(title: str, rows: Sequence[Row]) -> str:
    """Ratios on a logarithmic axis; the band is what does not matter (5%)."""
    ends = [v for row in rows for v in (row.low, row.high, row.ratio) if v]
    widest = min(max([1.08, *ends, *(1 / v for v in ends)]) * 1.04, WIDEST)
    scale = Scale(1 / widest, widest, LEFT, RIGHT, log=True)
    top, bottom = 14, 14 + ROW * len(rows)
    body = [
        rectangle(scale(1 / 1.05), top, scale(1.05) - scale(1 / 1.05), bottom - top, "band"),
        line(scale(1), top, scale(1), bottom, "one"),
    ]
    for value in ratio_ticks(1 / widest, widest):
        body.append(line(scale(value), bottom, scale(value), bottom + 4, "axis"))
        body.append(label(scale(value), bottom + 16, f"{value:.3g}", "middle", "tick"))
    body.append(label(LEFT, bottom + 32, "← worse than the baseline", kind="tick"))
    body.append(label(RIGHT, bottom + 32, "better →", "end", "tick"))
    above = ""
    for place, row in enumerate(rows):
        y = top + ROW * (place + 0.5)
        if row.name != above:
            body.append(label(LEFT - 10, y + 4, row.name, "end"))
            if place:
                body.append(line(LEFT, y - ROW / 2, RIGHT, y - ROW / 2, "grid"))
        above = row.name
        low, high = max(row.low, 1 / widest), widest if row.high is None else row.high
        unbounded = row.low == 0 and row.high is None
        kind = "unbounded" if unbounded else f"interval arm{row.arm % 6}"
        body.append(line(scale(low), y, scale(high), y, kind))
        if row.low < 1 / widest and not unbounded:
            body.append(label(LEFT - 2, y + 4, "◂", kind="tick"))
        if row.low and (row.high is None or row.high > widest):
            body.append(label(RIGHT + 2, y + 4, "▸", "end", "tick"))
        shown = widest if row.ratio is None else max(row.ratio, 1 / widest)
        body.append(marker(scale(shown), y, row.arm, row.tip))
        body.append(label(RIGHT + 12, y + 4, row.said, kind="said"))
    text = f"{len(rows)} ratios with {LEVEL:.0%} intervals; the table has the numbers."
    return figure(WIDTH, bottom + 40, title, text, body)


def strip(metric: Metric, sides: Mapping[str, Sequence[Sample]]) -> str:
    """Every sample of one metric, a row for each arm, a bar at the median, losses counted."""
    values = {
        arm: [(s, v) for s in samples if (v := value_of(s, metric)) is not None]
        for arm, samples in sides.items()
    }
    every = [value for found in values.values() for _, value in found]
    if not every:
        return f"<p>{metric.name}: no sample was finished.</p>"
    low, high = min(every), max(every)
    room = (high - low) * 0.05 or abs(high) * 0.05
    scale = Scale(low - room, high + room, LEFT, RIGHT)
    height = 30
    top, bottom = 20, 20 + height * len(sides)
    way = "lower" if metric.better is Better.LOWER else "higher"
    body = [label(LEFT, 12, f"{metric.name}, {metric.unit} ({way} is better)", kind="head")]
    for value in ticks(scale.low, scale.high):
        body.append(line(scale(value), top, scale(value), bottom, "grid"))
        body.append(label(scale(value), bottom + 14, f"{value:.10g}", "middle", "tick"))
    for place, (arm, found) in enumerate(values.items()):
        y = top + height * (place + 0.5)
        body.append(label(LEFT - 10, y + 4, arm, "end"))
        if found:
            median = statistics.median(value for _, value in found)
            body.append(
                line(scale(median), y - 12, scale(median), y + 12, f"median arm{place % 6}")
            )
            body.append(label(RIGHT + 12, y + 4, f"median {quantity(median, metric.unit)}"))
        for at, (sample, value) in enumerate(found):
            shift = ((at * 5) % 7 - 3) * 2.2  # so that equal values do not hide each other
            tip = f"{arm}, seed {sample.key.seed}: {quantity(value, metric.unit)}"
            body.append(marker(scale(value), y + shift, place, tip, 3.5))
        gone = sum(map(lost, sides[arm]))
        if gone:
            body.append(label(WIDTH - 4, y + 4, f"✕ {gone} lost", "end", "lost"))
    text = f"{len(every)} samples of {', '.join(values)}; hover over a point for its value."
    return figure(WIDTH, bottom + 22, metric.name, text, body)


def pairs(metric: Metric, baseline: Sequence[Sample], sides: Mapping[str, Sequence[Sample]]) -> str:
    """The ratio of each pair, a row for each arm: what seeds differ by does not hide it here.

    `sides` holds the baseline first, so that arms have the same signs everywhere.
    """
    before = {sample.key.seed: value_of(sample, metric) for sample in baseline}
    every: dict[str, list[tuple[int, float]]] = {}
    for arm, samples in list(sides.items())[1:]:
        every[arm] = []
        for sample in samples:
            old, new = before.get(sample.key.seed), value_of(sample, metric)
            if old and new:
                better = old / new if metric.better is Better.LOWER else new / old
                every[arm].append((sample.key.seed, better))
    ends = [value for found in every.values() for _, value in found]
    if not ends:
        return ""
    widest = min(max([1.08, *ends, *(1 / value for value in ends)]) * 1.04, WIDEST)
    scale = Scale(1 / widest, widest, LEFT, RIGHT, log=True)
    top, bottom = 20, 20 + 24 * len(every)
    body = [label(LEFT, 12, f"{metric.name}, ratio for each seed (over 1 is better)", kind="head")]
    for value in ratio_ticks(1 / widest, widest):
        kind = "one" if value == 1 else "grid"
        body.append(line(scale(value), top, scale(value), bottom, kind))
        body.append(label(scale(value), bottom + 14, f"{value:.3g}", "middle", "tick"))
    for place, (arm, found) in enumerate(every.items(), 1):
        y = top + 24 * (place - 0.5)
        body.append(label(LEFT - 10, y + 4, arm, "end"))
        for at, (seed, value) in enumerate(found):
            shift = ((at * 5) % 7 - 3) * 2.0
            tip = f"{arm}, seed {seed}: {ratio(value)}"
            body.append(marker(scale(value), y + shift, place, tip, 3.5))
        ahead = sum(value > 1 for _, value in found)
        body.append(label(RIGHT + 12, y + 4, f"better in {ahead} of {len(found)} pairs"))
    text = f"{len(ends)} pairs; hover over a point for its ratio."
    return figure(WIDTH, bottom + 22, f"{metric.name}, ratios", text, body)


def series(name: str, sides: Mapping[str, Sequence[Sample]]) -> str:
    """One kind of time series, a thin line for each sample. "" where nobody has it."""
    found = [
        (place, sample.series[name])
        for place, samples in enumerate(sides.values())
        for sample in samples
        if len(sample.series.get(name, ())) > 1
    ]
    if not found:
        return ""
    width, height, left = 420, 150, 56
    values = [value for _, points in found for _, value in points]
    highest, lowest = max(values), min(0.0, *values)
    last = max(points[-1][0] - points[0][0] for _, points in found)
    across = Scale(0.0, last, left, width - 10)
    up = Scale(lowest, highest or 1.0, height - 30, 22)
    body = [label(left, 12, name.replace("_", " "), kind="head")]
    for value in ticks(lowest, highest or 1.0, 3):
        body.append(line(left, up(value), width - 10, up(value), "grid"))
        body.append(label(left - 6, up(value) + 4, f"{value:.6g}", "end", "tick"))
    for value in ticks(0.0, last, 4):
        body.append(label(across(value), height - 14, f"{value:.6g}", "middle", "tick"))
    body.append(label(width - 10, height - 1, "seconds", "end", "tick"))
    for place, points in found:
        step = max(1, len(points) // MOST_POINTS)
        places = [(across(t - points[0][0]), up(value)) for t, value in points[::step]]
        body.append(polyline(places, f"series arm{place % 6}"))
    arms = ", ".join(sides)
    return figure(width, height, name, f"{len(found)} samples of {arms} over time.", body)
