# SPDX-License-Identifier: Apache-2.0
"""How many calls and tokens the model may cost in any hour, as a sliding window.

Time is the wall clock, since the window has to survive restarts. A clock that goes back frees
nothing: what then lies in the future is counted as of now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW_S = 3600.0


@dataclass(slots=True)
class Spent:
    """One call. `tokens` is the most it may cost until it is settled, then what it did cost."""

    at_unix_s: float
    tokens: int


class Budget:
    """At most `calls` and `tokens` in every window of WINDOW_S seconds.

    Tokens are reserved before a call, at the most that it may cost, so the window's sum never
    passes the limit unless the model server charges more than it was asked to use; then nothing
    more is spent until that has left the window.
    """

    def __init__(self, calls: int, tokens: int, spent: Iterable[Spent] = ()) -> None:
        self.calls, self.tokens = calls, tokens
        self._spent = sorted(spent, key=lambda s: s.at_unix_s)

    def spent(self, now: float) -> list[Spent]:
        """What lies in the window that ends now, oldest first."""
        for one in self._spent:
            one.at_unix_s = min(one.at_unix_s, now)
        self._spent = [s for s in self._spent if s.at_unix_s + WINDOW_S > now]
        return list(self._spent)

    def free_at(self, now: float, tokens: int) -> float:
        """When a call of at most `tokens` fits: `now`, later, or infinity if it never can."""
        if self.calls < 1 or tokens > self.tokens:
            return math.inf
        held = self.spent(now)
        count, total, free = len(held), sum(s.tokens for s in held), now
        for one in held:
            if count < self.calls and total + tokens <= self.tokens:
                break
            count, total, free = count - 1, total - one.tokens, one.at_unix_s + WINDOW_S
        return free

    def reserve(self, now: float, tokens: int) -> Spent | None:
        """Counts one call with its most tokens; None when it does not fit now."""
        if self.free_at(now, tokens) > now:
            return None
        one = Spent(now, tokens)
        self._spent.append(one)
        return one
