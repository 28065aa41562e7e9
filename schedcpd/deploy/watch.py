# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker: looks at what runs, promotes it after its canary, or has it go back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from schedcpd.deploy.core import Core
from schedcpd.deploy.endings import Endings
from schedcpd.deploy.feedback import Look, Looks, Window
from schedcpd.deploy.state import Deployment
from schedcpd.deploy.trial import Trial
from schedcpd.errors import NotFoundError, SchedcpError
from schedcpd.host.vitals import VitalsReader

WINDOW_LOOKS = 4  # a window spans so many looks' distances
SELDOM = 10  # times rarer once nothing is on trial
ANSWER_S = 2.0  # the scheduler host runs above everybody: later is no answer


class Watch:
    """`run` until cancelled, or `look` by hand. Never waits for a change that is under way."""

    def __init__(self, core: Core, endings: Endings, vitals: VitalsReader) -> None:
        self._core, self._endings, self._vitals = core, endings, vitals
        self._trial: Trial | None = None
        self._looks = Looks(0)
        self._last: Window | None = None  # of what runs, or of the kernel's default
        self._missed = 0

    @property
    def trial(self) -> Trial | None:
        """Of what runs; None while none of ours does."""
        current = self._core.state.current
        return self._trial if current and self._trial and self._is(current) else None

    async def run(self) -> None:
        core = self._core
        while True:
            current = core.state.current
            seldom = current is None or current.promoted
            try:
                async with asyncio.timeout(core.limits.watch_s * (SELDOM if seldom else 1)):
                    await core.attached.wait()
            except TimeoutError:
                await self.look()
            else:
                core.attached.clear()  # what was just attached is not looked at seldom

    async def look(self) -> None:
        """One look, and what follows from it."""
        core = self._core
        if core.unsupported or core.lock.locked():
            return
        current = core.state.current
        self._follow(current)
        stats = await self._ask(current) if current is not None else {}
        if core.lock.locked() or core.state.current is not current:
            return  # a change began meanwhile: this look is of neither
        if stats is None or current is None:
            if current is not None and self._missed >= core.limits.heartbeats:
                await self._end(current, f"no answer to {self._missed} looks in a row", deaf=True)
            elif current is None:
                self._see({})
            return
        window = self._see(stats)
        age_s = (core.clock.monotonic_ns() - core.attached_ns) / 1e9
        trial = self._trial
        if window is None or trial is None:
            return
        trouble = trial.judge(window, age_s, core.limits)
        if trouble:
            await self._end(current, trouble)
        elif trial.on_trial and not trial.suspect and age_s >= core.limits.canary_s:
            await self._promote(current, trial)

    def _is(self, current: Deployment) -> bool:
        return self._trial is not None and self._trial.deployment_id == current.id

    def _follow(self, current: Deployment | None) -> None:
        """Begins anew with another deployment; what was last seen is the window before it."""
        if (current is None and self._trial is None) or (current and self._is(current)):
            return
        before = self._last
        self._last, self._missed = None, 0
        self._looks = Looks(self._core.limits.watch_s * WINDOW_LOOKS)
        self._trial = None
        if current is not None:
            self._trial = Trial(current.id, current.promises, before, not current.promoted)

    def _see(self, stats: Mapping[str, Any]) -> Window | None:
        window = self._looks.add(
            Look.of(self._core.clock.monotonic_ns(), self._vitals.read(), stats)
        )
        self._last = window or self._last
        return window

    async def _ask(self, current: Deployment) -> Mapping[str, Any] | None:
        """The scheduler's counters, {} where it keeps none, None without an answer."""
        if not self._core.host.connected:
            return None  # whoever notices that mends it
        try:
            async with asyncio.timeout(ANSWER_S):
                stats = await self._core.host.stats(())
        except NotFoundError:
            stats = {}
        except (SchedcpError, TimeoutError):
            self._missed += 1
            return None
        self._missed = 0
        return stats

    async def _end(self, current: Deployment, trouble: str, *, deaf: bool = False) -> None:
        core = self._core
        async with core.lock:
            if core.state.current is current:
                measures = self._last.measures if self._last else {}
                await self._endings.regressed(current, trouble, measures, deaf=deaf)

    async def _promote(self, current: Deployment, trial: Trial) -> None:
        core = self._core
        async with core.lock:
            if core.state.current is not current:
                return
            trial.on_trial = False
            promoted = replace(current, promoted=True)
            await core.save_or_note(replace(core.state, current=promoted))
            core.listener.deploy_promoted(promoted, trial.now.measures if trial.now else {})
            core.changed("")
