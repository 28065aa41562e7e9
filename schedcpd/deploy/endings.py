# SPDX-License-Identifier: Apache-2.0
"""What ends a scheduler against our will, told apart by what it means.

The kernel threw it out: quarantine, then last-known-good. SysRq-S: the kill switch. The host
was stopped or died: an operator's word, so it stays off. Exit kinds are those of
kernel/sched/ext (enum scx_exit_kind). Everything here runs with `Core.lock` held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from schedcpd.deploy.core import Core, running
from schedcpd.deploy.state import Deployment, variant
from schedcpd.deploy.swap import Swap
from schedcpd.host.scx import ScxSnapshot
from schedcpd.model import ACT_RESTART, ExitKind, ExitRecord, OutcomeKind, SchedulerStatus

# CPUs go and come one by one when a machine sleeps or is resized; more in a minute is a loop.
RESTARTS = 8


class Endings:
    """Records an end, and takes the way back that it allows."""

    def __init__(self, core: Core, swap: Swap) -> None:
        self._core, self._swap = core, swap
        self._restarts_ns: list[int] = []  # of the last minute, after ACT_RESTART

    async def vanished(self, current: Deployment) -> None:
        """Ours seems to be gone. Finds out why, without waking a host that somebody stopped."""
        core = self._core
        snapshot = core.scx.snapshot() if core.host.connected else await core.settled()
        alive = snapshot.loaded and snapshot.enable_seq == current.enable_seq
        if alive or core.host.connected:
            status = await self._explained(current, alive=alive)
            if status is not None and status.deployment_id == current.id:
                if status.attached and alive:
                    core.intents.attached({})  # only the connection was lost
                    return
                if status.last_exit is not None:
                    await self.ejected(current, status)
                    return
        await self.lost(
            current, "the scheduler host ended: it was killed, or schedcp-scheduler was stopped"
        )

    async def _explained(self, current: Deployment, *, alive: bool) -> SchedulerStatus | None:
        """The host's status. While it still holds what the kernel takes apart, it learns why."""
        core = self._core
        deadline = core.clock.monotonic_ns() + int(core.limits.settle_s * 1e9)
        while True:
            status = await core.ask()
            waits = status is not None and status.deployment_id == current.id and status.attached
            if alive or not waits or core.clock.monotonic_ns() >= deadline:
                return status
            await asyncio.sleep(0.05)

    async def lost(self, current: Deployment, reason: str) -> None:
        """It stays off until an operator's word."""
        core = self._core
        await core.host.disconnect()
        core.intents.detached()
        state = replace(
            core.state,
            current=None,
            pending=None,
            last_known_good=None,
            held=f"{reason}; `schedctl resume` or `schedctl apply` starts it again",
        )
        await core.save_or_note(state)
        core.finish(current, OutcomeKind.LOST, reason)
        core.changed(reason)

    async def ejected(self, current: Deployment, status: SchedulerStatus) -> None:
        """The kernel (or a key) ended it: record, quarantine, one way back."""
        core = self._core
        record = status.last_exit
        sentence = _sentence(current, record)
        kind = record.kind if record else ExitKind.NONE
        if kind < ExitKind.UNREG_KERN:
            await self.lost(current, sentence)
            return
        core.intents.detached()
        back = core.state.last_known_good
        restart = (
            record is not None
            and kind == ExitKind.UNREG_KERN
            and bool(record.code & ACT_RESTART)
            and self._may_restart()
        )
        state = replace(core.state, current=None)
        if kind == ExitKind.SYSRQ:
            core.kill_switch.engage("SysRq-S ended the scheduler; that counts as the kill switch")
            state = replace(state, last_known_good=None)
        elif not restart:
            now = core.clock.unix_s()
            state = state.with_setback(current.object_sha256, sentence, core.build_id, now)
        await core.save_or_note(state)
        core.finish(current, OutcomeKind.EJECTED, sentence, status=status)
        core.listener.deploy_ejected(status)
        core.changed(sentence)
        target = current if restart else back
        if target is not None and await self._swap.fall_back(target, sentence):
            restored = core.state.current
            if restored is not None:
                core.listener.deploy_rolled_back(current.policy, restored.policy, sentence)
        elif not core.kill_switch.reason():
            core.listener.deploy_rolled_back(current.policy, "kernel-default", sentence)
        if core.state.current is None:
            await core.host.disconnect()

    def _may_restart(self) -> bool:
        now = self._core.clock.monotonic_ns()
        self._restarts_ns = [at for at in self._restarts_ns if now - at < 60 * 10**9]
        if len(self._restarts_ns) >= RESTARTS:
            return False
        self._restarts_ns.append(now)
        return True

    async def regressed(
        self, current: Deployment, trouble: str, measures: Mapping[str, float], *, deaf: bool
    ) -> None:
        """It does worse than it may: the kernel's default at once, then last-known-good.

        `deaf`: its host does not answer and is ended instead of asked.
        """
        core = self._core
        sentence = f"{current.policy} was taken back: {trouble}"
        if deaf:
            core.host.end_process()
        back = core.state.last_known_good
        key = variant(current.object_sha256, current.tunables)
        now, hold_s = core.clock.unix_s(), core.limits.quarantine_s
        left = core.state.with_setback(key, sentence, core.build_id, now, hold_s)
        await core.save_or_note(replace(left, current=current))
        await self._swap.detach(OutcomeKind.ROLLED_BACK, sentence, measures)
        core.changed(sentence)
        restored = back is not None and await self._swap.fall_back(back, sentence)
        new_policy = back.policy if back is not None and restored else "kernel-default"
        core.listener.deploy_rolled_back(current.policy, new_policy, sentence)

    # ------------------------------------------------------------ after a restart of the daemon

    async def adopt(self) -> None:
        """Compares the record with what runs: ours is adopted, others are left alone."""
        core = self._core
        boot, state = core.scx.boot_id(), core.state
        if state.boot_id != boot:
            for ended in (state.pending, state.current):
                if ended is not None:
                    core.finish(ended, OutcomeKind.LOST, "the machine was restarted")
            await core.save_or_note(
                replace(state, boot_id=boot, current=None, pending=None, held="")
            )
        snapshot = core.scx.snapshot()
        recorded = [d for d in (core.state.pending, core.state.current) if d is not None]
        if recorded or snapshot.loaded:
            status = await core.ask()
            if status is not None and status.attached:
                await self._adopt_attached(status, snapshot, recorded)
            elif recorded:
                await self._recorded_but_gone(recorded[-1], snapshot, status)
        if core.state.current is None:
            await core.host.disconnect()
            core.see_foreign(core.scx.snapshot())

    async def _adopt_attached(
        self, status: SchedulerStatus, snapshot: ScxSnapshot, recorded: list[Deployment]
    ) -> None:
        core = self._core
        match = next((d for d in recorded if d.id == status.deployment_id), None)
        proved = (
            match is not None
            and match.object_sha256 == status.object_sha256
            and snapshot.ops == status.ops_name
            and snapshot.enable_seq == status.enable_seq
        )
        killed = core.kill_switch.reason()
        if match is not None and proved and not killed:
            core.intents.attached({})
            core.attached_ns = core.clock.monotonic_ns()
            adopted = running(match, status)
            pending = match is core.state.pending
            state = replace(core.state, current=adopted, pending=None, held="")
            # Killed between the attach and the record of it: an operator's word counts still.
            await core.save_or_note(state.with_current(adopted) if pending else state)
            for other in recorded:
                if other is not match:
                    core.finish(other, OutcomeKind.REPLACED, f"replaced by {match.policy}")
            core.listener.deploy_note(
                f"adopted the running {match.scheduler}, deployment {match.id[:12]}"
            )
            return
        why = killed or "the scheduler host held a scheduler that no record accounts for"
        core.state = replace(core.state, current=match or (recorded[-1] if recorded else None))
        await self._swap.detach(OutcomeKind.KILLED if killed else OutcomeKind.LOST, why)
        core.listener.deploy_note(f"detached at start: {why}")
        core.changed(why)

    async def _recorded_but_gone(
        self, current: Deployment, snapshot: ScxSnapshot, status: SchedulerStatus | None
    ) -> None:
        core = self._core
        core.state = replace(core.state, current=current, pending=None)
        if status is None and not snapshot.loaded:
            reason = (
                "schedcp-scheduler.socket was stopped while schedcpd was not running; "
                "that counts as the kill switch"
            )
            core.kill_switch.engage(reason)
            await core.save_or_note(replace(core.state, current=None, last_known_good=None))
            core.finish(current, OutcomeKind.KILLED, reason)
            core.changed(reason)
        elif status is not None and status.last_exit and status.deployment_id == current.id:
            await self.ejected(current, status)
        else:
            await self.lost(current, "the scheduler host ended while schedcpd was not running")


def _sentence(current: Deployment, record: ExitRecord | None) -> str:
    if record is None:
        return f"{current.scheduler} ended without a word from the kernel"
    message = f": {record.message}" if record.message else ""
    return f"the kernel ended {current.scheduler}: {record.reason} ({record.kind_name}){message}"
