# SPDX-License-Identifier: Apache-2.0
"""The micro-VM as the verifier's guest: what is the emulator's fault is nobody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schedcpd import guests
from schedcpd.errors import MicroVmError
from schedcpd.guests import ATTEMPTS, VmGuest, unavailable
from schedcpd.microvm import VmSpec
from schedcpd.verify.guest import GuestRun

DONE = GuestRun(0, "fine", "")
STALE = GuestRun(None, "", "", "the console:\n[ 1.0] Oops: int3: 0000 [#1] SMP NOPTI", died=True)
OOPS = GuestRun(None, "", "", "the console:\n[ 1.0] BUG: kernel NULL pointer", died=True)


class Scripted(VmGuest):
    """Ends its runs as it is told."""

    def __init__(self, *ends: GuestRun) -> None:
        super().__init__(VmSpec(), lambda text: None)
        self.ends = list(ends)

    async def _once(
        self, argv: Sequence[str], files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        return self.ends.pop(0)


@pytest.mark.parametrize("end", [DONE, OOPS])
async def test_a_stale_breakpoint_is_tried_again_in_another_machine(end: GuestRun) -> None:
    assert await Scripted(STALE, end).run(["x"], files={}, timeout_s=1) is end


async def test_a_candidate_that_crashes_the_kernel_is_not_tried_again() -> None:
    guest = Scripted(OOPS, DONE)
    assert (await guest.run(["x"], files={}, timeout_s=1)).died
    assert guest.ends == [DONE]


async def test_an_emulator_that_keeps_failing_gives_no_verdict() -> None:
    with pytest.raises(MicroVmError, match="breakpoints that were gone"):
        await Scripted(*[STALE] * ATTEMPTS).run(["x"], files={}, timeout_s=1)


@pytest.mark.parametrize("kernel", [True, False])
def test_without_a_release_the_machines_own_kernel_is_meant(
    kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(guests, "cached_image", object)
    monkeypatch.setattr(guests, "cached_kernel", lambda: object() if kernel else None)
    assert ("never built" in unavailable("")) is not kernel
