# SPDX-License-Identifier: Apache-2.0
"""What may be spent on the agent, and who hears of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from schedcpd.config import AgentConfig
from schedcpd.errors import AgentError
from schedcpd.infer.agent_client import AgentClient
from schedcpd.model import (
    LearnedRecord,
    RecordKind,
)

from .agent_rig import FakeAgent, FakeClock, Make, profile


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
