# SPDX-License-Identifier: Apache-2.0
"""Whether a deployment may stay: its windows against the one before it, and against its promises.

On trial (the canary) a scheduler must not make the classes that somebody waits for wait much
longer than before, under a load that is about the same: more work is reason enough to wait.
Afterwards only what its policy promises counts. Errors of the scheduler's own count always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.deploy.feedback import Window
from schedcpd.deploy.ports import Limits
from schedcpd.model import IntentClass

# Those that somebody waits for. Longer tails of the others may be what a policy is for; `normal` is
# watched while none of these runs.
FIRST = (IntentClass.LATENCY, IntentClass.INTERACTIVE)
STRIKES = 2  # windows in a row that share no look: one may be chance
SETTLE_S = 2.0  # after the swap everybody was queued anew
OWN_S = 7.0  # what it shows until then is what it is compared with where nothing else compares
MORE_LOAD, MORE_CPUS = 1.25, 0.25  # beyond both, two loads are not alike
FULL = 0.9  # of the CPUs' time: they can hardly do more (a virtual one's is less than the clock's)
FORGOTTEN = 0.5  # of the time that some task waits, so little of ended waits says: others still do


@dataclass(slots=True)
class Trial:
    """One deployment, judged window by window. `before` is None where nothing was seen before."""

    deployment_id: str
    promises: Mapping[IntentClass, float]  # p99 run delay in µs, by its policy
    before: Window | None
    on_trial: bool = True
    now: Window | None = None
    _own: Window | None = None  # the worst of its first seconds
    _strikes: int = 0
    _struck_ns: int = 0

    @property
    def suspect(self) -> bool:
        """The last window was a breach, and one more ends it."""
        return self._strikes > 0

    def shown(self) -> dict[str, Any]:
        """For `explain`: measures before the swap and of the last window, as JSON."""
        return {
            "on_trial": self.on_trial,
            "suspect": self.suspect,
            "promises_p99_us": {c.value: us for c, us in self.promises.items()},
            "before": self.before.measures if self.before else None,
            "first": self._own.measures if self._own else None,
            "now": self.now.measures if self.now else None,
        }

    def judge(self, window: Window, age_s: float, limits: Limits) -> str:
        """Why it must go, in a sentence, once that held for two windows in a row; "" otherwise."""
        if age_s - window.seconds < SETTLE_S:
            return ""
        self.now = window
        found = list(self._wrong(window, limits))
        if self._own is None or (age_s < OWN_S and not found):
            self._own = window.worse(self._own)
        if not found:
            self._strikes = 0
        elif not self._strikes or window.begin_ns >= self._struck_ns:
            self._strikes, self._struck_ns = self._strikes + 1, window.end_ns
        return "; ".join(found) if self._strikes >= STRIKES else ""

    def _bases(self, window: Window) -> list[Window]:
        """What the window may be compared with, the best first."""
        return [
            base
            for base in (self.before, self._own)
            if base is not None and window.busy <= base.busy * MORE_LOAD + MORE_CPUS
        ]

    def _wrong(self, window: Window, limits: Limits) -> Iterator[str]:
        bases = self._bases(window)
        watched = [c for c in FIRST if c in window.tails] or [IntentClass.NORMAL]
        for intent, tail in window.tails.items():
            base = next((b for b in bases if intent in b.tails), None)
            usual = base.tails[intent] * _crowd(window, base) if base else None
            promise = self.promises.get(intent)
            if self.on_trial and intent in watched:
                allowed = self._on_trial_us(intent, usual, promise, limits)
            else:
                own = self._own.tails.get(intent, 0.0) if self._own else 0.0
                allowed = max(promise, own * limits.tail_rise) if promise else math.inf
            if tail > allowed:
                was = f", it was {base.tails[intent]:.0f} before" if base else ""
                said = f", its policy promises {promise:.0f}" if promise else ""
                yield f"p99 run delay of {intent} is {tail:.0f} µs{was}{said} (limit {allowed:.0f})"
        alike = [b for b in bases if not _crowded(window, b)]
        waits = next((b.waited for b in alike if b.waited is not None), 1.0)
        waited = window.waited or 0.0
        if self.on_trial and waited > waits + limits.pressure_rise:
            yield f"tasks wait for a CPU {waited:.0%} of the time, it was {waits:.0%} before"
        elif self.on_trial and self._forgets(window, limits):
            yield f"tasks wait for a CPU {waited:.0%} of the time, and CPUs that rest leave them so"
        if window.errors_per_s > limits.errors_per_s:
            yield f"the kernel counts {window.errors_per_s:.0f} errors of it a second"

    def _forgets(self, window: Window, limits: Limits) -> bool:
        """Tasks wait beside CPUs that rest, and their waits do not end.

        That is no matter of load, so what it showed itself is no excuse for it. Tasks bound to one
        CPU wait, too, but in turn.
        """
        before = (self.before.waited if self.before else None) or 0.0
        waited, served = window.waited or 0.0, window.served
        if served is None or not window.idle or _full(window):
            return False
        return waited > before + limits.pressure_rise and served < waited * FORGOTTEN

    def _on_trial_us(
        self, intent: IntentClass, usual: float | None, promise: float | None, limits: Limits
    ) -> float:
        """The longest tail that is no breach."""
        risen = math.inf
        if usual is not None:
            risen = max(usual * limits.tail_rise, limits.tail_floor_us)
        if promise is None:
            return risen
        known = self.before is not None and intent in self.before.tails
        return min(risen, max(promise, usual)) if known and usual is not None else promise


def _crowded(window: Window, base: Window) -> bool:
    """More tasks than before on CPUs without a rest: somebody waits under every scheduler.

    Tasks that nobody serves are more and more, too, but then the CPUs have little to do.
    """
    return _full(window) and _crowd(window, base) > MORE_LOAD


def _full(window: Window) -> bool:
    """The CPUs have hardly a rest."""
    return window.busy > FULL * (window.busy + window.idle)


def _crowd(window: Window, base: Window) -> float:
    """How many times longer everybody waits because more tasks want the same CPUs."""
    return max(1.0, window.runnable / max(1.0, base.runnable))
