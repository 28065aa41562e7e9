# SPDX-License-Identifier: Apache-2.0
"""One sample under the virtual clock, as schedbench/virtual takes it, for a session."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from schedbench import profiles
from schedbench.arms.base import ArmScript
from schedbench.errors import BenchError
from schedbench.guest.image import bench_image
from schedbench.model import (
    Clock,
    Environment,
    Profile,
    Sample,
    SampleKey,
    SizeClass,
    Workload,
)
from schedbench.records import Boot
from schedbench.run.environment import environment
from schedbench.virtual import sample
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.kernel import backports_kernel


@dataclass(frozen=True, slots=True)
class VirtualRunner:
    """Takes samples of one profile. Made by `prepare_virtual`."""

    kit: sample.Kit
    profile: Profile
    environment: Environment
    progress: Progress
    boot: Boot = Boot.INITRAMFS

    async def take(
        self, key: SampleKey, workload: Workload, arm: ArmScript, order: int
    ) -> tuple[Sample, str]:
        """The sample and the guest's console. What goes wrong in the guest is in the sample."""
        with tempfile.TemporaryDirectory(prefix="schedbench-") as name:
            console = Path(name) / "console"
            taken = await sample.take_sample(
                self.kit,
                workload,
                self.environment.size,
                key,
                self.profile,
                arm,
                progress=self.progress,
                order=order,
                console=console,
            )
            text = await asyncio.to_thread(console.read_text, "utf-8", "replace")
        return taken, text


async def prepare_virtual(
    profile: Profile, size: SizeClass, workloads: list[Workload], progress: Progress
) -> VirtualRunner:
    """Builds what is missing. Raises BenchError for a workload or profile without meaning here."""
    kit = await sample.prepare(progress)
    profiles.machine(profile)  # refuses a profile that the clock cannot be
    for each in workloads:
        why_not = sample.refusal(each, kit.clock)
        if why_not:
            raise BenchError(why_not, hint="leave it out with --workloads, or use --clock wall")
    found = await environment(
        Clock.VIRTUAL,
        profile,
        size,
        await backports_kernel(progress),
        (await bench_image(progress)).disk,
        f"tcg {kit.clock.value}",
    )
    return VirtualRunner(kit, profile, found, progress)
