# SPDX-License-Identifier: Apache-2.0
"""Builds the WorkloadProfile of one cgroup from what the machine says at this moment."""

from __future__ import annotations

from schedcpd.host.cgroupfs import CgroupFs
from schedcpd.host.containers import Containers
from schedcpd.host.procfs import ProcFs
from schedcpd.model import AppIdentity, AppKind, Pressure, WorkloadProfile
from schedcpd.observe.identify import (
    full_container_id,
    identify_path,
    not_yet_executed,
    with_container,
    with_process,
)

MAX_PROCESSES_LOOKED_AT = 64


class Profiler:
    """Reads one cgroup. Holds nothing, so it may be asked about any cgroup at any time."""

    def __init__(
        self, cgroups: CgroupFs, processes: ProcFs, containers: Containers | None = None
    ) -> None:
        self._cgroups, self._processes, self._containers = cgroups, processes, containers

    def _identify(self, cgroup: str) -> AppIdentity:
        identity = identify_path(cgroup)
        if identity.kind is AppKind.CONTAINER and self._containers is not None:
            facts = self._containers.read(full_container_id(cgroup))
            if facts is not None:
                return with_container(identity, facts)
        return identity

    def build(self, cgroup: str, cgroup_id: int, seen_ns: int) -> WorkloadProfile | None:
        """The profile, or None when the cgroup holds no process of its own.

        A cgroup whose processes all live in cgroups below it is no workload: those are. Nor is
        the root, where kernel threads live.
        """
        if cgroup == "/":
            return None
        pids = self._cgroups.procs(cgroup)
        if not pids:
            return None
        identity = self._identify(cgroup)
        executables: dict[str, None] = {}
        leader = min(pids)
        for pid in sorted(pids)[:MAX_PROCESSES_LOOKED_AT]:
            executable = self._processes.executable(pid)
            if executable is None:
                continue
            # Many processes of one program are the common case: ask comm and uid of one alone.
            comm = (self._processes.comm(pid) or "") if pid == leader or not executable else ""
            if pid == leader:
                identity = with_process(identity, executable, comm, self._processes.uid(pid))
            if executable and not not_yet_executed(executable, comm):
                executables[executable] = None
        return WorkloadProfile(
            cgroup=cgroup,
            cgroup_id=cgroup_id,
            identity=identity,
            populated=True,
            seen_ns=seen_ns,
            nr_procs=len(pids),
            executables=tuple(executables),
            cpu_usage_us=self._cgroups.cpu_usage_us(cgroup) or 0,
            cpu_weight=self._cgroups.cpu_weight(cgroup) or 100,
            pressure=self._cgroups.pressure(cgroup) or Pressure(),
        )

    def describe(self, cgroup: str, cgroup_id: int, seen_ns: int) -> WorkloadProfile | None:
        """A cgroup as it stands, with or without processes of its own; None when it is gone."""
        populated = self._cgroups.populated(cgroup)
        if populated is None:
            return None
        return WorkloadProfile(
            cgroup=cgroup,
            cgroup_id=cgroup_id,
            identity=self._identify(cgroup),
            populated=populated,
            seen_ns=seen_ns,
            cpu_usage_us=self._cgroups.cpu_usage_us(cgroup) or 0,
            cpu_weight=self._cgroups.cpu_weight(cgroup) or 100,
            pressure=self._cgroups.pressure(cgroup) or Pressure(),
        )
