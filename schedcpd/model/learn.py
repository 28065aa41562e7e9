# SPDX-License-Identifier: Apache-2.0
"""Rows of history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
