# SPDX-License-Identifier: Apache-2.0
"""Turns the scheduler's counters (docs/contracts.md `Stats`) into measures with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percentile_us(histogram: Sequence[int], share: float) -> float:
    """The upper bound, in µs, of the log2-of-nanoseconds bucket that holds the percentile.

    `share` within (0, 1]; 0.0 for an empty histogram. True to a factor of two, by the buckets.
    """
    total = sum(histogram)
    if total == 0:
        return 0.0
    seen = 0
    for bucket, count in enumerate(histogram):
        seen += count
        if seen >= share * total:
            return float(2 ** (bucket + 1)) / 1000
    raise AssertionError("a histogram's parts exceed its sum")


def measures_of_one(stats: Mapping[str, Any]) -> dict[str, float]:
    """One `Stats` -> runs, preemptions, run_s, delay_mean_us, delay_p50_us, delay_p99_us."""
    runs = int(stats.get("runs", 0))
    histogram = [int(count) for count in stats.get("delay_hist", ())]
    return {
        "runs": float(runs),
        "preemptions": float(stats.get("preemptions", 0)),
        "run_s": float(stats.get("run_ns", 0)) / 1e9,
        "delay_mean_us": float(stats.get("delay_ns", 0)) / 1e3 / runs if runs else 0.0,
        "delay_p50_us": percentile_us(histogram, 0.5),
        "delay_p99_us": percentile_us(histogram, 0.99),
    }


def measures_of(stats: Mapping[str, Any]) -> dict[str, float]:
    """Every class that ran: `<class>_<measure>` -> value."""
    found: dict[str, float] = {}
    classes = stats.get("classes")
    for name, one in classes.items() if isinstance(classes, Mapping) else ():
        if isinstance(one, Mapping) and one.get("runs"):
            found.update({f"{name}_{key}": value for key, value in measures_of_one(one).items()})
    return found
