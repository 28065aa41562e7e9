# SPDX-License-Identifier: Apache-2.0
"""What sched-agent says, read as if it were hostile: it is an unprivileged process, fed by a model.

Also which workloads share an answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from schedcpd.errors import AgentError
from schedcpd.host.untrusted import clean
from schedcpd.model import Intent, IntentClass, IntentSource, WorkloadProfile

REASON_CHARS = 200
MODEL_CHARS = 120
TOKENS_MAX = 10**9
_KEYS = {"intent_class", "confidence", "reason", "model", "seconds"} | {
    "prompt_tokens",
    "completion_tokens",
}
_VARYING = re.compile(r"[0-9a-f]{8,}|[0-9]+")  # instance numbers, pids, random ids


@dataclass(frozen=True, slots=True)
class AgentHello:
    """Whether a model can be asked. `call_tokens` is the most that one question can cost."""

    configured: bool
    model: str
    reason: str
    call_tokens: int


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """One validated answer; `intent_class` None when there was none that could be used."""

    intent_class: IntentClass | None
    confidence: float
    reason: str
    model: str
    tokens: int
    seconds: float

    def intent(self, profile: WorkloadProfile, min_confidence: float) -> Intent | None:
        """The intent of `profile`, None when this answer is not sure enough or none at all."""
        if self.intent_class is None or self.confidence < min_confidence:
            return None
        return Intent(
            workload_id=profile.id,
            intent_class=self.intent_class,
            source=IntentSource.AGENT,
            reason=self.reason,
            confidence=self.confidence,
            model=self.model,
        )


def read_hello(data: Mapping[str, Any]) -> AgentHello:
    """AgentError when the agent speaks another protocol or nonsense."""
    if data.get("protocol") != 1 or isinstance(data.get("protocol"), bool):
        raise AgentError("sched-agent speaks another protocol", hint="update both packages")
    configured = data.get("configured")
    if not isinstance(configured, bool):
        raise AgentError("hello.configured is not true or false")
    return AgentHello(
        configured,
        _text(data, "model", MODEL_CHARS),
        _text(data, "reason", REASON_CHARS),
        _whole(data, "call_tokens"),
    )


def read_answer(data: Mapping[str, Any]) -> AgentAnswer:
    """AgentError naming what is wrong. Nothing is repaired but the texts, which are cleaned."""
    if data.keys() != _KEYS:
        raise AgentError("sched-agent's answer has not the agreed keys")
    name = data["intent_class"]
    if not isinstance(name, str) or name not in {c.value for c in IntentClass}:
        raise AgentError("sched-agent answered no known class")
    reason = _text(data, "reason", REASON_CHARS)
    return AgentAnswer(
        intent_class=IntentClass(name),
        confidence=_number(data, "confidence", 1.0),
        reason=reason or "the model gave no reason",
        model=_text(data, "model", MODEL_CHARS),
        tokens=_whole(data, "prompt_tokens") + _whole(data, "completion_tokens"),
        seconds=_number(data, "seconds", 86_400.0),
    )


def profile_to_json(profile: WorkloadProfile) -> dict[str, Any]:
    """What sched-agent is told: everything but where the cgroup is, and a container's labels."""
    data = asdict(profile)
    del data["cgroup"], data["cgroup_id"], data["seen_ns"]
    del data["identity"]["labels"], data["identity"]["image"]
    data["executables"] = list(profile.executables[:64])
    return data


def fingerprint(profile: WorkloadProfile) -> str:
    """Which workloads share an answer: those of the same application of the same user.

    Pids, instance numbers and random ids inside names do not count, nor does behaviour. The user
    does, so that nobody can give another user's application an answer by taking its name.
    """
    who = profile.identity
    names = (who.name, who.desktop_id, who.executable)
    parts = [who.kind.value, str(who.uid), *(_VARYING.sub("#", n) for n in names)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _text(data: Mapping[str, Any], key: str, chars: int) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise AgentError(f"sched-agent's {key} is not text")
    return clean(value, chars=chars)


def _number(data: Mapping[str, Any], key: str, most: float) -> float:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise AgentError(f"sched-agent's {key} is not a number from 0 to {most:g}")
    return float(value)


def _whole(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= TOKENS_MAX:
        raise AgentError(f"sched-agent's {key} is not a count")
    return value
