# SPDX-License-Identifier: Apache-2.0
"""The whole guest on schedbench's virtual clock (docs/vclock.md): no busy host is seen in it."""

from __future__ import annotations

from schedbench.vclock import build, qemu
from schedcpd.microvm import VmSpec
from schedcpd.microvm.cache import Progress
from schedcpd.microvm.spec import Accelerator, ThreadMode


def unproved() -> str:
    """Why there is no virtual clock here, "" where there is one."""
    found = qemu.find()
    return "" if found.accepted else f"the virtual clock is not proved on {found.binary}"


async def virtual_spec(insn_ps: int, progress: Progress) -> VmSpec:
    """A machine to `boot`: a snapshot does not carry the clock.

    `insn_ps`: what an instruction takes, in picoseconds. Call it where `unproved()` is "".
    """
    plugin = await build.plugin(progress)
    return VmSpec(
        thread=ThreadMode.SINGLE,
        accelerator=Accelerator.TCG,
        # A wait for the disk may be any time on this clock, since an idle machine's time jumps.
        cmdline="systemd.default_timeout_start_sec=infinity",
        qemu_args=("-plugin", f"{plugin},insn-ps={insn_ps}"),
    )
