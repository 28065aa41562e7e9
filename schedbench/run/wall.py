# SPDX-License-Identifier: Apache-2.0
"""One sample under the host's clock: a micro-VM, the harness, and what is seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from schedbench import drivers, guestfiles, profiles
from schedbench.arms.base import ArmScript
from schedbench.guest.image import bench_image
from schedbench.model import (
    Clock,
    Environment,
    Profile,
    Sample,
    SampleKey,
    SampleState,
    SizeClass,
    Workload,
)
from schedbench.reading import MarkerReader, Reading, judge, mark, repeats_so_far, schedulers, where
from schedbench.records import Boot
from schedbench.run import observations
from schedbench.run.environment import environment
from schedcpd.errors import MicroVmError
from schedcpd.microvm import MicroVm, VmDiedError, VmGoneError, VmSpec, boot, resume
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.kernel import backports_kernel
from schedcpd.microvm.snapshot import prepare

SAMPLER = f"{guestfiles.TOP}/bin/sampler"
SERIES = "/run/sampler"
PERIOD_MS = 500
PHASE_LIMIT_S = 300.0  # for each of: the arm's start and stop, set-up, a check
START_LIMIT_S = 900.0  # from power-on to an answer, under TCG on a busy host
LAST_LOOK_S = 60.0
LAST_LOOK = f"dmesg --raw; echo; echo @@; cat {SERIES}"


@dataclass(slots=True)
class _Taking:
    """One sample under way."""

    reader: MarkerReader = field(default_factory=MarkerReader)
    began: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.monotonic)
    deadline: float = 0.0
    limit: float = 0.0
    dmesg: str = ""
    before: float = -1.0
    series: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    console: str = ""
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def allow(self, seconds: float) -> None:
        self.deadline, self.limit = time.monotonic() + seconds, seconds


class WallRunner:
    """Takes samples of one profile. Made by `prepare_wall`."""

    def __init__(
        self, spec: VmSpec, start: Boot, programs: Mapping[str, bytes], environment_: Environment
    ) -> None:
        self._spec, self._boot, self._programs = spec, start, programs
        self.environment = environment_
        self.boot = start

    async def take(
        self, key: SampleKey, workload: Workload, arm: ArmScript, order: int
    ) -> tuple[Sample, str]:
        """The sample and the guest's console. Never raises for what a guest does."""
        size = self.environment.size
        taking = _Taking()
        start = resume if self._boot is Boot.RESUME else boot
        chosen = workload.sizes[size]
        life = START_LIMIT_S + 4 * PHASE_LIMIT_S + chosen.repeats * (chosen.limit_s + PHASE_LIMIT_S)
        try:
            async with start(self._spec, limit_s=life, progress=_quiet) as vm:
                reading = await self._inside(vm, taking, key, workload, arm)
                taking.console = vm.console
        except MicroVmError as error:
            reading = _gone(error, taking, workload)
        return self._sample(key, reading, taking, arm, order), taking.console

    async def _inside(
        self, vm: MicroVm, taking: _Taking, key: SampleKey, workload: Workload, arm: ArmScript
    ) -> Reading:
        size = self.environment.size
        files = guestfiles.guest_files(workload, size, key.seed, arm, self._programs)
        files[SAMPLER] = self._programs["sampler"]
        await _put(vm, files)
        text = (await vm.run(["dmesg", "--raw"], timeout_s=PHASE_LIMIT_S)).check().text
        taking.before = observations.last_time(text)
        sampler = asyncio.create_task(
            vm.run([SAMPLER, str(PERIOD_MS), SERIES], timeout_s=24 * 3600), name="sampler"
        )
        try:
            ended = await self._harness(vm, taking, workload.sizes[size].limit_s)
            await self._look(vm, taking)
        finally:
            sampler.cancel()
            await asyncio.gather(sampler, return_exceptions=True)
        if not ended:
            return Reading(
                SampleState.HANG,
                f"it did not go on within {taking.limit:.0f} s, {where(taking.reader)}",
                repeats_so_far(taking.reader, workload, Clock.WALL),
                schedulers=schedulers(taking.reader),
            )
        return judge(taking.reader, workload, workload.sizes[size], Clock.WALL)

    async def _harness(self, vm: MicroVm, taking: _Taking, repeat_limit_s: float) -> bool:
        """Runs the harness; False if it was killed because one of its steps took too long."""
        taking.allow(PHASE_LIMIT_S)

        def tee(data: bytes) -> None:
            for marker in taking.reader.feed(data, time.monotonic()):
                taking.allow(repeat_limit_s if marker.name == "begin" else PHASE_LIMIT_S)

        script = f"exec /bin/sh {guestfiles.HARNESS} 2>&1"
        running = asyncio.create_task(
            vm.run(["/bin/sh", "-c", script], timeout_s=24 * 3600, tee=tee), name="harness"
        )
        try:
            while not running.done() and (left := taking.deadline - time.monotonic()) > 0:
                await asyncio.wait([running], timeout=min(left, 5.0))
            if running.done():
                await running
                return True
            return False
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @staticmethod
    async def _look(vm: MicroVm, taking: _Taking) -> None:
        """The kernel's messages and the series; a guest too far gone for it is left alone."""
        with contextlib.suppress(MicroVmError):
            looked = await vm.run(["/bin/sh", "-c", LAST_LOOK], timeout_s=LAST_LOOK_S)
            taking.dmesg, _, text = looked.text.partition("\n@@\n")
            taking.series = observations.series(text)

    def _sample(
        self, key: SampleKey, reading: Reading, taking: _Taking, arm: ArmScript, order: int
    ) -> Sample:
        new = observations.kernel_warnings(taking.dmesg, taking.before)
        reading = mark(reading, new, arm.expects_scheduler)
        return Sample(
            key=key,
            state=reading.state,
            reason=reading.reason,
            repeats=reading.repeats,
            metrics=reading.metrics,
            began=taking.began,
            seconds=round(time.monotonic() - taking.clock, 3),
            order=order,
            series={**taking.series, "host.load": ((0.0, round(taking.load, 2)),)},
            kernel_log=new[-observations.KEPT_LINES :],
            scheduler=next((name for name in reversed(reading.schedulers) if name), ""),
            arm_log={"said": reading.arm_said[-16_384:]} if reading.arm_said else {},
        )


def _gone(error: MicroVmError, taking: _Taking, workload: Workload) -> Reading:
    """A machine that ended by itself: the arm's or workload's doing once the harness had begun."""
    if isinstance(error, VmGoneError):
        taking.console = error.console
    said = f"{error.message}, {where(taking.reader)}"
    if not taking.reader.markers:
        return Reading(SampleState.INFRASTRUCTURE, said)
    died = isinstance(error, VmDiedError) or not isinstance(error, VmGoneError)
    return Reading(
        SampleState.VM_DIED if died else SampleState.HANG,
        said,
        repeats_so_far(taking.reader, workload, Clock.WALL),
        schedulers=schedulers(taking.reader),
    )


async def _put(vm: MicroVm, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="schedbench-") as name:
        for top in await asyncio.to_thread(_tree, files, Path(name)):
            await vm.put(top, f"/{top.name}")


def _tree(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    guestfiles.write_tree(files, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755)  # of the folders too, whatever the umask
    return sorted(folder.iterdir())


def _quiet(text: str) -> None:
    """A machine's own progress is not a run's."""


async def prepare_wall(
    profile: Profile, size: SizeClass, start: Boot, workloads: list[Workload], progress: Progress
) -> WallRunner:
    """Builds what is missing (image, drivers, snapshot) and says what samples are bound to."""
    image = await bench_image(progress)
    spec = replace(profiles.vm_spec(profile), image=image.disk)
    wanted = {name for each in workloads for name in guestfiles.drivers_of(each)} | {"sampler"}
    programs = await drivers.build(wanted, progress)
    machine = await prepare(spec, progress)
    if start is Boot.RESUME:
        async with resume(spec, limit_s=START_LIMIT_S, progress=progress):
            pass  # the snapshot is made here, and not in the first sample
    found = await environment(
        Clock.WALL,
        profile,
        size,
        await backports_kernel(progress),
        image.disk,
        machine.accelerator.value,
    )
    return WallRunner(spec, start, programs, found)
