# SPDX-License-Identifier: Apache-2.0
"""Token buckets and checks of arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.bus.interface import wire
from schedcpd.bus.limits import LimitsExceededError, Rate, RateLimiter, TimeBudget, sentence, text
from schedcpd.bus.views import object_path
from schedcpd.errors import InvalidArgumentError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(limiter: RateLimiter, key: str, times: int) -> int:
    passed = 0
    for _ in range(times):
        try:
            limiter.take(key)
            passed += 1
        except LimitsExceededError as error:
            assert "try again in" in error.hint
    return passed


def test_burst_then_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(burst=3, per_s=2), clock)
    assert taken(limiter, "a", 10) == 3
    assert taken(limiter, "b", 1) == 1
    clock.now += 1
    assert taken(limiter, "a", 10) == 2
    clock.now += 100
    assert taken(limiter, "a", 10) == 3


def test_memory_is_bounded() -> None:
    limiter = RateLimiter(Rate(burst=1, per_s=1), Clock(), max_keys=8)
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter._buckets) == 8


@given(st.lists(st.floats(0, 2), max_size=80), st.integers(1, 5))
def test_never_more_than_burst_plus_rate(waits: list[float], burst: int) -> None:
    clock = Clock()
    limiter = RateLimiter(Rate(burst=burst, per_s=3), clock)
    passed = 0
    for wait in waits:
        clock.now += wait
        passed += taken(limiter, "a", 1)
    assert passed <= burst + 3 * sum(waits) + 1e-6


def test_text_is_bounded_and_named() -> None:
    assert text("target", "x" * 5, 5) == "x" * 5
    with pytest.raises(InvalidArgumentError, match="target has 6"):
        text("target", "x" * 6, 5)
    with pytest.raises(InvalidArgumentError, match="target is empty"):
        text("target", "", 5, empty=False)
    assert sentence("reason", " a\nb\x1b[0m\u202e ") == "a b [0m"


@given(st.text())
def test_wire_text_can_be_sent(value: str) -> None:
    sent = wire({"a": [value, (value,)]})["a"][0]
    assert "\0" not in sent
    sent.encode()


@given(st.text())
def test_object_paths_are_valid(workload_id: str) -> None:
    last = object_path(workload_id.encode("utf-8", "replace").decode()).rsplit("/", 1)[1]
    assert last and all(char.isascii() and (char.isalnum() or char == "_") for char in last)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2)), max_size=60))
def test_time_budget_bounds_what_is_used(calls: list[tuple[float, float]]) -> None:
    clock = Clock()
    budget = TimeBudget(Rate(burst=1, per_s=0.2), clock)
    used, dearest, began = 0.0, 0.0, clock.now
    for wait, cost in calls:
        clock.now += wait
        try:
            budget.check("1000")
        except LimitsExceededError:
            continue
        budget.charge("1000", cost)
        used, dearest = used + cost, max(dearest, cost)
    assert used <= 1 + 0.2 * (clock.now - began) + dearest + 1e-6


def test_time_budgets_are_apart_and_bounded() -> None:
    budget = TimeBudget(Rate(burst=1, per_s=0.5), Clock(), max_keys=4)
    budget.charge("a", 5)
    with pytest.raises(LimitsExceededError) as caught:
        budget.check("a")
    assert caught.value.hint == "try again in 8.0 s"
    budget.check("b")
    for number in range(50):
        budget.charge(str(number), 1)
    assert len(budget._left) == 4
