# SPDX-License-Identifier: Apache-2.0
"""A stock Debian machine with sched_ext under QEMU: boot, snapshot, resume, run, pass files.

    spec = VmSpec(cores=4)
    async with resume(spec, limit_s=120) as vm:         # seconds; `boot(spec)` takes a minute
        await vm.put("x.bpf.o", "/root/x.bpf.o")
        result = await vm.run(["bpftool", "prog", "list"], timeout_s=30)
        print(result.exit_code, result.text)
        await vm.get("/root/out", "out")

A guest that freezes, panics or outlives its limit ends as VmFrozenError, VmDiedError or
VmTimeLimitError (schedcpd.microvm.errors) with what the command had printed and the console's end.
The guest has no network. Everything is cached below `cache_dir()`.
Person's use: `python -m schedcpd.microvm build|run -- CMD|shell|info`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from schedcpd.microvm import snapshot
from schedcpd.microvm.cache import Progress, stderr_progress
from schedcpd.microvm.errors import VmDiedError, VmFrozenError, VmGoneError, VmTimeLimitError
from schedcpd.microvm.kernel import (
    GuestKernel,
    installed_kernel,
    series_kernel,
    stable_kernel,
)
from schedcpd.microvm.machine import GuestResult
from schedcpd.microvm.spec import Accelerator, ThreadMode, VmSpec
from schedcpd.microvm.vm import MicroVm

__all__ = [
    "Accelerator",
    "GuestKernel",
    "GuestResult",
    "MicroVm",
    "ThreadMode",
    "VmDiedError",
    "VmFrozenError",
    "VmGoneError",
    "VmSpec",
    "VmTimeLimitError",
    "boot",
    "build",
    "installed_kernel",
    "resume",
    "series_kernel",
    "stable_kernel",
]

DEFAULT_LIMIT_S = 600.0


@contextlib.asynccontextmanager
async def boot(
    spec: VmSpec | None = None,
    *,
    limit_s: float = DEFAULT_LIMIT_S,
    console_log: Path | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[MicroVm]:
    """A machine booted from cold. `limit_s` bounds its life; `console_log` keeps its console."""
    machine = await snapshot.prepare(spec or VmSpec(), progress or stderr_progress())
    async with MicroVm.start(machine, limit_s=limit_s, console_log=console_log) as vm:
        yield vm


@contextlib.asynccontextmanager
async def resume(
    spec: VmSpec | None = None,
    *,
    limit_s: float = DEFAULT_LIMIT_S,
    console_log: Path | None = None,
    progress: Progress | None = None,
    interactive: bool = False,
) -> AsyncIterator[MicroVm]:
    """A machine resumed, booted and idle, from the spec's snapshot (made at the first use).

    `interactive` puts its serial console, with a root shell, on this process' terminal.
    """
    say = progress or stderr_progress()
    machine = await snapshot.prepare(spec or VmSpec(), say)
    async with (
        snapshot.snapshot_of(machine, say) as saved,
        MicroVm.start(
            saved, limit_s=limit_s, console_log=console_log, interactive=interactive
        ) as vm,
    ):
        yield vm


async def build(spec: VmSpec | None = None, *, progress: Progress | None = None) -> None:
    """Makes everything a resume of `spec` needs, so that it takes seconds."""
    say = progress or stderr_progress()
    machine = await snapshot.prepare(spec or VmSpec(), say)
    async with snapshot.snapshot_of(machine, say):
        pass
