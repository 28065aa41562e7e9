# SPDX-License-Identifier: Apache-2.0
"""What the planner is told. All times are seconds of one monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schedcpd.config import AUTO
from schedcpd.model import (
    AppKind,
    Candidate,
    IntentClass,
    Machine,
    Policy,
    SchedulerObject,
    Tunable,
    WorkloadView,
)


@dataclass(frozen=True, slots=True)
class Running:
    """What is deployed now; `object_sha256` is "" for the kernel's default."""

    policy: str
    object_sha256: str
    tunables: Mapping[str, Tunable]
    since_s: float


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """What the past says. `setbacks`: rollbacks and ejections per policy, as far back as kept.

    `quarantined`: object SHA-256 -> why it must not run again (an ejection).
    `failed`: policy -> why it must not for a while (its tunables failed in the canary).
    `swaps_s`: when schedulers were swapped without an operator's word.
    `barred`: policy -> why only an operator may choose it (retired, or an agent's own).
    """

    quarantined: Mapping[str, str] = field(default_factory=dict)
    setbacks: Mapping[str, int] = field(default_factory=dict)
    swaps_s: tuple[float, ...] = ()
    barred: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """How often the planner may change its mind (config `deploy`)."""

    hold_down_s: float
    max_per_hour: int


@dataclass(frozen=True, slots=True)
class Demand:
    """How many live workloads want each class, and an example of each for sentences."""

    counts: Mapping[IntentClass, int]
    examples: Mapping[IntentClass, str]
    desktop: bool  # desktop applications are among them

    @property
    def wanted(self) -> frozenset[IntentClass]:
        """The classes that the kernel's default knows nothing of."""
        return frozenset(self.counts) - {IntentClass.NORMAL}


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything one plan is made of."""

    demand: Demand
    machine: Machine
    policies: tuple[Policy, ...]
    objects: Mapping[str, SchedulerObject]
    running: Running
    limits: Limits
    now_s: float
    history: HistorySummary = field(default_factory=HistorySummary)
    choice: str = AUTO  # "auto", a policy's name or "kernel-default"
    killed: bool = False
    preferred: tuple[str, float] | None = None  # Plan.preferred before this one, since when
    missing: Mapping[str, str] = field(default_factory=dict)  # external scheduler -> why not


@dataclass(frozen=True, slots=True)
class Plan:
    """`candidate` should run. When it is not `running` already, deploy it: `change`.

    `retry_in_s`: the planner would rather run another policy but holds back; ask it again then.
    None: nothing to wait for.
    """

    candidate: Candidate
    change: bool
    retry_in_s: float | None = None
    preferred: str = ""  # the policy it would run if it need not hold back; "" for what runs


def demand_of(views: Iterable[WorkloadView]) -> Demand:
    """Counts what the populated workloads want."""
    counts: dict[IntentClass, int] = {}
    examples: dict[IntentClass, str] = {}
    desktop = False
    for view in views:
        if not view.profile.populated:
            continue
        intent = view.intent.intent_class
        counts[intent] = counts.get(intent, 0) + 1
        name = view.profile.identity.name or view.profile.cgroup
        examples[intent] = min(examples.get(intent, name), name)
        desktop = desktop or view.profile.identity.kind is AppKind.DESKTOP_APP
    return Demand(counts, examples, desktop)
