# SPDX-License-Identifier: Apache-2.0
"""Turns nouns into rows of history and into the JSON of `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from schedcpd.model import (
    Candidate,
    IntentClass,
    LearnedRecord,
    Outcome,
    RecordKind,
    SchedulerStatus,
    Signal,
    Verdict,
    WorkloadView,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def decision(view: WorkloadView, old: IntentClass | None, at_unix_s: float) -> LearnedRecord:
    """An intent was inferred or changed."""
    intent, profile = view.intent, view.profile
    before = f" (was {old})" if old is not None and old is not intent.intent_class else ""
    return LearnedRecord(
        RecordKind.DECISION,
        at_unix_s,
        profile.cgroup,
        f"{profile.identity.name} is {intent.intent_class}{before}: {intent.reason}",
        {
            "class": intent.intent_class.value,
            "source": intent.source.value,
            "rule": intent.rule,
            "reason": intent.reason,
            "confidence": intent.confidence,
            "model": intent.model,
            "unit": profile.identity.unit,
            "executable": profile.identity.executable,
        },
    )


def deployment(
    candidate_reason: str, source: str, policy: str, status: SchedulerStatus, at_unix_s: float
) -> LearnedRecord:
    """A scheduler was attached, and the kernel said so."""
    return LearnedRecord(
        RecordKind.DEPLOYMENT,
        at_unix_s,
        status.deployment_id,
        f"{policy} ({status.scheduler}) was attached by {source}: {candidate_reason}",
        {
            "policy": policy,
            "source": source,
            "scheduler": status.scheduler,
            "ops": status.ops_name,
            "object_sha256": status.object_sha256,
            "tunables": dict(status.tunables),
            "enable_seq": status.enable_seq,
            "swap_gap_us": status.swap_gap_us,
        },
    )


def outcome(result: Outcome, at_unix_s: float) -> LearnedRecord:
    """A deployment ended."""
    ran = (
        f" after {result.ended_unix_s - result.started_unix_s:.0f} s" if result.ended_unix_s else ""
    )
    return LearnedRecord(
        RecordKind.OUTCOME,
        at_unix_s,
        result.deployment_id,
        f"{result.policy} ended{ran}, {result.kind}: {result.reason}",
        outcome_json(result),
    )


def operator(
    action: str, subject: str, actor: str, at_unix_s: float, detail: str = ""
) -> LearnedRecord:
    """A person (or a client for one) changed something."""
    tail = f": {detail}" if detail else ""
    summary = f"{actor} asked for {action}{' of ' + subject if subject else ''}{tail}"
    return LearnedRecord(
        RecordKind.OPERATOR,
        at_unix_s,
        subject,
        summary,
        {"action": action, "actor": actor, "detail": detail},
    )


def note(sentence: str, at_unix_s: float, subject: str = "") -> LearnedRecord:
    return LearnedRecord(RecordKind.NOTE, at_unix_s, subject, sentence)


# ------------------------------------------------------------ JSON for `explain`


def signal_json(signal: Signal) -> dict[str, Any]:
    return asdict(signal)


def workload_json(view: WorkloadView) -> dict[str, Any]:
    profile = asdict(view.profile)
    identity = profile.pop("identity")
    profile["executables"] = list(view.profile.executables)
    return {**profile, **identity, "id": view.profile.id, "pinned": view.pinned}


def intent_json(view: WorkloadView) -> dict[str, Any]:
    found = asdict(view.intent)
    found["class"] = found.pop("intent_class")
    return found


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    found = asdict(candidate)
    found["rejected"] = [{"policy": name, "why_not": why} for name, why in candidate.rejected]
    return found


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    found = asdict(verdict)
    found["checks"] = [asdict(check) for check in verdict.checks]
    found["ranges"] = {name: list(bounds) for name, bounds in verdict.ranges.items()}
    return found


def deployment_json(deployed: DataclassInstance) -> dict[str, Any]:
    """What runs, as the deploy room keeps it."""
    return asdict(deployed)


def outcome_json(result: Outcome) -> dict[str, Any]:
    found = asdict(result)
    if result.exit is not None:
        found["exit"] = {**asdict(result.exit), "kind_name": result.exit.kind_name}
    return found


def measures_json(measures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in sorted(measures.items())}
