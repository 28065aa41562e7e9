# SPDX-License-Identifier: Apache-2.0
"""The interface of an arm: what runs beside a workload. docs/schedbench/arms.md.

An arm is files that are put into the guest and shell that runs there, so that the same arm works
under both clocks (a virtual-clock guest has nothing but its initramfs). Arms that learn implement
LearningArm as well: they get to take training samples first, under a budget that is equal for all
of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from schedbench.model import Clock, Part, Sample

ANY_SCHEDULER = "*"


@dataclass(frozen=True, slots=True)
class Told:
    """What an arm may know of a workload. `parts` only for arms whose `told_intents` is true;
    for the others it is empty. Names of cgroups are random per seed."""

    parts: tuple[Part, ...]
    visible: Mapping[str, object]
    seed: int


@dataclass(frozen=True, slots=True)
class ArmScript:
    """What is put into the guest (guest path -> host file) and run there as root.

    `start` runs once after the parts' cgroups exist and before set-up; `$SCHEDBENCH_CGROUP/<part>`
    are symbolic links to their folders, `$SCHEDBENCH_DIR` is scratch. It returns when the arm is in
    place; a non-zero exit is an infrastructure fault of the arm and is said so. `stop` runs after
    the last repeat; what it prints is kept as the arm's log.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    programs: tuple[str, ...] = ()  # absolute guest paths of programs it needs
    kernel_config: bool = False  # needs /boot/config-RELEASE: libbpf, for `__kconfig` variables
    start: str = ""
    stop: str = ""
    # The ops name that must be enabled from start to stop; "": none may be; ANY_SCHEDULER: any or
    # none, since the arm itself decides or looks after it.
    expects_scheduler: str = ""


class Arm(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def clocks(self) -> frozenset[Clock]:
        """Those it can run under."""

    @property
    def told_intents(self) -> bool:
        """Whether `Told.parts` is filled for it."""

    def describe(self) -> Mapping[str, object]:
        """Everything that makes two arms of this name different: versions, tunables, hashes."""

    def script(self, told: Told) -> ArmScript:
        """For one sample. Pure: the same `told` gives the same script."""


Trial = Callable[[Mapping[str, object], int], Awaitable[Sample]]


@runtime_checkable
class LearningArm(Protocol):
    """An arm that searches before it is measured. After `train` its `script` is frozen."""

    def configured(self, configuration: Mapping[str, object]) -> Arm:
        """The arm with this configuration: what one training sample runs. Raises BenchError for one
        that is not in its space."""

    async def train(self, workload: str, trial: Trial, budget: int, seed: int) -> None:
        """Takes at most `budget` samples by `trial(configuration, seed)` on training seeds, which
        are never those it is measured on; more counts as overuse."""
