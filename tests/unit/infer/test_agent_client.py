# SPDX-License-Identifier: Apache-2.0
"""The daemon's side, against an agent that is the test itself, on a real socket."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedcpd.config import AgentConfig, Switch
from schedcpd.errors import AgentError
from schedcpd.infer.agent_client import BACKOFF_MOST_S, REFUSED_S, WAITING_MOST, AgentClient
from schedcpd.model import (
    IntentClass,
    IntentSource,
    LearnedRecord,
)

from .agent_rig import FakeAgent, FakeClock, Make, profile


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
