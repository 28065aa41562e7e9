# SPDX-License-Identifier: Apache-2.0
"""Looks again at cgroups whose application may have changed since they were populated.

Two reasons: when systemd puts a process into a unit's cgroup it has not called execve() yet,
so it is looked at again soon after; and a login session starts other programs in the same
cgroup for hours, so cgroups that use CPU are looked at every few seconds. The second is cheap
because the walk goes down only where cpu.stat moved: on an idle machine it reads one level.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from schedcpd.host.cgroupfs import CgroupFs
from schedcpd.host.clock import Clock
from schedcpd.model import Signal, SignalKind

_BUSY_SHARE = 0.01  # of one CPU: below it a cgroup counts as idle


class Tree(Protocol):
    """What the sampler needs of the watcher."""

    def children(self, cgroup: str) -> tuple[str, ...]: ...


class Relooker:
    """Calls `sink` with IDENTIFIED for a populated cgroup at the delays after `watch`.

    The receiver compares; a signal says only that it is time to look. Delays are milliseconds.
    """

    def __init__(
        self, clock: Clock, sink: Callable[[Signal], None], delays_ms: Sequence[int]
    ) -> None:
        self._clock, self._sink = clock, sink
        self.delays_ms = tuple(sorted(delays_ms))
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def watch(self, cgroup: str, cgroup_id: int) -> None:
        """The cgroup was populated now."""
        self.forget(cgroup_id)
        if self.delays_ms:
            self._arm(cgroup, cgroup_id, 0, 0)

    def forget(self, cgroup_id: int) -> None:
        timer = self._timers.pop(cgroup_id, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        for cgroup_id in tuple(self._timers):
            self.forget(cgroup_id)

    def _arm(self, cgroup: str, cgroup_id: int, index: int, passed_ms: int) -> None:
        self._timers[cgroup_id] = asyncio.get_running_loop().call_later(
            (self.delays_ms[index] - passed_ms) / 1000, self._fire, cgroup, cgroup_id, index
        )

    def _fire(self, cgroup: str, cgroup_id: int, index: int) -> None:
        del self._timers[cgroup_id]
        if index + 1 < len(self.delays_ms):
            self._arm(cgroup, cgroup_id, index + 1, self.delays_ms[index])
        self._sink(Signal(SignalKind.IDENTIFIED, cgroup, cgroup_id, self._clock.monotonic_ns()))


class Sampler:
    """At each `sample` calls `sink` with every cgroup that used CPU in the `period_s` before."""

    def __init__(
        self,
        cgroups: CgroupFs,
        tree: Tree,
        clock: Clock,
        sink: Callable[[str, int], None],
        period_s: float,
    ) -> None:
        self._fs, self._tree, self._clock, self._sink = cgroups, tree, clock, sink
        self.period_s = period_s
        self._usage: dict[str, int] = {}

    def sample(self) -> None:
        """One walk: down from the root, only where CPU time was used since the last look.

        A figure that did not move enough is kept, so slow use adds up until it counts.
        """
        threshold_us = int(self.period_s * 1_000_000 * _BUSY_SHARE)
        now = self._clock.monotonic_ns()
        stack = list(self._tree.children("/"))
        while stack:
            cgroup = stack.pop()
            used = self._fs.cpu_usage_us(cgroup)
            if used is None:
                continue
            # One met for the first time below a busy cgroup may be the busy one: it counts as
            # moved by all it ever used.
            moved = used - self._usage.get(cgroup, 0)
            if moved >= threshold_us:
                self._usage[cgroup] = used
                self._sink(cgroup, now)
                stack.extend(self._tree.children(cgroup))

    def forget(self, cgroup: str) -> None:
        """The cgroup is gone."""
        self._usage.pop(cgroup, None)
