# SPDX-License-Identifier: Apache-2.0
"""Goes through a plan: every sample is on disk before the next one begins, and none is taken twice.

A sample that a fault of the environment spoiled is kept aside and taken again. Whatever a workload,
a scheduler or a machine does, the run goes on with the next sample.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from schedbench import plan
from schedbench.arms.base import Arm, ArmScript, LearningArm, Told
from schedbench.codec import to_json
from schedbench.errors import BenchError, UnlikeError
from schedbench.model import Clock, Environment, Sample, SampleKey, SampleState, Workload
from schedbench.records import FILES, Boot, RunFolder, RunRecord, unlike, write_whole
from schedcpd.microvm.cache import Progress

ATTEMPTS = 3  # for a sample that the environment spoils
BROKEN_AFTER = 2  # samples of one arm lost to the environment: from then on, one attempt each
TRAINING_SEEDS = 1_000_000  # from here on; those below are measured on


class Runner(Protocol):
    """Takes one sample: WallRunner or VirtualRunner."""

    @property
    def environment(self) -> Environment: ...

    @property
    def boot(self) -> Boot: ...

    async def take(
        self, key: SampleKey, workload: Workload, arm: ArmScript, order: int
    ) -> tuple[Sample, str]:
        """The sample, and the guest's console."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did. `missing` are planned samples that the environment did not let happen."""

    taken: int
    standing: int
    missing: tuple[SampleKey, ...]
    states: Mapping[str, int]
    extended: tuple[str, ...]


class Session:
    """One run into one folder. `load` makes an arm by its name, a fresh one for each workload."""

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        runner: Runner,
        load: Callable[[str], Awaitable[Arm]],
        progress: Progress,
        jobs: int = 1,
    ) -> None:
        """`jobs` samples at a time: only for a clock that does not see the host's load."""
        self._folder, self._record, self._runner, self._jobs = folder, record, runner, jobs
        self._load, self._say, self._budget = load, progress, record.budget
        self._workloads = {each.name: each for each in record.workloads}
        self._arms: dict[tuple[str, str], Arm] = {}  # by workload and name
        self._overuse: dict[tuple[str, str], float] = {}
        self._lost: dict[str, int] = {}
        self._order = 0
        self._taken = 0

    async def run(self) -> Summary:
        """Takes what is missing. Raises UnlikeError if the folder's run is another one."""
        self._open()
        record = self._record
        names = [arm.name for arm in record.arms]
        for name in names:
            arm = await self._load(name)
            for workload in self._workloads.values():
                if isinstance(arm, LearningArm):  # one for each workload: it is trained on it
                    arm = await self._load(name)
                await self._ready(name, arm, workload)
        planned = list(plan.order(list(self._workloads), names, record.seeds, record.plan_seed))
        await self._take_all(planned)
        extended = self._unstable()
        if extended:
            self._say(f"unstable, so extended to {record.suite.extend_to}: {', '.join(extended)}")
            more = plan.extension(
                extended, names, record.seeds, record.suite.extend_to, record.plan_seed
            )
            planned += more
            await self._take_all(more)
        samples = self._folder.samples()
        states: dict[str, int] = {}
        for sample in samples:
            states[sample.state] = states.get(sample.state, 0) + 1
        missing = plan.missing(planned, {sample.key for sample in samples})
        return Summary(self._taken, len(samples), missing, states, extended)

    def _open(self) -> None:
        if not self._folder.exists():
            self._folder.write_run(self._record)
            return
        old = self._folder.run()
        differing = unlike(old, self._record)
        for name in ("suite", "seeds", "plan_seed"):
            if getattr(old, name) != getattr(self._record, name):
                differing.append(name)
        if differing:
            raise UnlikeError(
                f"{self._folder.path} holds a run that differs in: {', '.join(differing)}",
                hint="start another run in another folder",
            )
        done = [*self._folder.samples(), *self._folder.faults(), *self._folder.training()]
        self._order = max((sample.order for sample in done), default=-1) + 1

    def _unstable(self) -> tuple[str, ...]:
        """What to extend. It looks at the first round of seeds only, so that it stays the same.

        Nothing under the virtual clock: what spreads there are the seeds' inputs, in which arms are
        paired, and not noise.
        """
        record = self._record
        virtual = record.environment.clock is Clock.VIRTUAL
        if virtual or record.suite.extend_to <= len(record.seeds):
            return ()
        first = [s for s in self._folder.samples() if s.key.seed in record.seeds]
        return plan.unstable(first, record.workloads)

    async def _take_all(self, planned: Sequence[SampleKey]) -> None:
        standing = {sample.key: sample for sample in self._folder.samples()}
        todo = plan.missing(planned, standing)
        if len(todo) < len(planned):
            self._say(f"{len(planned) - len(todo)} of {len(planned)} samples are there already")
        took: dict[str, list[float]] = {}
        for sample in standing.values():
            took.setdefault(sample.key.workload, []).append(sample.seconds)
        waiting = deque(todo)
        done = len(planned) - len(todo)

        async def work() -> None:
            nonlocal done
            while waiting:
                sample = await self._take(waiting.popleft())
                took.setdefault(sample.key.workload, []).append(sample.seconds)
                done += 1
                left = _time_left(waiting, took, self._jobs)
                self._say(f"[{done}/{len(planned)}] {_line(sample)}{left}")

        if self._jobs == 1:
            await work()
            return
        async with asyncio.TaskGroup() as group:
            for _ in range(self._jobs):
                group.create_task(work())

    async def _take(self, key: SampleKey) -> Sample:
        """Takes one sample; again, if the environment spoiled it. The last attempt is returned."""
        attempts = 1 if self._lost.get(key.arm, 0) >= BROKEN_AFTER else ATTEMPTS
        while True:
            workload = self._workloads[key.workload]
            sample, console = await self._once(key, workload, self._arms[key.workload, key.arm])
            attempts -= 1
            spoiled = sample.state is SampleState.INFRASTRUCTURE
            path = self._folder.write(sample, fault=spoiled)
            if sample.state is not SampleState.OK:
                self._folder.write_log(key, console, path.stem)
            if not spoiled:
                self._taken += 1
                return sample
            if attempts == 0:
                self._lost[key.arm] = self._lost.get(key.arm, 0) + 1
                return sample
            self._say(f"taken again: {_line(sample)}")

    async def _once(self, key: SampleKey, workload: Workload, arm: Arm) -> tuple[Sample, str]:
        script = arm.script(told(workload, arm, key.seed))
        order = self._order
        self._order += 1
        sample, console = await self._runner.take(key, workload, script, order)
        if isinstance(arm, LearningArm):
            log = {**sample.arm_log, "arm": dict(arm.describe())}
            overuse = self._overuse.get((key.workload, key.arm), 0.0)
            sample = replace(sample, arm_log=log, overuse=overuse)
        return sample, console

    async def _ready(self, name: str, arm: Arm, workload: Workload) -> None:
        """Keeps the arm's files, and trains it if it learns."""
        self._arms[workload.name, name] = arm
        if isinstance(arm, LearningArm):
            await self._train(name, arm, workload)
        for path in arm.script(told(workload, arm, self._record.seeds[0])).files.values():
            _keep(self._folder.path / FILES, path)

    async def _train(self, name: str, arm: LearningArm, workload: Workload) -> None:
        known = {
            (sample.key.workload, sample.key.arm, sample.arm_log.get("trial")): sample
            for sample in self._folder.training()
        }
        used = 0

        async def trial(configuration: Mapping[str, object], seed: int) -> Sample:
            nonlocal used
            if seed < TRAINING_SEEDS:
                raise BenchError(f"{name} trains on seed {seed}, which may be measured on")
            number, wanted = used, {"configuration": to_json(configuration), "seed": seed}
            used += 1
            old = known.get((workload.name, name, number))
            if old is not None:
                if {key: old.arm_log.get(key) for key in wanted} != wanted:
                    raise UnlikeError(f"{name} would train in another way than it did before")
                return old
            key = SampleKey(workload.name, name, seed)
            sample, _ = await self._once(key, workload, arm.configured(configuration))
            log = {**sample.arm_log, "trial": number, **wanted}
            sample = replace(sample, arm_log=log)
            self._folder.write_training(sample, number)
            self._say(f"training {number + 1}/{self._budget}: {_line(sample)}")
            return sample

        seed = TRAINING_SEEDS + self._record.plan_seed % TRAINING_SEEDS
        await arm.train(workload.name, trial, self._budget, seed)
        over = max(0, used - self._budget) / self._budget
        self._overuse[workload.name, name] = over


def told(workload: Workload, arm: Arm, seed: int) -> Told:
    """What the arm may know of the workload: its visible fields, and the parts if it is told."""
    visible = {name: to_json(getattr(workload, name)) for name in workload.visible}
    return Told(workload.parts if arm.told_intents else (), visible, seed)


def _keep(folder: Path, path: Path) -> None:
    data = path.read_bytes()
    target = folder / hashlib.sha256(data).hexdigest()
    if not target.exists():
        write_whole(target, data)


def _line(sample: Sample) -> str:
    key = sample.key
    values = ", ".join(f"{name} {value:.4g}" for name, value in sample.metrics.items())
    said = f": {sample.reason}" if sample.reason else ""
    return (
        f"{key.workload} / {key.arm} / seed {key.seed}: {sample.state.value}{said}"
        f"{f' ({values})' if values else ''}, {sample.seconds:.0f} s"
    )


def _time_left(todo: Collection[SampleKey], took: Mapping[str, Sequence[float]], jobs: int) -> str:
    if not todo:
        return ""
    everything = [value for values in took.values() for value in values]
    mean = sum(everything) / len(everything)
    seconds = 0.0
    for key in todo:
        values = took.get(key.workload)
        seconds += (sum(values) / len(values) if values else mean) / jobs
    return (
        f"; about {seconds / 60:.0f} min left" if seconds > 90 else f"; about {seconds:.0f} s left"
    )
