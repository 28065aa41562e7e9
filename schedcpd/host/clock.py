# SPDX-License-Identifier: Apache-2.0
"""Time, so that tests can turn the clock by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Deadlines use `monotonic_ns`; only records that a person reads use `unix_s`."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""

    def unix_s(self) -> float:
        """Seconds since the epoch."""


class SystemClock:
    """The machine's clocks."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def unix_s(self) -> float:
        return time.time()
