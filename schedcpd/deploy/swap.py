# SPDX-License-Identifier: Apache-2.0
"""Attaching and detaching: the only code that asks the scheduler host for either.

Everything here runs with `Core.lock` held, except `admit`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from schedcpd.deploy.core import Core, running
from schedcpd.deploy.ports import Admission
from schedcpd.deploy.state import Deployment
from schedcpd.errors import (
    ForeignSchedulerError,
    KilledError,
    SchedcpError,
    SchedulerHostError,
)
from schedcpd.host.scx_programs import MODE
from schedcpd.model import Candidate, CandidateKind, OutcomeKind, SchedulerStatus, Verdict


class Swap:
    """From what runs to a candidate, or to the kernel's default."""

    def __init__(self, core: Core, admission: Admission) -> None:
        self._core, self._admission = core, admission

    async def admit(self, candidate: Candidate) -> Verdict:
        return await self._admission.admit(candidate)

    def refuse(self) -> None:
        """Raises why nothing may be attached at all: unsupported, killed, foreign."""
        core = self._core
        core.require_supported()
        killed = core.kill_switch.reason()
        if killed:
            raise KilledError(f"the kill switch is latched: {killed}", hint="`schedctl resume`")
        if core.state.current is None:
            core.see_foreign(core.scx.snapshot())
            if core.foreign:
                raise ForeignSchedulerError(
                    f"{core.foreign} is loaded and not ours; it is never evicted",
                    hint="stop it where it was started",
                )

    def way_back_from(self, candidate: Candidate) -> Deployment | None:
        """What a rollback from `candidate` leads to: what runs now, once it has proved itself."""
        state = self._core.state
        if state.current is None:
            return None
        same = (state.current.object_sha256, dict(state.current.tunables)) == (
            candidate.object_sha256,
            dict(candidate.tunables),
        )
        proven = state.current.promoted or self._core.limits.canary_s == 0
        return state.current if proven and not same else state.last_known_good

    async def load(
        self,
        candidate: Candidate,
        verdict: Verdict,
        source: str,
        way_back: Deployment | None,
        *,
        asked: bool,
        ended: OutcomeKind = OutcomeKind.REPLACED,
        why: str = "",
        restore: bool = True,
    ) -> None:
        """Attaches. The way back is on disk before the host is asked.

        On failure what ran is restored (unless `restore` is False) and the error raised.
        `asked`: by an operator, whose word is kept with what runs; what nobody asked for counts
        against the hourly limit. `ended` and `why` are how the former ended.
        """
        core = self._core
        self.refuse()
        previous, former_back = core.state.current, core.state.last_known_good
        deployment = Deployment(
            id=uuid.uuid4().hex,
            policy=candidate.policy,
            source=source,
            scheduler=candidate.scheduler,
            object_path=candidate.object_path,
            object_sha256=candidate.object_sha256,
            tunables=dict(candidate.tunables),
            reason=candidate.reason,
            verdict_id=verdict.id,
            started_unix_s=core.clock.unix_s(),
            slo_delay_p99_us={c.value: us for c, us in candidate.slo_delay_p99_us.items()},
            promoted=core.limits.canary_s == 0,
            external=candidate.kind is CandidateKind.EXTERNAL,
            asked=asked,
        )
        state = replace(
            core.state,
            boot_id=core.scx.boot_id(),
            pending=deployment,
            last_known_good=way_back,
        )
        await core.save(state if asked else state.with_swap(deployment.started_unix_s))
        measures = await core.measure() if previous else {}
        try:
            status = await self._attach(deployment, verdict, candidate)
        except SchedcpError as error:
            core.state = replace(core.state, pending=None, last_known_good=former_back)
            await self._failed(deployment, previous, error, restore)
            raise
        current = running(deployment, status)
        core.attached_ns = core.clock.monotonic_ns()
        await core.save_or_note(core.state.with_current(current))
        core.attached.set()
        core.foreign = ""
        if previous is not None:
            sentence = why or f"replaced by {candidate.policy}"
            core.finish(previous, ended, sentence, measures=measures)
        core.listener.deploy_started(current, status)
        killed = core.kill_switch.reason()
        if killed:  # latched while we were at it
            await self.detach(OutcomeKind.KILLED, killed)
            raise KilledError(f"the kill switch was latched: {killed}", hint="`schedctl resume`")
        core.changed("")

    async def _attach(
        self, deployment: Deployment, verdict: Verdict, candidate: Candidate
    ) -> SchedulerStatus:
        core = self._core
        token = await self._admission.mint(verdict, candidate)
        await core.host.connect()
        self.refuse()  # the kill switch may have been used meanwhile
        told = core.intents.snapshot()
        if deployment.external:
            status = await core.host.run_program(
                program=deployment.scheduler,
                mode=str(deployment.tunables[MODE]),
                sha256=deployment.object_sha256,
                deployment_id=deployment.id,
                token=token,
                timeout_s=core.limits.program_s,
            )
        else:
            status = await core.host.load(
                scheduler=deployment.scheduler,
                object_path=deployment.object_path,
                sha256=deployment.object_sha256,
                tunables=deployment.tunables,
                intents=told,
                deployment_id=deployment.id,
                token=token,
            )
        # An attach alone proves nothing: the kernel must name our ops, enabled, with this seq.
        snapshot = core.scx.snapshot()
        if not (
            status.attached
            and status.deployment_id == deployment.id
            and snapshot.loaded
            and snapshot.enable_seq == status.enable_seq
            and snapshot.ops == status.ops_name
        ):
            raise SchedulerHostError(
                f"the kernel does not run {deployment.scheduler}: state {snapshot.state}, "
                f"ops {snapshot.ops or 'none'}"
            )
        core.intents.attached(told)
        return status

    async def _failed(
        self,
        failed: Deployment,
        previous: Deployment | None,
        error: SchedcpError,
        restore: bool,
    ) -> None:
        """Finds out what stands after a load that failed, and puts back what ran before."""
        core = self._core
        core.finish(failed, OutcomeKind.FAILED, error.message)
        status = await core.ask() if previous is not None or core.host.connected else None
        if status is not None and status.attached:
            if previous is not None and status.deployment_id == previous.id:
                await core.save_or_note(core.state)
                core.changed(f"{failed.policy} did not start: {error.message}")
                return
            core.host.end_process()  # it holds what nobody asked for
        elif status is None and core.host.connected:
            core.host.end_process()  # it does not answer
        await core.settled()
        await core.host.disconnect()
        core.intents.detached()
        await core.save_or_note(replace(core.state, current=None))
        core.changed(f"{failed.policy} did not start: {error.message}")
        if previous is None:
            return
        core.finish(
            previous, OutcomeKind.REPLACED, f"ended for {failed.policy}, which did not start"
        )
        if restore:
            await self.fall_back(previous, f"{failed.policy} did not start")

    async def fall_back(self, target: Deployment, reason: str) -> bool:
        """One try to run `target` again; when it fails the kernel's default stands."""
        core = self._core
        if core.kill_switch.reason() or core.quarantined(target.object_sha256, target.tunables):
            return False
        back = core.state.last_known_good
        if back is not None and back.id == target.id:
            back = None
        candidate = replace(target, reason=reason).candidate()
        try:
            verdict = await self.admit(candidate)
            await self.load(candidate, verdict, "fallback", back, asked=False, restore=False)
        except SchedcpError as error:
            core.changed(f"{reason}; {target.policy} could not be restored: {error.message}")
            return False
        return True

    async def detach(
        self, kind: OutcomeKind, reason: str, measures: Mapping[str, float] | None = None
    ) -> None:
        """To the kernel's default, by the host's word or by its end.

        `measures` go into the outcome; None: the scheduler is asked for them first.
        """
        core = self._core
        current = core.state.current
        if measures is None:
            measures = await core.measure() if current else {}
        if current is not None or core.host.connected:
            try:
                await core.host.connect()
                await core.host.unload(reason)
            except SchedcpError:
                core.host.end_process()
            await core.settled()
            await core.host.disconnect()
        core.intents.detached()
        state = replace(core.state, current=None, pending=None, last_known_good=None)
        await core.save_or_note(state)
        if current is not None:
            core.finish(current, kind, reason, measures=measures)
