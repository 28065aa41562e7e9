# SPDX-License-Identifier: Apache-2.0
"""The statistics against scipy, against brute force, and against chance."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from schedbench.evaluate import stats
from schedbench.model import Better

# Few distinct values, so that ties come up; LOST among them.
COST = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0, stats.LOST])
SIDE = st.lists(COST, min_size=1, max_size=5)
FINITE = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=7)


@given(SIDE, SIDE)
def test_mann_whitney_is_the_share_of_all_relabellings(
    first: list[float], second: list[float]
) -> None:
    pool = [*first, *second]

    def rank_sum(chosen: tuple[int, ...]) -> float:
        # Wins against the others: half for a tie. Brute force, no ranks.
        others = [i for i in range(len(pool)) if i not in chosen]
        return sum(
            1.0 if pool[i] > pool[j] else 0.5 if pool[i] == pool[j] else 0.0
            for i in chosen
            for j in others
        )

    seen = rank_sum(tuple(range(len(first))))
    every = [rank_sum(c) for c in itertools.combinations(range(len(pool)), len(first))]
    tail = min(sum(u <= seen for u in every), sum(u >= seen for u in every)) / len(every)
    assert stats.mann_whitney(first, second) == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize("sizes", [(3, 3), (6, 6), (12, 12), (6, 11)])
def test_mann_whitney_is_scipys_without_ties(sizes: tuple[int, int]) -> None:
    chance = np.random.RandomState(7)
    for shift in (0.0, 0.5, 2.0):
        one, other = chance.normal(size=sizes[0]), chance.normal(shift, size=sizes[1])
        wanted = scipy_stats.mannwhitneyu(one, other, method="exact").pvalue
        assert stats.mann_whitney(one.tolist(), other.tolist()) == pytest.approx(wanted, rel=1e-12)


@given(st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=1, max_size=8))
def test_signed_rank_is_scipys_permutation_test(differences: list[float]) -> None:
    moved = [d for d in differences if d]
    if not moved:
        assert stats.signed_rank(differences) == 1.0
        return
    ranks = scipy_stats.rankdata(np.abs(moved))
    signs = np.array(list(itertools.product((0, 1), repeat=len(moved))))
    every = signs @ ranks
    seen = ranks[np.array(moved) > 0].sum()
    tail = min((every <= seen).mean(), (every >= seen).mean())
    assert stats.signed_rank(differences) == pytest.approx(min(1.0, 2 * tail))


def test_signed_rank_is_scipys_without_ties() -> None:
    chance = np.random.RandomState(8)
    for size in (5, 10, 25):
        differences = chance.normal(0.4, size=size)
        wanted = scipy_stats.wilcoxon(differences, method="exact").pvalue
        assert stats.signed_rank(differences.tolist()) == pytest.approx(wanted, rel=1e-12)


def test_known_p_values_of_the_smallest_designs() -> None:
    for size, least in ((3, 0.1), (4, 0.0286), (5, 0.00794), (6, 0.00216)):
        low, high = [float(n) for n in range(size)], [10.0 + n for n in range(size)]
        assert stats.mann_whitney(low, high) == pytest.approx(least, rel=0.01)


def test_the_interval_is_the_tests_own_inversion() -> None:
    """A ratio lies in the interval just when the test does not reject it."""
    chance = random.Random(5)
    for _ in range(20):
        before = [chance.gauss(0, 1) for _ in range(6)]
        after = [chance.gauss(-1, 1) for _ in range(7)]
        found = stats.independent(before, after)
        for ratio in (found.low * 1.0001, found.high * 0.9999, found.ratio):
            shifted = [cost + math.log(ratio) for cost in after]
            assert stats.mann_whitney(before, shifted) > 0.05
        for ratio in (found.low * 0.9999, found.high * 1.0001):
            shifted = [cost + math.log(ratio) for cost in after]
            assert stats.mann_whitney(before, shifted) <= 0.05


def test_the_paired_interval_is_the_signed_rank_tests_inversion() -> None:
    chance = random.Random(6)
    for _ in range(20):
        before = [chance.gauss(0, 3) for _ in range(10)]
        after = [cost - 0.3 + chance.gauss(0, 0.5) for cost in before]
        found = stats.paired(before, after)
        for ratio, kept in (
            (found.low * 1.0001, True),
            (found.high * 0.9999, True),
            (found.low * 0.9999, False),
            (found.high * 1.0001, False),
        ):
            differences = [b - a - math.log(ratio) for b, a in zip(before, after, strict=True)]
            assert (stats.signed_rank(differences) > 0.05) is kept


def test_three_against_three_bounds_nothing() -> None:
    found = stats.independent([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0])
    assert (found.low, found.high) == (0.0, math.inf)
    assert found.ratio == pytest.approx(math.exp(4))


@given(SIDE, SIDE)
def test_sides_are_symmetric(first: list[float], second: list[float]) -> None:
    forth, back = stats.independent(first, second), stats.independent(second, first)
    assert forth.p == pytest.approx(back.p)
    for one, other in ((forth.ratio, back.ratio), (forth.low, back.high), (forth.high, back.low)):
        assert one == pytest.approx(1 / other if other else math.inf)


@given(st.lists(st.tuples(COST, COST), min_size=1, max_size=8))
def test_pairs_are_symmetric(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    forth, back = stats.paired(first, second), stats.paired(second, first)
    assert forth.p == pytest.approx(back.p)
    assert forth.ratio == pytest.approx(1 / back.ratio if back.ratio else math.inf)
    assert forth.low == pytest.approx(1 / back.high if back.high else math.inf)


@given(FINITE, FINITE, st.sampled_from([1e-9, 0.5, 3.0, 1e6]))
def test_units_do_not_matter(first: list[float], second: list[float], scale: float) -> None:
    one = [math.exp(v) for v in first], [math.exp(v) for v in second]
    for better in Better:
        plain = stats.independent(stats.costs(one[0], better), stats.costs(one[1], better))
        scaled = [[scale * value for value in side] for side in one]
        other = stats.independent(stats.costs(scaled[0], better), stats.costs(scaled[1], better))
        assert other.ratio == pytest.approx(plain.ratio)
        assert other.low == pytest.approx(plain.low)
        assert other.high == pytest.approx(plain.high)


@given(FINITE)
def test_a_throughput_is_the_reciprocal_of_its_time(values: list[float]) -> None:
    times = [math.exp(value) for value in values]
    rates = [1 / time for time in times]
    assert stats.costs(rates, Better.HIGHER) == pytest.approx(stats.costs(times, Better.LOWER))


def test_the_same_twice_is_no_difference() -> None:
    side = [1.0, 2.0, 2.5, 3.0, 4.0, 7.0]
    for found in (stats.independent(side, side), stats.paired(side, side)):
        assert (found.ratio, found.p) == (1.0, 1.0)
        assert found.low <= 1 <= found.high
    pairs = stats.paired([3.0] * 10, [3.0] * 10)
    assert (pairs.low, pairs.ratio, pairs.high, pairs.p) == (1.0, 1.0, 1.0, 1.0)


def test_a_lost_sample_is_worse_than_any_finished_one() -> None:
    before = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    faster = [cost - 1.0 for cost in before]
    whole = stats.independent(before, faster)
    for losses in range(1, 7):
        some = stats.independent(before, [*faster[losses:], *[stats.LOST] * losses])
        assert some.ratio <= whole.ratio
        assert some.low <= whole.low
    assert stats.independent(before, [stats.LOST] * 6).ratio == 0.0
    assert stats.independent([stats.LOST] * 6, [stats.LOST] * 6).ratio == 1.0


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12))
def test_holm_by_its_definition(ps: list[float]) -> None:
    adjusted = stats.holm(ps)
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    for place, index in enumerate(order):
        steps = [min(1.0, (len(ps) - k) * ps[order[k]]) for k in range(place + 1)]
        assert adjusted[index] == pytest.approx(max(steps))


def test_false_positives_stay_at_or_under_the_stated_level() -> None:
    """4000 comparisons of two alike sides, of skewed noise with losses: at most 5%, with room
    for chance (three standard errors)."""
    chance = np.random.RandomState(11)
    rounds = 4000
    tests, intervals, pairs = 0, 0, 0
    for _ in range(rounds):
        draws = np.where(
            chance.random_sample((2, 6)) < 0.05, stats.LOST, np.exp(chance.normal(size=(2, 6)))
        )
        found = stats.independent(draws[0].tolist(), draws[1].tolist())
        tests += found.p <= stats.ALPHA
        intervals += not found.low <= 1 <= found.high
        before = chance.normal(0, 5, size=10)
        other = stats.paired(before.tolist(), (before + chance.normal(size=10)).tolist())
        pairs += not other.low <= 1 <= other.high or other.p <= stats.ALPHA
    room = 3 * math.sqrt(stats.ALPHA * (1 - stats.ALPHA) / rounds)
    for count in (tests, intervals, pairs):
        assert count / rounds <= stats.ALPHA + room
    assert pairs > 0 and tests > 0  # it does reject: the level is used, not avoided


@pytest.mark.parametrize(
    ("samples", "pairs", "most"),
    [(3, False, 0), (5, False, 6), (6, False, 23), (6, True, 1), (10, True, 25)],
)
def test_how_many_tests_a_correction_leaves_room_for(samples: int, pairs: bool, most: int) -> None:
    assert stats.most_tests(samples, paired=pairs) == most
    best = list(map(float, range(samples))), [value - 100.0 for value in range(samples)]
    least = (stats.paired if pairs else stats.independent)(*best).p
    for count in (max(most, 1), most + 1):
        significant = stats.holm([least] * count)[0] <= stats.ALPHA
        assert significant == (count <= most)
