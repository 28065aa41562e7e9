# SPDX-License-Identifier: Apache-2.0
"""The seed's score of an arm, its geometric mean, and a bootstrap over boots for both.

    I[w,m] = Baseline/Agent (lower is better) or Agent/Baseline (higher is better)
    Score  = sum over w of weight[w] * (sum over m of alpha[m] * I[w,m]) * [hard SLOs met]
             - lambda * BudgetOveruse

docs/schedbench/statistics.md defines every term; weights and alphas are shares of their sums, so
an arm that does nothing scores 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from schedbench.errors import BenchError
from schedbench.evaluate.compare import MATTERS, Verdict
from schedbench.evaluate.data import Data, lost
from schedbench.evaluate.resample import Drawn, bootstrap, each_once, evaluate, sides_of
from schedbench.evaluate.stats import LEVEL
from schedbench.model import Better, Suite, Workload

ROUNDS = 10_000  # of the bootstrap
FEWEST = 5  # samples of a side: a bootstrap of fewer is too narrow to show, or to judge by


@dataclass(frozen=True, slots=True)
class Term:
    """One workload's part of an arm's score."""

    workload: str
    weight: float  # its share
    improvement: float  # sum over m of alpha * I, clipped
    slos_met: bool  # the hard ones
    broken: tuple[str, ...]  # what was not met, hard and soft, and by how much
    contribution: float


@dataclass(frozen=True, slots=True)
class Score:
    """An arm's score. The intervals hold 95% of `ROUNDS` bootstrap rounds over boots (or seeds).

    A low end of 0 with no high end is an interval that too few samples cannot bound.
    """

    arm: str
    score: float
    score_low: float
    score_high: float | None
    geomean: float
    geomean_low: float
    geomean_high: float | None
    overuse: float
    price: float  # lambda * overuse
    verdict: Verdict
    terms: tuple[Term, ...]


def score(data: Data, baseline: str, arm: str) -> Score:
    """Raises BenchError where the suite's constants do not fit the run."""
    suite = data.record.suite
    shares = _shares(suite)
    worst = math.log(suite.clip[0])
    ran = {workload.name for workload in data.record.workloads}
    terms: list[Term] = []
    sums, logs = np.zeros(ROUNDS), np.zeros(ROUNDS)
    geomean = overuse = 0.0
    enough = True
    for name, share in shares.items():
        ours, theirs = data.sides(name, baseline, arm) if name in ran else ([], [])
        if theirs:
            overuse += share * max(sample.overuse for sample in theirs)
        if not theirs or not ours or all(map(lost, ours)):
            why = f"no sample of {baseline if theirs else arm} to compare"
            if ours and theirs:
                why = f"{baseline} lost every sample"
            terms.append(Term(name, share, 0.0, False, (why,), 0.0))
            logs += share * worst
            geomean += share * worst
            continue
        enough = enough and min(len(ours), len(theirs)) >= FEWEST
        workload = data.workload(name)
        sides = sides_of(workload, data.paired, ours, theirs)
        point = evaluate(sides, each_once(sides), suite.clip)
        met, mean = bool(point.met[0]), float(point.improvement[0])
        said = _said(workload, point, sides.before_lost.mean(), sides.after_lost.mean())
        terms.append(Term(name, share, mean, met, said, share * mean if met else 0.0))
        geomean += share * (float(point.log_improvement[0]) if met else worst)
        rounds = evaluate(sides, bootstrap(sides, ROUNDS, f"{name}/{arm}"), suite.clip)
        sums += share * np.where(rounds.met, rounds.improvement, 0.0)
        logs += share * np.where(rounds.met, rounds.log_improvement, worst)
    price = suite.lambda_ * overuse
    total = sum(term.contribution for term in terms) - price
    low, high = (float(edge) - price for edge in np.quantile(sums, _EDGES))
    geo_low, geo_high = (math.exp(edge) for edge in np.quantile(logs, _EDGES))
    return Score(
        arm=arm,
        score=total,
        score_low=low if enough else 0.0,
        score_high=high if enough else None,
        geomean=math.exp(geomean),
        geomean_low=geo_low if enough else 0.0,
        geomean_high=geo_high if enough else None,
        overuse=overuse,
        price=price,
        verdict=_verdict(total, low, high) if enough else Verdict.OPEN,
        terms=tuple(terms),
    )


_EDGES = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _shares(suite: Suite) -> dict[str, float]:
    """Each workload's part of the whole. The whole is all that the suite names, run or not."""
    low, high = suite.clip
    if not 0 < low <= 1 <= high:
        raise BenchError(
            f"suite {suite.name}: clip: [{low:g}, {high:g}] does not hold 1",
            hint="give something like [0.25, 4]",
        )
    for name in suite.workloads:
        if not suite.weights.get(name, -1.0) >= 0:
            raise BenchError(
                f"suite {suite.name}: weights.{name}: is missing or below 0",
                hint="give every workload of the suite a weight",
            )
    total = sum(suite.weights[name] for name in suite.workloads)
    if not 0 < total < math.inf:
        raise BenchError(f"suite {suite.name}: weights: sum to {total}", hint="make one positive")
    return {name: suite.weights[name] / total for name in suite.workloads}


def _said(workload: Workload, point: Drawn, before: float, after: float) -> tuple[str, ...]:
    said = []
    if point.more_lost[0]:
        said.append(f"hard: lost {after:.0%} of its samples, the baseline {before:.0%}")
    better = {metric.name: metric.better for metric in workload.metrics}
    for (slo, broken), measured in zip(point.broken, point.measured, strict=True):
        if broken[0]:
            side = "at most" if better[slo.metric] is Better.LOWER else "at least"
            said.append(
                f"{'hard' if slo.hard else 'soft'}: {slo.metric} is {measured[0]:.3g} of the "
                f"baseline's, {side} {slo.ratio:g} is allowed"
            )
    return tuple(said)


def _verdict(point: float, low: float, high: float) -> Verdict:
    if low > 1 and point >= 1 + MATTERS:
        return Verdict.WIN
    if high < 1 and point <= 1 / (1 + MATTERS):
        return Verdict.LOSS
    if low >= 1 / (1 + MATTERS) and high <= 1 + MATTERS:
        return Verdict.EQUAL
    return Verdict.OPEN
