# SPDX-License-Identifier: Apache-2.0
"""The real `schedcp-agent` process with the real litellm, and a scripted server behind it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from schedcpd.errors import AgentError
from schedcpd.host.jsonline import JsonLineClient
from tests.llm_server import LlmServer, bound
from tests.unit.agent.process import AgentProcess, start_agent, stop_agent


@pytest.fixture(scope="session")
def listen() -> Iterator[socket.socket]:
    with bound() as sock:
        yield sock


@pytest.fixture(scope="session")
def agent(
    listen: socket.socket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    """One process for the whole session, with litellm imported: that takes seconds."""
    port = listen.getsockname()[1]
    directory = tmp_path_factory.mktemp("agent")
    config = (
        "model: openai/scripted\n"
        f"api_base: http://127.0.0.1:{port}/v1\n"
        "timeout_s: 120\n"
        "idle_exit_s: 3600\n"
    )
    hostile = {  # what must not reach litellm
        "OPENAI_API_KEY": "sk-from-the-environment",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "False",
        "LITELLM_LOG": "DEBUG",
    }
    (directory / ".env").write_text(
        "OPENAI_API_KEY=sk-from-dotenv\nHTTP_PROXY=http://127.0.0.1:1\n"
    )
    started = start_agent(directory, config, env=hostile)
    try:
        asyncio.run(_warm_up(started, listen))
        yield AgentProcess(started.socket, started.spy_log, started.process, port)
    finally:
        stop_agent(started)
        shutil.rmtree(directory, ignore_errors=True)


async def _warm_up(agent: AgentProcess, listen: socket.socket) -> None:
    async with LlmServer(listen):
        client = await JsonLineClient.connect(agent.socket, unreachable=AgentError)
        try:
            await client.call("infer", {"profile": {}, "timeout_s": 120}, timeout_s=125)
        finally:
            await client.close()


@pytest.fixture
async def llm(listen: socket.socket) -> AsyncIterator[LlmServer]:
    async with LlmServer(listen) as server:
        yield server
