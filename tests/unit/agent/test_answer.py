# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.agent.answer import REASON_CHARS, SCHEMA, Answer, AnswerError, parse
from schedcpd.model import IntentClass

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.text() | json_values.map(json.dumps))
def test_whatever_comes_is_an_answer_or_an_answer_error(text: str) -> None:
    try:
        answer = parse(text)
    except AnswerError:
        return
    assert_valid(answer)


@given(
    st.fixed_dictionaries(
        {
            "intent_class": st.sampled_from([*IntentClass]) | json_values,
            "confidence": st.floats(0, 1) | json_values,
            "reason": st.text() | json_values,
        },
        optional={"more": json_values},
    )
)
def test_only_what_the_schema_allows_is_accepted(value: dict[str, object]) -> None:
    name, sure, reason = value["intent_class"], value["confidence"], value["reason"]
    number = isinstance(sure, int | float) and not isinstance(sure, bool)
    good = (
        "more" not in value
        and isinstance(name, str)
        and name in SCHEMA["properties"]["intent_class"]["enum"]
        and number
        and 0 <= sure <= 1  # type: ignore[operator]
        and isinstance(reason, str)
    )
    try:
        answer = parse(json.dumps(value))
    except AnswerError:
        assert not good
        return
    assert good
    assert_valid(answer)
    assert (answer.intent_class, answer.confidence) == (name, sure)


def assert_valid(answer: Answer) -> None:
    assert isinstance(answer.intent_class, IntentClass)
    assert math.isfinite(answer.confidence)
    assert 0 <= answer.confidence <= 1
    assert len(answer.reason) <= REASON_CHARS
    assert answer.reason.isprintable()


def test_the_reason_is_cut_and_cleaned() -> None:
    text = json.dumps(
        {"intent_class": "batch", "confidence": 1, "reason": "a\x1b[31m\n\u202eb " + "x" * 900}
    )
    reason = parse(text).reason
    assert reason.startswith("a [31m b xxx")
    assert len(reason) == REASON_CHARS


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_too_long_for_python(digits: int) -> None:
    text = '{"intent_class": "batch", "confidence": ' + "9" * digits + ', "reason": "x"}'
    with pytest.raises(AnswerError):
        parse(text)


def test_an_error_never_quotes_the_answer() -> None:
    for text in ("secret-text", '{"secret-text": 1}', '["secret-text"]'):
        with pytest.raises(AnswerError) as error:
            parse(text)
        assert "secret" not in str(error.value)
