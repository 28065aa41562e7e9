# SPDX-License-Identifier: Apache-2.0
"""What is seen of a running scheduler: looks at counters, and the windows between two looks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schedcpd.host.vitals import Vitals
from schedcpd.model import IntentClass

P99 = 0.99
MIN_RUNS = 500  # fewer in a window say little about its slowest hundredth


@dataclass(frozen=True, slots=True)
class Look:
    """Counters at one moment. `delays`: run delays by class, log2 of ns; empty without feedback."""

    at_ns: int
    vitals: Vitals
    delays: Mapping[IntentClass, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, at_ns: int, vitals: Vitals, stats: Mapping[str, Any]) -> Look:
        """`stats` as the scheduler host gives them (docs/contracts.md)."""
        classes = stats.get("classes") or {}
        known = [(c, classes[c.value]) for c in IntentClass if c.value in classes]
        return cls(
            at_ns,
            vitals,
            {c: [int(count) for count in one.get("delay_hist", ())] for c, one in known},
        )


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two looks. Delays in µs, shares of its length."""

    end_ns: int
    seconds: float
    tails: Mapping[IntentClass, float]  # p99 run delay of the classes that ran often enough
    busy: float = 0.0  # CPUs' worth of work, whoever did it
    waited: float | None = None  # of the time some task waited for a CPU
    errors_per_s: float = 0.0
    runnable: float = 0.0  # tasks at the mean of its looks, those that run included
    idle: float = 0.0  # CPUs' worth of rest, by the same clock as `busy`
    served: float | None = None  # run delays that ended in it, of all tasks, as share of its length

    @property
    def begin_ns(self) -> int:
        return self.end_ns - int(self.seconds * 1e9)

    def worse(self, other: Window | None) -> Window:
        """This one, with whatever was worse in the other."""
        if other is None:
            return self
        tails = dict(other.tails)
        for intent, tail in self.tails.items():
            tails[intent] = max(tail, tails.get(intent, 0.0))
        shares = [w.waited for w in (self, other) if w.waited is not None]
        return replace(
            self,
            tails=tails,
            busy=max(self.busy, other.busy),
            runnable=max(self.runnable, other.runnable),
            waited=max(shares) if shares else None,
        )

    @property
    def measures(self) -> dict[str, float]:
        found = {f"{c.value}_delay_p99_us": tail for c, tail in self.tails.items()}
        if self.waited is not None:
            found["waited_share"] = self.waited
        return found


def window(first: Look, last: Look) -> Window:
    """Between two looks at the same deployment, or at none."""
    seconds = max((last.at_ns - first.at_ns) / 1e9, 1e-3)
    tails, ended_s = {}, 0.0
    for intent, histogram in last.delays.items():
        before = first.delays.get(intent) or [0] * len(histogram)
        delta = [max(0, b - a) for a, b in zip(before, histogram, strict=True)]
        ended_s += sum(math.ldexp(1.5e-9 * count, bucket) for bucket, count in enumerate(delta))
        if sum(delta) >= MIN_RUNS:
            tails[intent] = tail_us(delta, P99)
    waited = None
    if first.vitals.waited_us is not None and last.vitals.waited_us is not None:
        waited = (last.vitals.waited_us - first.vitals.waited_us) / 1e6 / seconds
    errors = max(0, last.vitals.errors - first.vitals.errors)
    busy = max(0.0, last.vitals.busy_s - first.vitals.busy_s) / seconds
    idle = max(0.0, last.vitals.idle_s - first.vitals.idle_s) / seconds
    return Window(
        last.at_ns,
        seconds,
        tails,
        busy,
        waited,
        errors / seconds,
        idle=idle,
        served=ended_s / seconds if last.delays else None,
    )


def tail_us(histogram: Sequence[int], share: float) -> float:
    """The percentile within its bucket, as if delays were even in it on a log scale; in µs.

    A doubling of every delay moves it by exactly 2; two equal loads by far less than a bucket.
    """
    wanted, seen = share * sum(histogram), 0.0
    for bucket, count in enumerate(histogram):
        if count and seen + count >= wanted:
            return math.ldexp(2 ** ((wanted - seen) / count), bucket) / 1000
        seen += count
    return 0.0


class Looks:
    """The last looks at one deployment, and the window they span."""

    def __init__(self, seconds: float) -> None:
        self._span_ns = int(seconds * 1e9)
        self._looks: deque[Look] = deque()

    def add(self, look: Look) -> Window | None:
        """The window that ends here; None before there are two looks."""
        looks = self._looks
        looks.append(look)
        while len(looks) > 2 and looks[1].at_ns <= look.at_ns - self._span_ns:
            looks.popleft()
        if len(looks) < 2:
            return None
        runnable = sum(each.vitals.runnable for each in looks) / len(looks)
        return replace(window(looks[0], look), runnable=runnable)
