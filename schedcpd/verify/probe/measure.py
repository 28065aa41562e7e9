# SPDX-License-Identifier: Apache-2.0
"""Runs the load for a while under whatever scheduler is loaded, and measures how it was served."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schedcpd.verify.probe import workers
from schedcpd.verify.probe.slots import Slots

TICK_S = 0.05
SETTLED_NS = 1_000_000_000  # what ran in the first second may have run before the others came
PATIENCE_S = 25.0  # a light task is waited for until then
# Seconds until the kernel calls a grace period stalled and throws the scheduler out: 21, which is
# before a starved light task is named as the cause (Documentation/RCU/stallwarn.rst).
RCU_STALL = Path("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout")
RCU_STALL_S = 60


def above_everyone() -> None:
    """Real time, so that no sched_ext scheduler can keep this process from looking.

    And before the kernel's own alarm for starved tasks, so that a verdict names the task.
    """
    RCU_STALL.write_text(str(RCU_STALL_S), encoding="ascii")
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(60))


def measure(
    seconds: float, healthy: Callable[[], bool], ended: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Every worker's counters after `seconds`, or earlier when `healthy` turns false.

    Later, at most after 25 s, when a light task has not run since the first second: a weight of a
    hundredth may mean ten seconds of waiting, but it must not mean waiting for ever.

    `ended` is called before the workers are killed: a lost task cannot even die.
    `stall_ns` is the longest time by which this real-time process itself was late: how much of
    any worker's gap may be the machine's fault.
    """
    load = workers.mixture(sorted(os.sched_getaffinity(0)))
    slots = Slots(len(load))
    workers.make_cgroup()
    pids = workers.start(load, slots)
    began = time.monotonic_ns()
    until, patience = began + int(seconds * 1e9), began + int(PATIENCE_S * 1e9)
    settled, stall, ok = began + SETTLED_NS, 0, True
    light = [slots.slot(n) for n, worker in enumerate(load) if worker.kind == "light"]
    try:
        while ok:
            now = time.monotonic_ns()
            if now >= until and (now >= patience or not any(s.view[1] < settled for s in light)):
                break
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


def conserve(seconds: float = 2.0) -> dict[str, float]:
    """The share of time that each CPU was idle beside work for all that may run on any.

    From /proc/stat (Documentation/filesystems/proc.rst, 1.8); by CPU number as text, for JSON.
    """
    load = workers.free_to_move(sorted(os.sched_getaffinity(0)))
    pids = workers.start(load, Slots(len(load)))
    try:
        time.sleep(0.5)
        before = _cpu_times()
        time.sleep(seconds)
        after = _cpu_times()
    finally:
        workers.stop_soon(pids, 3.0)
    shares = {}
    for cpu, (idle, total) in after.items():
        was_idle, was_total = before.get(cpu, (idle, total))
        shares[cpu] = (idle - was_idle) / max(1, total - was_total)
    return shares


def unplug(healthy: Callable[[], bool]) -> tuple[int, bool]:
    """Takes the last CPU away from work that may run anywhere, and gives it back.

    Which CPU, and whether the scheduler was still there after both.
    """
    cpus = sorted(os.sched_getaffinity(0))
    online = Path(f"/sys/devices/system/cpu/cpu{cpus[-1]}/online")
    load = workers.free_to_move(cpus)
    pids = workers.start(load, Slots(len(load)))
    try:
        time.sleep(0.3)
        online.write_text("0", encoding="ascii")
        time.sleep(1.0)
        survived = healthy()
        online.write_text("1", encoding="ascii")
        time.sleep(0.3)
        return cpus[-1], survived and healthy()
    finally:
        online.write_text("1", encoding="ascii")
        workers.stop_soon(pids, 3.0)


def _cpu_times() -> dict[str, tuple[int, int]]:
    """Idle (with waiting for disks) and all ticks of each CPU."""
    found = {}
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            numbers = [int(each) for each in ticks[:8]]
            found[name.removeprefix("cpu")] = (numbers[3] + numbers[4], sum(numbers))
    return found
