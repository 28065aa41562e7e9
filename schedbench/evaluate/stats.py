# SPDX-License-Identifier: Apache-2.0
"""Exact tests and effects for few samples with ties and losses. docs/schedbench/statistics.md.

All functions take *costs*: logarithms oriented so that smaller is better (see `costs`). A lost
sample has the cost infinity: it ranks behind every finished one and ties with other losses.

numpy counts; scipy is what the tests hold this against. scipy's own exact Mann-Whitney takes no
account of ties, which losses always make, and it has no Hodges-Lehmann interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schedbench.model import Better

LEVEL = 0.95  # of every interval
ALPHA = 0.05  # of every family of tests
LOST = math.inf

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """How much better the arm is than the baseline: `ratio` 1.25 is a quarter better.

    `low` to `high` is the interval; 0 or infinity where so few samples cannot bound it. `p` is
    two-sided and exact. `paired` tells which test made it.
    """

    ratio: float
    low: float
    high: float
    p: float
    paired: bool


def costs(values: Sequence[float | None], better: Better) -> list[float]:
    """Logarithms, smaller is better; None (a lost sample) becomes `LOST`. Values are positive."""
    sign = 1.0 if better is Better.LOWER else -1.0
    return [LOST if value is None else sign * math.log(value) for value in values]


def independent(baseline: Sequence[float], arm: Sequence[float]) -> Effect:
    """For fresh boots: exact Mann-Whitney, Hodges-Lehmann and its interval.

    The interval is the set of order statistics of all differences that the exact distribution of
    U leaves (Hollander & Wolfe, Nonparametric Statistical Methods, section 4.3).
    """
    if not baseline or not arm:
        raise ValueError("each side needs at least one sample")
    differences = sorted(_minus(b, a) for b in baseline for a in arm)
    low, high = _interval(differences, lambda: u_counts(len(baseline), len(arm)))
    return Effect(
        _exp(_median(differences)), _exp(low), _exp(high), mann_whitney(baseline, arm), False
    )


def paired(baseline: Sequence[float], arm: Sequence[float]) -> Effect:
    """For pairs (one seed, both arms): exact signed-rank, Hodges-Lehmann over Walsh averages."""
    if len(baseline) != len(arm) or not arm:
        raise ValueError("pairs need two equally long, non-empty sides")
    each = [_minus(b, a) for b, a in zip(baseline, arm, strict=True)]
    walsh = sorted(_middle(each[i], each[j]) for i in range(len(each)) for j in range(i + 1))
    low, high = _interval(walsh, lambda: subset_sums(tuple(range(1, len(each) + 1))))
    return Effect(_exp(_median(walsh)), _exp(low), _exp(high), signed_rank(each), True)


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p by the exact permutation distribution of the rank sum, ties included."""
    ranks = _double_ranks([*first, *second])
    counts = subset_sums(tuple(sorted(ranks)), len(first))
    return _two_sided(counts, sum(ranks[: len(first)]))


def signed_rank(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's test by all sign flips; zeros are left out, ties keep midranks."""
    moved = [value for value in differences if value]
    if not moved:
        return 1.0
    ranks = _double_ranks([abs(value) for value in moved])
    above = sum(rank for rank, value in zip(ranks, moved, strict=True) if value > 0)
    return _two_sided(subset_sums(tuple(sorted(ranks))), above)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order (Holm 1979): the family's error rate stays at alpha."""
    adjusted = [1.0] * len(ps)
    worst = 0.0
    for done, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, ps[index] * (len(ps) - done)))
        adjusted[index] = worst
    return adjusted


def least_p(baseline: int, arm: int, *, paired: bool) -> float:
    """The smallest p that so many samples of each side can have, whatever they measured."""
    return min(1.0, 2.0 ** (1 - arm) if paired else 2.0 / math.comb(baseline + arm, arm))


def most_tests(samples: int, *, paired: bool) -> int:
    """Among how many tests Holm's correction lets one be significant, with so many a side."""
    return int(ALPHA / least_p(samples, samples, paired=paired) * (1 + 1e-12))


@lru_cache(maxsize=256)
def subset_sums(weights: tuple[int, ...], size: int | None = None) -> Floats:
    """How many subsets of `weights` (of `size` members, or of any) have each sum.

    Exact up to 2**53, then to the last bits of a double, which is far below any p that is shown.
    """
    total = sum(weights)
    if size is None:
        flat = np.zeros(total + 1)
        flat[0] = 1
        for weight in weights:
            flat[weight:] += flat[: total + 1 - weight].copy()
        return flat
    table = np.zeros((size + 1, total + 1))
    table[0, 0] = 1
    for weight in weights:
        table[1:, weight:] += table[:-1, : total + 1 - weight].copy()
    row: Floats = table[size]
    return row


def u_counts(first: int, second: int) -> Floats:
    """The distribution of Mann-Whitney's U without ties: counts for U = 0 .. first*second."""
    least = first * (first + 1) // 2
    sums = subset_sums(tuple(range(1, first + second + 1)), first)
    return sums[least : least + first * second + 1]


def _two_sided(counts: Floats, at: int) -> float:
    tail = min(float(counts[: at + 1].sum()), float(counts[at:].sum()))
    return min(1.0, 2.0 * tail / float(counts.sum()))


def _interval(ordered: Sequence[float], counts: Callable[[], Floats]) -> tuple[float, float]:
    below = np.cumsum(counts())
    cut = int(np.searchsorted(below, below[-1] * (1 - LEVEL) / 2 * (1 + 1e-12), side="right"))
    if cut == 0:  # even the extremes are not rare enough: too few samples for this level
        return -math.inf, math.inf
    return ordered[cut - 1], ordered[-cut]


def _double_ranks(values: Sequence[float]) -> list[int]:
    """Twice the midranks, so that they are whole."""
    order = sorted(values)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, value in enumerate(order, 1):
        first.setdefault(value, place)
        last[value] = place
    return [first[value] + last[value] for value in values]


def _minus(baseline: float, arm: float) -> float:
    return 0.0 if baseline == arm else baseline - arm  # two losses are a tie


def _middle(one: float, other: float) -> float:
    return 0.0 if one == -other else (one + other) / 2  # a loss on each side is a tie


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else _middle(ordered[half - 1], ordered[half])


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
