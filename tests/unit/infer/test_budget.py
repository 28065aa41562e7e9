# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schedcpd.infer.budget import WINDOW_S, Budget, Spent

CALLS, TOKENS = 4, 1000


class BudgetMachine(RuleBasedStateMachine):
    """Whatever is asked, however the clock goes: no hour ever costs more than allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1e9
        self.latest = self.now  # the furthest the clock has ever been
        self.budget = Budget(CALLS, TOKENS)
        self.open: list[Spent] = []
        self.calls: list[tuple[float, Spent]] = []  # by true (never falling) time

    @rule(seconds=st.floats(0, 2 * WINDOW_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.latest += seconds

    @rule(seconds=st.floats(0, 3 * WINDOW_S))
    def clock_goes_back(self, seconds: float) -> None:
        self.now -= seconds

    @rule(tokens=st.integers(0, TOKENS + 10))
    def ask(self, tokens: int) -> None:
        free = self.budget.free_at(self.now, tokens)
        one = self.budget.reserve(self.now, tokens)
        assert (one is not None) == (free <= self.now)
        if one is not None:
            self.open.append(one)
            self.calls.append((self.latest, one))
        elif free < math.inf:
            fresh = Budget(CALLS, TOKENS, [Spent(s.at_unix_s, s.tokens) for s in self.spent()])
            assert fresh.reserve(free, tokens) is not None, "free_at told the truth"
        else:
            assert tokens > TOKENS

    @rule(share=st.floats(0, 1))
    def settle(self, share: float) -> None:
        if self.open:
            one = self.open.pop()
            one.tokens = int(one.tokens * share)

    @rule()
    def restart(self) -> None:
        self.open.clear()
        saved = [(s.at_unix_s, s.tokens) for s in self.spent()]
        kept = {id(s): n for n, s in enumerate(self.spent())}
        again = [Spent(*one) for one in saved]
        self.calls = [(at, again[kept[id(s)]] if id(s) in kept else s) for at, s in self.calls]
        self.budget = Budget(CALLS, TOKENS, again)

    @invariant()
    def the_hour_holds(self) -> None:
        hour = [one for at, one in self.calls if at + WINDOW_S > self.latest]
        assert len(hour) <= CALLS
        assert sum(one.tokens for one in hour) <= TOKENS

    def spent(self) -> list[Spent]:
        return self.budget.spent(self.now)


TestBudget = BudgetMachine.TestCase


def test_a_call_that_can_never_fit() -> None:
    assert Budget(5, 100).free_at(0, 101) == math.inf
    assert Budget(0, 100).free_at(0, 1) == math.inf
    assert Budget(0, 100).reserve(0, 1) is None


def test_the_window_slides() -> None:
    budget = Budget(2, 100)
    for at in (0.0, 1800.0):
        assert budget.reserve(at, 50)
    assert budget.free_at(1800.0, 1) == 3600.0
    assert budget.reserve(3599.9, 1) is None
    assert budget.reserve(3600.0, 50)
    assert budget.free_at(3600.0, 1) == 5400.0


def test_a_server_that_charges_more_stops_everything_for_an_hour() -> None:
    budget = Budget(10, 100)
    one = budget.reserve(0.0, 50)
    assert one is not None
    one.tokens = 5000
    assert budget.free_at(1.0, 1) == 3600.0


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 100)), max_size=20))
def test_a_lower_limit_after_a_reload(spent: list[tuple[float, int]]) -> None:
    budget = Budget(1, 10, [Spent(*one) for one in spent])
    free = budget.free_at(1e5, 10)
    assert budget.reserve(free, 10) is not None
