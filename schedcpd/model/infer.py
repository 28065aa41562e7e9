# SPDX-License-Identifier: Apache-2.0
"""What a workload wants, who says so and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
