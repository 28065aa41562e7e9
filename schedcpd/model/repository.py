# SPDX-License-Identifier: Apache-2.0
"""What the Scheduler Policy Repository remembers of its policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schedcpd.model.deploy import OutcomeKind
from schedcpd.model.infer import IntentClass
from schedcpd.model.observe import AppKind
from schedcpd.model.policy import Machine


class Standing(StrEnum):
    """Whether a policy may be chosen by itself. An operator may apply any of them."""

    IN_FORCE = "in-force"  # shipped or an administrator's: it may
    TRIAL = "trial"  # an agent's, or external, and not promoted: it may not
    PROMOTED = "promoted"  # somebody vouched for exactly this content: it may
    RETIRED = "retired"  # somebody took it out of use: it may not


class PolicyAction(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    PROMOTED = "promoted"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """Something that happened to a policy. `sha256` is its content then, "" when removed."""

    policy: str
    action: PolicyAction
    sha256: str
    actor: str
    reason: str
    at_unix_s: float
    id: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a workload is compared with others. Strings are untrusted and cut short.

    `pressure` is the share of time, in percent of the last minute, that it waited for a CPU.
    """

    name: str
    executable: str
    kind: AppKind
    intent: IntentClass
    processes: int
    weight: int
    pressure: float


@dataclass(frozen=True, slots=True)
class Trial:
    """How a policy did once: an outcome with the machine and the workloads it met there.

    `sha256` is the policy's content then; `missed` are promises (SLOs) it did not keep.
    """

    policy: str
    sha256: str
    scheduler: str
    kind: OutcomeKind
    reason: str
    at_unix_s: float
    seconds: float
    kernel: str
    machine: Machine
    measures: Mapping[str, float]
    missed: tuple[str, ...]
    workloads: tuple[Shape, ...]
    id: int = 0

    @property
    def setback(self) -> bool:
        return self.kind in (OutcomeKind.EJECTED, OutcomeKind.ROLLED_BACK, OutcomeKind.FAILED)

    @property
    def did_well(self) -> bool:
        """It ran until another took over in order, and kept what it promised."""
        return self.kind is OutcomeKind.REPLACED and not self.missed
