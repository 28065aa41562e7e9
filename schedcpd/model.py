# SPDX-License-Identifier: Apache-2.0
"""The nouns: every value that crosses from one room to another is one of these.

    Signal -> WorkloadProfile -> Intent -> Candidate -> Verdict -> Outcome -> LearnedRecord

Frozen dataclasses and StrEnums, standard library only. Times named `*_ns` are
nanoseconds of CLOCK_MONOTONIC unless the name says `unix`; times named
`*_unix_s` are seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum

Tunable = int | float | bool | str


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value that hashes and signatures are made over.

    Keys sorted, no blanks, UTF-8; `1`, `1.0` and `true` stay different. ValueError for
    NaN and infinities, TypeError for what JSON cannot say.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


class IntentClass(StrEnum):
    """What a workload wants from the CPU scheduler."""

    LATENCY = "latency"  # answers requests: wake-up latency decides
    INTERACTIVE = "interactive"  # a person waits for it
    NORMAL = "normal"  # nothing known: the kernel's usual fairness
    BATCH = "batch"  # throughput decides; long slices
    BACKGROUND = "background"  # runs when others leave time; never starved

    @property
    def wire(self) -> int:
        """The class number in BPF maps (`enum intent_class` in bpf/include/intent.h)."""
        return _WIRE[self]


_WIRE = {
    IntentClass.LATENCY: 0,
    IntentClass.INTERACTIVE: 1,
    IntentClass.NORMAL: 2,
    IntentClass.BATCH: 3,
    IntentClass.BACKGROUND: 4,
}


# ---------------------------------------------------------------- observe


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
    """The application behind a cgroup. All strings are untrusted: users choose them."""

    kind: AppKind
    name: str  # best human name: unit without suffix, desktop id, or executable
    unit: str = ""  # systemd unit that owns the cgroup, "" if none
    slice: str = ""  # innermost slice
    desktop_id: str = ""
    container: str = ""
    executable: str = ""  # base name of the leading process' executable
    comm: str = ""
    uid: int | None = None


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


# ---------------------------------------------------------------- infer


class IntentSource(StrEnum):
    PIN = "pin"  # an operator said so
    RULE = "rule"  # a rule of policies.d matched
    AGENT = "agent"  # a model said so, validated
    INHERITED = "inherited"  # an ancestor cgroup's pin
    DEFAULT = "default"  # nothing matched


@dataclass(frozen=True, slots=True)
class Intent:
    """What one workload wants, who says so and why."""

    workload_id: str
    intent_class: IntentClass
    source: IntentSource
    reason: str
    rule: str = ""  # "file.yaml:rule-name" for RULE
    confidence: float = 1.0  # 0..1; rules and pins are 1
    model: str = ""  # for AGENT


# ---------------------------------------------------------------- policy


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


# ---------------------------------------------------------------- plan


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
    slo_delay_p99_us: Mapping[IntentClass, float] = field(default_factory=dict)  # its policy's


# ---------------------------------------------------------------- verify


class CheckStatus(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str
    status: CheckStatus
    reason: str  # stable code, e.g. "object.section-not-allowed"; "" when passed
    sentence: str
    evidence: str = ""
    hint: str = ""
    seconds: float = 0.0


class VerdictOrigin(StrEnum):
    LOCAL = "local"  # made on this machine, in its micro-VM
    SHIPPED = "shipped"  # made when the package was built


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """One exact kernel: `uname -r`, `uname -v` and the GNU build id in /sys/kernel/notes."""

    release: str
    version: str
    build_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of every check of one candidate on one kernel. Immutable.

    `id` is the SHA-256 of the canonical JSON of all other fields, so a verdict
    can be neither edited nor reused for other bytes.

    It holds for `tunables` and for every value within `ranges` (name -> inclusive
    bounds); a tunable without a range is held to its value in `tunables`.
    """

    id: str
    passed: bool
    scheduler: str
    object_sha256: str
    tunables: Mapping[str, Tunable]
    kernel: KernelBuild
    vm_image: str
    checks: tuple[CheckResult, ...]
    made_unix_s: int
    origin: VerdictOrigin
    schedcp_version: str
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def content_id(self) -> str:
        """What `id` must be. A verdict whose `id` differs was edited."""
        content = asdict(self)
        del content["id"]
        return hashlib.sha256(canonical_json(content)).hexdigest()

    def uncovered(self, tunables: Mapping[str, Tunable]) -> tuple[str, ...]:
        """Names of tunables whose value was not verified, sorted; () when all are covered."""
        return tuple(
            sorted(
                name
                for name in {*tunables, *self.tunables}
                if not self._covers(name, tunables.get(name, self.tunables.get(name)))
            )
        )

    def _covers(self, name: str, value: Tunable | None) -> bool:
        if name not in self.tunables or type(value) is not type(self.tunables[name]):
            return False
        if name in self.ranges and isinstance(value, int | float):
            low, high = self.ranges[name]
            return low <= value <= high
        return value == self.tunables[name]


# ---------------------------------------------------------------- deploy


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


# ---------------------------------------------------------------- learn


class RecordKind(StrEnum):
    DECISION = "decision"  # an intent was inferred or changed
    DEPLOYMENT = "deployment"
    OUTCOME = "outcome"
    OPERATOR = "operator"  # pin, unpin, rollback, kill, resume, apply
    AGENT = "agent"  # one model call with its cost
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class LearnedRecord:
    """One row of history. `data` is JSON-serialisable."""

    kind: RecordKind
    at_unix_s: float
    subject: str  # cgroup path or deployment id
    summary: str  # one sentence a person can read
    data: Mapping[str, object] = field(default_factory=dict)
    id: int = 0


# ---------------------------------------------------------------- what the bus publishes


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
