# SPDX-License-Identifier: Apache-2.0
"""The workloads that live now, kept current by signals, and how a caller names one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schedcpd.errors import AmbiguousTargetError, NotFoundError
from schedcpd.host.globs import path_matches
from schedcpd.host.procfs import ProcFs
from schedcpd.model import Signal, SignalKind, WorkloadProfile
from schedcpd.observe.profile import Profiler

_NAMES_IN_A_HINT = 5


@dataclass(frozen=True, slots=True)
class Change:
    """What one signal did to one workload; `old` None: it is new, `new` None: it is gone."""

    signal: Signal
    old: WorkloadProfile | None
    new: WorkloadProfile | None


class WorkloadTable:
    """Profiles by cgroup path. `ignore`: path globs of cgroups that are never workloads."""

    def __init__(
        self,
        profiler: Profiler,
        processes: ProcFs,
        changed: Callable[[Change], None],
        ignore: Sequence[str],
    ) -> None:
        self._profiler, self._processes, self._changed = profiler, processes, changed
        self.ignore = tuple(ignore)
        self.held: frozenset[str] = frozenset()  # shown even without processes of their own
        self._profiles: dict[str, WorkloadProfile] = {}

    def __len__(self) -> int:
        return len(self._profiles)

    def profiles(self) -> tuple[WorkloadProfile, ...]:
        return tuple(self._profiles.values())

    def get(self, cgroup: str) -> WorkloadProfile | None:
        return self._profiles.get(cgroup)

    def take(self, signal: Signal) -> None:
        """Brings one cgroup up to date and tells of the change, if there is one."""
        old = self._profiles.get(signal.cgroup)
        new = None
        if signal.kind is not SignalKind.VANISHED and not path_matches(self.ignore, signal.cgroup):
            new = self._look(signal, old)
        if old is not None and new is not None and old.cgroup_id != new.cgroup_id:
            self._changed(Change(signal, old, None))
            old = None
        if new is None:
            self._profiles.pop(signal.cgroup, None)
        else:
            self._profiles[signal.cgroup] = new
        if old is None and new is None:
            return
        self._changed(Change(signal, old, new))

    def _look(self, signal: Signal, old: WorkloadProfile | None) -> WorkloadProfile | None:
        cgroup, number = signal.cgroup, signal.cgroup_id
        seen_ns = old.seen_ns if old and old.cgroup_id == number else signal.at_ns
        new = None
        if signal.kind in (SignalKind.POPULATED, SignalKind.IDENTIFIED):
            new = self._profiler.build(cgroup, number, seen_ns)
        if new is None and cgroup in self.held:
            new = self._profiler.describe(cgroup, number, seen_ns)
        return new

    def reconsider(self, ignore: Sequence[str], now_ns: int) -> None:
        """New globs: drops what is ignored from now on. What is no longer ignored comes back with
        the next scan of the caller."""
        self.ignore = tuple(ignore)
        for profile in self.profiles():
            if path_matches(self.ignore, profile.cgroup):
                del self._profiles[profile.cgroup]
                signal = Signal(SignalKind.VANISHED, profile.cgroup, profile.cgroup_id, now_ns)
                self._changed(Change(signal, profile, None))

    def find(self, target: str) -> WorkloadProfile:
        """By cgroup path, workload id, pid, unit, desktop id, container, name or executable.

        The first of these kinds that matches anything decides. NotFoundError or
        AmbiguousTargetError says what was found.
        """
        if target.startswith("/"):
            found = self._profiles.get(target.rstrip("/"))
            if found is not None:
                return found
            raise NotFoundError(f"no workload lives in {target}", hint="see `schedctl list`")
        if target.isascii() and target.isdecimal():
            return self._find_number(target)
        for matches in (
            [p for p in self.profiles() if p.identity.unit == target],
            [p for p in self.profiles() if p.identity.desktop_id == target],
            [p for p in self.profiles() if p.identity.container == target],
            [p for p in self.profiles() if p.identity.name == target],
            [p for p in self.profiles() if p.identity.executable == target],
            [p for p in self.profiles() if target in p.executables],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                some = ", ".join(sorted(p.cgroup for p in matches)[:_NAMES_IN_A_HINT])
                raise AmbiguousTargetError(
                    f"{target} names {len(matches)} workloads", hint=f"name a cgroup path: {some}"
                )
        raise NotFoundError(f"no workload is called {target}", hint="see `schedctl list`")

    def _find_number(self, target: str) -> WorkloadProfile:
        """A pid, else a workload's id."""
        cgroup = self._processes.cgroup(int(target)) if len(target) < 10 else None
        while cgroup:
            found = self._profiles.get(cgroup)
            if found is not None:
                return found
            cgroup = cgroup.rpartition("/")[0]
        for profile in self.profiles():
            if profile.id == target:
                return profile
        raise NotFoundError(
            f"no workload has process {target}", hint="kernel threads belong to none"
        )
