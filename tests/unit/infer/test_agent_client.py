# SPDX-License-Identifier: Apache-2.0
"""The daemon's side, against an agent that is the test itself, on a real socket."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.config import AgentConfig, Switch
from schedcpd.errors import AgentError, SchedcpError
from schedcpd.host.jsonline import JsonLineServer, Method
from schedcpd.infer.agent_answer import fingerprint, profile_to_json, read_answer, read_hello
from schedcpd.infer.agent_client import BACKOFF_MOST_S, REFUSED_S, WAITING_MOST, AgentClient
from schedcpd.infer.agent_memory import ANSWERS_MAX, AgentMemory, AnswerCache
from schedcpd.model import (
    AppIdentity,
    AppKind,
    IntentClass,
    IntentSource,
    LearnedRecord,
    RecordKind,
    WorkloadProfile,
)

HELLO = {
    "version": "0",
    "protocol": 1,
    "configured": True,
    "model": "openai/x",
    "reason": "",
    "call_tokens": 1000,
}
ANSWER = {
    "intent_class": "latency",
    "confidence": 0.8,
    "reason": "it serves",
    "model": "openai/x",
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "seconds": 0.5,
}


class FakeClock:
    def __init__(self) -> None:
        self.unix, self.mono = 1_700_000_000.0, 50.0

    def unix_s(self) -> float:
        return self.unix

    def monotonic_ns(self) -> int:
        return int(self.mono * 1e9)

    def forward(self, seconds: float) -> None:
        self.unix += seconds
        self.mono += seconds


class FakeAgent:
    """Answers with `hello` and `answer`, or raises `error`, after `delay_s`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hello: dict[str, Any] = dict(HELLO)
        self.answer: dict[str, Any] = dict(ANSWER)
        self.error: SchedcpError | None = None
        self.delay_s = 0.0
        self.hellos = 0
        self.asked: list[dict[str, Any]] = []
        self.was_asked = asyncio.Event()
        self.at_once = self.at_once_most = 0
        methods = {
            "hello": Method(self._hello),
            "infer": Method(self._infer, required=frozenset({"profile", "timeout_s"})),
        }
        self.server = JsonLineServer(methods, allow=lambda _peer: None)

    async def _hello(self, _params: Any) -> dict[str, Any]:
        self.hellos += 1
        return self.hello

    async def _infer(self, params: Any) -> dict[str, Any]:
        self.asked.append(params)
        self.was_asked.set()
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent.sock")
    await fake.server.start(fake.path)
    yield fake
    await fake.server.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


Make = Callable[..., AgentClient]


@pytest.fixture
def records() -> list[LearnedRecord]:
    return []


@pytest.fixture
def make(agent: FakeAgent, clock: FakeClock, tmp_path: Path, records: list[LearnedRecord]) -> Make:
    def make(**settings: Any) -> AgentClient:
        config = replace(AgentConfig(socket=agent.path, timeout_s=2.0), **settings)
        return AgentClient(
            config, state=tmp_path / "agent.json", clock=clock, on_record=records.append
        )

    return make


def profile(name: str = "thing", *, cgroup_id: int = 5, **who: Any) -> WorkloadProfile:
    identity = replace(AppIdentity(AppKind.SERVICE, name, uid=1000), **who)
    return WorkloadProfile(f"/{name}", cgroup_id, identity, True, 1, executables=("a", "b"))


async def test_answers_are_cached_by_application(
    make: Make, agent: FakeAgent, clock: FakeClock
) -> None:
    client = make(cache_s=100)
    first = await client.infer(profile("web@1", cgroup_id=5))
    second = await client.infer(profile("web@2", cgroup_id=6))
    assert first is not None
    assert second is not None
    assert (first.workload_id, second.workload_id) == ("5", "6")
    assert first.source is IntentSource.AGENT
    assert first.intent_class is IntentClass.LATENCY
    assert len(agent.asked) == 1
    await client.infer(profile("web@1", uid=1001))
    assert len(agent.asked) == 2, "another user's application is another application"
    clock.forward(101)
    await client.infer(profile("web@1"))
    assert len(agent.asked) == 3, "answers age"
    restarted = make(cache_s=100)
    assert await restarted.infer(profile("web@1")) is not None
    assert len(agent.asked) == 3, "answers survive a restart"


async def test_another_model_is_asked_again(make: Make, agent: FakeAgent) -> None:
    client = make()
    await client.infer(profile())
    agent.hello["model"] = agent.answer["model"] = "openai/y"
    await client.probe()
    intent = await client.infer(profile())
    assert intent is not None
    assert intent.model == "openai/y"


async def test_one_flight_for_one_application_and_one_call_at_a_time(
    make: Make, agent: FakeAgent
) -> None:
    client = make()
    agent.delay_s = 0.02
    names = [chr(97 + n) for n in range(4)] * 5
    intents = await asyncio.gather(*(client.infer(profile(name)) for name in names))
    assert all(intents)
    assert len(agent.asked) == 4
    assert agent.at_once_most == 1


async def test_the_queue_is_bounded(make: Make, agent: FakeAgent) -> None:
    client = make(timeout_s=30.0)
    agent.delay_s = 0.02
    profiles = [profile(chr(97 + n // 26) + chr(97 + n % 26)) for n in range(WAITING_MOST + 10)]
    intents = await asyncio.gather(*(client.infer(p) for p in profiles))
    assert sum(intent is not None for intent in intents) == WAITING_MOST
    assert client.why(profiles[-1]) == "too many workloads are waiting to be asked about"


async def test_a_waiter_that_gives_up_does_not_end_the_flight(make: Make, agent: FakeAgent) -> None:
    client = make()
    agent.delay_s = 0.1
    one = asyncio.create_task(client.infer(profile()))
    two = asyncio.create_task(client.infer(profile()))
    await asyncio.sleep(0.03)
    one.cancel()
    assert await two is not None
    with pytest.raises(asyncio.CancelledError):
        await one


async def test_close_ends_what_is_under_way(make: Make, agent: FakeAgent) -> None:
    client = make()
    agent.delay_s = 60
    waiting = asyncio.create_task(client.infer(profile()))
    await agent.was_asked.wait()
    assert client.describe() == "asking about thing"
    await client.close()
    assert await waiting is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"intent_class": "realtime"}, "no known class"),
        ({"intent_class": None}, "no known class"),
        ({"confidence": 1.1}, "confidence is not"),
        ({"confidence": True}, "confidence is not"),
        ({"reason": 5}, "reason is not text"),
        ({"model": None}, "model is not text"),
        ({"prompt_tokens": -1}, "prompt_tokens is not"),
        ({"completion_tokens": 1.5}, "completion_tokens is not"),
        ({"seconds": "x"}, "seconds is not"),
        ({"more": 1}, "agreed keys"),
    ],
)
async def test_a_lying_agent_is_not_believed(
    make: Make, agent: FakeAgent, change: dict[str, Any], why: str
) -> None:
    agent.answer |= change
    client = make()
    assert await client.infer(profile()) is None
    assert why in client.why(profile())
    assert why in client.describe()


@pytest.mark.parametrize(
    "change", [{"protocol": 2}, {"protocol": True}, {"configured": 1}, {"call_tokens": -1}]
)
async def test_a_hello_of_nonsense(make: Make, agent: FakeAgent, change: dict[str, Any]) -> None:
    agent.hello |= change
    client = make()
    await client.probe()
    assert client.describe().startswith("failing: ")
    assert await client.infer(profile()) is None
    assert agent.asked == []


async def test_reasons_are_safe_to_print(make: Make, agent: FakeAgent) -> None:
    agent.answer["reason"] = "\x1b]0;owned\x07 \u202eabc\n" + "x" * 5000
    intent = await make().infer(profile())
    assert intent is not None
    assert intent.reason.isprintable()
    assert len(intent.reason) == 200
    agent.error = AgentError("\x1b[2J" + "y" * 5000)
    client = make()
    assert await client.infer(profile("other")) is None
    assert client.describe().isprintable()
    assert len(client.describe()) < 250


async def test_not_sure_enough(make: Make, agent: FakeAgent, records: list[LearnedRecord]) -> None:
    agent.answer["confidence"] = 0.5
    client = make(min_confidence=0.6)
    assert await client.infer(profile()) is None
    assert await client.infer(profile()) is None
    assert len(agent.asked) == 1
    assert client.describe() == "idle (openai/x)", "that is an answer, not a failure"
    assert records[0].data["used"] is False
    client.reconfigure(replace(AgentConfig(socket=agent.path), min_confidence=0.4))
    assert await client.infer(profile()) is not None, "the answer was kept, the bar was lowered"
    assert len(agent.asked) == 1


async def test_failures_back_off(make: Make, agent: FakeAgent, clock: FakeClock) -> None:
    client = make(calls_per_hour=1000, tokens_per_hour=10**8)
    agent.error = AgentError("rate limited (HTTP 429)")
    waits = []
    for n in range(10):
        assert await client.infer(profile(chr(97 + n))) is None
        assert len(agent.asked) == n + 1
        assert await client.infer(profile("zz")) is None
        assert len(agent.asked) == n + 1, "nothing is asked while it backs off"
        assert client.why(profile("zz")) == "rate limited (HTTP 429)"
        text = client.describe()
        assert text.startswith("failing: rate limited (HTTP 429), next try in ")
        waits.append(int(text.split()[-2]))
        clock.forward(waits[-1])
        assert client.describe() == "failing: rate limited (HTTP 429), to be tried again"
    assert waits[:4] == [30, 60, 120, 240]
    assert waits[-1] == BACKOFF_MOST_S
    agent.error = None
    assert await client.infer(profile("zz")) is not None
    assert client.describe() == "idle (openai/x)"
    agent.error = AgentError("x")
    await client.infer(profile("yy"))
    assert client.describe().endswith("next try in 30 s"), "success starts it over"


async def test_a_workload_without_answer_waits(
    make: Make, agent: FakeAgent, clock: FakeClock
) -> None:
    client = make()
    agent.error = AgentError("nonsense")
    await client.infer(profile())
    agent.error = None
    clock.forward(31)
    assert await client.infer(profile()) is None
    assert await client.infer(profile("other")) is not None
    clock.forward(REFUSED_S)
    assert await client.infer(profile()) is not None


async def test_a_silent_agent_costs_no_more_than_the_timeout(make: Make, agent: FakeAgent) -> None:
    agent.delay_s = 60
    client = make(timeout_s=0.3)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert await client.infer(profile()) is None
    assert loop.time() - begin < 1.0
    assert agent.asked[0]["timeout_s"] < 0.3, "the agent is to give up first"
    assert "within" in client.why(profile()) or client.why(profile()) == "timeout"


async def test_an_agent_that_dies_in_the_middle(make: Make, agent: FakeAgent) -> None:
    agent.delay_s = 60
    client = make(timeout_s=30.0)
    waiting = asyncio.create_task(client.infer(profile()))
    await agent.was_asked.wait()
    await agent.server.close()
    assert await asyncio.wait_for(waiting, 5) is None
    assert "closed" in client.why(profile())


async def test_no_agent_is_installed(tmp_path: Path, clock: FakeClock) -> None:
    config = AgentConfig(socket=tmp_path / "none.sock")
    client = AgentClient(config, state=tmp_path / "s.json", clock=clock)
    assert client.describe() == "not asked yet"
    await client.probe()
    assert await client.infer(profile()) is None
    assert client.describe().startswith("not configured: there is no socket")
    assert not client.available
    assert not (tmp_path / "s.json").exists()
    late = FakeAgent(tmp_path / "none.sock")
    await late.server.start(late.path)
    assert await client.infer(profile()) is not None, "found as soon as it is there"
    assert client.available
    await late.server.close()


async def test_refusing_is_cheap(make: Make, agent: FakeAgent, tmp_path: Path) -> None:
    """What is asked about again each minute must not cost the idle daemon its 0.1% of a core."""
    missing = make(socket=tmp_path / "none.sock")
    failing = make()
    agent.error = AgentError("x")
    for client in (missing, failing):
        await client.infer(profile("first"))
        begin = time.process_time()
        for n in range(200):
            assert await client.infer(profile(f"app{chr(97 + n % 26)}{chr(97 + n // 26)}")) is None
        assert time.process_time() - begin < 60 * 0.001, "200 workloads, once a minute"


async def test_no_model_is_configured(make: Make, agent: FakeAgent, clock: FakeClock) -> None:
    agent.hello |= {"configured": False, "model": "", "reason": "no model is configured in x"}
    client = make()
    await client.probe()
    assert client.describe() == "not configured: no model is configured in x"
    assert not client.available
    for n in range(5):
        assert await client.infer(profile(chr(97 + n))) is None
    assert (agent.hellos, agent.asked) == (1, []), "it is not started again and again"
    agent.hello |= {"configured": True, "model": "openai/x"}
    client.reconfigure(AgentConfig(socket=agent.path))
    assert await client.infer(profile()) is not None


async def test_disabled(make: Make, agent: FakeAgent) -> None:
    client = make(enabled=Switch.OFF)
    await client.probe()
    assert await client.infer(profile()) is None
    assert client.describe() == "disabled in schedcpd.yaml"
    assert agent.hellos == 0
    assert not client.available


async def test_the_budget_in_calls(
    make: Make, agent: FakeAgent, clock: FakeClock, records: list[LearnedRecord]
) -> None:
    client = make(calls_per_hour=2)
    for n in range(6):
        await client.infer(profile(chr(97 + n)))
    assert len(agent.asked) == 2
    assert agent.hellos == 2, "an exhausted budget starts no process"
    assert "over budget until" in client.describe()
    assert client.why(profile("c")).startswith("over budget for ")
    assert [r.summary.split(";")[0] for r in records[2:]] == [
        "sched-agent is over budget for 60 min"
    ]
    restarted = make(calls_per_hour=2)
    assert await restarted.infer(profile("x")) is None
    clock.forward(3600)
    assert await restarted.infer(profile("x")) is not None


async def test_the_budget_in_tokens_counts_failures_in_full(
    make: Make, agent: FakeAgent, clock: FakeClock
) -> None:
    client = make(tokens_per_hour=2100)
    agent.error = AgentError("nobody knows what that cost")
    for n in range(6):
        await client.infer(profile(chr(97 + n)))
        clock.forward(300)
    assert len(agent.asked) == 2
    cheap = make(tokens_per_hour=2100)
    clock.forward(3600)
    agent.error = None
    for n in range(20):
        await cheap.infer(profile(chr(97 + n) + "z"))
    # 120 tokens each are settled; the last one still has to fit with the 1000 it may cost.
    assert len(agent.asked) - 2 == math.floor((2100 - 1000) / 120) + 1


async def test_a_budget_below_one_call(make: Make, agent: FakeAgent) -> None:
    client = make(tokens_per_hour=999)
    assert await client.infer(profile()) is None
    assert agent.asked == []
    assert "allow no call of up to 1000 tokens" in client.describe()


async def test_a_cost_that_cannot_be_recorded_is_not_caused(
    agent: FakeAgent, clock: FakeClock
) -> None:
    config = AgentConfig(socket=agent.path)
    client = AgentClient(config, state=Path("/proc/self/nothing/agent.json"), clock=clock)
    assert await client.infer(profile()) is None
    assert agent.asked == []
    assert "the budget cannot be recorded" in client.describe()


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{", b'{"spent": [[1]], "answers": {}}', b"\x00\xff", b"[" * 10**5]
)
async def test_a_damaged_state_counts_as_spent(
    make: Make, agent: FakeAgent, clock: FakeClock, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "agent.json").write_bytes(damage)
    assert await make().infer(profile()) is None
    assert (tmp_path / "agent.json.damaged").read_bytes() == damage
    assert await make().infer(profile()) is None, "a restart does not refill it"
    assert agent.asked == []
    clock.forward(3600)
    assert await make().infer(profile()) is not None


async def test_history_gets_the_cost(
    make: Make, agent: FakeAgent, records: list[LearnedRecord]
) -> None:
    await make().infer(profile())
    (record,) = records
    assert (record.kind, record.subject) == (RecordKind.AGENT, "/thing")
    assert record.summary == "openai/x says latency (0.80): it serves"
    assert record.data["tokens"] == 120
    json.dumps(dict(record.data))


async def test_a_fault_of_our_own_is_contained(
    make: Make, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("schedcpd.infer.agent_client.profile_to_json", broken)
    client = make()
    assert await client.infer(profile()) is None
    assert client.why(profile()) == "internal fault"


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
