# SPDX-License-Identifier: Apache-2.0
"""What the Scheduler Policy Repository holds, and what the planner makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schedcpd.model.infer import IntentClass
from schedcpd.model.values import Tunable


class Power(StrEnum):
    AC = "ac"
    BATTERY = "battery"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a policy's conditions are held against. `cpus`: logical CPUs online."""

    cpus: int
    power: Power = Power.AC  # AC too where the machine has no battery


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where a policy may be chosen by itself. None: any. Bounds are inclusive.

    `desktop`: whether desktop applications are running.
    """

    power: Power | None = None
    cpus_min: int | None = None
    cpus_max: int | None = None
    desktop: bool | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A scheduler with its tunables and when it is right. `tunables` names every one of them.

    `intents` are the classes it serves; `chosen_for` those of which at least one must be
    wanted before the planner takes it. `slo_delay_p99_us` is the run delay it promises.
    """

    name: str
    description: str
    scheduler: str  # "" for the kernel's default
    tunables: Mapping[str, Tunable]
    intents: tuple[IntentClass, ...]
    chosen_for: tuple[IntentClass, ...]
    conditions: Conditions
    priority: int
    slo_delay_p99_us: Mapping[IntentClass, float]
    origin: str  # "shipped", "admin", "runtime" or "built-in"
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class SchedulerObject:
    """A compiled scheduler on disk."""

    scheduler: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`match`: every key must have a glob that matches; `exclude`: no key may."""

    name: str
    match: Mapping[str, tuple[str, ...]]
    exclude: Mapping[str, tuple[str, ...]]
    intent: IntentClass
    priority: int
    why: str
    file: str  # base name; "built-in" for the embedded ones
    line: int

    @property
    def id(self) -> str:
        return f"{self.file}:{self.name}"


class CandidateKind(StrEnum):
    DEFAULT = "default"  # the kernel's own scheduler
    RECONFIGURE = "reconfigure"  # a shipped scheduler with tunables
    REVISE = "revise"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that could be deployed. `object_sha256` is "" for the kernel's default."""

    kind: CandidateKind
    policy: str
    scheduler: str  # directory name in bpf/schedulers, "" for the kernel's default
    object_path: str
    object_sha256: str
    tunables: Mapping[str, Tunable]
    reason: str
    rejected: tuple[tuple[str, str], ...] = ()  # (policy, why not), for `explain`
