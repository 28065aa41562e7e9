# SPDX-License-Identifier: Apache-2.0
"""The nouns: every value that crosses from one room to another is one of these.

    Signal -> WorkloadProfile -> Intent -> Candidate -> Verdict -> Outcome -> LearnedRecord

Frozen dataclasses and StrEnums, standard library only. Times named `*_ns` are
nanoseconds of CLOCK_MONOTONIC unless the name says `unix`; times named
`*_unix_s` are seconds since the epoch.
"""

from schedcpd.model.deploy import (
    ACT_RESTART,
    ExitKind,
    ExitRecord,
    Outcome,
    OutcomeKind,
    SchedulerStatus,
    ScxState,
)
from schedcpd.model.infer import Intent, IntentClass, IntentSource
from schedcpd.model.learn import LearnedRecord, RecordKind
from schedcpd.model.observe import (
    AppIdentity,
    AppKind,
    Pressure,
    Signal,
    SignalKind,
    WorkloadProfile,
)
from schedcpd.model.policy import (
    Candidate,
    CandidateKind,
    Conditions,
    Machine,
    Policy,
    PolicyLimits,
    Power,
    Rule,
    SchedulerObject,
)
from schedcpd.model.repository import PolicyAction, PolicyEvent, Shape, Standing, Trial
from schedcpd.model.status import DaemonState, InferenceSource, Status, WorkloadView
from schedcpd.model.values import Tunable, canonical_json
from schedcpd.model.verify import (
    CheckResult,
    CheckStatus,
    KernelBuild,
    Verdict,
    VerdictClock,
    VerdictOrigin,
)

__all__ = [
    "ACT_RESTART",
    "AppIdentity",
    "AppKind",
    "Candidate",
    "CandidateKind",
    "CheckResult",
    "CheckStatus",
    "Conditions",
    "DaemonState",
    "ExitKind",
    "ExitRecord",
    "InferenceSource",
    "Intent",
    "IntentClass",
    "IntentSource",
    "KernelBuild",
    "LearnedRecord",
    "Machine",
    "Outcome",
    "OutcomeKind",
    "Policy",
    "PolicyAction",
    "PolicyEvent",
    "PolicyLimits",
    "Power",
    "Pressure",
    "RecordKind",
    "Rule",
    "SchedulerObject",
    "SchedulerStatus",
    "ScxState",
    "Shape",
    "Signal",
    "SignalKind",
    "Standing",
    "Status",
    "Trial",
    "Tunable",
    "Verdict",
    "VerdictClock",
    "VerdictOrigin",
    "WorkloadProfile",
    "WorkloadView",
    "canonical_json",
]
