# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.agent.prompt import SYSTEM, messages, retry_message, size, workload_facts
from schedcpd.errors import AgentError, InvalidArgumentError

names = st.text(max_size=400) | st.text('<>&`\\"\u202e\U0001f600\x00', max_size=400)
NAMES = ("kind", "name", "unit", "slice", "desktop_id", "container", "executable", "comm")
identities = st.fixed_dictionaries(dict.fromkeys(NAMES, names))


@given(identities, st.lists(names, max_size=70))
def test_names_never_leave_their_block(identity: dict[str, str], executables: list[str]) -> None:
    found = messages({"identity": identity, "executables": executables}, max_bytes=4096)
    system, user = (message["content"] for message in found)
    assert system == SYSTEM
    first, data, last = user.split("\n")
    assert (first, last) == ("<workload_data>", "</workload_data>")
    assert data.isascii()
    assert data.isprintable()
    assert not set("<>&`") & set(data)
    facts = json.loads(data)
    for value in facts.values():
        for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            assert re.fullmatch(r"[\w.@:+-]{1,64}", text)
    assert len(facts.get("executables", [])) <= 8
    assert size(found) <= 4096


def test_what_is_told_and_what_is_not() -> None:
    profile: dict[str, Any] = {
        "cgroup": "/secret-path",
        "identity": {"kind": "service", "name": "x", "uid": 1000, "comm": ""},
        "executables": ["a", "b"],
        "nr_procs": 2,
        "cpu_usage_us": 1_234_567,
        "cpu_weight": 100,
        "pressure": {"avg10": 12.34, "avg60": 1},
    }
    assert workload_facts(profile) == {
        "kind": "service",
        "name": "x",
        "executables": ["a", "b"],
        "runs_as": "person",
        "processes": 2,
        "cpu_seconds_used": 1.2,
        "cpu_weight": 100,
        "percent_of_time_waiting_for_cpu": 12.3,
    }


@pytest.mark.parametrize(
    ("profile", "field"),
    [
        ({"identity": []}, "profile.identity"),
        ({"identity": {"name": 1}}, "profile.identity.name"),
        ({"executables": [1]}, "profile.executables"),
        ({"nr_procs": "many"}, "profile.nr_procs"),
        ({"nr_procs": -1}, "profile.nr_procs"),
        ({"pressure": {"avg10": True}}, "profile.pressure.avg10"),
    ],
)
def test_a_bad_profile_is_refused_by_field(profile: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError, match=field):
        workload_facts(profile)


def test_a_question_that_is_too_long() -> None:
    long = {"identity": {"name": "x"}, "executables": ["y" * 60] * 8}
    whole = size(messages(long, max_bytes=9999))
    (_, user) = messages(long, max_bytes=whole - 1)
    assert "executables" not in user["content"]
    with pytest.raises(AgentError, match="max_prompt_bytes is 100"):
        messages(long, max_bytes=100)


def test_the_retry_says_what_was_wrong() -> None:
    assert "confidence must be" in retry_message("confidence must be a number")["content"]
