# SPDX-License-Identifier: Apache-2.0
"""Which workloads the agent is asked about, and what it said, for as long as they are the same.

A question never holds anything up: the default stands until an answer comes, if one comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from schedcpd.model import AppIdentity, Intent, WorkloadProfile

# Often enough to find the agent's process, which holds litellm for a minute, still there after a
# first question that ran out of time over its import. The client refuses in microseconds.
ASK_AGAIN_S = 60.0


class AgentClient(Protocol):
    """sched-agent. Budget, cache and validation are its own matter."""

    @property
    def available(self) -> bool:
        """Whether a model is configured, as far as known."""

    def describe(self) -> str:
        """Its state in one sentence."""

    def why(self, profile: WorkloadProfile) -> str:
        """Why `infer` last gave what it gave, "" when it was never asked."""

    async def infer(self, profile: WorkloadProfile) -> Intent | None:
        """A validated answer, None when the default stands. Never raises; may take long."""

    async def probe(self) -> None:
        """Finds out whether it is available. Never raises."""

    async def close(self) -> None: ...


class Questions:
    """`unknown` says whether a workload still is one that no rule knows; `answered` gets it then.

    `changed` is called when the agent's state may be another.
    """

    def __init__(
        self,
        agent: AgentClient,
        *,
        unknown: Callable[[str], WorkloadProfile | None],
        all_unknown: Callable[[], list[WorkloadProfile]],
        answered: Callable[[WorkloadProfile], None],
        changed: Callable[[], None],
    ) -> None:
        self._agent = agent
        self._unknown, self._all_unknown = unknown, all_unknown
        self._answered, self._changed = answered, changed
        self._answers: dict[str, tuple[AppIdentity, Intent | None]] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def answer(self, profile: WorkloadProfile) -> Intent | None:
        """What the agent said of this very application in this cgroup."""
        identity, answer = self._answers.get(profile.id, (None, None))
        return answer if identity == profile.identity else None

    def ask(self, profile: WorkloadProfile) -> None:
        """Once for each application, as soon as it is known what runs there."""
        identity, _ = self._answers.get(profile.id, (None, None))
        if profile.identity.executable and identity != profile.identity:
            self._answers[profile.id] = (profile.identity, None)
            self._queue.put_nowait(profile.cgroup)

    def forget(self, workload_id: str) -> None:
        self._answers.pop(workload_id, None)

    async def run(self) -> None:
        """Asks, one after the other, until cancelled."""
        await self._agent.probe()
        self._changed()
        while True:
            profile = self._unknown(await self._queue.get())
            if profile is None:
                continue
            answer = await self._agent.infer(profile)
            self._changed()
            now = self._unknown(profile.cgroup)
            if answer is not None and now is not None and now.identity == profile.identity:
                self._answers[now.id] = (now.identity, answer)
                self._answered(now)

    async def repeat(self) -> None:
        """What had no answer is asked about again: a model may have come, or budget be left."""
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            if not self._queue.empty():
                continue  # a slow model is still at the last round
            for profile in self._all_unknown():
                self.forget(profile.id)
                self.ask(profile)

    async def close(self) -> None:
        await self._agent.close()
