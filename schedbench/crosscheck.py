# SPDX-License-Identifier: Apache-2.0
"""Do both clocks rank schedulers alike? Runs of each clock with the same workloads and arms.

For each workload the arms are ranked by its primary metric under each clock, and Kendall's tau-b
(Kendall 1945, Biometrika 33) says how far the two orders agree: 1 is the same, -1 the reverse.
Each pair of arms on which the clocks disagree is explained by what the intervals say, or marked.

    schedbench crosscheck RUN RUN... [--json]
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from schedbench.errors import BenchError, UnlikeError
from schedbench.evaluate.compare import MATTERS, baseline_of, effect, finite, primary
from schedbench.evaluate.data import Data, merge
from schedbench.evaluate.stats import Effect
from schedbench.model import Clock, Workload
from schedbench.records import VERSION, RunRecord
from schedbench.report import figures

MOST = sys.float_info.max


class Standing(StrEnum):
    """What is to be said of a pair of arms."""

    AGREE = "agree"
    WALL_NOISE = "wall-noise"  # explained: the wall clock's interval cannot tell the two apart
    SEEDS = "seeds"  # explained: the virtual clock's order changes with the seed
    SMALL = "small"  # explained: both clocks say that the difference is under 5%
    MARKED = "marked"  # both clocks are sure, and of opposite orders

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Standing.AGREE: "both clocks have the same order",
    Standing.WALL_NOISE: "the wall clock's interval holds 1: its noise hides the order",
    Standing.SEEDS: "the virtual clock's interval holds 1: the order changes with the seed",
    Standing.SMALL: f"the difference is under {MATTERS:.0%} under both clocks",
    Standing.MARKED: "the clocks contradict each other: look at what the virtual clock leaves out",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One clock's effect. None stands for infinity, as in compare.Comparison."""

    ratio: float | None
    low: float
    high: float | None
    p: float

    @classmethod
    def of(cls, found: Effect) -> Side:
        return cls(finite(found.ratio), found.low, finite(found.high), found.p)

    def __str__(self) -> str:
        return f"{figures.ratio(self.ratio)} {figures.interval(self.low, self.high)}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms of one workload. Ratios over 1: `second` is better than `first`."""

    first: str
    second: str
    wall: Side
    virtual: Side
    standing: Standing


@dataclass(frozen=True, slots=True)
class Ranking:
    """One workload under both clocks. The ratios are against `arms[0]`; over 1 is better."""

    workload: str
    metric: str
    arms: tuple[str, ...]
    wall: tuple[float, ...]
    virtual: tuple[float, ...]
    tau: float | None  # None: under one of the clocks all arms are equal
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """All workloads that both runs have. `tau` is the mean over those that have one."""

    rankings: tuple[Ranking, ...]
    tau: float | None
    pooled_tau: float | None  # of all (workload, arm) ratios but the baseline's, together
    agreeing: int
    explained: int
    marked: int
    left_out: tuple[str, ...]  # workloads or arms that only one of the runs has
    version: int = VERSION


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b, which accounts for ties. None if one side is all ties, or has one value."""
    if len(first) != len(second):
        raise ValueError("two orders of the same things are needed")
    concordance = ties_first = ties_second = pairs = 0
    for i, j in itertools.combinations(range(len(first)), 2):
        a, b = _sign(first[i] - first[j]), _sign(second[i] - second[j])
        pairs += 1
        concordance += a * b
        ties_first += a == 0
        ties_second += b == 0
    scale = (pairs - ties_first) * (pairs - ties_second)
    return concordance / math.sqrt(scale) if scale else None


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def crosscheck(runs: Sequence[Data]) -> CrossCheck:
    """Each workload is taken from the one run of the wall clock that has it, and from all runs of
    the virtual clock, whose arms are put together.

    Raises BenchError if two runs of the wall clock have the same workload, or if nothing can be
    compared; UnlikeError if machine, size or kernel differ, or what is put together.
    """
    of = {clock: _by_workload(runs, clock) for clock in Clock}
    _alike(runs)
    names = _common(list(of[Clock.WALL]), list(of[Clock.VIRTUAL]))
    if not names:
        raise BenchError("no workload was run under both clocks", hint="give a run of each")
    rankings = []
    left_out = {name for found in of.values() for name in found} - set(names)
    for name in names:
        wall, virtual = of[Clock.WALL][name], of[Clock.VIRTUAL][name]
        both = [[arm.name for arm in data.record.arms] for data in (wall, virtual)]
        arms = _common(*both)
        left_out |= {*both[0], *both[1]} - set(arms)
        if len(arms) < 2:
            raise BenchError(f"{name}: fewer than two arms were run under both clocks")
        base = baseline_of(wall)
        arms.sort(key=lambda arm: arm != base)  # stable: only the baseline moves
        rankings.append(_rank(wall, virtual, wall.workload(name), arms))
    pairs = [pair for ranking in rankings for pair in ranking.pairs]
    taus = [ranking.tau for ranking in rankings if ranking.tau is not None]
    agreeing = sum(pair.standing is Standing.AGREE for pair in pairs)
    marked = sum(pair.standing is Standing.MARKED for pair in pairs)
    return CrossCheck(
        tuple(rankings),
        sum(taus) / len(taus) if taus else None,
        kendall_tau(
            [value for ranking in rankings for value in ranking.wall[1:]],
            [value for ranking in rankings for value in ranking.virtual[1:]],
        ),
        agreeing,
        len(pairs) - agreeing - marked,
        marked,
        tuple(sorted(left_out)),
    )


def _by_workload(runs: Sequence[Data], clock: Clock) -> dict[str, Data]:
    found: dict[str, Data] = {}
    for data in runs:
        if data.record.environment.clock is not clock:
            continue
        for workload in data.record.workloads:
            known = found.get(workload.name)
            if known is not None and not data.paired:
                raise BenchError(
                    f"two runs of the {clock} clock have the workload {workload.name}",
                    hint="take them in one run: boots of different hours are no pairs",
                )
            # A seed has one result under the virtual clock, so whole suites need not be the same.
            found[workload.name] = (
                data
                if known is None
                else merge([known, replace(data, record=_suite_of(known, data))])
            )
    return found


def _suite_of(known: Data, other: Data) -> RunRecord:
    return replace(other.record, suite=known.record.suite)


def _alike(runs: Sequence[Data]) -> None:
    for name in ("profile", "size", "kernel"):
        values = {str(getattr(data.record.environment, name)) for data in runs}
        if len(values) > 1:
            raise UnlikeError(f"the runs differ in {name}: {', '.join(sorted(values))}")


def _common(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [name for name in first if name in second]


def _rank(wall: Data, virtual: Data, workload: Workload, arms: Sequence[str]) -> Ranking:
    pairs = []
    for first, second in itertools.combinations(arms, 2):
        by_clock = [_effect(data, workload, first, second) for data in (wall, virtual)]
        sides = [Side.of(each) for each in by_clock]
        pairs.append(Pair(first, second, sides[0], sides[1], standing(*by_clock)))
    first_row = pairs[: len(arms) - 1]
    by_wall = (1.0, *(_ranked(pair.wall.ratio) for pair in first_row))
    by_virtual = (1.0, *(_ranked(pair.virtual.ratio) for pair in first_row))
    return Ranking(
        workload.name,
        primary(workload).name,
        tuple(arms),
        by_wall,
        by_virtual,
        kendall_tau(by_wall, by_virtual),
        tuple(pairs),
    )


def _ranked(ratio: float | None) -> float:
    """For an order: where the baseline lost its samples, the largest number there is."""
    return MOST if ratio is None else ratio


def _effect(data: Data, workload: Workload, first: str, second: str) -> Effect:
    ours, theirs = data.sides(workload.name, first, second)
    if not ours or not theirs:
        clock = data.record.environment.clock
        raise BenchError(f"the {clock} run has no sample of {workload.name} with {first}, {second}")
    return effect(data, ours, theirs, primary(workload))


def standing(wall: Effect, virtual: Effect) -> Standing:
    """What is to be said of two effects of the same pair."""
    if _sign(wall.ratio - 1) == _sign(virtual.ratio - 1):
        return Standing.AGREE
    if all(1 / (1 + MATTERS) < each.ratio < 1 + MATTERS for each in (wall, virtual)):
        return Standing.SMALL
    if wall.low <= 1 <= wall.high:
        return Standing.WALL_NOISE
    if virtual.low <= 1 <= virtual.high:
        return Standing.SEEDS
    return Standing.MARKED


def table(found: CrossCheck) -> str:
    """The check as lines a person can read."""
    lines = []
    for ranking in found.rankings:
        tau = "-" if ranking.tau is None else f"{ranking.tau:+.2f}"
        lines.append(f"{ranking.workload} ({ranking.metric}): tau {tau}")
        order = sorted(range(len(ranking.arms)), key=lambda at: -ranking.wall[at])
        for at in order:
            lines.append(
                f"    {ranking.arms[at]:<32} wall {ranking.wall[at]:6.3f}"
                f"  virtual {ranking.virtual[at]:6.3f}"
            )
        for pair in ranking.pairs:
            if pair.standing is not Standing.AGREE:
                lines.append(
                    f"  ! {pair.first} and {pair.second}: wall {pair.wall}, virtual "
                    f"{pair.virtual}: {pair.standing.sentence}"
                )
    mean, pooled = (
        "-" if value is None else f"{value:+.2f}" for value in (found.tau, found.pooled_tau)
    )
    lines.append(
        f"mean tau {mean}, pooled {pooled}; pairs: {found.agreeing} agree, {found.explained} "
        f"explained, {found.marked} marked"
    )
    if found.left_out:
        lines.append(f"only in one of the runs: {', '.join(found.left_out)}")
    return "\n".join(lines)
