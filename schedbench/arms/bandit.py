# SPDX-License-Identifier: Apache-2.0
"""Sequential halving: a fixed budget is shared out among fewer and fewer candidates."""

from __future__ import annotations

import math
import random

from schedbench.arms.search import Configuration, Learner, Purse, best, maker, mean_worth


class SequentialHalving(Learner):
    """Best-arm identification with a fixed budget.

    Of n candidates (the default, and random ones) every round tries all that are left on equally
    many seeds, the same seeds for each, and keeps the better half; ceil(log2 n) rounds leave one.
    A round decides by its own trials alone, as in the paper. n is the largest with which
    each round can afford a trial for each candidate.
    """

    method = (
        "sequential halving; Z. Karnin, T. Koren and O. Somekh, Almost Optimal Exploration in "
        "Multi-Armed Bandits, ICML 2013 (PMLR 28(3):1238-1246); candidates drawn at random as in "
        "K. Jamieson and A. Talwalkar, AISTATS 2016 (PMLR 51:240-248)"
    )

    async def search(self, purse: Purse, seed: int, chance: random.Random) -> Configuration:
        budget = purse.left
        candidates = self._space.draw(candidates_for(budget), chance)
        rounds = max(1, math.ceil(math.log2(len(candidates))))
        alive = list(range(len(candidates)))
        for _ in range(rounds):
            each = budget // (len(alive) * rounds)
            seeds = range(seed, seed + each)
            seed += each  # fresh ones for every round
            found = {}
            for place in alive:
                worths = [await purse.try_(candidates[place], one) for one in seeds]
                found[place] = mean_worth(worths)
            alive = best(found)[: math.ceil(len(alive) / 2)]
        return candidates[alive[0]]


def candidates_for(budget: int) -> int:
    """The largest n with n * ceil(log2 n) trials within the budget, at least 1."""
    n = 1
    while (n + 1) * math.ceil(math.log2(n + 1)) <= budget:
        n += 1
    return n


make = maker(SequentialHalving)
