# SPDX-License-Identifier: Apache-2.0
"""What is evaluated: the samples of one run, or of several that are alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from schedbench.errors import BenchError, UnlikeError
from schedbench.evaluate.stats import costs
from schedbench.model import Clock, Metric, Sample, SampleKey, SampleState, Workload
from schedbench.records import RunFolder, RunRecord, unlike


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)

LOSSES = frozenset({SampleState.FAILED, SampleState.MARKED, SampleState.HANG, SampleState.VM_DIED})


@dataclass(frozen=True, slots=True)
class Data:
    """One run, or several put together. `faults` are samples that were taken again."""

    record: RunRecord
    planned: frozenset[SampleKey]
    samples: tuple[Sample, ...]
    faults: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Under the virtual clock a seed gives one result for each arm, so seeds are pairs."""
        return self.record.environment.clock is Clock.VIRTUAL

    def workload(self, name: str) -> Workload:
        for workload in self.record.workloads:
            if workload.name == name:
                return workload
        raise BenchError(
            f"the suite {self.record.suite.name} names the workload {name}, which was not run"
        )

    def of(self, workload: str, arm: str) -> list[Sample]:
        """The samples that count, losses included, by seed and then in the order taken."""
        return sorted(
            (
                sample
                for sample in self.samples
                if sample.key.workload == workload
                and sample.key.arm == arm
                and sample.state is not SampleState.INFRASTRUCTURE
            ),
            key=lambda sample: (sample.key.seed, sample.order),
        )

    def sides(self, workload: str, baseline: str, arm: str) -> tuple[list[Sample], list[Sample]]:
        """What is compared. Pairs, both in the same order of seeds, where results are paired."""
        ours, theirs = self.of(workload, baseline), self.of(workload, arm)
        if self.paired:
            both = {s.key.seed for s in ours} & {s.key.seed for s in theirs}
            ours = [s for s in ours if s.key.seed in both]
            theirs = [s for s in theirs if s.key.seed in both]
        return ours, theirs

    def missing(self) -> list[SampleKey]:
        """Planned samples that were not taken, or that faults of the environment swallowed."""
        there = {s.key for s in self.samples if s.state is not SampleState.INFRASTRUCTURE}
        return sorted(self.planned - there, key=lambda key: (key.workload, key.arm, key.seed))


def lost(sample: Sample) -> bool:
    """Whether the sample is its arm's loss."""
    return sample.state in LOSSES


def value_of(sample: Sample, metric: Metric) -> float | None:
    """The sample's metric; None where it is lost. A metric that is not there is a loss too."""
    value = sample.metrics.get(metric.name)
    if lost(sample) or value is None or not (math.isfinite(value) and value > 0):
        return None
    return value


def costs_of(samples: Iterable[Sample], metric: Metric) -> list[float]:
    return costs([value_of(sample, metric) for sample in samples], metric.better)


def read(folder: RunFolder) -> Data:
    """A run from its folder. Raises RecordError for what it cannot read."""
    record = folder.run()
    known = {workload.name for workload in record.workloads}
    arms = {arm.name for arm in record.arms}
    samples, faults = tuple(folder.samples()), tuple(folder.faults())
    for sample in (*samples, *faults):
        if sample.key.workload not in known or sample.key.arm not in arms:
            raise BenchError(
                f"{folder.path}: the sample {sample.key} is of no workload or arm of this run"
            )
    planned = frozenset(
        SampleKey(workload, arm, seed)
        for workload in known
        for arm in arms
        for seed in record.seeds
    )
    return Data(record, planned, samples, faults)


def merge(parts: Sequence[Data]) -> Data:
    """Several runs as one. Raises UnlikeError naming everything that differs."""
    first, *others = parts
    whole = first
    for other in others:
        differing = unlike(first.record, other.record)
        if first.record.suite != other.record.suite:
            differing.append("suite")
        if differing:
            raise UnlikeError(
                f"these results are of unlike runs: {', '.join(differing)} differ",
                hint="compare only runs of one kernel, image, profile, size, clock and suite",
            )
        whole = _join(whole, other)
    if others and not whole.paired:
        note = (
            "several runs were put together: their boots were not interleaved, so what changed on "
            "the host between them is part of the difference"
        )
        whole = replace(whole, notes=(*whole.notes, note))
    return whole


def _join(one: Data, other: Data) -> Data:
    record = replace(
        one.record,
        workloads=_union(one.record.workloads, other.record.workloads),
        arms=_union(one.record.arms, other.record.arms),
        seeds=tuple(sorted({*one.record.seeds, *other.record.seeds})),
    )
    there = {sample.key: sample for sample in one.samples}
    samples = list(one.samples)
    for sample in other.samples:
        known = there.get(sample.key)
        if known == sample:
            raise UnlikeError(
                f"the sample {sample.key} is in two of the runs: it would count twice",
                hint="give each run once",
            )
        if known is None or not one.paired:
            samples.append(sample)
        elif known.digest != sample.digest or known.metrics != sample.metrics:
            raise UnlikeError(
                f"the virtual-clock sample {sample.key} has other bytes in another run",
                hint="one of the two is not what it says: repeat it with `schedbench verify`",
            )
    return replace(
        one,
        record=record,
        planned=one.planned | other.planned,
        samples=tuple(samples),
        faults=(*one.faults, *other.faults),
    )


def _union(one: tuple[Named, ...], other: tuple[Named, ...]) -> tuple[Named, ...]:
    names = {item.name for item in one}
    return (*one, *(item for item in other if item.name not in names))
