# SPDX-License-Identifier: Apache-2.0
"""What is remembered of answers, and what is read from others."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import AgentError
from schedcpd.infer.agent_answer import fingerprint, profile_to_json, read_answer, read_hello
from schedcpd.infer.agent_memory import ANSWERS_MAX, AgentMemory, AnswerCache
from schedcpd.model import (
    AppKind,
    IntentClass,
)

from .agent_rig import ANSWER, HELLO, profile


def test_where_the_cgroup_is_stays_here() -> None:
    told = json.dumps(profile_to_json(profile("svc")))
    assert "/svc" not in told
    assert "cgroup" not in told


def test_fingerprints_ignore_instances() -> None:
    base = fingerprint(profile("app-0123456789abcdef.7"))
    assert fingerprint(profile("app-fedcba9876543210.42")) == base
    assert fingerprint(profile("other-fedcba9876543210.42")) != base
    assert fingerprint(profile("app-0123456789abcdef.7", kind=AppKind.SCOPE)) != base


def test_the_cache_is_bounded() -> None:
    cache = AnswerCache()
    answer = read_answer(ANSWER)
    for n in range(ANSWERS_MAX + 5):
        cache.put(str(n), answer, 10.0)
        assert cache.get("0", 0.0) == answer, "what is used stays"
    assert len(cache.items(0.0)) == ANSWERS_MAX
    assert cache.get("1", 0.0) is None
    assert cache.items(10.0) == []


def test_memory_returns_what_was_saved(tmp_path: Path) -> None:
    memory = AgentMemory(tmp_path / "deep" / "agent.json")
    cache = AnswerCache()
    cache.put("k", read_answer(ANSWER), 500.0)
    memory.save([(1.5, 20)], cache.items(0.0))
    spent, found, complaint = memory.load(0.0, 100.0)
    assert ([(s.at_unix_s, s.tokens) for s in spent], complaint) == ([(1.5, 20)], "")
    assert found.get("k", 99.0) == read_answer(ANSWER)
    assert found.get("k", 100.0) is None, "no longer than cache_s from now"
    assert (tmp_path / "deep" / "agent.json").stat().st_mode & 0o777 == 0o600


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*ANSWER, *HELLO]), json_values))
def test_any_json_is_read_or_refused(changes: dict[str, Any]) -> None:
    for read, good in ((read_answer, ANSWER), (read_hello, HELLO)):
        try:
            value: Any = read({**good, **changes})
        except AgentError:
            continue
        assert value.model.isprintable()
        if read is read_answer:
            assert 0 <= value.confidence <= 1
            assert value.intent_class in IntentClass
            assert value.tokens >= 0


@given(st.binary(max_size=300) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_state_file_is_read_or_set_aside(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "agent.json"
        path.write_bytes(data)
        spent, cache, complaint = AgentMemory(path).load(0.0, 100.0)
        assert bool(complaint) == (not path.exists())
        assert not complaint or (not spent and not cache.items(0.0))
