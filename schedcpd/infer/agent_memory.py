# SPDX-License-Identifier: Apache-2.0
"""What the daemon remembers of the agent over restarts: the last hour's cost, and the answers."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schedcpd.host.files import set_aside, write_atomically
from schedcpd.infer.agent_answer import TOKENS_MAX, AgentAnswer
from schedcpd.infer.budget import Spent
from schedcpd.model import IntentClass

ANSWERS_MAX = 512
_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Remembered:
    answer: AgentAnswer
    until_unix_s: float


class AnswerCache:
    """Answers by fingerprint, each for a while; the least recently used goes first."""

    def __init__(self, found: Mapping[str, Remembered] | None = None) -> None:
        self._found: OrderedDict[str, Remembered] = OrderedDict(found or {})

    def get(self, key: str, now: float) -> AgentAnswer | None:
        found = self._found.get(key)
        if found is None:
            return None
        if found.until_unix_s <= now:
            del self._found[key]
            return None
        self._found.move_to_end(key)
        return found.answer

    def put(self, key: str, answer: AgentAnswer, until_unix_s: float) -> None:
        self._found[key] = Remembered(answer, until_unix_s)
        self._found.move_to_end(key)
        while len(self._found) > ANSWERS_MAX:
            self._found.popitem(last=False)

    def items(self, now: float) -> list[tuple[str, Remembered]]:
        return [(k, r) for k, r in self._found.items() if r.until_unix_s > now]


class AgentMemory:
    """The file that holds both. Blocking: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, now: float, cache_s: float) -> tuple[list[Spent], AnswerCache, str]:
        """What was saved, and a complaint ("" for none).

        A file that cannot be read is set aside; the hour before it then counts as unknown,
        which the caller must take for used up. No answer outlives `cache_s` from now.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(_BYTES_MAX + 1)
        except FileNotFoundError:
            return [], AnswerCache(), ""
        except OSError as e:
            return [], AnswerCache(), f"{self._path} cannot be read: {e.strerror}"
        try:
            if len(data) > _BYTES_MAX:
                raise ValueError("it is too large")
            value = json.loads(data)
            spent = [_spent(one) for one in value["spent"]]
            found = {str(k): _remembered(v, now + cache_s) for k, v in value["answers"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            complaint = f"{self._path} is damaged ({type(e).__name__})"
            try:
                complaint += f", kept as {set_aside(self._path, 'damaged')}"
            except OSError as cannot:
                complaint += f" and cannot be renamed: {cannot.strerror}"
            return [], AnswerCache(), complaint
        return spent, AnswerCache(found), ""

    def save(
        self, spent: Sequence[tuple[float, int]], answers: Sequence[tuple[str, Remembered]]
    ) -> None:
        """Atomically; OSError when it cannot be written."""
        value = {
            "version": 1,
            "spent": [list(one) for one in spent],
            "answers": {k: {"until": r.until_unix_s, **asdict(r.answer)} for k, r in answers},
        }
        write_atomically(self._path, json.dumps(value, indent=1).encode() + b"\n", mode=0o600)


def _spent(value: Any) -> Spent:
    at, tokens = value
    return Spent(_finite(at), int(_finite(tokens, 2 * TOKENS_MAX)))


def _remembered(value: Mapping[str, Any], latest: float) -> Remembered:
    name = value["intent_class"]
    answer = AgentAnswer(
        intent_class=None if name is None else IntentClass(name),
        confidence=_finite(value["confidence"], 1.0),
        reason=str(value["reason"]),
        model=str(value["model"]),
        tokens=int(_finite(value["tokens"])),
        seconds=_finite(value["seconds"]),
    )
    return Remembered(answer, min(_finite(value["until"]), latest))


def _finite(value: Any, most: float = 1e15) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError("not a number in range")
    return float(value) if math.isfinite(value) else most
