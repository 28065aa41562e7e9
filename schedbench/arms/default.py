# SPDX-License-Identifier: Apache-2.0
"""The kernel as it is: the baseline, and under another name the measure of noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schedbench.arms.base import Arm, ArmScript, Told
from schedbench.model import Clock
from schedcpd.microvm.cache import Progress


@dataclass(frozen=True, slots=True)
class DefaultArm:
    """Does nothing. The runner sees to it that no sched_ext scheduler runs beside it."""

    name: str
    clocks: frozenset[Clock] = frozenset(Clock)
    told_intents: bool = False

    def describe(self) -> Mapping[str, object]:
        return {"scheduler": "the kernel's default"}

    def script(self, told: Told) -> ArmScript:
        return ArmScript()


async def make(name: str, argument: str, progress: Progress) -> Arm:
    return DefaultArm(name)
