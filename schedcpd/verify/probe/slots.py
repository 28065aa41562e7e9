# SPDX-License-Identifier: Apache-2.0
"""Memory that workers and supervisor share: one slot of counters for each worker.

A worker writes its own slot only, each counter with one 8-byte store, so no lock is needed.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass

_FIELDS = ("progress", "last_ns", "max_gap_ns", "violations", "max_late_ns", "started_ns")
_SIZE = 8 * len(_FIELDS)


class Slots:
    """`count` slots of zeroes, shared with every process forked afterwards."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, max(1, count) * _SIZE)
        self._view = memoryview(self._memory).cast("Q")

    def slot(self, number: int) -> Slot:
        start = number * len(_FIELDS)
        return Slot(self._view[start : start + len(_FIELDS)])


@dataclass(slots=True)
class Slot:
    """One worker's counters. Times are CLOCK_MONOTONIC nanoseconds."""

    view: memoryview

    def begin(self) -> None:
        now = time.monotonic_ns()
        self.view[1] = self.view[5] = now

    def step(self, late_ns: int = 0) -> None:
        """The worker ran: counts it, and keeps the longest time between two steps."""
        now = time.monotonic_ns()
        gap = now - self.view[1]
        if gap > self.view[2]:
            self.view[2] = gap
        if late_ns > self.view[4]:
            self.view[4] = late_ns
        self.view[1] = now
        self.view[0] += 1

    def violation(self) -> None:
        self.view[3] += 1

    def read(self, now_ns: int) -> dict[str, int]:
        """Counters as of `now_ns`; a gap that has not ended yet counts."""
        values = dict(zip(_FIELDS, self.view, strict=True))
        begun = values.pop("started_ns")
        last = values.pop("last_ns") or now_ns
        values["max_gap_ns"] = max(values["max_gap_ns"], now_ns - last)
        values["began"] = int(begun > 0)
        return values
