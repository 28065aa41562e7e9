# SPDX-License-Identifier: Apache-2.0
"""Random search: the floor that any cleverer search must beat at the same budget."""

from __future__ import annotations

import random

from schedbench.arms.search import Configuration, Learner, Purse, best, maker


class RandomSearch(Learner):
    """Tries the default and as many random configurations as the budget allows, each once under
    the same seed, and keeps the best."""

    method = (
        "random search; J. Bergstra and Y. Bengio, Random Search for Hyper-Parameter Optimization, "
        "JMLR 13:281-305, 2012"
    )

    async def search(self, purse: Purse, seed: int, chance: random.Random) -> Configuration:
        candidates = self._space.draw(purse.left, chance)
        found: dict[int, float] = {}
        for place, candidate in enumerate(candidates):
            got = await purse.try_(candidate, seed)
            found[place] = float("-inf") if got is None else got
        return candidates[best(found)[0]]


make = maker(RandomSearch)
