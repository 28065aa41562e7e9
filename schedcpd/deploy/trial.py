# SPDX-License-Identifier: Apache-2.0
"""Whether a deployment may stay: its windows against the one before it, and against its promises.

On trial (the canary) a scheduler must not make the classes that somebody waits for wait much
longer than before. Afterwards only what its policy promises counts, since by then another load
may be the reason for another tail. Errors of the scheduler's own count always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schedcpd.deploy.feedback import Window
from schedcpd.deploy.ports import Limits
from schedcpd.model import IntentClass

# Those that somebody waits for. Longer tails of the others may be what a policy is for; `normal` is
# watched while none of these runs.
FIRST = (IntentClass.LATENCY, IntentClass.INTERACTIVE)
STRIKES = 2  # windows in a row that share no look: one may be chance
SETTLE_S = 2.0  # after the swap everybody was queued anew
MORE_LOAD = 1.25  # beyond that much more running, before and after are not alike


@dataclass(slots=True)
class Trial:
    """One deployment, judged window by window. `before` is None where nothing comparable ran."""

    deployment_id: str
    promises: Mapping[IntentClass, float]  # p99 run delay in µs, by its policy
    before: Window | None
    on_trial: bool = True
    now: Window | None = None
    _own: Window | None = None  # its own first window: what a later one may be compared with
    _strikes: int = 0
    _struck_ns: int = 0
    _usual: dict[IntentClass, float] = field(default_factory=dict)
    _unknown: set[IntentClass] = field(default_factory=set)  # did not run before the swap

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
            "now": self.now.measures if self.now else None,
        }

    def judge(self, window: Window, age_s: float, limits: Limits) -> str:
        """Why it must go, in a sentence, once that held for two windows in a row; "" otherwise."""
        if age_s - window.seconds < SETTLE_S:
            return ""
        self.now = window
        if self._own is None:
            self._own = window
        for intent, tail in window.tails.items():
            if intent not in self._usual:
                base = self._base(intent)
                self._usual[intent] = tail if base is None else base
                if base is None:
                    self._unknown.add(intent)
        found = list(self._wrong(window, limits))
        if not found:
            self._strikes = 0
        elif not self._strikes or window.end_ns - window.seconds * 1e9 >= self._struck_ns:
            self._strikes, self._struck_ns = self._strikes + 1, window.end_ns
        return "; ".join(found) if self._strikes >= STRIKES else ""

    def _base(self, intent: IntentClass) -> float | None:
        """What the class was used to before the swap; None where that does not compare."""
        return self.before.tails.get(intent) if self.before and self._alike() else None

    def _alike(self) -> bool:
        """Whether the load after the swap is about that before it."""
        own, before = self._own, self.before
        if own is None or before is None:
            return False
        return not before.busy or own.busy <= before.busy * MORE_LOAD + 0.25

    def _wrong(self, window: Window, limits: Limits) -> Iterator[str]:
        watched = [c for c in FIRST if c in window.tails] or [IntentClass.NORMAL]
        for intent, tail in window.tails.items():
            usual, promise = self._usual[intent], self.promises.get(intent)
            risen = max(usual * limits.tail_rise, limits.tail_floor_us)
            if self.on_trial and intent in watched:
                allowed = self._on_trial_us(intent, usual, promise, risen)
            else:
                allowed = math.inf if promise is None else max(promise, risen)
            if tail > allowed:
                said = f", its policy promises {promise:.0f}" if promise else ""
                yield (
                    f"p99 run delay of {intent} is {tail:.0f} µs, it was {usual:.0f} before{said} "
                    f"(limit {allowed:.0f})"
                )
        base = self.before if self._alike() else self._own
        if self.on_trial and base and base.waited is not None and window.waited is not None:
            rise = window.waited - base.waited
            if rise > limits.pressure_rise:
                yield (
                    f"tasks wait for a CPU {window.waited:.0%} of the time, it was "
                    f"{base.waited:.0%} before"
                )
        if window.errors_per_s > limits.errors_per_s:
            yield f"the kernel counts {window.errors_per_s:.0f} errors of it a second"

    def _on_trial_us(
        self, intent: IntentClass, usual: float, promise: float | None, risen: float
    ) -> float:
        """The longest tail that is no breach."""
        if promise is None:
            return risen
        return promise if intent in self._unknown else min(risen, max(promise, usual))
