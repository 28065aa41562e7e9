# SPDX-License-Identifier: Apache-2.0
"""How the machine fares under its scheduler, by the kernel's own counters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schedcpd.host.cgroupfs import read_small

# Of /sys/kernel/sched_ext/root/events (enum in kernel/sched/ext_internal.h), those that say that
# the scheduler asked for something impossible. A kernel that lacks one counts nothing for it.
ERRORS = frozenset(
    {
        "SCX_EV_SELECT_CPU_FALLBACK",
        "SCX_EV_DISPATCH_LOCAL_DSQ_OFFLINE",
        "SCX_EV_INSERT_NOT_OWNED",
    }
)


@dataclass(frozen=True, slots=True)
class Vitals:
    """Counters since boot, or since the scheduler was attached."""

    waited_us: int | None = None  # some task waited for a CPU; None: no PSI
    errors: int = 0
    busy_s: float = 0.0  # of all CPUs together, idle and waiting for disks left out
    runnable: int = 0  # tasks that run or want to, at this moment
    idle_s: float = 0.0  # of all CPUs together, as `busy_s`


class VitalsReader(Protocol):
    def read(self) -> Vitals: ...


class SysVitals:
    """Reads below `root`, which is "/" outside tests."""

    def __init__(self, root: Path | str = "/") -> None:
        self._root = str(root).rstrip("/")

    def read(self) -> Vitals:
        """What is not there or unreadable counts as None or nothing."""
        pressure = read_small(self._root + "/proc/pressure/cpu", 4096) or ""
        stat = read_small(self._root + "/proc/stat", 4096) or ""
        events = read_small(self._root + "/sys/kernel/sched_ext/root/events", 16384) or ""
        load = read_small(self._root + "/proc/loadavg", 256) or ""
        busy_s, idle_s = _cpu_s(stat)
        return Vitals(_waited_us(pressure), _errors(events), busy_s, _runnable(load), idle_s)


def _waited_us(text: str) -> int | None:
    """`some … total=N` of Documentation/accounting/psi.rst."""
    for line in text.splitlines():
        if line.startswith("some "):
            total = line.rpartition("total=")[2]
            return int(total) if total.isdigit() else None
    return None


def _cpu_s(text: str) -> tuple[float, float]:
    """Busy and idle seconds of the line `cpu` (Documentation/filesystems/proc.rst, 1.8).

    Guests are within user time. Waiting for disks counts as idle.
    """
    name, *ticks = text.partition("\n")[0].split()[:9] or [""]
    if name != "cpu" or len(ticks) < 5 or not all(each.isdigit() for each in ticks):
        return 0.0, 0.0
    numbers = [int(each) for each in ticks]
    idle = numbers[3] + numbers[4]
    hz = os.sysconf("SC_CLK_TCK")
    return (sum(numbers) - idle) / hz, idle / hz


def _runnable(text: str) -> int:
    """The fourth field of /proc/loadavg (Documentation/filesystems/proc.rst): runnable/all."""
    fields = text.split()
    count = fields[3].partition("/")[0] if len(fields) > 3 else ""
    return int(count) if count.isdigit() else 0


def _errors(text: str) -> int:
    found = 0
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in ERRORS and value.strip().isdigit():
            found += int(value)
    return found
