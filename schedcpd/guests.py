# SPDX-License-Identifier: Apache-2.0
"""The machines that verdicts are made in: the micro-VM, or the virtual clock's where it is."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from schedcpd.errors import MicroVmError
from schedcpd.microvm import GuestKernel, VmGoneError, VmSpec, installed_kernel, resume, snapshot
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.errors import VmDiedError
from schedcpd.microvm.image import cached_image
from schedcpd.microvm.kernel import cached_kernel
from schedcpd.model import KernelBuild, VerdictClock
from schedcpd.verify import virtual
from schedcpd.verify.bundle import PROBE, probe_bundle
from schedcpd.verify.guest import Guest, GuestIdentity, GuestRun, how_it_ended

CORES = 2
LIFE_MARGIN_S = 120.0  # beyond a command's limit: resume, and one more chance to answer
AUTO = "auto"  # the virtual clock where it can be had as things are, else the host's
EMULATORS_FAULT = "Oops: int3"
"""QEMU, with a thread for each CPU, now and then runs the breakpoint of a static branch that was
switched already, as each swap of schedulers does (seen in scx_tick). No BPF program causes it."""
ATTEMPTS = 3
CLOCKS = (AUTO, *(clock.value for clock in VerdictClock))


class VmGuest:
    """`verify.guest.Guest` on the micro-VM: every run is a machine of its own, resumed."""

    clock = VerdictClock.WALL

    def __init__(self, spec: VmSpec, progress: Progress) -> None:
        self._spec = spec
        self._progress = progress
        self._identity: GuestIdentity | None = None

    async def identity(self) -> GuestIdentity:
        """Asks the running guest once."""
        if self._identity is None:
            run = await self.run(
                ["python3", PROBE, "kernel"], files={PROBE: probe_bundle()}, timeout_s=60
            )
            if run.exit_code != 0:
                raise MicroVmError(f"The guest did not say its kernel: {run.end or run.stderr}")
            keys = [await guest.snapshot_key() for guest in (self, self.elsewhere)]
            kernel = KernelBuild(**json.loads(run.stdout)["kernel"])
            self._identity = GuestIdentity(kernel, "+".join(keys))
        return self._identity

    async def snapshot_key(self) -> str:
        """Names the machine's image, kernel and command line."""
        machine = await snapshot.prepare(self._spec, self._progress)
        return await snapshot.snapshot_key(machine)

    @property
    def elsewhere(self) -> VmGuest:
        return VmGuest(replace(self._spec, sockets=2, cores=1, threads=2), self._progress)

    async def run(
        self, argv: Sequence[str], *, files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        """MicroVmError where the emulator failed again and again, which says nothing of `argv`."""
        for _ in range(ATTEMPTS):
            run = await self._once(argv, files, timeout_s)
            if not (run.died and EMULATORS_FAULT in run.end):
                return run
            self._progress("verify: QEMU ran a breakpoint that was gone; in another machine again")
        raise MicroVmError(
            f"QEMU ran breakpoints that were gone, {ATTEMPTS} times",
            hint="try again, or by the virtual clock",
        )

    async def _once(
        self, argv: Sequence[str], files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        life = timeout_s + LIFE_MARGIN_S
        async with resume(self._spec, limit_s=life, progress=self._progress) as vm:
            unpack = ["tar", "-x", "-C", "/", "-f", "-"]
            (await vm.run(unpack, stdin=_tar(files), timeout_s=60)).check()
            try:
                result = await vm.run(argv, timeout_s=timeout_s)
            except VmGoneError as gone:
                return GuestRun(
                    None,
                    gone.stdout.decode("utf-8", "replace"),
                    gone.stderr.decode("utf-8", "replace"),
                    how_it_ended(gone.message, gone.console),
                    died=isinstance(gone, VmDiedError),
                )
            if result.timed_out:
                end = f"it was not done after {timeout_s:.0f} s and was killed"
                return GuestRun(None, result.text, result.error_text, end)
            return GuestRun(result.exit_code, result.text, result.error_text)


def _tar(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def kernel_of_release(release: str) -> GuestKernel:
    """The bootable files of that kernel, from the cache or /boot. MicroVmError: there are none."""
    cached = cached_kernel()
    if cached is not None and cached.release == release:
        return cached
    return installed_kernel(Path("/boot") / f"vmlinuz-{release}")


def unavailable(release: str) -> str:
    """Why no verdict for kernel `release` ("": the micro-VM's own) can be made here now, or ""."""
    if shutil.which("qemu-system-x86_64") is None:
        return "QEMU is not installed"
    if cached_image() is None or (not release and cached_kernel() is None):
        return "the micro-VM was never built here (python3 -m schedcpd.microvm build)"
    try:
        if release:
            kernel_of_release(release)
    except MicroVmError as error:
        return error.message
    return ""


async def guest_of(clock: str, release: str, say: Progress) -> Guest:
    """The machine under one of `CLOCKS`; says which where it was to be chosen. "" is our kernel.

    MicroVmError: there is no such kernel, or the virtual clock was asked for and cannot be had.
    """
    kernel = kernel_of_release(release) if release else None
    if clock != VerdictClock.WALL:
        files = None
        if kernel is not None:
            files = virtual.BootFiles(kernel.release, str(kernel.vmlinuz), str(kernel.modules))
        if clock == VerdictClock.VIRTUAL:
            await virtual.prepare(files, say)
            return virtual.VirtualGuest(files, say)
        reason = await virtual.unavailable(files)
        if not reason:
            return virtual.VirtualGuest(files, say)
        say(f"verify: by the host's clock, since there is no virtual one: {reason}")
    return VmGuest(VmSpec(cores=CORES, kernel=kernel), say)
