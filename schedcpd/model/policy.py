# SPDX-License-Identifier: Apache-2.0
"""What the Scheduler Policy Repository holds, and what the planner makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from schedcpd.model.infer import IntentClass
from schedcpd.model.values import Tunable, canonical_json


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

    def objection(self, machine: Machine, desktop: bool) -> str:
        """Why they do not hold there, "" when they do."""
        if self.power is not None and self.power is not machine.power:
            return f"is for {self.power} power, the machine is on {machine.power}"
        if self.cpus_min is not None and machine.cpus < self.cpus_min:
            return f"is for {self.cpus_min} CPUs or more, there are {machine.cpus}"
        if self.cpus_max is not None and machine.cpus > self.cpus_max:
            return f"is for {self.cpus_max} CPUs or fewer, there are {machine.cpus}"
        if self.desktop is None or self.desktop is desktop:
            return ""
        if self.desktop:
            return "is for desktops, no desktop application runs"
        return "is for machines without a desktop, and desktop applications run"


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """How far a policy is trusted by itself. None: any.

    `setbacks`: with so many ejections, rollbacks and failed loads it is no longer chosen.
    """

    setbacks: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A scheduler with its tunables and when it is right. `tunables` names every one of them.

    `intents` are the classes it serves; `chosen_for` those of which at least one must be
    wanted before the planner takes it. `slo_delay_p99_us` is the run delay it promises.
    `extends` names the policy it was derived from; what that one says is already in here.
    `author` is who wrote it, "" for whoever owns the directory (`origin`).
    `external`: `scheduler` is a program found on the system (`schedcpd/host/scx_programs.py`), and
    its only tunable is `mode`.
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
    limits: PolicyLimits = PolicyLimits()
    extends: str = ""
    author: str = ""
    external: bool = False

    @property
    def content_id(self) -> str:
        """SHA-256 of all that decides how it schedules and when; not of its words or its file."""
        content = {
            "scheduler": self.scheduler,
            "tunables": dict(self.tunables),
            "intents": self.intents,
            "chosen_for": self.chosen_for,
            "machines": asdict(self.conditions),
            "slo": {intent.value: value for intent, value in self.slo_delay_p99_us.items()},
            "limits": asdict(self.limits),
            "priority": self.priority,
        }
        return hashlib.sha256(canonical_json(content)).hexdigest()


@dataclass(frozen=True, slots=True)
class SchedulerObject:
    """A compiled scheduler on disk: a BPF object, or the program of an external one."""

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
    EXTERNAL = "external"  # a program found on the system
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
    slo_delay_p99_us: Mapping[IntentClass, float] = field(default_factory=dict)  # its policy's
