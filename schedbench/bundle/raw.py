# SPDX-License-Identifier: Apache-2.0
"""Whether a sample is what its own raw data says: metrics are read again from what was printed."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterable, Iterator

from schedbench import kernellog
from schedbench.evaluate.data import Data
from schedbench.model import Clock, Sample, SampleKey, SampleState, Workload
from schedbench.reading import medians, metric_value
from schedbench.records import RunRecord
from schedbench.virtual.sample import REPEATS

LIMIT_S = 30.0  # of CPU time, for all samples of a bundle; 440 took less than one


def name_of(key: SampleKey) -> str:
    return f"{key.workload}, {key.arm}, seed {key.seed}"


def sample_problems(sample: Sample, record: RunRecord, workload: Workload) -> list[str]:
    """Everything in which the sample contradicts itself. [] for an honest one."""
    found: list[str] = []
    counts = sample.state in (SampleState.OK, SampleState.MARKED)
    for number, repeat in enumerate(sample.repeats, 1):
        values: dict[str, float] = {}
        if repeat.exit_code == 0 and repeat.check_exit_code == 0:
            for metric in workload.metrics:
                try:
                    values[metric.name] = metric_value(metric, repeat.output, repeat.seconds)
                except ValueError as error:
                    if counts:
                        found.append(f"repeat {number}: {error}")
                    values = {}
                    break
        elif counts:
            found.append(
                f"repeat {number}: exit {repeat.exit_code}, check {repeat.check_exit_code}, "
                f"yet the sample is {sample.state}"
            )
        for name in sorted(values.keys() | repeat.metrics.keys()):
            stored, read = repeat.metrics.get(name), values.get(name)
            if stored != read:
                found.append(f"repeat {number}: {name}: {stored} is stored, {read} was measured")
    if sample.state is SampleState.OK:
        virtual = record.environment.clock is Clock.VIRTUAL
        wanted = REPEATS if virtual else workload.sizes[record.environment.size].repeats
        if len(sample.repeats) != wanted:
            found.append(f"{len(sample.repeats)} repeats instead of {wanted}")
        for said in kernellog.grave(sample.kernel_log)[:1]:
            found.append(f"is ok, but the kernel said: {said}")
    elif not sample.reason:
        found.append(f"is {sample.state} without a reason")
    if not counts and sample.metrics:
        found.append(f"is {sample.state}, yet has metrics that count")
    if counts and not found and dict(sample.metrics) != medians(sample.repeats):
        found.append(
            f"metrics: {dict(sample.metrics)} is stored, "
            f"the repeats' medians are {medians(sample.repeats)}"
        )
    return found


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block once this process has computed for so long.

    Python's regular expressions look for signals while they match, so it ends those as well. In
    the main thread only, as signals are.
    """

    def ended(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, ended)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def raw_problems(data: Data, training: Iterable[Sample], limit_s: float = LIMIT_S) -> list[str]:
    """Of all samples of a run, with the name of each.

    A metric's pattern comes with the bundle and may be made to match for ever: what takes more
    than `limit_s` seconds of CPU time is a problem, too, and the last one that is looked for.
    """
    workloads = {workload.name: workload for workload in data.record.workloads}
    found = []
    named = [(name_of(sample.key), sample) for sample in (*data.samples, *data.faults)]
    named += [(f"training of {name_of(sample.key)}", sample) for sample in training]
    name = ""
    try:
        with cpu_limit(limit_s):
            for name, sample in named:
                workload = workloads.get(sample.key.workload)
                if workload is None:
                    found.append(f"{name}: is of no workload of the run")
                    continue
                problems = sample_problems(sample, data.record, workload)
                found += [f"{name}: {problem}" for problem in problems]
    except TimeoutError:
        found.append(
            f"{name}: its metrics could not be read within {limit_s:g} s of CPU time; what comes "
            "after it was not looked at"
        )
    return found


def budget_problems(data: Data, training: Iterable[Sample]) -> list[str]:
    """Where the overuse that samples state is not what their arm's training took."""
    taken = Counter((sample.key.workload, sample.key.arm) for sample in training)
    budget = data.record.budget
    found = []
    for sample in data.samples:
        used = taken[sample.key.workload, sample.key.arm]
        if used and not budget:
            found.append(f"{name_of(sample.key)}: trained, but the run has no budget")
            continue
        over = max(0, used - budget) / budget if used else 0.0
        if sample.overuse != over:
            found.append(
                f"{name_of(sample.key)}: overuse {sample.overuse:g} is stored; {used} training "
                f"samples of a budget of {budget} are {over:g}"
            )
    return found


def plan_problems(data: Data) -> list[str]:
    """Samples that should be there: planned ones, and those that only other arms have.

    A missing sample that a recorded fault of the environment explains is no problem.
    """
    faulty = {sample.key for sample in data.faults} | {
        sample.key for sample in data.samples if sample.state is SampleState.INFRASTRUCTURE
    }
    found = [
        f"{name_of(key)}: was planned and is not there"
        for key in data.missing()
        if key not in faulty
    ]
    planned = {key.seed for key in data.planned}
    for workload in data.record.workloads:
        seeds = {
            arm.name: {sample.key.seed for sample in data.of(workload.name, arm.name)}
            for arm in data.record.arms
        }
        every = set().union(*seeds.values())
        for arm, has in seeds.items():
            for seed in sorted(every - has - planned):
                key = SampleKey(workload.name, arm, seed)
                if key not in faulty:
                    found.append(f"{name_of(key)}: another arm has this seed, this one has not")
    orders = [sample.order for sample in (*data.samples, *data.faults)]
    if len(set(orders)) != len(orders):
        found.append("two samples have the same place in the order")
    return found
