# SPDX-License-Identifier: Apache-2.0
"""What a guest said of itself besides the harness: kernel messages and the sampler's series."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

WARNING = 4  # syslog(3): this level and the more urgent ones
KERNEL_LINE = re.compile(r"<(\d+)>\[ *(\d+\.\d+)\] (.*)")
KEPT_LINES = 200
# Counters of the sampler: what one unit of theirs is worth, so that a rate is per second.
SCALE = {"psi": 1e-6, "run_delay": 1e-9, "busy": 0.01}


def kernel_warnings(text: str, after: float = -1.0) -> tuple[str, ...]:
    """The kernel's own warnings and worse in `dmesg --raw` that are later than `after`.

    What programs write to /dev/kmsg has another facility and does not count.
    """
    found = []
    for line in text.splitlines():
        match = KERNEL_LINE.match(line)
        if match and int(match[1]) <= WARNING and float(match[2]) > after:
            found.append(f"[{match[2]}] {match[3]}")
    return tuple(found)


def last_time(text: str) -> float:
    """The time of the last message in `dmesg --raw`; -1 if there is none."""
    times = [float(match[2]) for line in text.splitlines() if (match := KERNEL_LINE.match(line))]
    return max(times, default=-1.0)


def series(text: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """The sampler's file as time series: (seconds since its first look, value).

    Counters become rates: `psi.*` the share of time in which something waited, `run_delay` seconds
    waited in a second, `busy` CPUs, `switches` and `scx.*` per second. Events that never happened
    are left out. A look cut short by the machine's end is dropped.
    """
    looks: list[tuple[float, Mapping[str, float]]] = []
    for block in f"\n{text}".split("\nt ")[1:]:
        first, *lines = block.splitlines() or [""]  # cut right after the `t `
        values = dict(_pair(line) for line in lines if line.count(" ") == 1)
        if first.isdecimal():
            looks.append((int(first) / 1e9, values))
    if text and not text.endswith("\n"):
        looks = looks[:-1]
    found: dict[str, list[tuple[float, float]]] = {}
    for (earlier, old), (later, new) in pairwise(looks):
        for name, value in new.items():
            if later <= earlier:
                continue
            if name == "enabled":
                rate = value
            elif name in old:
                rate = (value - old[name]) * SCALE.get(name.split(".")[0], 1.0) / (later - earlier)
            else:
                continue
            found.setdefault(name, []).append((round(later - looks[0][0], 3), round(rate, 6)))
    return {
        name: tuple(points)
        for name, points in sorted(found.items())
        if not name.startswith("scx.") or any(value for _, value in points)
    }


def _pair(line: str) -> tuple[str, float]:
    name, _, value = line.partition(" ")
    return name, float(value) if value.isdecimal() else 0.0
