# SPDX-License-Identifier: Apache-2.0
"""What runs, why it ended, how it went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from schedcpd.model.values import Tunable


class ExitKind(IntEnum):
    """enum scx_exit_kind of kernel/sched/ext (6.12 to 7.3)."""

    NONE = 0
    DONE = 1
    UNREG = 64
    UNREG_BPF = 65
    UNREG_KERN = 66
    SYSRQ = 67
    PARENT = 68
    PARENT_KILL = 69
    ERROR = 1024
    ERROR_BPF = 1025
    ERROR_STALL = 1026
    ERROR_REENQ = 1027
    ERROR_RESCUE = 1028


# enum scx_exit_code: the kernel asks for the same scheduler again (CPU hotplug)
ACT_RESTART = 1 << 48


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """Why the kernel ended a scheduler (struct scx_exit_info). `kind` may be newer than us."""

    kind: int
    code: int
    reason: str
    message: str
    dump: str = ""

    @property
    def kind_name(self) -> str:
        try:
            return ExitKind(self.kind).name
        except ValueError:
            return f"kind {self.kind}"

    @property
    def is_error(self) -> bool:
        return self.kind >= ExitKind.ERROR


class ScxState(StrEnum):
    """/sys/kernel/sched_ext/state, plus ABSENT where the kernel has no sched_ext."""

    ENABLING = "enabling"
    ENABLED = "enabled"
    DISABLING = "disabling"
    DISABLED = "disabled"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """What the scheduler host holds. `attached` only once the kernel's state proved it."""

    attached: bool
    scheduler: str = ""
    ops_name: str = ""
    object_sha256: str = ""
    tunables: Mapping[str, Tunable] = field(default_factory=dict)
    deployment_id: str = ""
    enable_seq: int = 0
    host_pid: int = 0
    attached_ns: int = 0
    swap_gap_us: int = 0  # time in the kernel's default between two schedulers
    without: tuple[str, ...] = ()  # sentences: what this kernel cannot do for it
    last_exit: ExitRecord | None = None


class OutcomeKind(StrEnum):
    RUNNING = "running"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled-back"
    EJECTED = "ejected"
    KILLED = "killed"
    FAILED = "failed"  # never became enabled
    LOST = "lost"  # the scheduler host died


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one deployment went. Measures are name -> value in the unit the name ends with."""

    deployment_id: str
    kind: OutcomeKind
    policy: str
    scheduler: str
    verdict_id: str
    started_unix_s: float
    ended_unix_s: float | None
    reason: str
    exit: ExitRecord | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
