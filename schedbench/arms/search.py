# SPDX-License-Identifier: Apache-2.0
"""What learning arms share: a declared space, what a sample is worth, and a budget that is kept.

A space is a few values for each tunable, its default first; the first configuration is always the
one in which everything is left at its default. Values come from a scheduler's manifest, or from
the list of the kernel's own knobs below.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from schedbench import workload as workloads
from schedbench.arms.base import Arm, ArmScript, Told, Trial
from schedbench.arms.policy import PolicyArm, policy_arm
from schedbench.arms.tuned import DEBUGFS, TunedArm
from schedbench.errors import BenchError
from schedbench.evaluate.data import lost, value_of
from schedbench.evaluate.stats import costs
from schedbench.model import Clock, Sample, SampleState, Workload
from schedcpd.host.manifest import Manifest, TunableSpec, check_tunables
from schedcpd.microvm.cache import Progress

VALUES = 7  # of one numeric tunable
SPREAD = 10.0  # where maximum/minimum is over this, values are spaced by ratio
LEFT_ALONE = "-"  # a kernel knob that is not touched
Configuration = Mapping[str, object]

# The kernel's own knobs, around what documents of distributions use (tuned.yaml has the sources).
KNOBS: Mapping[str, tuple[str, ...]] = {
    f"{DEBUGFS}base_slice_ns": (
        LEFT_ALONE, "500000", "1000000", "3000000", "6000000", "10000000", "30000000",
    ),
    f"{DEBUGFS}migration_cost_ns": (LEFT_ALONE, "0", "50000", "250000", "1000000", "5000000"),
    f"{DEBUGFS}nr_migrate": (LEFT_ALONE, "4", "8", "64", "128"),
    "/proc/sys/kernel/sched_autogroup_enabled": (LEFT_ALONE, "0", "1"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Space:
    """Tunables with the values they may take, the default first."""

    values: Mapping[str, tuple[object, ...]]

    def default(self) -> Configuration:
        return {name: values[0] for name, values in self.values.items()}

    def size(self) -> int:
        return math.prod(len(values) for values in self.values.values())

    def draw(self, count: int, chance: random.Random) -> list[Configuration]:
        """`count` different configurations (or all there are), the default first."""
        found = [self.default()]
        wanted = min(count, self.size())
        while len(found) < wanted:
            drawn = {name: chance.choice(values) for name, values in self.values.items()}
            if drawn not in found:
                found.append(drawn)
        return found


def space_of(manifest: Manifest) -> Space:
    """The tunables of a scheduler."""
    return Space({name: _values(spec) for name, spec in sorted(manifest.tunables.items())})


def _values(spec: TunableSpec) -> tuple[object, ...]:
    if spec.type == "bool":
        return (spec.default, not spec.default)
    assert spec.minimum is not None and spec.maximum is not None
    low, high = float(spec.minimum), float(spec.maximum)
    steps = [step / (VALUES - 1) for step in range(VALUES)]
    if low > 0 and high / low >= SPREAD:
        spaced = [low * (high / low) ** step for step in steps]
    else:
        spaced = [low + (high - low) * step for step in steps]
    whole = [round(value) if spec.type == "int" else value for value in spaced]
    return tuple(dict.fromkeys([spec.default, *whole]))


def worth(workload: Workload, sample: Sample) -> float | None:
    """Minus the alpha-weighted mean of log-costs: higher is better, and under one seed the
    difference of two is the log of their improvement. A lost sample is worth minus infinity; None
    says that a fault of the environment hid what it would have been."""
    if sample.state is SampleState.INFRASTRUCTURE:
        return None
    if lost(sample):
        return -math.inf
    total = sum(metric.alpha for metric in workload.metrics)
    return -sum(
        metric.alpha / total * costs([value_of(sample, metric)], metric.better)[0]
        for metric in workload.metrics
        if metric.alpha > 0
    )


class Purse:
    """The budget: a trial is paid before it is taken, and none is taken on credit."""

    def __init__(self, workload: Workload, trial: Trial, budget: int) -> None:
        self._workload, self._trial = workload, trial
        self.left = budget

    async def try_(self, configuration: Configuration, seed: int) -> float | None:
        """What the configuration is worth under the seed. Raises BenchError when all is spent."""
        if self.left <= 0:
            raise BenchError(f"{self._workload.name}: the training budget is spent")
        self.left -= 1
        return worth(self._workload, await self._trial(configuration, seed))


def mean_worth(worths: Sequence[float | None]) -> float:
    """Minus infinity where nothing is known."""
    known = [each for each in worths if each is not None]
    return sum(known) / len(known) if known else -math.inf


def best(ranked: Mapping[int, float]) -> list[int]:
    """Candidates from best to worst; of equals the earlier one, so that the default stays."""
    return sorted(ranked, key=lambda place: (-ranked[place], place))


Apply = Callable[[Configuration], Arm]
Lookup = Callable[[str], Workload]


class Learner(ABC):
    """A learning arm over a space; what it settled on is what is measured.

    `apply` makes the arm of a configuration. Subclasses say how to search.
    """

    method = ""  # with its source, as it is recorded

    def __init__(
        self,
        name: str,
        space: Space,
        apply: Apply,
        workload: Lookup,
    ) -> None:
        self.name = name
        self._space, self._apply, self._workload = space, apply, workload
        self._fixed = apply(space.default())
        self.clocks: frozenset[Clock] = self._fixed.clocks
        self.told_intents: bool = self._fixed.told_intents
        self._chosen: Configuration | None = None

    @abstractmethod
    async def search(self, purse: Purse, seed: int, chance: random.Random) -> Configuration:
        """The configuration to be measured. Trains on `seed` and those after it."""

    async def train(self, workload: str, trial: Trial, budget: int, seed: int) -> None:
        if budget < 1:
            raise BenchError(f"{self.name}: budget: {budget} is less than 1")
        purse = Purse(self._workload(workload), trial, budget)
        self._chosen = await self.search(purse, seed, random.Random(f"{workload}/{seed}"))
        self._fixed = self._apply(self._chosen)

    def configured(self, configuration: Configuration) -> Arm:
        """The arm with that configuration, for a trial. Raises BenchError outside the space.

        The order of names does not matter: a record on disk has another one.
        """
        for name, value in configuration.items():
            if value not in self._space.values.get(name, ()):
                raise BenchError(f"{self.name}: {name}: {value!r} is not in its space")
        ordered = {n: configuration[n] for n in self._space.values if n in configuration}
        return self._apply(ordered)

    def describe(self) -> Mapping[str, object]:
        """`configuration` is there once it was trained."""
        said: dict[str, object] = {
            "method": self.method,
            "space": {name: list(values) for name, values in self._space.values.items()},
            "default": dict(self._apply(self._space.default()).describe()),
        }
        if self._chosen is not None:
            said["configuration"] = dict(self._chosen)
        return said

    def script(self, told: Told) -> ArmScript:
        return self._fixed.script(told)


Make = Callable[[str, Space, Apply, Lookup], Arm]


async def make(learner: Make, name: str, argument: str, progress: Progress) -> Arm:
    """A learner over the tunables of the scheduler `argument`, or over the kernel's knobs."""
    if argument:
        base = await policy_arm(name, argument, progress)
        space = space_of(base.manifest)
        return learner(name, space, lambda chosen: _with_tunables(base, chosen), workloads.load)
    return learner(name, Space(KNOBS), lambda chosen: _with_knobs(name, chosen), workloads.load)


def _with_tunables(base: PolicyArm, chosen: Configuration) -> Arm:
    return replace(base, tunables=check_tunables(base.manifest, chosen))


def _with_knobs(name: str, chosen: Configuration) -> Arm:
    knobs = {path: str(value) for path, value in chosen.items() if value != LEFT_ALONE}
    return TunedArm(name, "searched", knobs, "")


def maker(learner: Make) -> Callable[[str, str, Progress], Awaitable[Arm]]:
    """`make` of one kind of learner, as KINDS wants it."""

    async def made(name: str, argument: str, progress: Progress) -> Arm:
        return await make(learner, name, argument, progress)

    return made
