# SPDX-License-Identifier: Apache-2.0
"""What the parts of deploying share: the record of what runs, and the doors to the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace

from schedcpd.deploy.client import Host
from schedcpd.deploy.intents import IntentTable
from schedcpd.deploy.measure import measures_of
from schedcpd.deploy.ports import DeployView, Limits, Listener
from schedcpd.deploy.state import Deployment, DeployState, KillSwitch, StateStore, variant
from schedcpd.errors import SchedcpError, UnsupportedError
from schedcpd.host.clock import Clock
from schedcpd.host.scx import Scx, ScxSnapshot
from schedcpd.model import DaemonState, Outcome, OutcomeKind, SchedulerStatus, Tunable


class Core:
    """State and small steps. Whoever changes `state` holds `lock`."""

    def __init__(
        self,
        *,
        host: Host,
        scx: Scx,
        clock: Clock,
        store: StateStore,
        kill_switch: KillSwitch,
        limits: Limits,
        kernel_build_id: str,
        unsupported: str,
    ) -> None:
        self.host, self.scx, self.clock = host, scx, clock
        self.store, self.kill_switch = store, kill_switch
        self.listener: Listener  # set before anything happens
        self.limits = limits
        self.build_id = kernel_build_id
        self.unsupported = unsupported or scx.unsupported()
        self.state = DeployState()
        self.lock = asyncio.Lock()
        self.foreign = ""  # ops name of somebody else's scheduler
        self.reason = ""
        self.attached_ns = 0  # CLOCK_MONOTONIC, when what runs was attached or adopted
        self.attached = asyncio.Event()  # for whoever watches, who clears it
        self.intents = IntentTable(host, lambda why: self.listener.deploy_write_failed(why))
        self._tasks: set[asyncio.Task[None]] = set()

    def require_supported(self) -> None:
        """UnsupportedError with the reason where this kernel can run no scheduler of ours."""
        if self.unsupported:
            raise UnsupportedError(self.unsupported)

    def view(self) -> DeployView:
        killed = self.kill_switch.reason()
        current = self.state.current
        if self.unsupported:
            state, reason = DaemonState.UNSUPPORTED, self.unsupported
        elif killed:
            state, reason = DaemonState.KILLED, killed
        elif current is not None:
            state, reason = DaemonState.ACTIVE, current.reason
            if not current.promoted:
                reason = f"{reason}; on trial for {self.limits.canary_s:g} s (canary)"
        elif self.foreign:
            state = DaemonState.FOREIGN
            reason = f"the scheduler {self.foreign} is not ours; it is left alone"
        else:
            state = DaemonState.DEFAULT
            reason = self.state.held or self.reason or "the kernel's own scheduler is wanted"
        return DeployView(
            state=state,
            reason=reason,
            current=current,
            last_known_good=self.state.last_known_good,
            ops=current.ops_name if current else self.foreign,
            kill_switch=bool(killed),
        )

    def quarantined(self, sha256: str, tunables: Mapping[str, Tunable]) -> str:
        """Why these are not loaded by themselves on this kernel, "" when they may be."""
        for key in (sha256, variant(sha256, tunables)):
            entry = self.state.quarantine.get(key)
            if entry is None or entry.kernel != self.build_id:
                continue
            if not entry.until_unix_s or self.clock.unix_s() < entry.until_unix_s:
                return entry.reason
        return ""

    def see_foreign(self, snapshot: ScxSnapshot) -> None:
        """Call only while none of ours is attached."""
        before = self.foreign
        self.foreign = (snapshot.ops or "of unknown name") if snapshot.loaded else ""
        if before == self.foreign:
            return
        self.changed("")
        if not self.foreign:
            self.listener.deploy_free()

    async def settled(self) -> ScxSnapshot:
        """Waits for the kernel to have gone through `disabling`, at most `settle_s`."""
        deadline = self.clock.monotonic_ns() + int(self.limits.settle_s * 1e9)
        while True:
            snapshot = self.scx.snapshot()
            if not snapshot.loaded or self.clock.monotonic_ns() >= deadline:
                return snapshot
            await asyncio.sleep(0.02)

    async def ask(self) -> SchedulerStatus | None:
        """The host's status, None when it cannot be asked. Starts the host where it can."""
        try:
            await self.host.connect()
            return await self.host.status()
        except SchedcpError:
            return None

    async def measure(self) -> dict[str, float]:
        """The scheduler's own counters, {} when it cannot be asked."""
        try:
            return measures_of(await self.host.stats(()))
        except SchedcpError:
            return {}

    async def save(self, state: DeployState) -> None:
        """No swap without a journal: SchedcpError when the disk refuses."""
        try:
            await asyncio.to_thread(self.store.save, state)
        except OSError as error:
            raise SchedcpError(
                f"cannot record the change in {self.store.path}: {error.strerror}",
                hint="free space or mend the file system; nothing was changed",
            ) from error
        self.state = state

    async def save_or_note(self, state: DeployState) -> None:
        """For what has happened already and is true whether or not the disk takes it.

        The state is seen by others only once it is on disk, so nobody acts on it in between.
        """
        try:
            await self.save(state)
        except SchedcpError as error:
            self.state = state
            self.listener.deploy_note(str(error))

    def finish(
        self,
        deployment: Deployment,
        kind: OutcomeKind,
        reason: str,
        *,
        status: SchedulerStatus | None = None,
        measures: Mapping[str, float] | None = None,
    ) -> None:
        self.listener.deploy_finished(
            Outcome(
                deployment_id=deployment.id,
                kind=kind,
                policy=deployment.policy,
                scheduler=deployment.scheduler,
                verdict_id=deployment.verdict_id,
                started_unix_s=deployment.started_unix_s,
                ended_unix_s=self.clock.unix_s(),
                reason=reason,
                exit=status.last_exit if status else None,
                measures=measures or {},
            )
        )

    def changed(self, reason: str) -> None:
        self.reason = reason
        self.listener.deploy_changed()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        self.intents.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.host.disconnect()


def running(deployment: Deployment, status: SchedulerStatus) -> Deployment:
    """The deployment with what the kernel gave it."""
    return replace(
        deployment,
        ops_name=status.ops_name,
        enable_seq=status.enable_seq,
        host_pid=status.host_pid,
        without=status.without,
    )
