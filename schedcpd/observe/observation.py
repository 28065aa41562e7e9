# SPDX-License-Identifier: Apache-2.0
"""The room's one face: from the kernel's events to changes of workloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from schedcpd.errors import AmbiguousTargetError, NotFoundError
from schedcpd.host.cgroupfs import CgroupFs
from schedcpd.host.clock import Clock
from schedcpd.host.containers import Containers
from schedcpd.host.inotify import Inotify
from schedcpd.host.procfs import ProcFs
from schedcpd.model import Signal, SignalKind, WorkloadProfile
from schedcpd.observe.profile import Profiler
from schedcpd.observe.relook import Relooker, Sampler
from schedcpd.observe.watcher import CgroupWatcher
from schedcpd.observe.workloads import Change, WorkloadTable

_RESCAN_EVERY_SAMPLES = 6  # while not every cgroup could be watched


class Observation:
    """Watches, looks again, samples. `listen` first, then `start`, then `run` until cancelled."""

    def __init__(
        self,
        cgroups: CgroupFs,
        processes: ProcFs,
        inotify: Callable[[], Inotify],
        clock: Clock,
        *,
        relook_ms: Sequence[int],
        sample_s: float,
        ignore: Sequence[str],
        containers: Containers | None = None,
    ) -> None:
        self._fs, self._clock, self._inotify = cgroups, clock, inotify
        self._changed: Callable[[Change], None] = lambda _change: None
        self._profiler = Profiler(cgroups, processes, containers)
        self.table = WorkloadTable(
            self._profiler, processes, lambda change: self._changed(change), ignore
        )
        self._watcher: CgroupWatcher | None = None
        self._relooker = Relooker(clock, self._signal, relook_ms)
        self._sampler = Sampler(cgroups, self, clock, self._busy, sample_s)

    def listen(self, changed: Callable[[Change], None]) -> None:
        """`changed` is called on the loop for every change of a workload; must not block."""
        self._changed = changed

    @property
    def unusable(self) -> str:
        """Why this machine's cgroups cannot be watched, "" when they can."""
        return self._fs.unusable()

    @property
    def degraded(self) -> str:
        """Why not everything is seen, "" when it is."""
        return self._watcher.degraded if self._watcher else ""

    async def start(self) -> None:
        """Returns once every cgroup there is was looked at and is watched."""
        self._watcher = CgroupWatcher(self._fs, self._inotify(), self._clock, self._signal)
        await self._watcher.start()

    async def run(self) -> None:
        """Samples until cancelled."""
        samples = 0
        while True:
            await asyncio.sleep(self._sampler.period_s)
            self._sampler.sample()
            samples += 1
            if self.degraded and samples % _RESCAN_EVERY_SAMPLES == 0 and self._watcher:
                self._watcher.rescan()

    async def stop(self) -> None:
        self._relooker.stop()
        if self._watcher is not None:
            await self._watcher.stop()

    def configure(
        self, *, relook_ms: Sequence[int], sample_s: float, ignore: Sequence[str]
    ) -> None:
        """New settings, effective at once."""
        self._relooker.delays_ms = tuple(sorted(relook_ms))
        self._sampler.period_s = sample_s
        if tuple(ignore) == self.table.ignore or self._watcher is None:
            return
        now = self._clock.monotonic_ns()
        self.table.reconsider(ignore, now)
        for node in self._watcher.nodes():
            if node.populated and self.table.get(node.cgroup) is None:
                self.table.take(Signal(SignalKind.IDENTIFIED, node.cgroup, node.cgroup_id, now))

    def children(self, cgroup: str) -> tuple[str, ...]:
        return self._watcher.children(cgroup) if self._watcher else ()

    def find(self, target: str) -> WorkloadProfile:
        """A workload, or any other cgroup by its path or its last name ("user.slice").

        See WorkloadTable.find for the errors.
        """
        try:
            return self.table.find(target)
        except NotFoundError:
            nodes = self._watcher.nodes() if self._watcher else ()
            cgroups = [
                node
                for node in nodes
                if node.cgroup != "/"
                and (node.cgroup == target.rstrip("/") or node.cgroup.endswith(f"/{target}"))
            ]
            if len(cgroups) > 1:
                some = ", ".join(sorted(node.cgroup for node in cgroups)[:5])
                raise AmbiguousTargetError(
                    f"{target} names {len(cgroups)} cgroups", hint=f"name a path: {some}"
                ) from None
            if not cgroups:
                raise
        node = cgroups[0]
        profile = self._profiler.describe(node.cgroup, node.cgroup_id, node.seen_ns)
        if profile is None:
            raise NotFoundError(f"{target} has just gone", hint="see `schedctl list`")
        return profile

    def hold(self, cgroups: Iterable[str]) -> None:
        """From now on these count as workloads even without processes of their own: pinned ones."""
        before, self.table.held = self.table.held, frozenset(cgroups)
        now = self._clock.monotonic_ns()
        for cgroup in before ^ self.table.held:
            node = self._watcher.node(cgroup) if self._watcher else None
            if node is not None:
                self.table.take(Signal(SignalKind.IDENTIFIED, cgroup, node.cgroup_id, now))

    def refresh(self, profile: WorkloadProfile) -> WorkloadProfile | None:
        """Looks at a workload now; its change, if any, is told as usual."""
        now = self._clock.monotonic_ns()
        signal = Signal(SignalKind.IDENTIFIED, profile.cgroup, profile.cgroup_id, now)
        self.table.take(signal)
        return self.table.get(profile.cgroup)

    def _signal(self, signal: Signal) -> None:
        if signal.kind is SignalKind.POPULATED:
            self._relooker.watch(signal.cgroup, signal.cgroup_id)
        elif signal.kind is SignalKind.EMPTIED:
            self._relooker.forget(signal.cgroup_id)
        elif signal.kind is SignalKind.VANISHED:
            self._relooker.forget(signal.cgroup_id)
            self._sampler.forget(signal.cgroup)
        self.table.take(signal)

    def _busy(self, cgroup: str, now_ns: int) -> None:
        node = self._watcher.node(cgroup) if self._watcher else None
        if node is not None and node.populated:
            self.table.take(Signal(SignalKind.IDENTIFIED, cgroup, node.cgroup_id, now_ns))
