# SPDX-License-Identifier: Apache-2.0
"""What the bus publishes: the daemon and its workloads as clients see them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schedcpd.model.infer import Intent
from schedcpd.model.observe import WorkloadProfile


class DaemonState(StrEnum):
    STARTING = "starting"
    DEFAULT = "default"  # the kernel's own scheduler runs
    ACTIVE = "active"  # one of ours runs
    FOREIGN = "foreign"  # somebody else's sched_ext scheduler runs; hands off
    KILLED = "killed"  # kill switch latched
    UNSUPPORTED = "unsupported"


class InferenceSource(StrEnum):
    RULES = "rules"
    RULES_AND_AGENT = "rules+agent"


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A workload as clients see it."""

    profile: WorkloadProfile
    intent: Intent
    pinned: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The daemon as clients see it; one immutable snapshot."""

    state: DaemonState
    reason: str  # one sentence: why this state
    kernel: str  # uname -r
    scheduler: str  # ops name read from /sys/kernel/sched_ext/root/ops, "" for none
    policy: str  # "kernel-default" when none of ours runs
    policy_source: str  # "auto", "operator", "rollback", "fallback"
    deployment_id: str
    verdict_id: str
    last_known_good: str  # policy name
    inference: InferenceSource
    agent: str  # one sentence: "not configured", "idle", "over budget until …"
    kill_switch: bool
    workloads: int
