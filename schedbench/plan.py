# SPDX-License-Identifier: Apache-2.0
"""Which samples to take, in which order, and which more where a workload is unstable.

Arms are paired by seed and taken next to each other, so that a host that gets busier hits all of
them alike. Workloads inside a round of one seed, and arms inside a workload, are shuffled by the
plan's seed, which is recorded. The rule for extension is fixed beforehand and looks at the spread
only, never at which arm is ahead: benchmark.md, "Statistics", has the sources.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from schedbench.model import Sample, SampleKey, SampleState, Workload

UNSTABLE_CV = 0.10  # standard deviation over mean, over the boots of one arm


def order(
    workloads: Sequence[str], arms: Sequence[str], seeds: Sequence[int], plan_seed: int
) -> tuple[SampleKey, ...]:
    """Every (workload, arm, seed) once: round by round of the seeds. Pure."""
    keys: list[SampleKey] = []
    for seed in seeds:
        dice = random.Random(f"{plan_seed}/{seed}")  # a round's order does not depend on others
        for workload in dice.sample(workloads, len(workloads)):
            keys += [SampleKey(workload, arm, seed) for arm in dice.sample(arms, len(arms))]
    return tuple(keys)


def missing(planned: Iterable[SampleKey], standing: Collection[SampleKey]) -> tuple[SampleKey, ...]:
    """What of the plan is still to be taken, in the plan's order."""
    return tuple(key for key in planned if key not in standing)


def spread(values: Sequence[float]) -> float:
    """The coefficient of variation: sample standard deviation over mean. 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    mean = statistics.fmean(values)
    return statistics.stdev(values) / mean if mean else 0.0


def spreads(samples: Iterable[Sample]) -> Mapping[tuple[str, str, str], float]:
    """(workload, arm, metric) to the spread over the samples that have metrics which count."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for sample in samples:
        if sample.state is SampleState.OK:
            for metric, value in sample.metrics.items():
                values.setdefault((sample.key.workload, sample.key.arm, metric), []).append(value)
    return {name: spread(found) for name, found in values.items()}


def unstable(samples: Iterable[Sample], workloads: Iterable[Workload]) -> tuple[str, ...]:
    """The workloads with a metric of the score that spreads more than UNSTABLE_CV in some arm."""
    scored = {
        (workload.name, metric.name)
        for workload in workloads
        for metric in workload.metrics
        if metric.alpha > 0
    }
    found = {
        workload
        for (workload, _, metric), value in spreads(samples).items()
        if value > UNSTABLE_CV and (workload, metric) in scored
    }
    return tuple(sorted(found))


def extension(
    names: Sequence[str], arms: Sequence[str], seeds: Sequence[int], extend_to: int, plan_seed: int
) -> tuple[SampleKey, ...]:
    """The samples that bring the workloads `names` from `seeds` to `extend_to` seeds, all arms.

    All at once: looking again after each one would stop at the moment that looks best.
    """
    first = max(seeds) + 1
    more = range(first, first + extend_to - len(seeds))
    return order(names, arms, more, plan_seed)
