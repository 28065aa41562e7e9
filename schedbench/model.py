# SPDX-License-Identifier: Apache-2.0
"""The benchmark's nouns. Standard library only; every room of schedbench imports them.

A *workload* is what is measured, an *arm* is what runs beside it, a *profile* is the machine, a
*clock* is how time passes. One fresh boot of one arm with one workload is one *sample*. A plan is
the list of samples to take; a bundle holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Clock(StrEnum):
    WALL = "wall"  # the host's time, fresh boots, MTTCG or KVM
    VIRTUAL = "virtual"  # every vCPU's own instruction clock: docs/vclock.md


class Better(StrEnum):
    LOWER = "lower"
    HIGHER = "higher"


class SizeClass(StrEnum):
    SMOKE = "smoke"
    STANDARD = "standard"
    FULL = "full"


class SampleState(StrEnum):
    """How a sample ended. Only OK samples have metrics that count; the others stay in the data."""

    OK = "ok"
    FAILED = "failed"  # wrong exit code, output or metric: the arm's loss, never a fast run
    MARKED = "marked"  # finished, but the kernel warned, oopsed or ejected the scheduler
    HANG = "hang"  # outlived its limit
    VM_DIED = "vm-died"
    INFRASTRUCTURE = "infrastructure"  # a predeclared fault of the environment: taken again


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a workload. `source`: `elapsed`, `json:KEY` or `regex:PATTERN` (one group)."""

    name: str
    unit: str
    better: Better
    source: str
    alpha: float = 1.0  # weight in the score
    scale: float = 1.0  # the number read times this is in `unit`


@dataclass(frozen=True, slots=True)
class Slo:
    """A limit relative to the frozen baseline: measured/baseline at most (lower) or at least."""

    metric: str
    ratio: float
    hard: bool


@dataclass(frozen=True, slots=True)
class Size:
    """A size class: values substituted into the scripts' environment, and how often it is run."""

    env: Mapping[str, str]
    repeats: int  # in one boot; the sample is their median
    limit_s: float  # wall seconds for one repeat on the host under TCG
    virtual_limit_s: float = 20.0  # virtual seconds for one repeat


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a workload that runs in a cgroup of its own.

    `intent` is what its operator would declare; arms that are told (a fixed policy) use it, arms
    that must find out (schedcp with rules, agents) never see it.
    """

    name: str
    intent: str
    weight: int = 100  # cpu.weight
    work_ms: str = ""  # the size's variable that says what CPU time each of its tasks will use


@dataclass(frozen=True, slots=True)
class Workload:
    """What `schedbench/workloads/<name>.yaml` says (docs/schedbench/workloads.md)."""

    name: str
    title: str
    why: str
    packages: tuple[str, ...]
    drivers: tuple[str, ...]  # programs of schedbench/drivers/, built for the guest
    programs: tuple[str, ...]  # absolute paths that a virtual-clock run carries in its initramfs
    parts: tuple[Part, ...]
    setup: str  # shell, once a boot, not timed
    run: str  # shell, timed
    check: str  # shell; exit 0 means the output is right
    metrics: tuple[Metric, ...]
    slos: tuple[Slo, ...]
    sizes: Mapping[SizeClass, Size]
    clocks: frozenset[Clock]
    visible: tuple[str, ...]  # what an agent may be told: names of fields
    perturbation: str  # what a seed changes
    digest: str = ""  # sha256 of the YAML and of its drivers' sources
    clock_defined: bool = False  # work is so many seconds of CPU time, not so many instructions


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine. vCPUs = sockets x dies x cores x threads; a die is an LLC."""

    name: str
    sockets: int = 1
    dies: int = 1
    cores: int = 4
    threads: int = 1
    numa_nodes: int = 1
    memory_mib: int = 1536
    insn_ps: int = 4000  # virtual clock: picoseconds an instruction takes (docs/vclock.md: Cost)


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which sample. `seed` drives names, order and inputs; arms are paired by it."""

    workload: str
    arm: str
    seed: int


@dataclass(frozen=True, slots=True)
class Environment:
    """What must be equal for results to be compared. Unlike ones refuse to be merged."""

    clock: Clock
    profile: str
    size: SizeClass
    kernel: str  # release and sha256
    image: str  # sha256
    qemu: str  # version and build id
    accelerator: str
    instrument: str = ""  # sha256 of the sources that shape a sample; "" where it was not recorded


@dataclass(frozen=True, slots=True)
class Repeat:
    """One timed run inside a boot."""

    metrics: Mapping[str, float]
    exit_code: int
    check_exit_code: int
    seconds: float  # between the markers, stamped outside the guest
    output: str  # what it printed


@dataclass(frozen=True, slots=True)
class Sample:
    """One fresh boot of one arm with one workload."""

    key: SampleKey
    state: SampleState
    reason: str  # a sentence; empty when ok
    repeats: tuple[Repeat, ...]
    metrics: Mapping[str, float]  # medians over the repeats; empty unless OK or MARKED
    began: float  # Unix seconds on the host
    seconds: float  # host seconds, boot included
    order: int  # its place in the run
    series: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    kernel_log: tuple[str, ...] = ()  # new warnings
    scheduler: str = ""  # ops name read from the kernel while it ran
    overuse: float = 0.0  # the arm's budget overuse, as a share of its budget
    arm_log: Mapping[str, object] = field(default_factory=dict)  # what the arm did
    digest: str = ""  # virtual clock: sha256 of the console's bytes


@dataclass(frozen=True, slots=True)
class Suite:
    """Which workloads with which weights, and the declared constants of the score."""

    name: str
    workloads: tuple[str, ...]
    weights: Mapping[str, float]  # w
    lambda_: float  # price of budget overuse
    clip: tuple[float, float]  # of each I
    size: SizeClass
    boots: int  # fresh boots for each workload and arm: as many seeds
    extend_to: int = 0  # boots that an unstable workload is extended to; 0: it is not
