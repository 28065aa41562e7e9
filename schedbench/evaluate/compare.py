# SPDX-License-Identifier: Apache-2.0
"""Each arm beside the baseline, one workload and metric at a time, with exact tests."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from schedbench.errors import BenchError
from schedbench.evaluate.data import Data, costs_of, lost, value_of
from schedbench.evaluate.stats import (
    ALPHA,
    Effect,
    holm,
    independent,
    least_p,
    most_tests,
    paired,
)
from schedbench.model import Better, Metric, Sample, Workload
from schedbench.plan import UNSTABLE_CV, spread

MATTERS = 0.05  # a difference below 5% is never a win


class Verdict(StrEnum):
    WIN = "win"
    LOSS = "loss"
    EQUAL = "equal"  # the whole interval lies within 5% of 1
    OPEN = "open"  # none of the others can be said
    NONE = "none"  # a side has no sample


@dataclass(frozen=True, slots=True)
class Standing:
    """How the samples of one arm with one workload ended."""

    workload: str
    arm: str
    planned: int
    ok: int
    lost: Mapping[str, int]  # by state
    faults: int  # of the environment, taken again
    missing: int  # planned and not there
    reasons: tuple[str, ...]  # of what was lost or spoiled


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one workload under an arm and under the baseline.

    `ratio` over 1 is better, whichever way the metric goes; `low` to `high` is its 95% interval.
    None stands for infinity (the baseline lost so many) and, as `high`, with `low` 0, for an
    interval that so few samples cannot bound. Medians and variation are of the finished samples;
    under the virtual clock the variation is that of the pairs' ratios.
    """

    workload: str
    metric: str
    unit: str
    better: Better
    primary: bool
    arm: str
    baseline_n: int
    arm_n: int
    baseline_median: float | None
    arm_median: float | None
    baseline_cv: float
    arm_cv: float
    unstable: bool
    ratio: float | None
    low: float
    high: float | None
    p: float
    p_holm: float  # over the family: the arm's primary metrics, or its secondary ones
    paired: bool
    verdict: Verdict


def primary(workload: Workload) -> Metric:
    """The metric that a workload is judged by: the one with most weight, the first of equals."""
    return max(workload.metrics, key=lambda metric: metric.alpha)


def baseline_of(data: Data, name: str = "") -> str:
    """`name` if it is an arm of the run, else `default`, else the first. Raises BenchError."""
    arms = [arm.name for arm in data.record.arms]
    if name and name not in arms:
        raise BenchError(f"no arm {name} in this run", hint=f"there are: {', '.join(arms)}")
    return name or ("default" if "default" in arms else arms[0])


def standings(data: Data) -> tuple[Standing, ...]:
    gone = Counter((key.workload, key.arm) for key in data.missing())
    wanted = Counter((key.workload, key.arm) for key in data.planned)
    spoiled = Counter((sample.key.workload, sample.key.arm) for sample in data.faults)
    found = []
    for workload, arm in sorted(wanted):
        samples = data.of(workload, arm)
        said = [
            sample.reason
            for sample in (*samples, *data.faults)
            if sample.reason and (sample.key.workload, sample.key.arm) == (workload, arm)
        ]
        losses = Counter(sample.state.value for sample in samples if lost(sample))
        found.append(
            Standing(
                workload,
                arm,
                wanted[workload, arm],
                sum(not lost(sample) for sample in samples),
                dict(sorted(losses.items())),
                spoiled[workload, arm],
                gone[workload, arm],
                tuple(dict.fromkeys(said)),
            )
        )
    return tuple(found)


def compare(data: Data, baseline: str, arms: Iterable[str] = ()) -> tuple[Comparison, ...]:
    """Every metric of every workload for each of `arms` (all others than the baseline).

    Holm's correction runs over the primary metrics of one arm, one for each workload, and apart
    from them over its secondary metrics.
    """
    chosen = tuple(arms) or tuple(a.name for a in data.record.arms if a.name != baseline)
    found: list[Comparison] = []
    for arm in chosen:
        rows = [
            _compare(data, workload, metric, baseline, arm)
            for workload in data.record.workloads
            for metric in workload.metrics
        ]
        for family in (True, False):
            members = [at for at, row in enumerate(rows) if row.primary is family]
            adjusted = holm([rows[at].p for at in members])
            for at, p in zip(members, adjusted, strict=True):
                rows[at] = _judged(replace(rows[at], p_holm=p))
        found += rows
    return tuple(found)


def too_few(rows: Sequence[Comparison]) -> tuple[str, ...]:
    """A sentence for each arm whose samples are too few for any win, whatever they say."""
    said = []
    for arm in dict.fromkeys(row.arm for row in rows):
        family = [row for row in rows if row.arm == arm and row.primary]
        least = min(
            (least_p(row.baseline_n, row.arm_n, paired=row.paired) for row in family), default=0.0
        )
        if least * len(family) > ALPHA:
            most = max(row.arm_n for row in family)
            what = "1 workload" if len(family) == 1 else f"{len(family)} workloads"
            many = "1 sample" if most == 1 else f"{most} samples"
            said.append(
                f"{arm}: {many} of {what} can show no win: the least p there is, {least:.2g}, "
                f"times {len(family)} is over {ALPHA}"
            )
    return tuple(said)


def warning(samples: int, workloads: int, *, paired: bool) -> str:
    """A sentence if so many samples a side can show no win among so many workloads, else ""."""
    what = "seeds" if paired else "boots"
    most = most_tests(samples, paired=paired)
    if workloads <= most:
        return ""
    enough = samples
    while most_tests(enough, paired=paired) < workloads:
        enough += 1
    can = f"a win or loss among {most} workloads at most" if most else "no win or loss at all"
    return (
        f"{samples} {what} can show {can}, by Holm's correction; for {workloads} at least "
        f"{enough} {what} are needed"
    )


def effect(data: Data, ours: Sequence[Sample], theirs: Sequence[Sample], metric: Metric) -> Effect:
    """The arm's (`theirs`) effect against the baseline's samples (`ours`); neither is empty."""
    test = paired if data.paired else independent
    return test(costs_of(ours, metric), costs_of(theirs, metric))


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _compare(data: Data, workload: Workload, metric: Metric, baseline: str, arm: str) -> Comparison:
    ours, theirs = data.sides(workload.name, baseline, arm)
    before = [value for sample in ours if (value := value_of(sample, metric)) is not None]
    after = [value for sample in theirs if (value := value_of(sample, metric)) is not None]
    comparable = bool(ours and theirs)
    found = (
        effect(data, ours, theirs, metric)
        if comparable
        else Effect(1.0, 0.0, math.inf, 1.0, data.paired)
    )
    if data.paired:
        ratios = [
            mine / yours
            for one, other in zip(ours, theirs, strict=True)
            if (mine := value_of(one, metric)) and (yours := value_of(other, metric))
        ]
        cvs = (spread(ratios),) * 2
    else:
        cvs = spread(before), spread(after)
    return Comparison(
        workload=workload.name,
        metric=metric.name,
        unit=metric.unit,
        better=metric.better,
        primary=metric == primary(workload),
        arm=arm,
        baseline_n=len(ours),
        arm_n=len(theirs),
        baseline_median=statistics.median(before) if before else None,
        arm_median=statistics.median(after) if after else None,
        baseline_cv=cvs[0],
        arm_cv=cvs[1],
        unstable=max(cvs) > UNSTABLE_CV,
        ratio=finite(found.ratio),
        low=found.low,
        high=finite(found.high),
        p=found.p,
        p_holm=1.0,
        paired=found.paired,
        verdict=Verdict.OPEN if comparable else Verdict.NONE,
    )


def _judged(row: Comparison) -> Comparison:
    if row.verdict is Verdict.NONE:
        return row
    ratio = math.inf if row.ratio is None else row.ratio
    high = math.inf if row.high is None else row.high
    verdict = Verdict.OPEN
    if row.p_holm <= ALPHA and row.low > 1 and ratio >= 1 + MATTERS:
        verdict = Verdict.WIN
    elif row.p_holm <= ALPHA and high < 1 and ratio <= 1 / (1 + MATTERS):
        verdict = Verdict.LOSS
    elif row.low >= 1 / (1 + MATTERS) and high <= 1 + MATTERS:
        verdict = Verdict.EQUAL
    return replace(row, verdict=verdict)
