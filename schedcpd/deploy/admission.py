# SPDX-License-Identifier: Apache-2.0
"""The real `Admission`: asks the gate for a verdict, and the mint for a token made from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from schedcpd.host.scx_programs import MODE
from schedcpd.model import Candidate, CandidateKind, KernelBuild, Tunable, Verdict

_REMEMBERED = 32


class Gate(Protocol):
    async def admit(self, candidate: Candidate, kernel: KernelBuild) -> Verdict: ...


class Minter(Protocol):
    def mint(
        self, verdict: Verdict, *, kernel: KernelBuild, tunables: Mapping[str, Tunable] | None
    ) -> str: ...

    def mint_program(self, verdict: Verdict, *, kernel: KernelBuild, mode: str) -> str: ...


class GateAdmission:
    """Remembers the last verdicts, so that a deployment can be explained."""

    def __init__(self, gate: Gate, kernel: KernelBuild, open_minter: Callable[[], Minter]) -> None:
        self._gate, self._kernel, self._open_minter = gate, kernel, open_minter
        self._minter: Minter | None = None
        self._verdicts: dict[str, Verdict] = {}

    def use(self, gate: Gate) -> None:
        """Another gate from now on: the configuration was read again."""
        self._gate = gate

    async def admit(self, candidate: Candidate) -> Verdict:
        verdict = await self._gate.admit(candidate, self._kernel)
        self._verdicts.pop(verdict.id, None)
        self._verdicts[verdict.id] = verdict
        while len(self._verdicts) > _REMEMBERED:
            del self._verdicts[next(iter(self._verdicts))]
        return verdict

    async def mint(self, verdict: Verdict, candidate: Candidate) -> str:
        return await asyncio.to_thread(self._mint, verdict, candidate)

    def _mint(self, verdict: Verdict, candidate: Candidate) -> str:
        if self._minter is None:  # reads or makes the key, which an idle daemon needs not
            self._minter = self._open_minter()
        if candidate.kind is CandidateKind.EXTERNAL:
            mode = str(candidate.tunables[MODE])
            return self._minter.mint_program(verdict, kernel=self._kernel, mode=mode)
        return self._minter.mint(verdict, kernel=self._kernel, tunables=candidate.tunables)

    def verdict(self, verdict_id: str) -> Verdict | None:
        """One of the last verdicts that admitted something."""
        return self._verdicts.get(verdict_id)
