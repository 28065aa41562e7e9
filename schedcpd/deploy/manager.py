# SPDX-License-Identifier: Apache-2.0
"""Which scheduler runs: one change at a time, each with a way back on disk before it.

The scheduler host holds the link; this room is its only client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from schedcpd.deploy.client import Host
from schedcpd.deploy.core import Core
from schedcpd.deploy.endings import Endings
from schedcpd.deploy.intents import IntentTable
from schedcpd.deploy.pace import Pace
from schedcpd.deploy.ports import Admission, DeployView, Limits, Listener
from schedcpd.deploy.state import KillSwitch, StateStore
from schedcpd.deploy.swap import Swap
from schedcpd.deploy.trial import Trial
from schedcpd.deploy.turns import Turns
from schedcpd.deploy.watch import Watch
from schedcpd.errors import BusyError, SchedcpError
from schedcpd.host.clock import Clock
from schedcpd.host.scx import Scx
from schedcpd.host.vitals import VitalsReader
from schedcpd.model import (
    Candidate,
    CandidateKind,
    OutcomeKind,
    SchedulerStatus,
    Tunable,
)


class DeployManager:
    """Call `listen` and `start` once, then `run` until cancelled, then `stop`."""

    def __init__(
        self,
        *,
        host: Host,
        admission: Admission,
        scx: Scx,
        vitals: VitalsReader,
        clock: Clock,
        store: StateStore,
        kill_switch: KillSwitch,
        limits: Limits,
        kernel_build_id: str,
        unsupported: str = "",
    ) -> None:
        self._core = Core(
            host=host,
            scx=scx,
            clock=clock,
            store=store,
            kill_switch=kill_switch,
            limits=limits,
            kernel_build_id=kernel_build_id,
            unsupported=unsupported,
        )
        self._swap = Swap(self._core, admission)
        self._endings = Endings(self._core, self._swap)
        self._pace = Pace(self._core)
        self._turns = Turns(self._core)
        self._watch = Watch(self._core, self._endings, vitals)
        self._words = 0  # grows with every operator's word: overtakes a change in admission
        self._admitting: list[bool] = []  # of each candidate at the gate: asked by an operator
        self._was_killed = False
        host.listen(self._on_ejected, self._on_closed)

    def listen(self, listener: Listener) -> None:
        """Call before `start`."""
        self._core.listener = listener

    # ------------------------------------------------------------ reading

    def view(self) -> DeployView:
        return self._core.view()

    @property
    def intents(self) -> IntentTable:
        """What every cgroup wants; changes reach the running scheduler at once."""
        return self._core.intents

    @property
    def wanted(self) -> tuple[str, str]:
        """(policy, source) that an operator asked for; ("", "") while the configuration decides."""
        return self._core.state.wanted, self._core.state.wanted_source

    def set_limits(self, limits: Limits) -> None:
        self._core.limits = limits

    def quarantined(self, sha256: str, tunables: Mapping[str, Tunable]) -> str:
        """Why these are not loaded by themselves on this kernel, "" when they may be."""
        return self._core.quarantined(sha256, tunables)

    @property
    def trial(self) -> Trial | None:
        """How what runs was judged last; None while none of ours does."""
        return self._watch.trial

    def automatic_swaps(self) -> tuple[float, ...]:
        """When, in seconds since the epoch, schedulers were swapped that nobody asked for."""
        return self._core.state.swaps_unix_s

    @property
    def held(self) -> str:
        """Why nothing is attached before an operator's word, "" when it may be."""
        return self._core.state.held

    def require_supported(self) -> None:
        """UnsupportedError with the reason where this kernel can run no scheduler of ours."""
        self._core.require_supported()

    async def stats(self, cgroups: Iterable[int] | None) -> Mapping[str, Any]:
        """The scheduler's counters (docs/contracts.md). SchedulerHostError when none runs."""
        return await self._core.host.stats(cgroups)

    # ------------------------------------------------------------ changes

    async def deploy(self, candidate: Candidate, *, source: str, asked: bool) -> None:
        """Attaches the candidate after admission. `asked`: an operator's word, free of limits.

        An operator's word overtakes or, for seconds, waits for what the daemon does by itself.
        BusyError while another word is served (or, not asked, any change or the hold-down);
        KilledError, ForeignSchedulerError, UnsupportedError, VerifyError, TokenError or
        SchedulerHostError otherwise. After any of them the former scheduler still runs, or
        what ran before it, or the kernel's default.
        """
        core = self._core
        if any(self._admitting) or (self._admitting and not asked):
            raise BusyError("another deployment is being verified", hint="try again in a moment")
        async with self._turns.take(asked=asked):
            self._swap.refuse()
            if asked:
                self._words += 1
            else:
                self._pace.refuse_automatic(candidate)
            if candidate.kind is CandidateKind.DEFAULT:
                await self._swap.detach(OutcomeKind.REPLACED, candidate.reason)
                if asked:
                    await core.save_or_note(core.state.with_word(candidate.policy, source, "", {}))
                core.changed(candidate.reason)
                return
        words = self._words
        self._admitting.append(asked)
        try:
            verdict = await self._swap.admit(candidate)  # may take minutes: nothing is locked
        except SchedcpError:
            self._pace.failed(candidate)
            raise
        finally:
            self._admitting.remove(asked)
        async with self._turns.take(asked=asked):
            if words != self._words:
                raise BusyError("overtaken by an operator's word while it was being verified")
            back = self._swap.way_back_from(candidate)
            try:
                await self._swap.load(candidate, verdict, source, back, asked=asked)
            except SchedcpError:
                self._pace.failed(candidate)
                raise
            self._pace.succeeded(candidate)

    async def rollback(self, reason: str) -> None:
        """To last-known-good, else to the kernel's default; stays there until `apply`."""
        core = self._core
        async with self._turns.take(asked=True):
            old, target = core.state.current, core.state.last_known_good
            if old is None:
                raise SchedcpError(
                    "nothing to roll back: none of our schedulers runs",
                    hint="`schedctl status` shows what runs",
                )
            self._words += 1
            new_policy = target.policy if target else "kernel-default"
            core.state = replace(core.state, wanted=new_policy, wanted_source="rollback")
            if target is not None:
                try:
                    candidate = replace(target, reason=reason).candidate()
                    verdict = await self._swap.admit(candidate)
                    await self._swap.load(
                        candidate,
                        verdict,
                        "rollback",
                        None,
                        asked=True,
                        ended=OutcomeKind.ROLLED_BACK,
                        why=reason,
                        restore=False,
                    )
                except SchedcpError as error:
                    # The operator wants out of what runs: the default is always a way.
                    reason = f"{reason}; {target.policy} did not start: {error.message}"
                    new_policy, target = "kernel-default", None
                    core.state = replace(core.state, wanted=new_policy)
            if target is None:
                await self._swap.detach(OutcomeKind.ROLLED_BACK, reason)
                core.changed(reason)
            core.listener.deploy_rolled_back(old.policy, new_policy, reason)

    async def kill(self, reason: str) -> str:
        """Kernel's default now, nothing deployed until `resume`. Never waits long for anyone.

        Returns "" or what is not as it should be.
        """
        core = self._core
        self._words += 1
        note = core.kill_switch.engage(reason)
        self._was_killed = True
        core.changed("")
        for last in (False, True):
            try:
                async with asyncio.timeout(core.limits.kill_wait_s):
                    await core.lock.acquire()
            except TimeoutError:
                core.host.end_process()  # a load hangs; its link dies with the host
                if last:
                    return note or "the scheduler host was ended while a change was under way"
            else:
                break
        try:
            await self._swap.detach(OutcomeKind.KILLED, reason)
        finally:
            core.lock.release()
        core.changed("")
        return note

    async def resume(self) -> None:
        """Releases the kill switch and whatever held back after a stop or an ejection."""
        core, words = self._core, self._words
        async with self._turns.take(asked=True):
            await core.save(replace(core.state, held="", quarantine={}, setbacks_unix_s=()))
            if words != self._words:
                raise BusyError("the kill switch was used meanwhile", hint="`schedctl resume`")
            self._words += 1
            try:
                core.kill_switch.release()
            except OSError as error:
                raise SchedcpError(
                    f"cannot remove {core.kill_switch.path}: {error.strerror}",
                    hint="remove it by hand, then resume again",
                ) from error
            self._was_killed = False
            self._pace.forget()
        core.changed("")
        core.listener.deploy_free()

    async def want(self, policy: str, source: str) -> None:
        """Remembers an operator's choice without acting on it, and lifts what held back."""
        core = self._core
        async with self._turns.take(asked=True):
            self._words += 1
            await core.save(replace(core.state, wanted=policy, wanted_source=source, held=""))
            self._pace.forget()
        core.changed("")

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Finds out what runs: adopts our own scheduler, leaves others alone, recalls a stop."""
        core = self._core
        core.state = core.store.load()
        if core.store.note:
            core.listener.deploy_note(core.store.note)
        self._was_killed = bool(core.kill_switch.reason())
        if not core.unsupported:
            async with core.lock:
                await self._endings.adopt()
        core.listener.deploy_changed()

    async def run(self) -> None:
        """Looks at the kernel's own word every `poll_s`, and at counters; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(), name="deploy poll")
            group.create_task(self._watch.run(), name="deploy watch")

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._core.limits.poll_s)
            await self.check()

    async def look(self) -> None:
        """One look at the counters of what runs, and what follows from it."""
        await self._watch.look()

    async def check(self) -> None:
        """Compares what the kernel says runs with what we believe, and mends the belief."""
        core = self._core
        if core.unsupported or core.lock.locked():
            return
        killed = core.kill_switch.reason()
        current = core.state.current
        if killed and current is not None:  # latched from outside, by the file
            await self.kill(killed)
        elif bool(killed) != self._was_killed:
            self._was_killed = bool(killed)
            core.changed("")
            if not killed:
                core.listener.deploy_free()
        snapshot = core.scx.snapshot()
        if core.lock.locked() or core.state.current is not current:
            return
        if current is None:
            core.see_foreign(snapshot)
        elif not snapshot.loaded or snapshot.enable_seq != current.enable_seq:
            async with core.lock:
                await self._endings.vanished(current)
        else:
            core.intents.retry()

    async def stop(self) -> None:
        """The daemon ends; the scheduler stays with its host and is adopted next time."""
        await self._core.close()

    # ------------------------------------------------------------ inside

    def _on_ejected(self, status: SchedulerStatus) -> None:
        self._core.spawn(self._ejected(status))

    async def _ejected(self, status: SchedulerStatus) -> None:
        async with self._core.lock:
            current = self._core.state.current
            if current is not None and status.deployment_id == current.id:
                await self._endings.ejected(current, status)

    def _on_closed(self) -> None:
        self._core.spawn(self._closed())

    async def _closed(self) -> None:
        async with self._core.lock:
            current = self._core.state.current
            if current is not None and not self._core.host.connected:
                await self._endings.vanished(current)
