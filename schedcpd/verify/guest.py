# SPDX-License-Identifier: Apache-2.0
"""What the checks need of a micro-VM. The real one is put together in `schedcpd/verdicts.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schedcpd.model import KernelBuild


@dataclass(frozen=True, slots=True)
class GuestRun:
    """How one command in the guest ended. `exit_code` is None when the wall clock ended it.

    `stdout` and `stderr` hold what had come until then: what a guest said before it froze.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float


class Guest(Protocol):
    """A machine resumed from its snapshot, with nothing of ours loaded yet.

    Every `run` finds the machine as the snapshot has it, or as the run before left it; after a
    run that the wall clock ended, always as the snapshot has it. MicroVmError: the machine could
    not be built, resumed or reached, which says nothing about a candidate.
    """

    image: str  # SHA-256 of everything the machine was made of

    async def kernel(self) -> KernelBuild: ...

    async def run(
        self, argv: Sequence[str], *, files: Mapping[str, bytes], timeout_s: float
    ) -> GuestRun:
        """Puts `files` (absolute path -> bytes) into the guest and runs `argv` as root."""
