# SPDX-License-Identifier: Apache-2.0
"""An agent that is the test itself, on a real socket, and a clock that is told what time it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from schedcpd.errors import SchedcpError
from schedcpd.host.jsonline import JsonLineServer, Method
from schedcpd.infer.agent_client import AgentClient
from schedcpd.model import (
    AppIdentity,
    AppKind,
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


Make = Callable[..., AgentClient]


def profile(name: str = "thing", *, cgroup_id: int = 5, **who: Any) -> WorkloadProfile:
    identity = replace(AppIdentity(AppKind.SERVICE, name, uid=1000), **who)
    return WorkloadProfile(f"/{name}", cgroup_id, identity, True, 1, executables=("a", "b"))
