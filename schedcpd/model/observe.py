# SPDX-License-Identifier: Apache-2.0
"""What `observe` makes: signals of cgroups, and profiles of the workloads in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class SignalKind(StrEnum):
    CREATED = "created"  # a cgroup directory appeared
    POPULATED = "populated"  # its subtree got its first process
    EMPTIED = "emptied"  # its subtree lost its last process
    VANISHED = "vanished"  # the directory is gone
    IDENTIFIED = "identified"  # a later look saw another application in it (exec)


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing the kernel told us about one cgroup.

    `cgroup` is the path below the cgroup2 mount, beginning with "/".
    `cgroup_id` is the kernfs id (the directory's inode number), 0 once vanished.
    `at_ns` is when the kernel's event was read.
    """

    kind: SignalKind
    cgroup: str
    cgroup_id: int
    at_ns: int


class AppKind(StrEnum):
    SERVICE = "service"  # a systemd service
    DESKTOP_APP = "desktop-app"  # app-*.scope / app-*.service of a desktop session
    SCOPE = "scope"  # another systemd scope
    SESSION = "session"  # a login session
    CONTAINER = "container"
    SLICE = "slice"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """The application behind a cgroup. All strings are untrusted: users choose them.

    `labels` ("key=value", a container's) may hold secrets: rules are matched with them, and they
    are shown to nobody.
    """

    kind: AppKind
    name: str  # best human name: unit without suffix, desktop id, or executable
    unit: str = ""  # systemd unit that owns the cgroup, "" if none
    slice: str = ""  # innermost slice
    desktop_id: str = ""
    container: str = ""
    executable: str = ""  # base name of the leading process' executable
    comm: str = ""
    uid: int | None = None
    image: str = ""  # of a container
    labels: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Pressure:
    """CPU PSI of a cgroup, `some` line, in percent (kernel Documentation/accounting/psi.rst)."""

    avg10: float = 0.0
    avg60: float = 0.0
    total_us: int = 0


@dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """What is known of one workload at one moment: who it is and how it behaves."""

    cgroup: str
    cgroup_id: int
    identity: AppIdentity
    populated: bool
    seen_ns: int  # when the cgroup was first seen
    nr_procs: int = 0
    executables: tuple[str, ...] = ()  # distinct base names, leading process first
    cpu_usage_us: int = 0  # cpu.stat usage_usec
    cpu_weight: int = 100
    pressure: Pressure = field(default_factory=Pressure)

    @property
    def id(self) -> str:
        """Stable while the cgroup lives: the kernfs id in decimal; names the D-Bus object."""
        return str(self.cgroup_id)
