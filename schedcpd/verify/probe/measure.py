# SPDX-License-Identifier: Apache-2.0
"""Runs the load for a while under whatever scheduler is loaded, and measures how it was served."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from schedcpd.verify.probe import workers
from schedcpd.verify.probe.slots import Slots

TICK_S = 0.05


def above_everyone() -> None:
    """Real time, so that no sched_ext scheduler can keep this process from looking."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(60))


def measure(
    seconds: float, healthy: Callable[[], bool], ended: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Every worker's counters after `seconds`, or earlier when `healthy` turns false.

    `ended` is called before the workers are killed: a lost task cannot even die.
    `stall_ns` is the longest time by which this real-time process itself was late: how much of
    any worker's gap may be the machine's fault.
    """
    load = workers.mixture(sorted(os.sched_getaffinity(0)))
    slots = Slots(len(load))
    workers.CGROUP.mkdir(exist_ok=True)
    pids = workers.start(load, slots)
    began = time.monotonic_ns()
    until, stall, ok = began + int(seconds * 1e9), 0, True
    try:
        while ok and (now := time.monotonic_ns()) < until:
            time.sleep(TICK_S)
            stall = max(stall, time.monotonic_ns() - now - int(TICK_S * 1e9))
            ok = healthy()
        end = time.monotonic_ns()
        served = {
            worker.name: {"kind": worker.kind, **slots.slot(number).read(end)}
            for number, worker in enumerate(load)
        }
    finally:
        ended()
        workers.stop(pids)
    return {"seconds": (end - began) / 1e9, "stall_ns": stall, "healthy": ok, "workers": served}
