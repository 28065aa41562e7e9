# SPDX-License-Identifier: Apache-2.0
"""One sample under the virtual clock: the same order and the same scripts as under the wall clock.

The guest has no disk. Its initramfs carries the harness, the drivers, the arm's files and the
programs that the workload and the arm name, taken out of the benchmark's image.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import time
from dataclasses import dataclass, replace
from pathlib import Path

from schedbench import drivers, guestfiles, kernellog, profiles, reading
from schedbench.arms.base import ArmScript
from schedbench.errors import BenchError
from schedbench.guest.image import bench_image
from schedbench.model import Clock, Profile, Sample, SampleKey, SampleState, SizeClass, Workload
from schedbench.vclock import build, machine, qemu, rootfs
from schedbench.vclock.machine import End, Files, Link
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.kernel import backports_kernel, vmlinux

REPEATS = 1  # in one boot: a second one would not be another sample
BOOT_LIMIT_S = 60.0  # virtual seconds for boot, set-up, check and the arm
HOST_LIMIT_S = 1800.0
SCRIPT = f"sh {guestfiles.HARNESS}\n"
ICOUNT_SAYS = (
    "it is not on the list of builds on which the virtual clock is proved (docs/vclock.md), so "
    "QEMU's own instruction counting stands in: it adds all CPUs' instructions to one clock"
)


@dataclass(frozen=True, slots=True)
class Kit:
    """What all samples of a run share. `image`: the id of the image that programs come from.
    `config`: the kernel's configuration, if there is one."""

    vmlinux: Path
    release: str
    plugin: Path | None
    root: Path
    image: str
    clock: machine.Clock
    qemu: qemu.QemuBuild
    config: bytes = b""


async def prepare(progress: Progress) -> Kit:
    """Builds and fetches what is missing. Says so if the clock falls back to `-icount`."""
    found = qemu.find()
    kernel = await backports_kernel(progress)
    image = await bench_image(progress)
    root = await rootfs.unpacked(image.disk, image.id, progress)
    plugin, clock = None, machine.Clock.ICOUNT
    if found.accepted:
        plugin, clock = await build.plugin(progress), machine.Clock.VIRTUAL
    else:
        progress(f"{found.binary} (build id {found.build_id or 'none'}): {ICOUNT_SAYS}")
    return Kit(
        await vmlinux(kernel), kernel.release, plugin, root, image.id, clock, found, kernel.config
    )


def refusal(workload: Workload, clock: machine.Clock) -> str:
    """Why this workload cannot be measured under this clock; "" if it can."""
    if Clock.VIRTUAL not in workload.clocks:
        return f"{workload.name} is not valid under the virtual clock (clocks in its YAML)"
    if clock is machine.Clock.ICOUNT and not workload.clock_defined:
        return (
            f"{workload.name} is work of real instructions; under -icount they do not run in "
            "parallel, so its times would say nothing (docs/vclock.md)"
        )
    return ""


async def guest_files(
    kit: Kit, workload: Workload, size: SizeClass, seed: int, arm: ArmScript, progress: Progress
) -> Files:
    """Everything that goes into the initramfs. The same arguments give the same bytes."""
    built = await drivers.build(guestfiles.drivers_of(workload), progress)
    ours = guestfiles.guest_files(workload, size, seed, arm, built, repeats=REPEATS)
    closure = rootfs.Closure(kit.root)
    closure.add((*workload.programs, *arm.programs))
    carried = {posixpath.basename(path) for path in arm.files}
    for path, data in ours.items():
        if data.startswith(b"\x7fELF") and path in arm.files:
            closure.libraries(path, data, carried)
    files: Files = rootfs.base() | closure.files
    if arm.kernel_config:
        files[f"boot/config-{kit.release}"] = kit.config
    files["usr/bin/busybox"] = await build.busybox(progress)
    files["usr/bin/sh"] = Link("busybox")  # not the image's: the same shell for every workload
    for path, data in ours.items():
        files[path.lstrip("/")] = data
    return files


async def take_sample(
    kit: Kit,
    workload: Workload,
    size: SizeClass,
    key: SampleKey,
    profile: Profile,
    arm: ArmScript,
    *,
    progress: Progress,
    order: int = 0,
    console: Path | None = None,
    host_limit_s: float = HOST_LIMIT_S,
) -> Sample:
    """One boot, from power-on to power-off. `console`: a file that gets all the guest wrote.

    Raises BenchError if the workload or the profile has no meaning under the kit's clock; whatever
    goes wrong in the guest is in the sample.
    """
    why_not = refusal(workload, kit.clock)
    if why_not:
        raise BenchError(why_not, hint="use --clock wall for it")
    chosen = replace(workload.sizes[size], repeats=REPEATS)
    hardware = replace(profiles.machine(profile), clock=kit.clock, loglevel=machine.WARNINGS)
    files = await guest_files(kit, workload, size, key.seed, arm, progress)
    limit = BOOT_LIMIT_S + REPEATS * chosen.virtual_limit_s
    began = time.time()
    result = await machine.attempt(
        hardware, plugin=kit.plugin, vmlinux=kit.vmlinux, files=files, script=SCRIPT,
        timeout_s=host_limit_s, limit_virtual_s=limit,
    )  # fmt: skip
    if console is not None:
        await asyncio.to_thread(console.write_bytes, result.serial)
    reader = reading.MarkerReader()
    reader.feed(result.serial)
    _, _, after = result.serial.partition(b"SCHEDBENCH parts")
    log = kernellog.messages(after.decode("utf-8", "replace").splitlines())
    read = _gone(result, reader, workload, limit) or reading.judge(
        reader, workload, chosen, Clock.VIRTUAL
    )
    read = reading.mark(read, log, arm.expects_scheduler)
    return Sample(
        key=key,
        state=read.state,
        reason=read.reason,
        repeats=read.repeats,
        metrics=read.metrics,
        began=began,
        seconds=result.host_seconds,
        order=order,
        kernel_log=log,
        scheduler=next((name for name in read.schedulers if name), ""),
        arm_log={"said": read.arm_said} if read.arm_said else {},
        digest=hashlib.sha256(result.serial).hexdigest(),
    )


def _gone(
    result: machine.Result, reader: reading.MarkerReader, workload: Workload, limit: float
) -> reading.Reading | None:
    """The reading of a machine that did not end by its harness; None if it did."""
    where = reading.where(reader)
    if result.end is End.DONE:
        return None
    if result.end is End.VIRTUAL_LIMIT:
        state, said = SampleState.HANG, f"{limit:.0f} virtual seconds were over, {where}"
    elif result.end is End.HOST_LIMIT:
        state = SampleState.INFRASTRUCTURE
        said = (
            f"{result.host_seconds:.0f} host seconds were over before {limit:.0f} virtual ones, "
            f"{where}"
        )
    else:
        state = SampleState.VM_DIED if reader.markers else SampleState.INFRASTRUCTURE
        said = f"{result.end}, {where}: {result.tail[-600:]}"
    return reading.Reading(
        state,
        said,
        reading.repeats_so_far(reader, workload, Clock.VIRTUAL),
        schedulers=reading.schedulers(reader),
    )
