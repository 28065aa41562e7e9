# SPDX-License-Identifier: Apache-2.0
"""The plan: everything once, arms side by side, repeatable, extended by spread alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from schedbench import plan
from schedbench.model import SampleKey, SampleState

from .test_records import a_run, a_sample

names = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5, unique=True)


@given(names, names, st.integers(1, 6), st.integers())
def test_every_sample_once_and_arms_side_by_side(
    workloads: list[str], arms: list[str], boots: int, seed: int
) -> None:
    keys = plan.order(workloads, arms, range(1, boots + 1), seed)
    assert len(set(keys)) == len(keys) == len(workloads) * len(arms) * boots
    for start in range(0, len(keys), len(arms)):
        group = keys[start : start + len(arms)]
        assert {key.arm for key in group} == set(arms)
        assert len({(key.workload, key.seed) for key in group}) == 1
    assert [key.seed for key in keys] == sorted(key.seed for key in keys)
    assert keys == plan.order(workloads, arms, range(1, boots + 1), seed)


def test_no_arm_is_always_first_and_another_seed_is_another_order() -> None:
    keys = plan.order(["a", "b"], ["x", "y"], range(40), 1)
    first = [keys[n].arm for n in range(0, len(keys), 2)]
    assert 20 < first.count("x") < 60
    assert keys != plan.order(["a", "b"], ["x", "y"], range(40), 2)


def test_finished_ones_are_never_taken_again() -> None:
    keys = plan.order(["a", "b"], ["x", "y"], [1, 2], 1)
    assert plan.missing(keys, set(keys[:3])) == keys[3:]
    assert plan.missing(keys, set(keys)) == ()


def test_spread() -> None:
    assert plan.spread([1.0]) == 0
    assert abs(plan.spread([9.0, 10.0, 11.0]) - 0.1) < 1e-12


def test_unstable_is_by_arm_and_by_scored_metrics_of_samples_that_count() -> None:
    workloads = a_run().workloads
    calm = [1.0, 1.02, 0.98]
    wild = [1.0, 1.5, 0.7]

    def samples(arm: str, values: list[float], metric: str = "seconds") -> list:  # type: ignore[type-arg]
        return [
            a_sample(SampleKey("xz", arm, n), metrics={metric: value})
            for n, value in enumerate(values)
        ]

    # arms that differ are no spread: each is calm
    assert plan.unstable(samples("a", calm) + samples("b", [5.0, 5.1, 4.9]), workloads) == ()
    assert plan.unstable(samples("a", calm) + samples("b", wild), workloads) == ("xz",)
    assert plan.unstable(samples("b", wild, metric="unscored"), workloads) == ()
    failed = [replace(each, state=SampleState.FAILED) for each in samples("b", wild)]
    assert plan.unstable(failed, workloads) == ()


def test_extension_takes_all_arms_with_new_seeds_at_once() -> None:
    more = plan.extension(["xz"], ["a", "b"], [4, 5, 6], 5, 1)
    assert {(key.arm, key.seed) for key in more} == {("a", 7), ("a", 8), ("b", 7), ("b", 8)}
    assert plan.extension(["xz"], ["a"], [1, 2], 2, 1) == ()
