# SPDX-License-Identifier: Apache-2.0
"""Any order of operations and accidents: what must always hold, holds.

The fake host asserts at each load that the swap is on disk, that no other load runs and that the
kill switch is not latched; the fake kernel that there are never two schedulers.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schedcpd.errors import SchedcpError
from schedcpd.model import DaemonState, ExitKind

from .rig import KERNEL_DEFAULT, Rig, candidate

NAMES = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(
    [
        (ExitKind.ERROR, 0),
        (ExitKind.ERROR_STALL, 0),
        (ExitKind.SYSRQ, 0),
        (ExitKind.UNREG, 0),
        (ExitKind.UNREG_KERN, 1 << 48),
    ]
)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.base = Path(tempfile.mkdtemp(prefix="schedcp-test-"))
        self.rig = Rig(self.base)
        self.do(self.rig.manager.start())

    def teardown(self) -> None:
        self.do(self.rig.manager.stop())
        self.loop.close()
        shutil.rmtree(self.base)

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs one operation; a refusal is an answer like any other."""

        async def run() -> None:
            with contextlib.suppress(SchedcpError):
                await work
            await self.rig.settle()

        self.loop.run_until_complete(run())

    @rule(name=NAMES, asked=st.booleans(), failure=st.sampled_from(["", "", "before", "after"]))
    def deploy(self, name: str, asked: bool, failure: str) -> None:
        self.rig.machine.refuse_load = failure
        self.do(self.rig.manager.deploy(candidate(name), source="auto", asked=asked))
        self.rig.machine.refuse_load = ""

    @rule()
    def to_default(self) -> None:
        self.do(self.rig.manager.deploy(KERNEL_DEFAULT, source="auto", asked=False))

    @rule(one=NAMES, other=NAMES)
    def two_at_once(self, one: str, other: str) -> None:
        manager = self.rig.manager

        async def both() -> None:
            await asyncio.gather(
                manager.deploy(candidate(one), source="operator", asked=True),
                manager.deploy(candidate(other), source="operator", asked=True),
                manager.rollback("meanwhile"),
                return_exceptions=True,
            )

        self.do(both())

    @rule()
    def rollback(self) -> None:
        self.do(self.rig.manager.rollback("a test"))

    @rule()
    def kill(self) -> None:
        self.do(self.rig.manager.kill("a test"))
        assert self.rig.manager.view().state is DaemonState.KILLED

    @rule(name=NAMES)
    def kill_during_a_deployment(self, name: str) -> None:
        manager = self.rig.manager

        async def both() -> None:
            task = asyncio.create_task(manager.deploy(candidate(name), source="auto", asked=True))
            await asyncio.sleep(0)
            await manager.kill("a test")
            await asyncio.gather(task, return_exceptions=True)

        self.do(both())
        assert self.rig.manager.view().state is DaemonState.KILLED

    @rule()
    def resume(self) -> None:
        self.do(self.rig.manager.resume())

    @precondition(lambda self: self.rig.machine.status.attached)
    @rule(kind=KINDS)
    def eject(self, kind: tuple[ExitKind, int]) -> None:
        async def end() -> None:
            self.rig.machine.end(kind[0], "a test", kind[1])

        sha256 = self.rig.machine.status.object_sha256
        loads = len(self.rig.machine.loads)
        self.do(end())
        if kind[0] >= ExitKind.ERROR:
            assert self.rig.manager.quarantined(sha256, {})
            assert sha256 not in self.rig.machine.loads[loads:], "a blind retry"

    @rule()
    def host_dies(self) -> None:
        async def die() -> None:
            self.rig.machine.die()

        self.do(die())

    @rule(there=st.booleans())
    def socket(self, there: bool) -> None:
        self.rig.machine.socket = there

    @rule()
    def daemon_dies(self) -> None:
        self.do(self.rig.restart_daemon())

    @precondition(lambda self: not self.rig.kernel.ops)
    @rule()
    def foreign_comes(self) -> None:
        self.rig.kernel.attach("foreign")

    @precondition(lambda self: self.rig.kernel.ops == "foreign")
    @rule()
    def foreign_goes(self) -> None:
        self.rig.kernel.ops = ""

    @rule(seconds=st.sampled_from([1, 30, 4000]), errors=st.sampled_from([0, 0, 10**9]))
    def time_passes(self, seconds: float, errors: int) -> None:
        self.rig.clock.pass_s(seconds)
        self.rig.vitals.errors += errors
        self.do(self.rig.manager.look())
        self.do(self.rig.manager.check())

    @rule()
    def canary_passes(self) -> None:
        self.do(self.rig.pass_canary())

    @precondition(lambda self: self.rig.machine.status.attached)
    @rule()
    def host_goes_deaf(self) -> None:
        before = self.rig.machine.status.deployment_id
        self.rig.machine.deaf = True
        for _ in range(self.rig.limits.heartbeats):
            self.do(self.rig.manager.look())
        self.rig.machine.deaf = False
        assert self.rig.machine.status.deployment_id != before

    @invariant()
    def killed_means_nothing_of_ours_is_attached(self) -> None:
        if self.rig.manager.view().kill_switch:
            assert not self.rig.machine.status.attached

    @invariant()
    def the_view_is_what_the_kernel_runs(self) -> None:
        current = self.rig.manager.view().current
        if current is None:
            assert not self.rig.machine.status.attached
        else:
            assert self.rig.machine.status.deployment_id == current.id
            assert self.rig.kernel.seq == current.enable_seq

    @invariant()
    def nothing_is_left_pending(self) -> None:
        assert self.rig.manager._core.state.pending is None


TestManager = Machine.TestCase
TestManager.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
