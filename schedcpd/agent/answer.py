# SPDX-License-Identifier: Apache-2.0
"""What a model must answer, and the only reader of what it did answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from schedcpd.errors import AgentError
from schedcpd.host.untrusted import clean
from schedcpd.model import IntentClass

REASON_CHARS = 200
TEXT_MAX = 16_384  # characters of one answer; a right one has about 150

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        # The reason first: a model that writes in this order has thought before it decides.
        "reason": {"type": "string", "maxLength": REASON_CHARS},
        "intent_class": {"type": "string", "enum": [c.value for c in IntentClass]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["reason", "intent_class", "confidence"],
    "additionalProperties": False,
}


class AnswerError(AgentError):
    """The model answered, but not what SCHEMA allows. The message never quotes the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    intent_class: IntentClass
    confidence: float  # 0..1
    reason: str  # one printable line, at most REASON_CHARS characters


def parse(text: str | None) -> Answer:
    """Reads one answer. AnswerError names what is wrong with it.

    Nothing but the one JSON object is accepted: no prose, no code fence, no unknown or repeated
    key, no NaN. Only `reason` is repaired: it is made one printable line and cut to length.
    """
    if not text or not text.strip():
        raise AnswerError("the answer is empty")
    if len(text) > TEXT_MAX:
        raise AnswerError(f"the answer is longer than {TEXT_MAX} characters")
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as e:
        raise AnswerError("the answer is not one JSON object") from e
    if not isinstance(value, dict):
        raise AnswerError("the answer is not a JSON object")
    wanted = set(SCHEMA["required"])
    if value.keys() != wanted:
        raise AnswerError(f"the answer must have exactly the keys {', '.join(sorted(wanted))}")
    return Answer(
        _class(value["intent_class"]), _confidence(value["confidence"]), _reason(value["reason"])
    )


def _class(value: object) -> IntentClass:
    if not isinstance(value, str) or value not in {c.value for c in IntentClass}:
        raise AnswerError(f"intent_class must be one of {', '.join(IntentClass)}")
    return IntentClass(value)


def _confidence(value: object) -> float:
    # An int may be too large for a float; comparing first needs no conversion.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise AnswerError("confidence must be a number from 0 to 1")
    number = float(value)
    if not math.isfinite(number):
        raise AnswerError("confidence must be a number from 0 to 1")
    return number


def _reason(value: object) -> str:
    if not isinstance(value, str):
        raise AnswerError("reason must be text")
    return clean(value, chars=REASON_CHARS)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value
