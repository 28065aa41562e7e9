# SPDX-License-Identifier: Apache-2.0
"""Turns nouns into rows of history and into the JSON of `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from schedcpd.model import (
    Candidate,
    IntentClass,
    LearnedRecord,
    Outcome,
    RecordKind,
    SchedulerStatus,
    WorkloadView,
)


def plain(value: object) -> Any:
    """JSON types only: dataclasses become objects, enums their values, tuples lists."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return value


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
            "without": list(status.without),
        },
    )


def promotion(
    policy: str, deployment_id: str, measures: Mapping[str, float], at_unix_s: float
) -> LearnedRecord:
    """A deployment's canary is over and nothing spoke against it."""
    return LearnedRecord(
        RecordKind.DEPLOYMENT,
        at_unix_s,
        deployment_id,
        f"{policy} passed its canary and is what a later one goes back to",
        {"policy": policy, "promoted": True, "measures": measures_json(measures)},
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


def workload_json(view: WorkloadView) -> dict[str, Any]:
    """The profile and its identity in one object."""
    profile = plain(view.profile)
    identity = profile.pop("identity")
    del identity["labels"]  # they may hold secrets
    return {**profile, **identity, "id": view.profile.id, "pinned": view.pinned}


def intent_json(view: WorkloadView) -> dict[str, Any]:
    found: dict[str, Any] = plain(view.intent)
    found["class"] = found.pop("intent_class")
    return found


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    found: dict[str, Any] = plain(candidate)
    found["rejected"] = [{"policy": name, "why_not": why} for name, why in candidate.rejected]
    return found


def outcome_json(result: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = plain(result)
    if result.exit is not None:
        found["exit"]["kind_name"] = result.exit.kind_name
    return found


def measures_json(measures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in sorted(measures.items())}
