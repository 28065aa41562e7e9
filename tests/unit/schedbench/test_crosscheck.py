# SPDX-License-Identifier: Apache-2.0
"""The cross-check of the two clocks, on runs with a known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from schedbench import crosscheck
from schedbench.codec import to_json
from schedbench.crosscheck import Standing
from schedbench.errors import BenchError, UnlikeError
from schedbench.evaluate.data import Data
from schedbench.evaluate.stats import Effect
from schedbench.model import Clock
from tests.unit.schedbench import synthetic

ARMS = ("default", "tuned", "intent", "slow")
VALUES = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=9)


def run(clock: Clock, workloads: int = 3, spread: float = 0.01, **effects: float) -> Data:
    record = synthetic.record(workloads, ARMS, clock=clock)
    return synthetic.data(record, synthetic.noisy(7, spread, **effects))


@given(st.data())
def test_tau_is_scipys(data: st.DataObject) -> None:
    first = data.draw(VALUES)
    second = data.draw(st.permutations(first))
    wanted = scipy_stats.kendalltau(first, second).statistic
    found = crosscheck.kendall_tau(first, second)
    if math.isnan(wanted):
        assert found is None
    else:
        assert found == pytest.approx(wanted)


def test_the_same_truth_gives_the_same_order() -> None:
    effects = {"tuned": 0.9, "intent": 0.7, "slow": 1.5}
    found = crosscheck.crosscheck([run(Clock.WALL, **effects), run(Clock.VIRTUAL, **effects)])
    assert found.tau == pytest.approx(1)
    assert found.pooled_tau is not None and found.pooled_tau > 0.5
    assert (found.agreeing, found.explained, found.marked) == (18, 0, 0)
    assert "!" not in crosscheck.table(found)
    assert found.rankings[0].arms[0] == "default"


def test_samples_too_few_for_an_interval_still_have_an_order() -> None:
    effects = {"tuned": 0.9, "intent": 1.3, "slow": 1.5}
    few = synthetic.record(3, ARMS, (1,))
    wall = synthetic.data(few, synthetic.noisy(7, 0.01, tuned=0.9, intent=0.7, slow=1.5))
    found = crosscheck.crosscheck([wall, run(Clock.VIRTUAL, **effects)])
    side = found.rankings[0].pairs[0].wall
    assert (side.low, side.high) == (0.0, None)  # infinity is no number that can be recorded
    assert to_json(found)
    assert (found.explained, found.marked) == (6, 0)
    assert "unbounded" in crosscheck.table(found)


def test_an_opposite_order_is_marked() -> None:
    wall = run(Clock.WALL, tuned=0.9, intent=0.7, slow=1.5)
    virtual = run(Clock.VIRTUAL, tuned=0.9, intent=1.3, slow=1.5)
    found = crosscheck.crosscheck([wall, virtual])
    marked = {
        (pair.first, pair.second)
        for ranking in found.rankings
        for pair in ranking.pairs
        if pair.standing is Standing.MARKED
    }
    assert marked == {("default", "intent"), ("tuned", "intent")}
    assert found.marked == 6
    assert found.tau is not None and found.tau < 1
    assert crosscheck.table(found).count("the clocks contradict each other") == 6


def effect(ratio: float, low: float, high: float) -> Effect:
    return Effect(ratio, low, high, 0.5, False)


@pytest.mark.parametrize(
    ("wall", "virtual", "wanted"),
    [
        (effect(1.2, 1.1, 1.3), effect(1.1, 0.9, 1.2), Standing.AGREE),
        (effect(1.2, 0.9, 1.5), effect(0.8, 0.7, 0.9), Standing.WALL_NOISE),
        (effect(1.2, 1.1, 1.5), effect(0.8, 0.7, 1.01), Standing.SEEDS),
        (effect(1.02, 1.01, 1.03), effect(0.97, 0.96, 0.98), Standing.SMALL),
        (effect(1.2, 1.1, 1.5), effect(0.97, 0.96, 0.98), Standing.MARKED),
        (effect(math.inf, 1.1, math.inf), effect(0.8, 0.7, 0.9), Standing.MARKED),
    ],
)
def test_what_is_said_of_a_pair(wall: Effect, virtual: Effect, wanted: Standing) -> None:
    assert crosscheck.standing(wall, virtual) is wanted


def test_what_cannot_be_compared_is_refused() -> None:
    wall, virtual = run(Clock.WALL), run(Clock.VIRTUAL)
    with pytest.raises(BenchError, match="no workload was run under both clocks"):
        crosscheck.crosscheck([wall])
    with pytest.raises(BenchError, match="two runs of the wall clock have the workload w00"):
        crosscheck.crosscheck([wall, wall, virtual])
    environment = replace(virtual.record.environment, profile="vcpus8")
    other = replace(virtual, record=replace(virtual.record, environment=environment))
    with pytest.raises(UnlikeError, match="differ in profile: vcpus4, vcpus8"):
        crosscheck.crosscheck([wall, other])


def part(of: Data, *arms: str) -> Data:
    """The run as if only these arms, and not all workloads, had been asked for."""
    suite = replace(of.record.suite, name="other")
    record = replace(
        of.record, suite=suite, arms=tuple(a for a in of.record.arms if a.name in arms)
    )
    return replace(
        of,
        record=record,
        planned=frozenset(key for key in of.planned if key.arm in arms),
        samples=tuple(sample for sample in of.samples if sample.key.arm in arms),
    )


def test_virtual_runs_of_other_arms_are_put_together() -> None:
    effects = {"tuned": 0.9, "intent": 0.7, "slow": 1.5}
    wall, virtual = run(Clock.WALL, **effects), run(Clock.VIRTUAL, **effects)
    two = [part(virtual, "default", "tuned"), part(virtual, "intent", "slow")]
    assert crosscheck.crosscheck([wall, *two]) == crosscheck.crosscheck([wall, virtual])
    record = two[1].record
    other = replace(record, environment=replace(record.environment, instrument="another"))
    with pytest.raises(UnlikeError, match="instrument"):
        crosscheck.crosscheck([wall, two[0], replace(two[1], record=other)])


def test_what_only_one_run_has_is_said() -> None:
    wall, virtual = run(Clock.WALL, workloads=4, slow=1.5), run(Clock.VIRTUAL, slow=1.5)
    found = crosscheck.crosscheck([wall, virtual])
    assert found.left_out == ("w03",)
    assert [ranking.workload for ranking in found.rankings] == ["w00", "w01", "w02"]
