# SPDX-License-Identifier: Apache-2.0
"""What the tests of the agent's client share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedcpd.config import AgentConfig
from schedcpd.infer.agent_client import AgentClient
from schedcpd.model import (
    LearnedRecord,
)

from .agent_rig import FakeAgent, FakeClock, Make


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent.sock")
    await fake.server.start(fake.path)
    yield fake
    await fake.server.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


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
